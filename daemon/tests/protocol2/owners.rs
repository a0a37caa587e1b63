//! Whose the client is.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;

use rustix::fs::OFlags;
use rustix::net::Shutdown;

use crate::common::{Daemon, SOON, eventually, tcp_pair};
use crate::module::{Module, envelope};

/// On one thread, so that the daemon sees the message only when its sender has given up.
#[tokio::test(flavor = "current_thread")]
async fn a_sender_that_has_given_up_keeps_its_client_untouched() {
    let daemon = Daemon::start(|_| {});
    let module = Module::connect(&daemon.path);
    let (mut client, connection) = tcp_pair();
    client.write_all(b"sent by the client").unwrap();
    let flags = rustix::fs::fcntl_getfl(&connection).unwrap();
    module.send(&envelope(), b"{}", &connection);
    rustix::net::shutdown(&module.socket, Shutdown::Both).unwrap();
    // Another handoff, behind it: when it is answered, the first one was looked at.
    assert!(daemon.ask("{}").await.is_done());
    assert_eq!(module.answer(), None);

    client.set_nonblocking(true).unwrap();
    let nothing = client.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "neither a byte nor the end");
    assert_eq!(rustix::fs::fcntl_getfl(&connection).unwrap(), flags, "O_NONBLOCK belongs to the connection");
    assert!(!flags.contains(OFlags::NONBLOCK));
    let linger = rustix::net::sockopt::tcp_nodelay(connection.as_fd()).unwrap();
    assert!(!linger, "no option was set");
    // The sender answers by itself: everything is as it was.
    let mut sender = std::net::TcpStream::from(connection);
    let mut received = [0; 18];
    sender.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"sent by the client");
    sender.write_all(b"HTTP/1.1 503 ").unwrap();
    drop(sender);
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, "HTTP/1.1 503 ");
}

/// What is refused stays open for its sender as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_refused_is_untouched() {
    let daemon = Daemon::start(|config| config.server.max_connections = 0);
    let module = Module::connect(&daemon.path);
    let (mut client, connection) = tcp_pair();
    module.send(&envelope(), b"{}", &connection);
    assert!(matches!(module.answer(), Some(handoff_protocol::v2::Answer::Busy { .. })));
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut sender = std::net::TcpStream::from(connection);
    sender.write_all(b"x").unwrap();
    drop(sender);
    eventually(SOON, "the sender's byte arrives", || client.read(&mut [0]).is_ok_and(|bytes| bytes == 1));
    eventually(SOON, "nobody holds it open", || client.read(&mut [0]).is_ok_and(|bytes| bytes == 0));
}
