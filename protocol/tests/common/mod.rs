//! A sender that does what the module never would, and a way to see that nobody holds a descriptor any more.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a module of tests, each of which uses some of it"
)]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use handoff_protocol::SocketType;
use handoff_protocol::v1::{Handoff, ReceiveError, Receiver};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, recv,
    sendmsg, socketpair,
};

pub const LIMIT: usize = 64 * 1024;

/// Two ends of a connection between module and daemon; the daemon's does not block.
pub fn connection(kind: SocketType) -> (OwnedFd, OwnedFd) {
    let (module, daemon) = socketpair(AddressFamily::UNIX, kind.into(), SocketFlags::CLOEXEC, None).unwrap();
    rustix::io::ioctl_fionbio(&daemon, true).unwrap();
    (module, daemon)
}

/// A client and its connection, to be handed off.
pub fn client() -> (Client, OwnedFd) {
    let kind = rustix::net::SocketType::STREAM;
    let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    (Client(near), far)
}

/// A client. It sees the end of its connection when the last copy of the other end is closed, in whatever process or
/// queue that was.
pub struct Client(OwnedFd);

impl Client {
    pub fn sees_the_end(&self) -> bool {
        matches!(recv(&self.0, &mut [0_u8; 1][..], RecvFlags::DONTWAIT), Ok((_, 0)) | Err(Errno::CONNRESET))
    }
}

/// Clients, and their connections to be handed off.
pub fn clients(count: usize) -> (Vec<Client>, Vec<OwnedFd>) {
    (0..count).map(|_| client()).unzip()
}

/// Sends bytes with any number of descriptors, which are closed here.
pub fn send_with(socket: &OwnedFd, bytes: &[u8], fds: Vec<OwnedFd>) {
    let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    assert_eq!(sent, bytes.len());
}

/// Receives until there is a handoff or an error; the sender has sent everything.
pub fn receive_all(kind: SocketType, socket: &OwnedFd, scratch: usize) -> Result<Handoff, ReceiveError> {
    let mut receiver = Receiver::new(kind, LIMIT);
    let mut scratch = vec![0; scratch];
    loop {
        if let Some(handoff) = receiver.receive(socket, &mut scratch)? {
            return Ok(handoff);
        }
    }
}
