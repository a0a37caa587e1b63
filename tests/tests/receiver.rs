//! The daemons that tests play themselves, without Apache between.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use e2e::{Client, Ending, HungReceiver, PATIENCE, Receiver, Sandbox, SocketType, wait_until};
use handoff_protocol::scm::{self, Wait};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, connect, socket_with};

/// A client, and its connection as the server that is to hand it off has it.
fn connection() -> (Client, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = Client::connect(listener.local_addr().unwrap());
    (client, listener.accept().unwrap().0)
}

fn hand_off(path: &Path, kind: SocketType, data: &[u8], server_side: &TcpStream) {
    let socket = socket_with(AddressFamily::UNIX, kind.into(), SocketFlags::CLOEXEC, None).unwrap();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    assert_eq!(scm::send(&socket, data, server_side.as_fd(), Wait::Yes), Ok(data.len()));
}

#[test]
fn a_handoff_is_received_and_answered_on_both_socket_types() {
    for kind in [SocketType::SeqPacket, SocketType::Stream] {
        let sandbox = Sandbox::new();
        let receiver = Receiver::bind_as(sandbox.socket_path("daemon.sock"), kind);
        let (mut client, server_side) = connection();
        hand_off(receiver.path(), kind, b"{\"n\":1}", &server_side);
        drop(server_side);
        let received = receiver.receive();
        assert_eq!(received.text(), "{\"n\":1}");
        received.respond("data: x\n\n");
        let response = client.read_response();
        assert_eq!(
            (response.status(), response.text(), response.ending),
            (200, "data: x\n\n", Ending::Closed)
        );
    }
}

#[test]
fn a_serving_receiver_counts() {
    let sandbox = Sandbox::new();
    let daemon = Receiver::bind(sandbox.socket_path("daemon.sock")).serve(|received| {
        let text = received.text().to_owned();
        received.respond(text);
    });
    for n in 1..=3 {
        let (mut client, server_side) = connection();
        hand_off(daemon.path(), SocketType::SeqPacket, format!("answer {n}").as_bytes(), &server_side);
        drop(server_side);
        assert_eq!(client.read_response().text(), format!("answer {n}"));
        wait_until(PATIENCE, "the count", || daemon.count() == n);
    }
}

#[test]
fn a_hung_receiver_takes_no_connection() {
    let sandbox = Sandbox::new();
    let hung = HungReceiver::bind(sandbox.socket_path("daemon.sock"));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SeqPacket.into(), flags, None).unwrap();
    let address = SocketAddrUnix::new(hung.path()).unwrap();
    assert_eq!(connect(&socket, &address), Err(rustix::io::Errno::AGAIN));
}

#[test]
fn nothing_received_is_told_in_time() {
    let sandbox = Sandbox::new();
    let receiver = Receiver::bind(sandbox.socket_path("daemon.sock"));
    assert!(receiver.try_receive(Duration::from_millis(10)).is_none());
}
