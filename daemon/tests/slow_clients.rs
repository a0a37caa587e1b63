//! Clients that read slowly, or not at all, or send what nobody asked for.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::time::{Duration, Instant};

use common::{Daemon, hand_off_connection, response, tcp_pair};
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer larger than both socket buffers of [`narrow_client`].
fn long_prompt() -> (String, String) {
    let prompt = "0123456789 ".repeat(15_000);
    let data = serde_json::json!({ "prompt": prompt, "protocol": "HTTP/1.1" }).to_string();
    (prompt, data)
}

/// A client for whom little fits into the kernel's buffers.
fn narrow_client(daemon: &Daemon, data: &str) -> TcpStream {
    let (client, connection) = tcp_pair();
    sockopt::set_socket_recv_buffer_size(&client, 4096).unwrap();
    sockopt::set_socket_send_buffer_size(&connection, 4096).unwrap();
    hand_off_connection(&daemon.path, data.as_bytes(), connection);
    client.set_nonblocking(true).unwrap();
    TcpStream::from_std(client).unwrap()
}

#[tokio::test]
async fn a_slow_reader_with_unread_input_gets_the_whole_answer() {
    let daemon = Daemon::start(|_| {});
    let (prompt, data) = long_prompt();
    let mut client = narrow_client(&daemon, &data);
    let (mut received, mut piece) = (Vec::new(), [0; 2000]);
    loop {
        // Input that nobody reads, before the end and in the moment of it.
        client.write_all(b"GET /next HTTP/1.1\r\n\r\n").await.unwrap();
        let read = tokio::time::timeout(common::SOON, client.read(&mut piece)).await.unwrap();
        match read.expect("no reset") {
            0 => break,
            bytes => received.extend_from_slice(&piece[..bytes]),
        }
        tokio::task::yield_now().await;
    }
    let response = response::parse(&received);
    assert!(response.complete && response.is_done());
    assert_eq!(response.text(), format!("You said: {prompt}"));
}

#[tokio::test]
async fn more_input_than_is_discarded_does_not_end_the_stream() {
    let daemon = Daemon::start(|config| config.backend = common::mock(Duration::from_millis(20)));
    let (client, connection) = tcp_pair();
    client.set_nonblocking(true).unwrap();
    let mut client = TcpStream::from_std(client).unwrap();
    hand_off_connection(&daemon.path, br#"{"prompt":"a b c d e"}"#, connection);
    // Up to the limit it is thrown away, then it stays in the kernel; when the stream has ended, all is taken.
    client.write_all(&vec![b'x'; 300_000]).await.unwrap();
    let response = response::read(client).await;
    assert_eq!(response.text(), "You said: a b c d e");
    assert!(response.is_done());
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_at_the_write_deadline() {
    let deadline = Duration::from_millis(300);
    let daemon = Daemon::start(|config| {
        config.server.write_timeout = deadline;
        config.server.close_timeout = Duration::from_millis(50);
    });
    let (_, data) = long_prompt();
    let start = Instant::now();
    let mut client = narrow_client(&daemon, &data);
    // The daemon's FIN stays behind what the client does not read; but once it has closed, input is answered with RST.
    let reset = async {
        while client.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(common::SOON, reset).await.unwrap();
    assert!(start.elapsed() >= deadline);
    let mut received = Vec::new();
    let _ = client.read_to_end(&mut received).await;
    assert!(received.is_empty() || !response::parse(&received).complete);
}

#[tokio::test]
async fn the_gentle_close_has_an_end_too() {
    let daemon = Daemon::start(|config| config.server.close_timeout = Duration::from_millis(100));
    let mut client = daemon.hand_off("{}");
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert!(response::parse(&received).is_done());
    // We do not close. Sending works until the daemon has closed as well.
    let refused = async {
        while client.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(common::SOON, refused).await.unwrap();
}
