//! Protocol 1 over STREAM: the message arrives in any pieces and ends at end of file.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use common::{LIMIT, clients, connection, receive_all, send_with};
use handoff_protocol::SocketType::Stream;
use handoff_protocol::v1::{ReceiveError, Receiver};
use proptest::prelude::*;
use rustix::io::Errno;

#[test]
fn the_end_of_file_completes_the_message() {
    let (module, daemon) = connection(Stream);
    let (clients, mut fds) = clients(1);
    let mut receiver = Receiver::new(Stream, LIMIT);
    let mut scratch = [0; 100];
    send_with(&module, b"{\"pro", vec![fds.remove(0)]);
    assert!(receiver.receive(&daemon, &mut scratch).unwrap().is_none());
    assert!(matches!(receiver.receive(&daemon, &mut scratch), Err(ReceiveError::Io(Errno::AGAIN))));
    send_with(&module, b"mpt\":1}", vec![]);
    assert!(receiver.receive(&daemon, &mut scratch).unwrap().is_none());
    assert!(!clients[0].sees_the_end());
    drop(module);
    let handoff = receiver.receive(&daemon, &mut scratch).unwrap().unwrap();
    assert_eq!(handoff.data, b"{\"prompt\":1}");
}

#[test]
fn a_lone_nul_is_no_data() {
    let (module, daemon) = connection(Stream);
    send_with(&module, b"\0", clients(1).1);
    drop(module);
    assert_eq!(receive_all(Stream, &daemon, LIMIT).unwrap().data, b"");
}

#[test]
fn a_second_descriptor_in_a_later_piece_closes_both_at_once() {
    let (module, daemon) = connection(Stream);
    let (clients, mut fds) = clients(2);
    let mut receiver = Receiver::new(Stream, LIMIT);
    send_with(&module, b"{", vec![fds.remove(0)]);
    assert!(receiver.receive(&daemon, &mut [0; 100]).unwrap().is_none());
    send_with(&module, b"}", fds);
    let result = receiver.receive(&daemon, &mut [0; 100]);
    assert!(matches!(result, Err(ReceiveError::SeveralDescriptors { count: 2 })), "{result:?}");
    assert!(clients.iter().all(common::Client::sees_the_end));
}

#[test]
fn a_message_over_the_limit_is_refused_in_whatever_piece_it_shows() {
    let (module, daemon) = connection(Stream);
    let (clients, mut fds) = clients(1);
    let mut receiver = Receiver::new(Stream, 10);
    send_with(&module, b"12345678", vec![fds.remove(0)]);
    assert!(receiver.receive(&daemon, &mut [0; 8]).unwrap().is_none());
    send_with(&module, b"901", vec![]);
    let result = receiver.receive(&daemon, &mut [0; 8]);
    assert!(matches!(result, Err(ReceiveError::TooLarge { limit: 10 })), "{result:?}");
    assert!(clients[0].sees_the_end());
}

#[test]
fn dropping_the_receiver_closes_what_had_arrived() {
    let (module, daemon) = connection(Stream);
    let (clients, fds) = clients(1);
    let mut receiver = Receiver::new(Stream, LIMIT);
    send_with(&module, b"{", fds);
    assert!(receiver.receive(&daemon, &mut [0; 100]).unwrap().is_none());
    drop(receiver);
    assert!(clients[0].sees_the_end());
}

proptest! {
    /// Pieces as the sender makes them, each with some descriptors; buffers as the receiver has them.
    #[test]
    fn any_pieces_give_the_message_or_leave_nothing_open(
        pieces in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..40), prop_oneof![8 => Just(0_usize), 1 => Just(1), 1 => Just(2)]),
            0..6,
        ),
        first_has_one in any::<bool>(),
        scratch in 1_usize..64,
    ) {
        let mut pieces = pieces;
        if let (true, Some(first)) = (first_has_one, pieces.first_mut()) {
            first.1 = 1;
        }
        let (module, daemon) = connection(Stream);
        let (mut all_clients, mut message) = (Vec::new(), Vec::new());
        for (bytes, count) in &pieces {
            let (clients, fds) = clients(*count);
            send_with(&module, bytes, fds);
            all_clients.extend(clients);
            message.extend_from_slice(bytes);
        }
        drop(module);
        let result = receive_all(Stream, &daemon, scratch);
        // What was never received is closed with the connection.
        drop(daemon);

        match all_clients.len() {
            1 => {
                let expected: &[u8] = if message == b"\0" { b"" } else { &message };
                prop_assert_eq!(&result.unwrap().data[..], expected);
            }
            _ if message.is_empty() => prop_assert_eq!(result.unwrap_err().reason(), "empty"),
            0 => prop_assert_eq!(result.unwrap_err().reason(), "no_descriptor"),
            _ => prop_assert_eq!(result.unwrap_err().reason(), "several_descriptors"),
        }
        prop_assert!(all_clients.iter().all(common::Client::sees_the_end));
    }
}
