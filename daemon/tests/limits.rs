//! Limits of streams: each is reached by one, and leaves its neighbour alone.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::time::Duration;

use common::{Daemon, SOON, mock, response};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A stream that stays.
async fn open(daemon: &Daemon, data: &str) -> TcpStream {
    let mut client = daemon.hand_off(data);
    let mut start = [0; 12];
    tokio::time::timeout(SOON, client.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    client
}

fn lasting(config: &mut streaming_daemon::Config) {
    config.backend = mock(Duration::from_secs(3600));
    config.server.close_timeout = Duration::from_millis(10);
}

#[tokio::test]
async fn a_user_at_the_limit_is_told_to_wait_and_others_are_not() {
    let daemon = Daemon::start(|config| {
        lasting(config);
        config.server.max_streams_per_user = Some(2);
    });
    let first = open(&daemon, r#"{"user_id":7}"#).await;
    let _second = open(&daemon, r#"{"user_id":"7"}"#).await;
    let refused = daemon.ask(r#"{"user_id":7}"#).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.field("Retry-After"), Some("5"));
    assert!(refused.body.contains("this user has as many streams as allowed"), "{}", refused.body);
    let _neighbour = open(&daemon, r#"{"user_id":8}"#).await;
    let _nobody = (open(&daemon, "{}").await, open(&daemon, "{}").await, open(&daemon, "{}").await);

    // The place is free when the stream has ended.
    drop(first);
    let again = async {
        loop {
            let mut client = daemon.hand_off(r#"{"user_id":7}"#);
            let mut start = [0; 12];
            client.read_exact(&mut start).await.unwrap();
            if &start == b"HTTP/1.1 200" {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, again).await.unwrap();
}

#[tokio::test]
async fn an_address_at_the_limit_is_told_to_wait_and_others_are_not() {
    let daemon = Daemon::start(|config| {
        lasting(config);
        config.server.max_streams_per_client = Some(1);
    });
    let _first = open(&daemon, "{}").await;
    let refused = daemon.ask(r#"{"user_id":"another"}"#).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.field("Retry-After"), Some("5"));
    assert!(refused.body.contains("this address has as many"), "{}", refused.body);

    // Another address of this machine.
    let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let (client, connection) = connect_from("127.0.0.3", &listener);
    common::hand_off_connection(&daemon.path, b"{}", connection);
    let mut start = [0; 12];
    let mut client = TcpStream::from_std(client).unwrap();
    tokio::time::timeout(SOON, client.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");

    // A connection without an address is nobody's.
    for _ in 0..3 {
        let (mut client, connection) = tokio::net::UnixStream::pair().unwrap();
        common::hand_off_connection(&daemon.path, b"{}", connection.into_std().unwrap().into());
        tokio::time::timeout(SOON, client.read_exact(&mut start)).await.unwrap().unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
    }
}

/// Both ends of a connection whose client has this address.
fn connect_from(address: &str, to: &std::net::TcpListener) -> (std::net::TcpStream, std::os::fd::OwnedFd) {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let client = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&client, &std::net::SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    connect(&client, &to.local_addr().unwrap()).unwrap();
    let client = std::net::TcpStream::from(client);
    client.set_nonblocking(true).unwrap();
    (client, to.accept().unwrap().0.into())
}

#[tokio::test]
async fn what_was_refused_takes_nobodys_place() {
    let daemon = Daemon::start(|config| {
        lasting(config);
        config.server.max_streams_per_user = Some(1);
        config.server.max_connections = 2;
    });
    let _first = open(&daemon, r#"{"user_id":1}"#).await;
    for _ in 0..20 {
        let mut refused = daemon.hand_off(r#"{"user_id":1}"#);
        let mut all = Vec::new();
        refused.read_to_end(&mut all).await.unwrap();
        assert_eq!(response::parse(&all).status(), 429);
    }
    let _second = open(&daemon, r#"{"user_id":2}"#).await;
    assert_eq!(daemon.ask(r#"{"user_id":3}"#).await.status(), 503);
}
