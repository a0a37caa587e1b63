//! Protocol 1 over SEQPACKET: one message is one handoff, or an error that leaves nothing open.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::os::fd::{AsFd, OwnedFd};

use common::{LIMIT, clients, connection, receive_all, send_with};
use handoff_protocol::SocketType::SeqPacket;
use handoff_protocol::scm::{self, Wait};
use handoff_protocol::v1::{self, Handoff, ReceiveError, Receiver};
use proptest::prelude::*;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

fn receive(bytes: &[u8], fds: Vec<OwnedFd>) -> Result<Handoff, ReceiveError> {
    let (module, daemon) = connection(SeqPacket);
    send_with(&module, bytes, fds);
    receive_all(SeqPacket, &daemon, LIMIT)
}

#[test]
fn what_the_module_sends_arrives() {
    let (module, daemon) = connection(SeqPacket);
    for data in [&b"{\"prompt\":\"Hi\"}"[..], b"", b"not json \xff"] {
        let (client, connection) = common::client();
        scm::send(&module, v1::encode(data), connection.as_fd(), Wait::No).unwrap();
        drop(connection);
        let handoff = receive_all(SeqPacket, &daemon, LIMIT).unwrap();
        assert_eq!(handoff.data, data);
        rustix::io::write(&handoff.client, b"x").unwrap();
        assert!(!client.sees_the_end());
    }
}

#[test]
fn the_descriptor_is_closed_on_exec() {
    let handoff = receive(b"\0", clients(1).1).unwrap();
    let flags = rustix::io::fcntl_getfd(&handoff.client).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn several_descriptors_are_all_closed() {
    for count in [2, 3, 253] {
        let (clients, fds) = clients(count);
        match receive(b"{}", fds) {
            Err(ReceiveError::SeveralDescriptors { count: told }) => assert_eq!(told, count),
            other => panic!("{other:?}"),
        }
        assert!(clients.iter().all(common::Client::sees_the_end));
    }
}

#[test]
fn a_message_without_a_descriptor_is_none() {
    assert!(matches!(receive(b"{}", vec![]), Err(ReceiveError::NoDescriptor { bytes: 2 })));
}

#[test]
fn a_sender_that_closes_has_sent_nothing() {
    let (module, daemon) = connection(SeqPacket);
    drop(module);
    assert!(matches!(receive_all(SeqPacket, &daemon, LIMIT), Err(ReceiveError::Empty)));
}

#[test]
fn an_empty_message_with_a_descriptor_is_closed() {
    let (clients, fds) = clients(1);
    assert!(matches!(receive(b"", fds), Err(ReceiveError::Empty)));
    assert!(clients[0].sees_the_end());
}

#[test]
fn a_message_longer_than_the_buffer_is_told_and_closed() {
    let (module, daemon) = connection(SeqPacket);
    let (clients, fds) = clients(1);
    send_with(&module, &[b'x'; 101], fds);
    let mut receiver = Receiver::new(SeqPacket, LIMIT);
    match receiver.receive(&daemon, &mut [0; 100]) {
        Err(ReceiveError::TooLarge { limit: 100 }) => {}
        other => panic!("{other:?}"),
    }
    // The receiver still lives: the error itself has closed the descriptor.
    assert!(clients[0].sees_the_end());
}

#[test]
fn a_message_longer_than_the_limit_is_told_and_closed() {
    let (module, daemon) = connection(SeqPacket);
    let (clients, fds) = clients(1);
    send_with(&module, &[b'x'; 51], fds);
    let result = Receiver::new(SeqPacket, 50).receive(&daemon, &mut [0; 100]);
    assert!(matches!(result, Err(ReceiveError::TooLarge { limit: 50 })), "{result:?}");
    assert!(clients[0].sees_the_end());
}

#[test]
fn only_a_connection_is_a_client() {
    let socket = |kind| rustix::net::socket(AddressFamily::INET, kind, None).unwrap();
    let listening = socket(SocketType::STREAM);
    rustix::net::listen(&listening, 1).unwrap();
    let others = [
        std::fs::File::open("/dev/null").unwrap().into(),
        rustix::pipe::pipe().unwrap().1,
        socket(SocketType::DGRAM),
        listening,
    ];
    for other in others {
        let told = format!("{other:?}");
        let result = receive(b"{}", vec![other]);
        assert!(matches!(result, Err(ReceiveError::NotAStreamSocket)), "{told}: {result:?}");
    }
}

#[test]
fn a_pipe_that_is_refused_is_closed() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    assert!(receive(b"{}", vec![writer]).is_err());
    assert_eq!(rustix::io::read(&reader, &mut [0_u8; 1][..]), Ok(0), "end of file: no writer is left");
}

#[test]
fn a_client_that_has_gone_already_is_still_handed_off() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    rustix::net::sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    // The reset has been received once a read says so.
    let mut one = [0_u8; 1];
    assert!(std::io::Read::read(&mut &accepted, &mut one).is_err());
    assert!(receive(b"{}", vec![accepted.into()]).is_ok());
}

#[test]
fn nothing_there_yet_is_eagain_and_the_receiver_goes_on() {
    let (module, daemon) = connection(SeqPacket);
    let mut receiver = Receiver::new(SeqPacket, LIMIT);
    let result = receiver.receive(&daemon, &mut [0; 100]);
    assert!(matches!(result, Err(ReceiveError::Io(Errno::AGAIN))));
    let (_client, connection) = common::client();
    send_with(&module, b"{}", vec![connection]);
    assert_eq!(receiver.receive(&daemon, &mut [0; 100]).unwrap().unwrap().data, b"{}");
}

proptest! {
    #[test]
    fn exactly_one_descriptor_makes_a_handoff(
        data in prop::collection::vec(any::<u8>(), 0..200),
        count in 0_usize..5,
    ) {
        let (clients, fds) = clients(count);
        let result = receive(v1::encode(&data), fds);
        match result {
            Ok(handoff) => {
                prop_assert_eq!(count, 1);
                // One NUL and no data are the same on the wire.
                let expected: &[u8] = if data == b"\0" { b"" } else { &data };
                prop_assert_eq!(&handoff.data[..], expected);
                prop_assert!(!clients[0].sees_the_end());
            }
            Err(ReceiveError::NoDescriptor { .. }) => prop_assert_eq!(count, 0),
            Err(ReceiveError::SeveralDescriptors { count: told }) => prop_assert_eq!(told, count),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
        if count != 1 {
            prop_assert!(clients.iter().all(common::Client::sees_the_end));
        }
    }
}
