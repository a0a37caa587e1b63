//! Protocol 1: one connection for one handoff, one message: the handoff data, or one NUL byte when there is none,
//! with the client's socket as the one descriptor.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt;

use crate::SocketType;
use crate::scm::{self, Received};

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
        /// Length of the message.
        bytes: usize,
    },
    /// More than one descriptor, in one message or in later pieces of a stream.
    #[error("the message brought {count} file descriptors; protocol 1 takes exactly one")]
    SeveralDescriptors {
        /// How many arrived in all.
        count: usize,
    },
    /// The descriptor is something else: a file, a pipe, a datagram socket, a listening socket.
    #[error(
        "the file descriptor is not a client's connection, which is a stream socket that does not listen"
    )]
    NotAStreamSocket,
    /// The message is longer than the receiver takes.
    #[error("the message is longer than {limit} bytes")]
    TooLarge {
        /// The receiver's limit, in bytes.
        limit: usize,
    },
    /// A message of protocol 2 on a `SOCK_STREAM` socket, or one of protocol 1 after one of protocol 2.
    #[error(
        "the message is of the wrong protocol: protocol 2 needs a SOCK_SEQPACKET socket, and protocol 1 has one \
         message on a connection"
    )]
    WrongProtocol,
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
            Self::WrongProtocol => "wrong_protocol",
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
    /// `scratch` is where the kernel writes. It must not be empty; on a SEQPACKET socket it bounds the message as well.
    ///
    /// # Errors
    /// [`ReceiveError`]; `Io(EAGAIN)` on a non-blocking socket means: call again when it is readable. After any other
    /// error the connection is of no more use, and every descriptor that had arrived is closed.
    pub fn receive(
        &mut self,
        socket: impl AsFd,
        scratch: &mut [u8],
    ) -> Result<Option<Handoff>, ReceiveError> {
        let received = match scm::receive(socket, scratch) {
            Err(Errno::AGAIN) => return Err(Errno::AGAIN.into()),
            result => result.map_err(ReceiveError::from),
        };
        let result = received.and_then(|received| self.take(received, scratch));
        if result.is_err() {
            self.client = None;
        }
        result
    }

    /// Adds what one recvmsg brought, of which `scratch` holds the bytes.
    pub(crate) fn take(
        &mut self,
        received: Received,
        scratch: &[u8],
    ) -> Result<Option<Handoff>, ReceiveError> {
        let count = received.fds.len() + usize::from(self.client.is_some());
        if received.control_truncated {
            return Err(ReceiveError::DescriptorLost);
        }
        if count > 1 {
            return Err(ReceiveError::SeveralDescriptors { count });
        }
        if received.truncated {
            return Err(ReceiveError::TooLarge { limit: self.limit.min(scratch.len()) });
        }
        if self.message.len() + received.bytes > self.limit {
            return Err(ReceiveError::TooLarge { limit: self.limit });
        }
        if let Some(fd) = received.fds.into_iter().next() {
            if !is_connection(&fd) {
                return Err(ReceiveError::NotAStreamSocket);
            }
            self.client = Some(fd);
        }
        self.message.extend_from_slice(&scratch[..received.bytes]);

        if self.kind == SocketType::Stream && received.bytes > 0 {
            return Ok(None);
        }
        if self.message.is_empty() {
            return Err(ReceiveError::Empty);
        }
        // Asked only at the end: on a STREAM socket the kernel glues bytes to a descriptor that was sent after them, so
        // with which piece it came depends on the moment of reading.
        let Some(client) = self.client.take() else {
            return Err(ReceiveError::NoDescriptor { bytes: self.message.len() });
        };
        Ok(Some(Handoff { client, data: decode(std::mem::take(&mut self.message)) }))
    }
}

/// Whether `fd` can be a client. A connection that the client has broken meanwhile still is one (getpeername(2) would
/// say `ENOTCONN`).
pub(crate) fn is_connection(fd: &OwnedFd) -> bool {
    sockopt::socket_type(fd) == Ok(rustix::net::SocketType::STREAM)
        && sockopt::socket_acceptconn(fd) == Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_nul_stands_for_no_data_and_nothing_else_does() {
        assert_eq!(encode(b""), b"\0");
        assert_eq!(decode(encode(b"").to_vec()), b"");
        for data in [&b"{}"[..], b"\0\0", b"\0{}", b"{}\0"] {
            assert_eq!(decode(encode(data).to_vec()), data);
        }
    }

    #[test]
    fn every_error_has_a_reason_of_its_own() {
        let errors = [
            ReceiveError::Empty,
            ReceiveError::NoDescriptor { bytes: 1 },
            ReceiveError::SeveralDescriptors { count: 2 },
            ReceiveError::NotAStreamSocket,
            ReceiveError::TooLarge { limit: 1 },
            ReceiveError::WrongProtocol,
            ReceiveError::DescriptorLost,
            ReceiveError::Io(Errno::CONNRESET),
        ];
        let mut reasons: Vec<_> = errors.iter().map(ReceiveError::reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), errors.len());
    }
}
