//! The answer to a handoff, byte by byte.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::time::Duration;

use common::{Daemon, mock};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn without_a_known_protocol_the_end_of_the_connection_ends_the_body() {
    let daemon = Daemon::start(|_| {});
    for data in [r#"{"prompt":"Hi there"}"#, r#"{"prompt":"Hi there","protocol":"HTTP/1.0"}"#] {
        let response = daemon.ask(data).await;
        assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", response.head);
        assert_eq!(response.field("Content-Type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(response.field("Cache-Control"), Some("no-cache"));
        assert_eq!(response.field("X-Accel-Buffering"), Some("no"));
        assert_eq!(response.field("Connection"), Some("close"));
        assert!(response.field("Date").unwrap().ends_with(" GMT"));
        assert_eq!(response.field("Transfer-Encoding"), None);
        let expected =
            "data: You\n\ndata:  said:\n\ndata:  Hi\n\ndata:  there\n\nevent: done\ndata: [DONE]\n\n";
        assert_eq!(response.body, expected);
    }
}

#[tokio::test]
async fn an_http_1_1_client_gets_chunks() {
    let daemon = Daemon::start(|config| config.backend = mock(Duration::from_millis(1)));
    let response = daemon.ask(r#"{"prompt":"Hi there","protocol":"HTTP/1.1"}"#).await;
    assert_eq!(response.field("Transfer-Encoding"), Some("chunked"));
    assert_eq!(response.field("Connection"), Some("close"));
    assert!(response.complete);
    assert!(response.is_done());
    assert_eq!(response.text(), "You said: Hi there");
}

#[tokio::test]
async fn without_data_or_prompt_the_mock_greets() {
    let daemon = Daemon::start(|_| {});
    for data in ["", "{}", r#"{"prompt":null}"#] {
        let response = daemon.ask(data).await;
        assert!(response.text().starts_with("Hello! "), "{}", response.body);
        assert!(response.is_done());
    }
}

#[tokio::test]
async fn a_prompt_comes_back_intact_whatever_is_in_it() {
    let daemon = Daemon::start(|_| {});
    let long = "Wörter und 😀 ".repeat(8_000);
    for prompt in
        ["  two\n\nparagraphs, a tab\tand a space ", "data: [DONE]", ": no comment", "\u{feff}", &long]
    {
        let data = serde_json::json!({ "prompt": prompt, "protocol": "HTTP/1.1" }).to_string();
        let response = daemon.ask(&data).await;
        assert_eq!(response.text(), format!("You said: {prompt}"));
        assert!(response.is_done() && response.complete);
    }
}

#[tokio::test]
async fn the_head_does_not_wait_for_the_second_word() {
    let daemon = Daemon::start(|config| config.backend = mock(Duration::from_secs(3600)));
    let mut client = daemon.hand_off(r#"{"prompt":"Hi"}"#);
    let mut received = Vec::new();
    while !received.ends_with(b"data: You\n\n") {
        let read = tokio::time::timeout(common::SOON, client.read_buf(&mut received)).await;
        assert_ne!(read.unwrap().unwrap(), 0);
    }
}

#[tokio::test]
async fn a_unix_socket_may_stand_in_for_the_client() {
    let daemon = Daemon::start(|_| {});
    let (client, connection) = tokio::net::UnixStream::pair().unwrap();
    common::hand_off_connection(&daemon.path, b"{}", connection.into_std().unwrap().into());
    let mut received = String::new();
    let mut client = client;
    let all = client.read_to_string(&mut received);
    tokio::time::timeout(common::SOON, all).await.unwrap().unwrap();
    assert!(received.ends_with("event: done\ndata: [DONE]\n\n"));
}
