//! The client's connection, from the moment it is handed off.

pub mod framing;
pub mod head;
mod input_watch;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, SocketAddr, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::config::HalfClose;
use crate::watched::watch;
use input_watch::Watch;

/// A client's connection: TCP, or `AF_UNIX` where a proxy stands in for the client.
///
/// Dropping it ends the connection for every process that still holds a duplicate, Apache's included.
#[derive(Debug)]
pub struct ClientConn {
    socket: AsyncFd<OwnedFd>,
    watch: Watch,
    /// Bytes that the kernel has taken.
    sent: u64,
}

/// Why a write ended early.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The client has closed, or its connection is broken.
    #[error("the client has gone")]
    Gone,
    /// It took nothing for the whole write deadline.
    #[error("the client takes nothing any more")]
    Deadline,
}

impl ClientConn {
    /// Takes the connection over. A client's FIN means that it has gone.
    ///
    /// # Errors
    /// When it cannot be made non-blocking or be watched.
    pub fn adopt(client: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&client, true)?;
        // Best effort from here, since these are about TCP. No lingering: close() must neither block nor send RST.
        let _ = sockopt::set_socket_linger(&client, None);
        let _ = sockopt::set_tcp_nodelay(&client, true);
        // A client that lost power sends neither FIN nor RST.
        let _ = sockopt::set_socket_keepalive(&client, true);
        let socket = watch(client, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket, watch: Watch::new(HalfClose::Gone), sent: 0 })
    }

    /// What the client's FIN shall mean.
    #[must_use]
    pub fn with_half_close(mut self, half_close: HalfClose) -> Self {
        self.watch = Watch::new(half_close);
        self
    }

    /// Completes when the client has gone. Has to be polled for input to be discarded.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.watch.poll_gone(&self.socket, context)
    }

    /// Sends what the kernel takes at once, and returns how much that was.
    ///
    /// # Errors
    /// [`WriteError::Gone`].
    pub fn write_now(&mut self, bytes: &[u8]) -> Result<usize, WriteError> {
        match rustix::io::retry_on_intr(|| send(self.socket.get_ref(), bytes)) {
            Ok(written) => {
                self.sent += written as u64;
                Ok(written)
            }
            Err(Errno::AGAIN) => Ok(0),
            Err(_) => Err(WriteError::Gone),
        }
    }

    /// Sends all of `bytes`. A timer is set only when the kernel does not take them at once; `deadline` runs anew
    /// with each byte that it takes.
    ///
    /// # Errors
    /// [`WriteError`]; a part may have been sent.
    pub async fn write(&mut self, bytes: &[u8], deadline: Duration) -> Result<(), WriteError> {
        let mut sent = self.write_now(bytes)?;
        while sent < bytes.len() {
            let more = std::future::poll_fn(|context| self.poll_write(&bytes[sent..], context));
            sent += match tokio::time::timeout(deadline, more).await {
                Ok(result) => result?,
                Err(_) => return Err(WriteError::Deadline),
            };
        }
        Ok(())
    }

    /// Sends some of `bytes` when the socket is writable, unless the client goes first.
    fn poll_write(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<Result<usize, WriteError>> {
        // Once it has closed its sending side, the watch waits for the same readiness as the write does.
        if !self.watch.half_closed() && self.poll_gone(context).is_ready() {
            return Poll::Ready(Err(WriteError::Gone));
        }
        loop {
            let Ok(mut writable) = ready!(self.socket.poll_write_ready(context)) else {
                return Poll::Ready(Err(WriteError::Gone));
            };
            match send(self.socket.get_ref(), bytes) {
                Ok(written) => {
                    self.sent += written as u64;
                    return Poll::Ready(Ok(written));
                }
                Err(Errno::AGAIN) => writable.clear_ready(),
                Err(Errno::INTR) => {}
                Err(_) => return Poll::Ready(Err(WriteError::Gone)),
            }
        }
    }

    /// Ends the connection so that the client gets everything: FIN first, then its unread input is discarded until it
    /// closes as well, for at most `patience`. Closing with input unread would make the kernel send RST, and the
    /// client would lose what it had not read yet.
    pub async fn close_gently(self, patience: Duration) {
        if rustix::net::shutdown(self.socket.get_ref(), Shutdown::Write).is_ok() {
            let end = pin!(input_watch::discard_until_end(&self.socket));
            // In time or not, the connection is closed now.
            let _ = tokio::time::timeout(patience, end).await;
        }
    }

    /// Bytes sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The address of the client, or of the proxy that stands in for it. An `AF_UNIX` connection has none.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let address = rustix::net::getpeername(self.socket.get_ref()).ok()??;
        SocketAddr::try_from(address).ok().map(|address| address.ip().to_canonical())
    }
}

impl Drop for ClientConn {
    fn drop(&mut self) {
        // A duplicate in another process would keep the connection open after close().
        let _ = rustix::net::shutdown(self.socket.get_ref(), Shutdown::Write);
    }
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}
