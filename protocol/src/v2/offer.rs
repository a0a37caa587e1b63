//! The daemon's side of a handoff: a client that is not its own until it has said so, and was heard.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::envelope::Envelope;
use super::message::{Header, HeaderError};
use super::{Answer, message};
use crate::memory::{self, MemoryError};
use crate::scm::Received;
use crate::v1::is_connection;

/// Whose the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The daemon's: it answers the client.
    Daemon,
    /// The sender's, as before: the daemon drops its descriptor and touches nothing.
    Sender,
}

impl Owner {
    /// Whose the client is after `answer`. `sent`: the kernel has taken the answer for a sender that still reads. If
    /// that one has given up, sending fails (EPIPE, ECONNRESET).
    #[must_use]
    pub fn after(answer: &Answer, sent: bool) -> Self {
        if sent && *answer == Answer::Accepted { Self::Daemon } else { Self::Sender }
    }
}

/// A client that was offered, and still is the sender's: nothing may be done with its connection, no read, no write, no
/// socket option, no epoll. Dropping the offer refuses it without a word.
#[derive(Debug)]
pub struct Offer {
    handoff: Handoff,
}

/// A client that is ours, and what was said about it.
#[derive(Debug)]
pub struct Handoff {
    /// The client's connection, a stream socket. Its file status flags are those that the sender had set.
    pub client: OwnedFd,
    /// Of the request and of the application's answer.
    pub envelope: Envelope,
    /// The application's data; empty for none. Not checked in any way.
    pub payload: Vec<u8>,
    /// What was read of the client's next requests.
    pub pre_read: Vec<u8>,
}

/// The longest parts that are taken, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The envelope.
    pub envelope: usize,
    /// The application's data.
    pub payload: usize,
    /// Bytes of the next requests.
    pub pre_read: usize,
}

/// Why a message is no offer. The client stays the sender's; every descriptor that came is closed.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// The header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The message was longer than the receiver's buffer.
    #[error("the message is longer than {0} bytes; put its parts into a sealed file")]
    Truncated(usize),
    /// The kernel destroyed descriptors, since this process has too many files open.
    #[error("the kernel dropped the client's socket: too many open files here; raise LimitNOFILE")]
    DescriptorLost,
    /// Another number of descriptors than the header says.
    #[error("the message brought {actual} file descriptors and should bring {expected}")]
    Descriptors {
        /// By the header: the client, and the file if there is one.
        expected: usize,
        /// What came.
        actual: usize,
    },
    /// The first descriptor is something else.
    #[error(
        "the first file descriptor is not a client's connection, which is a stream socket that does not listen"
    )]
    NotAStreamSocket,
    /// The second one.
    #[error("the second file descriptor cannot be used: {0}")]
    Memory(#[from] MemoryError),
    /// A part is longer than this daemon takes.
    #[error("the {part} of {actual} bytes is longer than the {limit} that are taken here")]
    TooLong {
        /// Which.
        part: &'static str,
        /// By the header.
        actual: u32,
        /// The limit.
        limit: usize,
    },
    /// The envelope is not understood.
    #[error("the envelope is not understood: {0}")]
    Envelope(#[from] serde_json::Error),
}

impl Rejected {
    /// What to answer.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match self {
            // Of this moment, not of the message.
            Self::DescriptorLost => {
                Answer::Busy { retry_after: std::time::Duration::from_secs(1), reason: self.to_string() }
            }
            _ => Answer::Bad { reason: self.to_string() },
        }
    }

    /// A short constant name for logs and metric labels.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Header(HeaderError::Version(_)) => "version",
            Self::Header(_) => "header",
            Self::Truncated(_) | Self::TooLong { .. } => "too_large",
            Self::DescriptorLost => "descriptor_lost",
            Self::Descriptors { .. } => "descriptors",
            Self::NotAStreamSocket => "not_a_stream_socket",
            Self::Memory(_) => "memory",
            Self::Envelope(_) => "envelope",
        }
    }
}

impl Offer {
    /// Reads an offer from one message, of which `buffer` holds the bytes.
    ///
    /// # Errors
    /// [`Rejected`]
    pub fn read(received: Received, buffer: &[u8], limits: Limits) -> Result<Self, Rejected> {
        if received.control_truncated {
            return Err(Rejected::DescriptorLost);
        }
        if received.truncated {
            return Err(Rejected::Truncated(buffer.len()));
        }
        let message = &buffer[..received.bytes];
        let header = Header::decode(message)?;
        let parts = [
            ("envelope", header.envelope, limits.envelope),
            ("payload", header.payload, limits.payload),
            ("rest of what was read", header.pre_read, limits.pre_read),
        ];
        for (part, actual, limit) in parts {
            if actual as usize > limit {
                return Err(Rejected::TooLong { part, actual, limit });
            }
        }
        let expected = if header.in_file { 2 } else { 1 };
        let actual = received.fds.len();
        let mut fds = received.fds.into_iter();
        let (Some(client), file, true) = (fds.next(), fds.next(), actual == expected) else {
            return Err(Rejected::Descriptors { expected, actual });
        };
        if !is_connection(&client) {
            return Err(Rejected::NotAStreamSocket);
        }
        let ranges = header.ranges();
        let [envelope, payload, pre_read] = match file {
            Some(file) => memory::read(file, ranges.map(|range| range.len()))?,
            None => ranges.map(|range| message[message::HEADER..][range].to_vec()),
        };
        let envelope = Envelope::decode(&envelope)?;
        Ok(Self { handoff: Handoff { client, envelope, payload, pre_read } })
    }

    /// Of the request and of the application's answer.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.handoff.envelope
    }

    /// The application's data.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.handoff.payload
    }

    /// Says "accepted" on the sender's connection, and takes the client over if that was heard.
    ///
    /// # Errors
    /// Those of send(2): the sender has given up, and the client stays its own, untouched.
    pub fn accept(self, sender: impl AsFd) -> Result<Handoff, Errno> {
        let sent = send(sender, &Answer::Accepted);
        match Owner::after(&Answer::Accepted, sent.is_ok()) {
            Owner::Daemon => Ok(self.handoff),
            // Dropped: closing our duplicate does nothing to the connection.
            Owner::Sender => Err(sent.err().unwrap_or(Errno::PIPE)),
        }
    }

    /// Says why not.
    ///
    /// # Errors
    /// Those of send(2), which change nothing: the client stays the sender's in any case.
    pub fn refuse(self, sender: impl AsFd, answer: &Answer) -> Result<(), Errno> {
        debug_assert_ne!(*answer, Answer::Accepted, "accept() says that");
        send(sender, answer)
    }
}

/// Sends an answer, without waiting: one answer to one message always has room.
///
/// # Errors
/// Those of send(2).
pub fn send(sender: impl AsFd, answer: &Answer) -> Result<(), Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::io::retry_on_intr(|| rustix::net::send(&sender, &answer.encode(), flags)).map(|_| ())
}
