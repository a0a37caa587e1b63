//! What lies between h2 and the socket: a place to change what h2 sends.
//!
//! h2's server can say neither GOAWAY with a last stream of one's choice nor a new limit of streams. So the wire knows
//! where frames begin, and puts frames of ours between those of h2, or in place of its SETTINGS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Transport;
use crate::frames::kind;
use crate::state::lock;

/// The head of a frame (RFC 9113, section 4.1).
const HEAD: usize = 9;

/// What is to be changed. It takes effect when h2 writes or flushes next.
#[derive(Default)]
pub(super) struct Tampering {
    /// There is something to do: the lock is not taken otherwise.
    wanted: AtomicBool,
    /// Frames of ours, and what stands in place of the next SETTINGS.
    changes: Mutex<(BytesMut, Option<Vec<u8>>)>,
    /// The connection is to be cut, with RST or FIN.
    cut: OnceLock<bool>,
}

impl Tampering {
    /// Sends a frame between others.
    pub(super) fn inject(&self, frame: &[u8]) {
        lock(&self.changes).0.extend_from_slice(frame);
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Sends this in place of the SETTINGS frame that h2 sends next. The acknowledgement is h2's.
    pub(super) fn replace_settings(&self, frame: Vec<u8>) {
        lock(&self.changes).1 = Some(frame);
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// The connection is to end so when h2 drops it.
    pub(super) fn cut(&self, reset: bool) {
        // Of several cuts the first one counts.
        let _ = self.cut.set(reset);
    }
}

/// A transport, of which some bytes have been read already.
pub(super) struct Wire<T: Transport> {
    transport: T,
    read: BytesMut,
    tampering: std::sync::Arc<Tampering>,
    frames: Frames,
}

impl<T: Transport> Wire<T> {
    pub(super) fn new(transport: T, read: BytesMut, tampering: std::sync::Arc<Tampering>) -> Self {
        Self { transport, read, tampering, frames: Frames::default() }
    }

    /// Sends the frames of ours, if none of h2's is under way.
    fn poll_inject(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.tampering.wanted.load(Ordering::SeqCst) || self.frames.within() {
            return Poll::Ready(Ok(()));
        }
        let mut changes = lock(&self.tampering.changes);
        while !changes.0.is_empty() {
            let written = ready!(Pin::new(&mut self.transport).poll_write(context, &changes.0))?;
            changes.0.advance(written);
        }
        if changes.1.is_none() {
            self.tampering.wanted.store(false, Ordering::SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes up to the end of a frame, so that there is a place between two.
    fn poll_write_one(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_inject(context))?;
        if !self.frames.within() {
            let mut changes = lock(&self.tampering.changes);
            if let Some(length) = settings_length(bytes)
                && let Some(frame) = changes.1.take()
            {
                changes.0.extend_from_slice(&frame);
                return Poll::Ready(Ok(length));
            }
        }
        let length = self.frames.rest_of_frame(bytes).min(bytes.len());
        let written = ready!(Pin::new(&mut self.transport).poll_write(context, &bytes[..length]))?;
        self.frames.pass(&bytes[..written]);
        Poll::Ready(Ok(written))
    }
}

impl<T: Transport> Drop for Wire<T> {
    fn drop(&mut self) {
        if let Some(reset) = self.tampering.cut.get() {
            self.transport.cut(*reset);
        }
    }
}

/// How long the SETTINGS frame is that stands here, whole; acknowledgements do not count.
fn settings_length(bytes: &[u8]) -> Option<usize> {
    let length = HEAD + payload_length(bytes.get(..HEAD)?);
    (bytes[3] == kind::SETTINGS && bytes[4] == 0 && bytes.len() >= length).then_some(length)
}

fn payload_length(head: &[u8]) -> usize {
    head[..3].iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
}

/// Where we are in a sequence of frames.
#[derive(Default)]
struct Frames {
    head: [u8; HEAD],
    head_length: usize,
    payload_left: usize,
}

impl Frames {
    fn within(&self) -> bool {
        self.head_length > 0 || self.payload_left > 0
    }

    /// How many bytes the frame that is under way has left; of one that begins here, as far as can be seen.
    fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        match (self.payload_left, self.head_length) {
            (0, 0) => bytes.get(..HEAD).map_or(HEAD, |head| HEAD + payload_length(head)),
            (0, length) => HEAD - length,
            (left, _) => left,
        }
    }

    /// These bytes were sent.
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let length = self.payload_left.min(bytes.len());
                self.payload_left -= length;
                bytes = &bytes[length..];
                continue;
            }
            let length = (HEAD - self.head_length).min(bytes.len());
            self.head[self.head_length..][..length].copy_from_slice(&bytes[..length]);
            self.head_length += length;
            bytes = &bytes[length..];
            if self.head_length == HEAD {
                self.head_length = 0;
                self.payload_left = payload_length(&self.head);
            }
        }
    }
}

impl<T: Transport> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.transport).poll_read(context, buffer);
        }
        let length = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..length]);
        self.read.advance(length);
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> AsyncWrite for Wire<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.tampering.wanted.load(Ordering::SeqCst) {
            let first = parts.iter().find(|part| !part.is_empty());
            return this.poll_write_one(context, first.map_or(&[], |part| part));
        }
        let written = ready!(Pin::new(&mut this.transport).poll_write_vectored(context, parts))?;
        let mut left = written;
        for part in parts {
            let length = left.min(part.len());
            this.frames.pass(&part[..length]);
            left -= length;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_inject(context))?;
        Pin::new(&mut self.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }
}
