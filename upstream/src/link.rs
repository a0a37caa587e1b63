//! One connection, as all that have to do with it see it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::pool::Pool;

/// What a connection's driver, its streams and the pool share.
pub(crate) struct Link {
    /// Grows from connection to connection.
    pub(crate) id: u64,
    pub(crate) pool: Arc<Pool>,
    pub(crate) traffic: Arc<Traffic>,
    /// Set before the streams of a connection that answers no PING get their errors.
    pub(crate) silent: AtomicBool,
}

impl Link {
    /// Whom it leads to.
    pub(crate) fn address(&self) -> Arc<str> {
        self.pool.dialler.address()
    }
}

/// Whether bytes went over a connection.
#[derive(Default)]
pub(crate) struct Traffic {
    written: AtomicU64,
    heard: AtomicBool,
    /// The first bytes that came, in the order of the wire; 0 before.
    opening: AtomicU64,
}

impl Traffic {
    /// How many bytes were written. Unchanged: nothing left since.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Whether anything came since it was last asked.
    pub(crate) fn take_heard(&self) -> bool {
        self.heard.swap(false, Ordering::AcqRel)
    }

    /// The first bytes that came are the head of a SETTINGS frame, as HTTP/2 begins (RFC 9113, section 3.4).
    pub(crate) fn opened_as_http2(&self) -> bool {
        const SETTINGS: u8 = 4;
        self.opening.load(Ordering::Acquire).to_be_bytes()[3] == SETTINGS
    }

    /// Nothing ever came.
    pub(crate) fn is_mute(&self) -> bool {
        self.opening.load(Ordering::Acquire) == 0
    }
}

/// A stream of bytes: TCP, TLS or a Unix socket.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A stream of bytes that is listened to.
pub(crate) struct Wire {
    io: Box<dyn Io>,
    traffic: Arc<Traffic>,
}

impl Wire {
    pub(crate) fn new(io: Box<dyn Io>) -> Self {
        Self { io, traffic: Arc::default() }
    }

    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    fn wrote(&self, result: &io::Result<usize>) {
        if let Ok(length) = *result {
            self.traffic.written.fetch_add(length as u64, Ordering::AcqRel);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        if !came.is_empty() {
            self.traffic.heard.store(true, Ordering::Release);
            if self.traffic.is_mute() {
                let mut opening = [0xff; 8];
                let length = came.len().min(8);
                opening[..length].copy_from_slice(&came[..length]);
                self.traffic.opening.store(u64::from_be_bytes(opening), Ordering::Release);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.io).poll_write(context, data));
        self.wrote(&result);
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.io).poll_write_vectored(context, data));
        self.wrote(&result);
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
