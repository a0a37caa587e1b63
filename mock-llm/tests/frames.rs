//! The scripted peer, seen by h2's client.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::{Connection, ResponseFuture, SendRequest};
use http::Request;
use mock_llm::frames::{self, Peer, Script};
use tokio::net::TcpStream;

type Client = (SendRequest<Bytes>, Connection<TcpStream, Bytes>);

async fn connect(peer: &Peer) -> SendRequest<Bytes> {
    let (client, connection): Client =
        h2::client::handshake(TcpStream::connect(peer.address()).await.unwrap()).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.unwrap()
}

fn request(client: &mut SendRequest<Bytes>, peer: &Peer) -> ResponseFuture {
    let request = Request::post(format!("{}/chat/completions", peer.base_url())).body(()).unwrap();
    client.send_request(request, true).unwrap().0
}

/// Whatever a test waits for comes within ten seconds, or the test fails.
async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what).await.expect("nothing comes")
}

async fn body(response: ResponseFuture) -> Result<String, h2::Error> {
    let mut stream = in_time(response).await?.into_body();
    let mut body = Vec::new();
    while let Some(data) = in_time(stream.data()).await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn a_request_above_the_last_one_of_goaway_fails_and_the_one_below_ends_well() {
    let peer = Peer::start([Script::new()
        .requests(2)
        .respond(1)
        .data(1, "one")
        .go_away(1, frames::NO_ERROR)
        .gate("seen")
        .data(1, " two")
        .end(1)])
    .await
    .unwrap();
    let mut client = connect(&peer).await;
    let (first, second) = (request(&mut client, &peer), request(&mut client, &peer));
    let error = body(second).await.unwrap_err();
    assert!(error.is_go_away() && error.reason() == Some(Reason::NO_ERROR), "{error:?}");
    peer.open("seen");
    assert_eq!(body(first).await.unwrap(), "one two");
    drop(client);
    assert!(peer.until(|peer| peer.connections() == 0).await);
    assert_eq!((peer.connections_total(), peer.requests(1)), (1, 2));
}

#[tokio::test]
async fn the_limit_of_streams_is_lowered_in_mid_life() {
    let peer = Peer::start([Script::new()
        .first_setting(frames::MAX_CONCURRENT_STREAMS, 7)
        .requests(1)
        .setting(frames::MAX_CONCURRENT_STREAMS, 3)
        .answer_all("all")])
    .await
    .unwrap();
    let mut client = connect(&peer).await;
    assert_eq!(body(request(&mut client, &peer)).await.unwrap(), "all");
    assert_eq!(client.current_max_send_streams(), 3);
    assert_eq!(body(request(&mut client, &peer)).await.unwrap(), "all");
}

#[tokio::test]
async fn streams_are_reset_by_either_side() {
    let script = Script::new()
        .requests(2)
        .reset(1, frames::REFUSED_STREAM)
        .respond(2)
        .await_reset(2)
        .answer_all("next");
    let peer = Peer::start([script]).await.unwrap();
    let mut client = connect(&peer).await;
    let (first, second) = (request(&mut client, &peer), request(&mut client, &peer));
    assert_eq!(body(first).await.unwrap_err().reason(), Some(Reason::REFUSED_STREAM));
    drop(in_time(second).await.unwrap());
    assert_eq!(body(request(&mut client, &peer)).await.unwrap(), "next");
    let codes: Vec<u32> = peer.frames().iter().filter_map(frames::Frame::code).collect();
    assert_eq!(codes, [frames::CANCEL]);
}

#[tokio::test]
async fn each_connection_has_its_script_and_a_cut_is_a_reset() {
    let peer =
        Peer::start([Script::new().requests(1).abort(), Script::new().answer_all("second")]).await.unwrap();
    let mut client = connect(&peer).await;
    let error = body(request(&mut client, &peer)).await.unwrap_err();
    assert_eq!(error.get_io().unwrap().kind(), std::io::ErrorKind::ConnectionReset);
    let mut client = connect(&peer).await;
    assert_eq!(body(request(&mut client, &peer)).await.unwrap(), "second");
    assert_eq!(peer.connections_total(), 2);
}
