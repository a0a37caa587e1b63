//! Peers that speak HTTP/1.1.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{next, read, send, send_all, settings, until, upstream};
use http::Version;
use mock_llm::{MockLlm, Settings as MockSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use upstream::{Settings, Upstream};

async fn mock() -> MockLlm {
    MockLlm::start(MockSettings { chunk_count: 2, ..Default::default() }).await.unwrap()
}

fn http1(base: &str) -> Upstream {
    Upstream::new(Settings { http2: false, ..settings(base) }).unwrap()
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let mock = mock().await;
    let api = http1(&mock.base_url());
    for _ in 0..5 {
        read(send(&api, "").await.unwrap()).await.unwrap();
    }
    let requests = mock.requests();
    assert!(requests.iter().all(|request| request.version == Version::HTTP_11));
    assert_eq!((requests.len(), mock.connections_total()), (5, 1));
    assert_eq!(requests[0].headers["host"], mock.address().to_string());
    assert_eq!(requests[0].path, "/v1/chat/completions");
    let figures = api.figures();
    assert_eq!((figures.connections, figures.streams, figures.dials), (1, 0, 1));
}

#[tokio::test]
async fn each_exchange_has_its_connection_and_few_are_kept() {
    let mock = mock().await;
    let api =
        Upstream::new(Settings { http2: false, pool_max_idle_per_host: 2, ..settings(&mock.base_url()) })
            .unwrap();
    let answers = send_all(&api, "chunks:2,delay:20", 6).await;
    assert_eq!((mock.connections_total(), api.figures().streams), (6, 6));
    for answer in answers {
        read(answer).await.unwrap();
    }
    assert!(mock.until(|mock| mock.connections() == 2).await);
    until(&api, |figures| (figures.connections, figures.streams) == (2, 0)).await;
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let mock = mock().await;
    let api = Upstream::new(Settings {
        http2: false,
        idle_timeout: Duration::from_millis(50),
        ..settings(&mock.base_url())
    })
    .unwrap();
    for _ in 0..2 {
        read(send(&api, "").await.unwrap()).await.unwrap();
        assert!(mock.until(|mock| mock.connections() == 0).await);
    }
    assert_eq!(mock.connections_total(), 2);
}

/// A small server: each connection answers `per_connection` requests, and does what `then` says to the next.
async fn server(per_connection: usize, then: &'static str) -> (String, Arc<AtomicUsize>) {
    slow_server(per_connection, Duration::ZERO, then).await
}

/// The same, which takes this long before it does.
async fn slow_server(
    per_connection: usize,
    pause: Duration,
    then: &'static str,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                for _ in 0..per_connection {
                    if !request(&mut stream).await {
                        return;
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                if request(&mut stream).await {
                    count.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(pause).await;
                    stream.write_all(then.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (base, requests)
}

/// Reads one request, with a body of the mock's length.
async fn request(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"}") {
        if !matches!(stream.read_buf(&mut read).await, Ok(length) if length > 0) {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn a_stale_connection_is_replaced_once() {
    let (base, requests) = server(1, "").await;
    let api = http1(&base);
    for count in 1..4 {
        assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"ok");
        // Each but the first was sent on the old connection before.
        assert_eq!(
            (requests.load(Ordering::SeqCst), api.figures().retries),
            (2 * count - 1, count as u64 - 1)
        );
    }
}

/// A peer that fell over the request does so again.
#[tokio::test]
async fn a_connection_that_breaks_later_was_not_stale() {
    let (base, requests) = slow_server(1, Duration::from_millis(600), "").await;
    let api = http1(&base);
    read(send(&api, "").await.unwrap()).await.unwrap();
    let error = send(&api, "").await.unwrap_err();
    assert_eq!(error.reason(), "broken", "{error}");
    assert_eq!((requests.load(Ordering::SeqCst), api.figures().retries), (2, 0));
}

#[tokio::test]
async fn a_connection_that_breaks_after_a_byte_is_an_error() {
    let (base, requests) = server(1, "HTTP/1.1 2").await;
    let api = http1(&base);
    read(send(&api, "").await.unwrap()).await.unwrap();
    let error = send(&api, "").await.unwrap_err();
    assert!(matches!(error.reason(), "broken" | "protocol"), "{error}");
    assert_eq!((requests.load(Ordering::SeqCst), api.figures().retries), (2, 0));
}

#[tokio::test]
async fn a_fresh_connection_that_breaks_is_an_error() {
    let (base, requests) = server(0, "").await;
    let error = send(&http1(&base), "").await.unwrap_err();
    assert_eq!(error.reason(), "broken", "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_that_is_cut_is_an_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let (base, _) = server(0, answer).await;
        let mut answer = send(&http1(&base), "").await.unwrap();
        assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), "half");
        let error = next(answer.body_mut()).await.unwrap().unwrap_err();
        assert_eq!(error.reason(), "broken", "{error}");
        assert!(next(answer.body_mut()).await.is_none());
    }
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_not_used() {
    let mock = mock().await;
    let api = http1(&mock.base_url());
    read(send(&api, "close-silently").await.unwrap()).await.unwrap();
    assert!(mock.until(|mock| mock.connections() == 0).await);
    until(&api, |figures| figures.connections == 0).await;
    read(send(&api, "").await.unwrap()).await.unwrap();
    assert_eq!((mock.connections_total(), mock.requests().len()), (2, 2));
}

#[tokio::test]
async fn a_reader_that_stalls_stalls_its_peer() {
    let mock = mock().await;
    let api = http1(&mock.base_url());
    // More than the sockets hold.
    let stalled = send(&api, "total:20000000,delta:1000").await.unwrap();
    let other = send(&api, "total:20000000,delta:1000").await.unwrap();
    assert!(read(other).await.unwrap().len() > 20_000_000);
    assert_eq!(mock.completed(), 1);
    assert!(read(stalled).await.unwrap().len() > 20_000_000);
}

#[tokio::test]
async fn a_unix_socket_leads_to_the_api() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let mock =
        MockLlm::start(MockSettings { socket: Some(path.clone()), ..Default::default() }).await.unwrap();
    let base = "http://api.example.com/v2";
    let api = Upstream::new(Settings { socket: Some(path.clone()), ..settings(base) }).unwrap();
    read(send(&api, "").await.unwrap()).await.unwrap();
    let request = &mock.requests()[0];
    assert_eq!(
        (request.version, request.headers["host"].as_bytes()),
        (Version::HTTP_11, &b"api.example.com"[..])
    );
    assert_eq!(request.path, "/v2/chat/completions");

    let missing = directory.path().join("missing.sock");
    let api = Upstream::new(Settings { socket: Some(missing.clone()), ..settings(base) }).unwrap();
    let error = send(&api, "").await.unwrap_err();
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn a_peer_without_h2c_gets_http1_and_is_asked_once() {
    let mock = MockLlm::start(MockSettings { http2: false, ..Default::default() }).await.unwrap();
    let api = upstream(&mock.base_url());
    let answers = send_all(&api, "stall:1", 5).await;
    let asked = mock.connections_total();
    drop(answers);
    for answer in send_all(&api, "", 5).await {
        read(answer).await.unwrap();
    }
    assert!(mock.requests().iter().all(|request| request.version == Version::HTTP_11));
    assert_eq!(asked, 6, "one was in HTTP/2");
    assert!(mock.connections_total() <= 11, "none was in HTTP/2 again: {}", mock.connections_total());
    assert_eq!(api.figures().dial_failures, 0);
}

#[tokio::test]
async fn a_peer_that_does_not_know_the_preface_gets_http1() {
    // It closes; it answers; it takes the preface for HTTP/0.9, which has no head.
    for answer in ["", "HTTP/1.1 400 Bad Request\r\n\r\n", "<!DOCTYPE HTML>\n<p>Error 505"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut first = [0; 4];
                stream.read_exact(&mut first).await.unwrap();
                if first == *b"PRI " {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                } else if request(&mut stream).await {
                    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nold";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        let api = upstream(&base);
        assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"old", "{answer}");
        assert_eq!(api.figures().dial_failures, 0);
    }
}

/// A peer that speaks HTTP/2 and drops one connection at its start (a restart, say) is not taken for an old one.
#[tokio::test]
async fn a_peer_that_spoke_http2_is_not_downgraded_for_an_accident() {
    use mock_llm::frames::{NO_ERROR, Peer, Script};
    let peer = Peer::start([
        Script::new().requests(1).respond(1).end(1).go_away(1, NO_ERROR).close(),
        Script::new().answer_all("still HTTP/2"),
    ])
    .await
    .unwrap();
    let target = peer.address();
    // A door before it that slams at the second connection.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for count in 1.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            if count != 2 {
                let mut through = TcpStream::connect(target).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut through).await });
            }
        }
    });
    let api = upstream(&base);
    read(send(&api, "").await.unwrap()).await.unwrap();
    until(&api, |figures| figures.connections == 0).await;
    let error = send(&api, "").await.unwrap_err();
    assert_eq!(error.reason(), "broken", "{error}");
    assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"still HTTP/2");
}
