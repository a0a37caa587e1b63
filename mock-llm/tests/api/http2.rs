use std::io::ErrorKind;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use mock_llm::{MockLlm, Settings};
use tokio::net::TcpStream;

use crate::{in_time, prompt, short, start, text};

async fn connect(mock: &MockLlm) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(mock.address()).await.unwrap();
    let (client, connection): (_, Connection<_, Bytes>) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.unwrap()
}

/// Sends a request at once; the response is to be awaited.
fn request(
    client: &mut SendRequest<Bytes>,
    mock: &MockLlm,
    pattern: &str,
) -> impl Future<Output = Result<Response<RecvStream>, h2::Error>> + use<> {
    let request = Request::post(format!("{}/chat/completions", mock.base_url()));
    let request = request.header("x-test-pattern", pattern).body(()).unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    body.send_data(prompt("x").to_string().into(), true).unwrap();
    in_time(response)
}

/// A connection whose SETTINGS are exchanged: the client has nothing to write, and finds its end by reading.
async fn settled(mock: &MockLlm) -> SendRequest<Bytes> {
    let mut client = connect(mock).await;
    let (body, error) = receive(request(&mut client, mock, "").await.unwrap().into_body()).await;
    assert!(error.is_none() && body.ends_with("[DONE]\n\n"), "{error:?}");
    client
}

fn kind(error: &h2::Error) -> Option<ErrorKind> {
    error.get_io().map(std::io::Error::kind)
}

async fn receive(mut stream: RecvStream) -> (String, Option<h2::Error>) {
    let mut body = Vec::new();
    while let Some(data) = in_time(stream.data()).await {
        match data {
            Ok(data) => {
                stream.flow_control().release_capacity(data.len()).unwrap();
                body.extend_from_slice(&data);
            }
            Err(error) => return (String::from_utf8(body).unwrap(), Some(error)),
        }
    }
    (String::from_utf8(body).unwrap(), None)
}

#[tokio::test]
async fn streams_are_reset_and_refused_with_their_codes() {
    let mock = start(short()).await;
    let mut client = connect(&mock).await;
    let error = request(&mut client, &mock, "refused").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM));
    let (body, error) = receive(request(&mut client, &mock, "reset:2:11").await.unwrap().into_body()).await;
    assert_eq!(text(&body), "word001 word002 ");
    assert_eq!(error.unwrap().reason(), Some(Reason::ENHANCE_YOUR_CALM));
    assert_eq!(mock.connections_total(), 1);
}

#[tokio::test]
async fn a_cut_connection_ends_with_fin_or_with_rst_after_what_was_sent() {
    let mock = start(short()).await;
    for (pattern, words, end) in [
        ("abort:0", "", ErrorKind::BrokenPipe),
        ("abort:2", "word001 word002 ", ErrorKind::BrokenPipe),
        ("tcp-reset:2", "word001 word002 ", ErrorKind::ConnectionReset),
    ] {
        let mut client = settled(&mock).await;
        let other = request(&mut client, &mock, "stall:1").await.unwrap().into_body();
        let (body, error) = receive(request(&mut client, &mock, pattern).await.unwrap().into_body()).await;
        assert_eq!((text(&body).as_str(), kind(&error.unwrap())), (words, Some(end)), "{pattern}");
        let (body, error) = receive(other).await;
        assert_eq!((text(&body).as_str(), kind(&error.unwrap())), ("word001 ", Some(end)), "{pattern}");
    }
    let mut client = settled(&mock).await;
    let error = request(&mut client, &mock, "abort-before-head").await.unwrap_err();
    assert_eq!(kind(&error), Some(ErrorKind::BrokenPipe), "{error:?}");
    assert!(mock.until(|mock| mock.connections() == 0 && mock.streams() == 0).await);
}

#[tokio::test]
async fn goaway_lets_the_stream_end_and_the_connection_after_it() {
    let mock = start(short()).await;
    let mut client = connect(&mock).await;
    let response = request(&mut client, &mock, "goaway:1,delay:5").await.unwrap();
    let (body, error) = receive(response.into_body()).await;
    assert!(error.is_none() && text(&body) == "word001 word002 word003 ", "{error:?} {body}");
    // Either it is shutting down already, or it refuses now.
    let error = match in_time(client.ready()).await {
        Ok(mut client) => request(&mut client, &mock, "").await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.is_go_away() || error.is_io(), "{error:?}");
    assert!(mock.until(|mock| mock.connections() == 0).await);
}

#[tokio::test]
async fn goaway_below_a_stream_leaves_it_unprocessed_and_spares_the_others() {
    let mock = start(short()).await;
    let mut client = connect(&mock).await;
    let first = request(&mut client, &mock, "chunks:100,delay:2").await.unwrap();
    let error = request(&mut client, &mock, "goaway-below").await.unwrap_err();
    assert!(error.is_go_away() && error.reason() == Some(Reason::NO_ERROR), "{error:?}");
    let (body, error) = receive(first.into_body()).await;
    assert!(error.is_none() && body.ends_with("data: [DONE]\n\n"), "{error:?}");
    assert!(mock.until(|mock| mock.connections() == 0).await);
}

#[tokio::test]
async fn the_limit_of_streams_is_told_and_changed() {
    let mock = start(Settings { max_concurrent_streams: Some(7), ..short() }).await;
    let mut client = connect(&mock).await;
    let (body, _) = receive(request(&mut client, &mock, "").await.unwrap().into_body()).await;
    assert!(body.ends_with("[DONE]\n\n"));
    assert_eq!(client.current_max_send_streams(), 7);
    for limit in [2, 5] {
        let response = request(&mut client, &mock, &format!("max-streams:{limit},delay:5")).await.unwrap();
        let (body, error) = receive(response.into_body()).await;
        assert!(error.is_none() && body.ends_with("[DONE]\n\n"));
        assert_eq!(client.current_max_send_streams(), limit);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_stream_back_and_gets_it_whole() {
    let mock = start(short()).await;
    let mut client = connect(&mock).await;
    let stalled = request(&mut client, &mock, "delta:1000,total:3000000").await.unwrap();
    // The connection's window is full now or soon; another connection's streams go on.
    let (body, _) = receive(request(&mut connect(&mock).await, &mock, "").await.unwrap().into_body()).await;
    assert!(body.ends_with("[DONE]\n\n"));
    assert_eq!(mock.streams(), 1);
    let (body, error) = receive(stalled.into_body()).await;
    assert!(error.is_none());
    assert_eq!(text(&body).len(), 3_000_000);
    assert!(mock.until(|mock| mock.completed() == 2).await);
}

#[tokio::test]
async fn a_hundred_streams_share_a_connection() {
    let mock = start(short()).await;
    let mut client = connect(&mock).await;
    let streams: Vec<_> = (0..100).map(|_| request(&mut client, &mock, "stall:1")).collect();
    assert!(mock.until(|mock| mock.streams() == 100).await);
    assert_eq!(mock.connections(), 1);
    drop(streams);
    assert!(mock.until(|mock| mock.cancelled() == 100 && mock.streams() == 0).await);
    assert_eq!(mock.resets(), [8; 100]);
}
