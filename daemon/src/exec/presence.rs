//! Whether a client is still there, while its connection is a program's standard input.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::watched::watch;

/// A client's connection that is watched and otherwise left alone: what it has sent is for the program to read.
#[derive(Debug)]
pub(super) struct Presence {
    socket: AsyncFd<OwnedFd>,
}

impl Presence {
    pub(super) fn new(client: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: watch(client, Interest::READABLE)? })
    }

    /// Completes when the client has closed, at least for sending, or its connection is broken.
    pub(super) async fn gone(&self) {
        loop {
            let Ok(mut readable) = self.socket.readable().await else { return };
            // EPOLLRDHUP or EPOLLHUP: known before the bytes in front of it are read.
            if readable.ready().is_read_closed() {
                return;
            }
            readable.clear_ready();
        }
    }

    pub(super) fn into_inner(self) -> OwnedFd {
        self.socket.into_inner()
    }
}

impl AsFd for Presence {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}
