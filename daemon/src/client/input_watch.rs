//! Notices that a client has gone, also while nothing is sent to it.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::unix::AsyncFd;

use crate::config::HalfClose;

/// Bytes that a client may send after its request, and that are read and thrown away: a pipelined request, a body
/// nobody read. Above it they stay where they are, and TCP's flow control stops the client.
const DISCARD_LIMIT: usize = 64 * 1024;

/// Bytes thrown away at a time.
const BITE: usize = 4096;

/// What is known of the client's sending side.
#[derive(Debug)]
pub(super) struct Watch {
    discarded: usize,
    half_close: HalfClose,
    /// Its FIN has come, and it is kept all the same.
    half_closed: bool,
}

impl Watch {
    pub(super) fn new(half_close: HalfClose) -> Self {
        Self { discarded: 0, half_close, half_closed: false }
    }

    /// Whether the client has closed its sending side and is kept.
    pub(super) fn half_closed(&self) -> bool {
        self.half_closed
    }

    /// Completes when the client has closed, at least for sending, or its connection is broken. It has then gone, for
    /// a stream of events: a browser that leaves sends FIN, and RST only once something more is sent to it. Unless FIN
    /// is to mean less: then it has gone when the connection is closed both ways.
    pub(super) fn poll_gone(&mut self, socket: &AsyncFd<OwnedFd>, context: &mut Context<'_>) -> Poll<()> {
        if self.half_closed {
            return poll_broken(socket, context);
        }
        loop {
            let Ok(mut readable) = ready!(socket.poll_read_ready(context)) else {
                return Poll::Ready(());
            };
            // EPOLLRDHUP or EPOLLHUP. It is known before the bytes in front of it are read.
            if readable.ready().is_read_closed() {
                if self.half_close == HalfClose::Gone {
                    return Poll::Ready(());
                }
                self.half_closed = true;
                return poll_broken(socket, context);
            }
            if self.discarded >= DISCARD_LIMIT {
                readable.clear_ready();
                continue;
            }
            match discard(socket.get_ref()) {
                // Its FIN, of which the readiness will tell as well.
                Ok(0) if self.half_close == HalfClose::Keep => {
                    self.half_closed = true;
                    return poll_broken(socket, context);
                }
                Ok(0) => return Poll::Ready(()),
                Ok(bytes) => self.discarded += bytes,
                Err(Errno::AGAIN) => readable.clear_ready(),
                Err(_) => return Poll::Ready(()),
            }
        }
    }
}

/// Completes at EPOLLHUP or EPOLLERR. The readiness to read says no more once it has told of the FIN; that to write
/// does, and clearing it costs no write anything: each one tries before it waits.
fn poll_broken(socket: &AsyncFd<OwnedFd>, context: &mut Context<'_>) -> Poll<()> {
    loop {
        match ready!(socket.poll_write_ready(context)) {
            Ok(mut writable) if !writable.ready().is_write_closed() => writable.clear_ready(),
            _ => return Poll::Ready(()),
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
