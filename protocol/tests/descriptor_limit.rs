//! At the limit of open files the kernel drops descriptors (`MSG_CTRUNC`). One test, alone in its process, since the
//! limit is the process's.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use common::{LIMIT, clients, connection, receive_all, send_with};
use handoff_protocol::SocketType::SeqPacket;
use handoff_protocol::v1::ReceiveError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
