//! Protocol 2: the daemon answers each handoff, and the client has exactly one owner at any time.
//!
//! | what | where |
//! |---|---|
//! | the bytes of a handoff | [`message`] |
//! | what is told of the request and of the application's answer | [`envelope`] |
//! | the daemon's answer | [`answer`] |
//! | sending one | [`outgoing`] |
//! | the module's side: what to do next, from what was seen | [`sender`] |
//! | the daemon's side: a client that is not yet its own | [`offer`] |
//!
//! Connections are `SOCK_SEQPACKET` and are kept: one handoff after another, one at a time.

pub mod answer;
pub mod envelope;
pub mod message;
pub mod offer;
pub mod outgoing;
pub mod sender;

pub use answer::Answer;
pub use envelope::Envelope;
pub use offer::{Handoff, Offer, Rejected};
pub use outgoing::Outgoing;
pub use sender::Sender;

/// How each message begins, in both directions, whatever its version. A header value holds no NUL, so no message of
/// protocol 1 can begin so, except the one byte that stands for no data.
pub const PREFIX: [u8; 3] = *b"\0HO";

/// The fourth byte: the version of the protocol.
pub const VERSION: u8 = b'2';

/// Whether `bytes` is a message of this protocol, or of a later version of it.
#[must_use]
pub fn is_message(bytes: &[u8]) -> bool {
    bytes.starts_with(&PREFIX)
}
