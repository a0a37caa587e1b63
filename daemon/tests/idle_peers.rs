//! Connections on the Unix socket that send nothing stand in nobody's way.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::{Daemon, connect};
use rustix::net::RecvFlags;

#[tokio::test(flavor = "multi_thread")]
async fn idle_peers_neither_block_others_nor_stay() {
    let deadline = Duration::from_secs(2);
    let daemon = Daemon::start(|config| config.server.handoff_timeout = deadline);
    let start = Instant::now();
    let idle: Vec<_> = (0..200).map(|_| connect(&daemon.path)).collect();
    for _ in 0..20 {
        assert!(daemon.ask("{}").await.is_done());
    }
    assert!(start.elapsed() < deadline, "answers waited for the idle peers' deadline");
    tokio::task::spawn_blocking(move || {
        for peer in idle {
            let (_, bytes) = rustix::net::recv(&peer, &mut [0_u8; 1][..], RecvFlags::empty()).unwrap();
            assert_eq!(bytes, 0);
        }
        assert!(start.elapsed() >= deadline);
    })
    .await
    .unwrap();
}

/// On a stream a message ends with the end of the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_on_a_stream_that_does_not_end_is_closed_at_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stream.sock");
    let deadline = Duration::from_millis(300);
    let daemon = Daemon::start(|config| {
        config.server.handoff_timeout = deadline;
        config.server.stream_socket_path = Some(path.clone());
    });
    let start = Instant::now();
    let mut peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
    peer.write_all(b"{\"prompt\":").unwrap();
    assert!(daemon.ask("{}").await.is_done());
    tokio::task::spawn_blocking(move || {
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        assert!(start.elapsed() >= deadline);
    })
    .await
    .unwrap();
}
