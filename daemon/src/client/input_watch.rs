//! Notices that a client has gone, also while nothing is sent to it.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::unix::AsyncFd;

/// Bytes that a client may send after its request, and that are read and thrown away: a pipelined request, a body
/// nobody read. Above it they stay where they are, and TCP's flow control stops the client.
const DISCARD_LIMIT: usize = 64 * 1024;

/// Bytes thrown away at a time.
const BITE: usize = 4096;

/// What is known of the client's sending side.
#[derive(Debug, Default)]
pub(super) struct Watch {
    discarded: usize,
}

impl Watch {
    /// Completes when the client has closed, at least for sending, or its connection is broken. It has then gone, for
    /// a stream of events: a browser that leaves sends FIN, and RST only once something more is sent to it.
    pub(super) fn poll_gone(&mut self, socket: &AsyncFd<OwnedFd>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Ok(mut readable) = ready!(socket.poll_read_ready(context)) else {
                return Poll::Ready(());
            };
            // EPOLLRDHUP or EPOLLHUP. It is known before the bytes in front of it are read.
            if readable.ready().is_read_closed() {
                return Poll::Ready(());
            }
            if self.discarded >= DISCARD_LIMIT {
                readable.clear_ready();
                continue;
            }
            match discard(socket.get_ref()) {
                Ok(0) => return Poll::Ready(()),
                Ok(bytes) => self.discarded += bytes,
                Err(Errno::AGAIN) => readable.clear_ready(),
                Err(_) => return Poll::Ready(()),
            }
        }
    }
}

/// Reads and throws away until the client's FIN, or an error.
pub(super) async fn discard_until_end(socket: &AsyncFd<OwnedFd>) -> io::Result<()> {
    // What the watch left unread raises no new readiness (epoll is edge-triggered here), so the first read asks nobody.
    let mut result = discard(socket.get_ref());
    loop {
        // A client that never stops sending must not keep this thread from its timers.
        tokio::task::coop::consume_budget().await;
        match result {
            Ok(0) => return Ok(()),
            Ok(_) => result = discard(socket.get_ref()),
            Err(Errno::AGAIN) => {
                let mut readable = socket.readable().await?;
                result = discard(socket.get_ref());
                if result == Err(Errno::AGAIN) {
                    readable.clear_ready();
                }
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn discard(socket: &OwnedFd) -> Result<usize, Errno> {
    let mut bite = [0_u8; BITE];
    let received =
        rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut bite[..], RecvFlags::DONTWAIT))?;
    Ok(received.0)
}
