//! What the daemon says to a handoff: one small message. No IO.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | `00 48 4f 32` |
//! | 4 | 1 | 1 accepted, 2 busy, 3 draining, 4 bad |
//! | 5 | 1 | 0 |
//! | 6 | 2 | busy: when to ask again, in seconds, most significant byte first; else 0 |
//! | 8 | 0 to 256 | why, UTF-8, for the log of the one who asked |

use std::time::Duration;

use super::{PREFIX, VERSION};

/// Longest reason, in bytes.
pub const MOST_REASON: usize = 256;

/// Longest answer, in bytes.
pub const MOST_ANSWER: usize = HEAD + MOST_REASON;

const HEAD: usize = 8;

/// The daemon's word on one handoff. Only [`Answer::Accepted`] makes the client the daemon's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The client is the daemon's from now on.
    Accepted,
    /// No room for one more. Another daemon may have some.
    Busy {
        /// When to ask again; whole seconds, at most 65,535.
        retry_after: Duration,
        /// For the log.
        reason: String,
    },
    /// This daemon is ending: a successor may be listening at the same path already.
    Draining,
    /// The message is not understood. No other daemon would do better.
    Bad {
        /// For the log: what is wrong with it.
        reason: String,
    },
}

/// An answer that is not understood: it counts as none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer of {bytes} bytes is none of protocol 2")]
pub struct NotAnAnswer {
    /// Its length.
    pub bytes: usize,
}

impl Answer {
    /// The bytes to send. A reason that is too long is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (code, seconds, reason) = match self {
            Self::Accepted => (1, 0, ""),
            Self::Busy { retry_after, reason } => (2, whole_seconds(*retry_after), reason.as_str()),
            Self::Draining => (3, 0, ""),
            Self::Bad { reason } => (4, 0, reason.as_str()),
        };
        let reason = cut(reason);
        let mut bytes = Vec::with_capacity(HEAD + reason.len());
        bytes.extend_from_slice(&PREFIX);
        bytes.extend_from_slice(&[VERSION, code, 0]);
        bytes.extend_from_slice(&seconds.to_be_bytes());
        bytes.extend_from_slice(reason.as_bytes());
        bytes
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// [`NotAnAnswer`]: it is cut, longer than [`MOST_ANSWER`], of another version, or has an unknown code.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAnAnswer> {
        let wrong = || NotAnAnswer { bytes: bytes.len() };
        let (head, reason) = bytes.split_first_chunk::<HEAD>().ok_or_else(wrong)?;
        let [a, b, c, version, code, _, high, low] = *head;
        if [a, b, c] != PREFIX || version != VERSION || reason.len() > MOST_REASON {
            return Err(wrong());
        }
        let reason = || String::from_utf8_lossy(reason).into_owned();
        match code {
            1 => Ok(Self::Accepted),
            2 => {
                let retry_after = Duration::from_secs(u16::from_be_bytes([high, low]).into());
                Ok(Self::Busy { retry_after, reason: reason() })
            }
            3 => Ok(Self::Draining),
            4 => Ok(Self::Bad { reason: reason() }),
            _ => Err(wrong()),
        }
    }
}

/// As much of `reason` as there is room for, in whole characters.
fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(MOST_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// Rounded up: never earlier than asked for.
fn whole_seconds(duration: Duration) -> u16 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u16::try_from(seconds).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_read_as_it_was_written() {
        for answer in [
            Answer::Accepted,
            Answer::Busy { retry_after: Duration::from_secs(7), reason: "voll: größer".into() },
            Answer::Draining,
            Answer::Bad { reason: String::new() },
        ] {
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let bytes = Answer::Bad { reason: "ü".repeat(200) }.encode();
        assert_eq!(bytes.len(), MOST_ANSWER);
        assert_eq!(Answer::decode(&bytes), Ok(Answer::Bad { reason: "ü".repeat(128) }));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let accepted = Answer::Accepted.encode();
        for wrong in
            [&b""[..], &accepted[..7], b"\0HO3\x01\0\0\0", b"\0HO2\x05\0\0\0", b"\0HO2\0\0\0\0", b"HTTP/1.1"]
        {
            assert_eq!(Answer::decode(wrong), Err(NotAnAnswer { bytes: wrong.len() }));
        }
        assert!(Answer::decode(&[accepted, vec![b'x'; MOST_REASON + 1]].concat()).is_err());
    }
}
