//! The socket that takes the client's place in Apache after a handoff.
//!
//! One end of a socket pair whose other end is closed: reading gives end of file, writing gives EPIPE, and shutdown
//! works (on an unconnected TCP socket it would fail with ENOTCONN). One per child process serves all connections,
//! since each gets a duplicate of the descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

static DEAD: OnceLock<OwnedFd> = OnceLock::new();

/// Opens it. For child_init: before this process serves a request, and never in the parent, whose copy of this library
/// goes away at each restart.
pub(crate) fn open() -> Result<(), rustix::io::Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (dead, _closed_here) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // With `apache2 -X`, which has no child processes, the hook may run again in the same process.
    let _ = DEAD.set(dead);
    Ok(())
}

/// The dead socket, if [`open`] succeeded in this child.
pub(crate) fn get() -> Option<BorrowedFd<'static>> {
    DEAD.get().map(AsFd::as_fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_ended_and_can_be_shut_down() {
        open().unwrap();
        let dead = get().unwrap();
        assert_eq!(rustix::io::read(dead, &mut [0; 8]), Ok(0));
        assert_eq!(
            rustix::net::send(dead, b"x", rustix::net::SendFlags::NOSIGNAL),
            Err(rustix::io::Errno::PIPE)
        );
        assert_eq!(rustix::net::shutdown(dead, rustix::net::Shutdown::Write), Ok(()));
    }
}
