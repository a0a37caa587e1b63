//! What a stream waits for, and for how long: heartbeats, a silent backend, the longest duration.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::time::Duration;

use common::{Daemon, SOON, mock};
use tokio::io::AsyncReadExt;

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(3600);

/// Reads until what came contains `text`.
async fn read_until(client: &mut tokio::net::TcpStream, text: &str) -> String {
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains(text) {
        let read = tokio::time::timeout(SOON, client.read_buf(&mut received)).await.unwrap().unwrap();
        assert_ne!(read, 0, "{text} is not in {}", String::from_utf8_lossy(&received));
    }
    String::from_utf8(received).unwrap()
}

#[tokio::test]
async fn a_silent_stream_has_comments_between_its_events() {
    let daemon = Daemon::start(|config| {
        config.backend = mock(LONG);
        config.server.heartbeat = Some(SHORT);
    });
    let mut client = daemon.hand_off(r#"{"prompt":"Hi"}"#);
    let received = read_until(&mut client, "\n\n: keep-alive\n\n: keep-alive\n\n").await;
    assert!(received.contains("\r\n\r\ndata: You\n\n: keep-alive\n\n"), "{received}");
}

#[tokio::test]
async fn comments_are_chunks_too_and_no_part_of_the_answer() {
    let daemon = Daemon::start(|config| {
        config.backend = mock(3 * SHORT);
        config.server.heartbeat = Some(SHORT);
    });
    let response = daemon.ask(r#"{"prompt":"a b","protocol":"HTTP/1.1"}"#).await;
    assert!(response.body.contains(": keep-alive\n\n"), "{}", response.body);
    assert_eq!(response.text(), "You said: a b");
    assert!(response.complete && response.is_done());
}

#[tokio::test]
async fn a_stream_that_is_not_silent_has_no_comments() {
    let daemon = Daemon::start(|config| {
        config.backend = mock(Duration::from_millis(1));
        config.server.heartbeat = Some(Duration::from_secs(2));
    });
    let response = daemon.ask(r#"{"test_pattern":"words:100"}"#).await;
    assert!(response.is_done() && !response.body.contains(": keep-alive"));
}

#[tokio::test]
async fn while_a_backend_thinks_the_head_and_comments_keep_the_connection_open() {
    let daemon = Daemon::start(|config| {
        config.server.heartbeat = Some(SHORT);
        config.backend.timeout = 4 * SHORT;
    });
    let response = daemon.ask(r#"{"test_pattern":"hang","protocol":"HTTP/1.1"}"#).await;
    assert_eq!(response.status(), 200, "the head went out with the first comment");
    assert!(response.body.starts_with(": keep-alive\n\n"), "{}", response.body);
    let (kind, data) = response.events().pop().unwrap();
    assert_eq!(kind, "error");
    assert!(data.contains("silent for too long"), "{data}");
}

#[tokio::test]
async fn a_backend_that_never_answers_is_a_504() {
    let daemon = Daemon::start(|config| config.backend.timeout = SHORT);
    let response = daemon.ask(r#"{"test_pattern":"hang","request_id":"r1"}"#).await;
    assert_eq!(response.status(), 504);
    assert_eq!(response.field("X-Request-Id"), Some("r1"));
    assert!(response.body.contains("silent for too long"), "{}", response.body);
}

#[tokio::test]
async fn a_backend_that_falls_silent_is_an_error_event() {
    let daemon = Daemon::start(|config| config.backend.timeout = SHORT);
    let response = daemon.ask(r#"{"test_pattern":"silent-after:2","protocol":"HTTP/1.1"}"#).await;
    assert_eq!(response.status(), 200);
    let events = response.events();
    assert_eq!(events.len(), 3);
    assert_eq!(events[2].0, "error");
    assert!(events[2].1.contains("silent for too long"), "{:?}", events[2]);
    assert!(response.complete);
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_however_busy_it_is() {
    for delay in [Duration::from_millis(1), LONG] {
        let daemon = Daemon::start(|config| {
            config.backend = mock(delay);
            config.server.stream_timeout = Some(4 * SHORT);
        });
        let response = daemon.ask(r#"{"test_pattern":"words:1000000","protocol":"HTTP/1.1"}"#).await;
        let (kind, data) = response.events().pop().unwrap();
        assert_eq!(kind, "error");
        assert!(data.contains("took longer than any may"), "{data}");
        assert!(response.complete);
    }
}
