//! Protocol 1: one connection for one handoff, one message: the handoff data, or one NUL byte when there is none,
//! with the client's socket as the one descriptor.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::SocketType;
use crate::scm;

/// The message of a handoff without data. A header value cannot hold a NUL, so no data can look like it; and a message
/// needs a byte for the descriptor to travel with.
const NO_DATA: &[u8] = b"\0";

/// The message that carries `data`: the bytes themselves, or one NUL byte for none.
#[must_use]
pub fn encode(data: &[u8]) -> &[u8] {
    if data.is_empty() { NO_DATA } else { data }
}

/// The data that a complete message carries; empty for none.
#[must_use]
fn decode(mut message: Vec<u8>) -> Vec<u8> {
    if message == NO_DATA {
        message.clear();
    }
    message
}

/// A client connection that was handed over, and what the application said about it.
#[derive(Debug)]
pub struct Handoff {
    /// The client's connection, a stream socket: TCP, or `AF_UNIX` where a proxy stands in for the client. Its file
    /// status flags (`O_NONBLOCK`) are those that the sender had set.
    pub client: OwnedFd,
    /// The bytes of `X-Handoff-Data`; empty when there was none. Not checked in any way.
    pub data: Vec<u8>,
}

/// Why no handoff came out of a connection. Every descriptor that had arrived is closed.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The sender closed, or ended the message, without sending anything.
    #[error("the sender closed the connection without sending a handoff")]
    Empty,
    /// A message without a descriptor.
    #[error(
        "the message of {bytes} bytes brought no file descriptor; send the client's socket as SCM_RIGHTS"
    )]
    NoDescriptor {
        /// Length of the message so far.
        bytes: usize,
    },
    /// More than one descriptor, in one message or in later pieces of a stream.
    #[error("the message brought {count} file descriptors; protocol 1 takes exactly one")]
    SeveralDescriptors {
        /// How many arrived in all.
        count: usize,
    },
    /// The descriptor is not a connected stream socket.
    #[error("the file descriptor is not a stream socket")]
    NotAStreamSocket,
    /// The message is longer than the receiver takes.
    #[error("the message is longer than {limit} bytes")]
    TooLarge {
        /// The receiver's limit.
        limit: usize,
    },
    /// The kernel destroyed descriptors since this process has too many files open.
    #[error("the kernel dropped the client's socket: too many open files here; raise LimitNOFILE")]
    DescriptorLost,
    /// recvmsg(2) failed.
    #[error("receiving the handoff failed: {0}")]
    Io(#[from] Errno),
}

impl ReceiveError {
    /// A short constant name for logs and metric labels.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NoDescriptor { .. } => "no_descriptor",
            Self::SeveralDescriptors { .. } => "several_descriptors",
            Self::NotAStreamSocket => "not_a_stream_socket",
            Self::TooLarge { .. } => "too_large",
            Self::DescriptorLost => "descriptor_lost",
            Self::Io(_) => "io",
        }
    }
}

/// Collects one handoff from one connection.
///
/// Call [`Receiver::receive`] when the socket is readable, until it returns a handoff. Dropping the receiver closes
/// what has arrived.
#[derive(Debug)]
pub struct Receiver {
    kind: SocketType,
    /// Longest message taken, in bytes.
    limit: usize,
    message: Vec<u8>,
    client: Option<OwnedFd>,
}

impl Receiver {
    /// A receiver for a connection of type `kind` that takes messages of up to `limit` bytes.
    #[must_use]
    pub fn new(kind: SocketType, limit: usize) -> Self {
        Self { kind, limit, message: Vec::new(), client: None }
    }

    /// Receives once. `Ok(None)`: a stream from which more is to come.
    ///
    /// `scratch` is where the kernel writes; on a SEQPACKET socket it bounds the message as well.
    ///
    /// # Errors
    /// [`ReceiveError`]; `Io(EAGAIN)` on a non-blocking socket means: call again when it is readable. After any other
    /// error the connection is of no more use.
    pub fn receive(
        &mut self,
        socket: impl AsFd,
        scratch: &mut [u8],
    ) -> Result<Option<Handoff>, ReceiveError> {
        let received = scm::receive(socket, scratch)?;
        let count = received.fds.len() + usize::from(self.client.is_some());
        if received.control_truncated {
            return Err(ReceiveError::DescriptorLost);
        }
        if count > 1 {
            return Err(ReceiveError::SeveralDescriptors { count });
        }
        if received.truncated || self.message.len() + received.bytes > self.limit {
            return Err(ReceiveError::TooLarge { limit: self.limit.min(scratch.len()) });
        }
        if let Some(fd) = received.fds.into_iter().next() {
            if !is_stream_socket(&fd) {
                return Err(ReceiveError::NotAStreamSocket);
            }
            self.client = Some(fd);
        }
        self.message.extend_from_slice(&scratch[..received.bytes]);

        let complete = self.kind == SocketType::SeqPacket || received.bytes == 0;
        if self.message.is_empty() {
            return Err(ReceiveError::Empty);
        }
        // The descriptor travels with the first byte of the message: it does not come later.
        let Some(client) = self.client.take() else {
            return Err(ReceiveError::NoDescriptor { bytes: self.message.len() });
        };
        if complete {
            Ok(Some(Handoff { client, data: decode(std::mem::take(&mut self.message)) }))
        } else {
            self.client = Some(client);
            Ok(None)
        }
    }
}

fn is_stream_socket(fd: impl AsFd) -> bool {
    rustix::net::sockopt::socket_type(fd) == Ok(rustix::net::SocketType::STREAM)
}
