//! What the Apache module and a streaming daemon say to each other over a Unix socket.
//!
//! [`v1`] is protocol 1: one connection, one message, one file descriptor. [`v2`] is protocol 2: connections are kept,
//! and the daemon answers each handoff, so that it has exactly one owner at any time. [`incoming`] tells them apart on
//! the daemon's socket.
//!
//! [`scm`], [`memory`] and [`peer`] are the system calls under both, in types that own what they hold. The byte-level
//! description for other languages is `docs/PROTOCOL.md`.
#![forbid(unsafe_code)]

pub mod incoming;
pub mod memory;
pub mod peer;
pub mod scm;
pub mod v1;
pub mod v2;

/// The type of the Unix socket on which a daemon receives handoffs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketType {
    /// `SOCK_SEQPACKET`: the kernel keeps message boundaries; one `recvmsg` is one handoff.
    SeqPacket,
    /// `SOCK_STREAM`: the message may arrive in pieces and ends at end of file.
    Stream,
}

impl SocketType {
    /// The other type: what to try when `connect` says `EPROTOTYPE`.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::SeqPacket => Self::Stream,
            Self::Stream => Self::SeqPacket,
        }
    }
}

impl From<SocketType> for rustix::net::SocketType {
    fn from(kind: SocketType) -> Self {
        match kind {
            SocketType::SeqPacket => Self::SEQPACKET,
            SocketType::Stream => Self::STREAM,
        }
    }
}
