//! At the limit of open files the kernel drops descriptors (`MSG_CTRUNC`). Tests of their own process, and one at a
//! time, since the limit is the process's.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use common::{LIMIT, clients, connection, receive_all, send_with};
use std::sync::{Mutex, PoisonError};

use handoff_protocol::SocketType::SeqPacket;
use handoff_protocol::incoming::{Incoming, Receiver};
use handoff_protocol::v1::ReceiveError;
use handoff_protocol::v2::message::Header;
use handoff_protocol::v2::{Answer, offer};
use handoff_protocol::{memory, v2};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

static ALONE: Mutex<()> = Mutex::new(());

/// The numbers of the descriptors that are open now.
fn open_descriptors() -> Vec<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    // By now the listing's own descriptor is closed and its link dead.
    let open = names.iter().filter(|path| path.read_link().is_ok());
    open.map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect()
}

/// Runs `work` with room for `room` more descriptors.
fn with_room_for<T>(room: usize, work: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    let open = open_descriptors();
    let first_too_many = (0..).filter(|number| !open.contains(number)).nth(room).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(first_too_many), maximum: before.maximum }).unwrap();
    let result = work();
    setrlimit(Resource::Nofile, before).unwrap();
    result
}

#[test]
fn a_descriptor_that_the_kernel_dropped_is_told_and_those_that_came_are_closed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (sent, room) in [(1, 0), (2, 1), (5, 2)] {
        let (module, daemon) = connection(SeqPacket);
        let (clients, fds) = clients(sent);
        send_with(&module, b"{}", fds);
        let before = open_descriptors().len();

        let result = with_room_for(room, || receive_all(SeqPacket, &daemon, LIMIT));

        assert!(
            matches!(result, Err(ReceiveError::DescriptorLost)),
            "{sent} sent, room for {room}: {result:?}"
        );
        assert_eq!(open_descriptors().len(), before);
        assert!(clients.iter().all(common::Client::sees_the_end));
    }
}

const ENVELOPE: &[u8] = br#"{"method":"GET","target":"/","protocol":"HTTP/1.1"}"#;
const LIMITS: offer::Limits = offer::Limits { envelope: 1000, payload: 1000, pre_read: 1000 };

/// Receives a message of protocol 2 whose parts are in a file, with room for `room` more descriptors.
fn receive_offer(room: usize) -> (Incoming, Vec<common::Client>) {
    let (module, daemon) = connection(SeqPacket);
    let (clients, mut fds) = clients(1);
    fds.push(memory::sealed(&[ENVELOPE]).unwrap());
    send_with(&module, &Header::new(true, ENVELOPE.len(), 0, 0).unwrap().encode(), fds);
    let mut receiver = Receiver::new(SeqPacket, LIMIT, LIMITS);
    let mut scratch = [0; LIMIT];
    let received = with_room_for(room, || receiver.receive(&daemon, &mut scratch).unwrap().unwrap());
    (received, clients)
}

#[test]
fn a_daemon_without_a_descriptor_for_an_offer_is_busy_and_the_client_stays_the_senders() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for room in [0, 1] {
        let before = open_descriptors().len();
        let (received, clients) = receive_offer(room);
        let Incoming::Rejected(rejected @ v2::Rejected::DescriptorLost) = received else {
            panic!("{received:?}")
        };
        assert!(matches!(rejected.answer(), Answer::Busy { .. }));
        assert!(clients.iter().all(common::Client::sees_the_end), "none is left here");
        drop(clients);
        assert_eq!(open_descriptors().len(), before);
    }
}

#[test]
fn an_offer_that_fills_the_last_room_is_read() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (received, _clients) = receive_offer(2);
    assert!(matches!(received, Incoming::Offer(_)), "{received:?}");
}
