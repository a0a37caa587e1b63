//! Clients that close their sending side, where that does not mean that they have gone.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::time::Duration;

use common::{Daemon, SOON, hand_off_connection, mock, response, tcp_pair};
use rustix::net::sockopt;
use streaming_daemon::Config;
use streaming_daemon::config::HalfClose;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn keep(config: &mut Config) {
    config.server.half_close = HalfClose::Keep;
}

#[tokio::test]
async fn the_whole_answer_comes_after_the_clients_fin() {
    for input in [0, 1_000, 200_000] {
        let daemon = Daemon::start(|config| {
            config.backend = mock(Duration::from_millis(5));
            keep(config);
        });
        let mut client = daemon.hand_off(r#"{"prompt":"a b c d"}"#);
        client.write_all(&vec![b'x'; input]).await.unwrap();
        client.shutdown().await.unwrap();
        let response = response::read(client).await;
        assert!(response.is_done());
        assert_eq!(response.text(), "You said: a b c d");
    }
}

#[tokio::test]
async fn a_slow_reader_that_has_sent_its_fin_gets_everything() {
    let daemon = Daemon::start(keep);
    let (client, connection) = tcp_pair();
    sockopt::set_socket_recv_buffer_size(&client, 4096).unwrap();
    sockopt::set_socket_send_buffer_size(&connection, 4096).unwrap();
    let prompt = "0123456789 ".repeat(15_000);
    let data = serde_json::json!({ "prompt": prompt, "protocol": "HTTP/1.1" }).to_string();
    hand_off_connection(&daemon.path, data.as_bytes(), connection);
    client.set_nonblocking(true).unwrap();
    let mut client = TcpStream::from_std(client).unwrap();
    client.shutdown().await.unwrap();
    let (mut received, mut piece) = (Vec::new(), [0; 2000]);
    loop {
        match tokio::time::timeout(SOON, client.read(&mut piece)).await.unwrap().unwrap() {
            0 => break,
            bytes => received.extend_from_slice(&piece[..bytes]),
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(response::parse(&received).text(), format!("You said: {prompt}"));
}

#[tokio::test]
async fn a_connection_that_breaks_after_its_fin_is_noticed_in_silence() {
    let daemon = Daemon::start(|config| {
        config.backend = mock(Duration::from_secs(3600));
        config.server.max_connections = 1;
        keep(config);
    });
    let mut client = daemon.hand_off("{}");
    client.read_u8().await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(daemon.ask("{}").await.status(), 503, "the stream is kept");
    sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    let ended = async {
        loop {
            let mut next = daemon.hand_off("{}");
            let mut start = [0; 12];
            next.read_exact(&mut start).await.unwrap();
            if &start == b"HTTP/1.1 200" {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("the place is given back");
}
