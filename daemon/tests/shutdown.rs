//! The end of the daemon, and what becomes of its streams.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::io::Read;
use std::time::Duration;

use common::process::Process;
use common::{Daemon, eventually, hand_off, mock, response};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;

const DATA: &[u8] = br#"{"prompt":"a b c d e f g h i j","protocol":"HTTP/1.1"}"#;

/// Ends a program whose stream is under way.
fn drains_after(signal: Signal) {
    let process = Process::start(&["--delay", "30"]);
    let path = process.path.clone();
    let mut client = hand_off(&path, DATA);
    let mut received = vec![0; 1];
    client.read_exact(&mut received).unwrap();
    process.signal(signal);
    eventually(common::SOON, "the socket's file is removed", || !path.exists());
    client.read_to_end(&mut received).unwrap();
    let response = response::parse(&received);
    assert!(response.is_done() && response.complete);
    assert_eq!(response.text(), "You said: a b c d e f g h i j");
    drop(client);
    assert!(process.ended().success());
}

#[test]
fn sigterm_lets_streams_finish() {
    drains_after(Signal::TERM);
}

#[test]
fn sigint_lets_streams_finish() {
    drains_after(Signal::INT);
}

#[test]
fn a_second_signal_ends_at_once_and_the_cut_shows() {
    let process = Process::start(&["--delay", "3600000"]);
    let path = process.path.clone();
    let mut client = hand_off(&path, DATA);
    let mut received = vec![0; 1];
    client.read_exact(&mut received).unwrap();
    process.signal(Signal::TERM);
    eventually(common::SOON, "the socket's file is removed", || !path.exists());
    process.signal(Signal::TERM);
    client.read_to_end(&mut received).unwrap();
    assert!(!response::parse(&received).complete, "no last chunk");
    assert_eq!(process.ended().code(), Some(1));
}

#[tokio::test]
async fn at_the_shutdown_deadline_streams_end_with_an_error_event() {
    let mut daemon = Daemon::start(|config| {
        config.backend = mock(Duration::from_secs(3600));
        config.server.shutdown_timeout = Duration::from_millis(100);
    });
    let mut client = daemon.hand_off(r#"{"prompt":"x","protocol":"HTTP/1.1"}"#);
    let mut received = vec![client.read_u8().await.unwrap()];
    daemon.stop();
    tokio::time::timeout(common::SOON, client.read_to_end(&mut received)).await.unwrap().unwrap();
    drop(client);
    daemon.ended().await;
    let response = response::parse(&received);
    assert!(response.complete, "the answer is unfinished, the response is not");
    let (kind, data) = response.events().pop().unwrap();
    assert_eq!(kind, "error");
    assert!(data.contains("shutting down"), "{data}");
}

/// On one thread, so that the daemon cannot accept between the handoffs and the signal.
#[tokio::test(flavor = "current_thread")]
async fn handoffs_in_the_queue_are_answered() {
    let mut daemon = Daemon::start(|_| {});
    let clients: Vec<_> = (0..50).map(|_| daemon.hand_off("{}")).collect();
    daemon.stop();
    for client in clients {
        assert!(response::read(client).await.is_done());
    }
    daemon.ended().await;
}
