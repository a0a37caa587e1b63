//! The bytes of a handoff. No IO.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | `00 48 4f 32` |
//! | 4 | 4 | flags: 1 = what follows the header is not in the message but in a sealed file, the second descriptor |
//! | 8 | 4 | length of the envelope |
//! | 12 | 4 | length of the payload |
//! | 16 | 4 | length of the bytes that were read beyond the request |
//! | 20 | | the three, one after another |
//!
//! Numbers have their most significant byte first.

use std::ops::Range;

use super::{PREFIX, VERSION};

/// Length of the header, in bytes.
pub const HEADER: usize = 20;

/// What follows the header is in a file.
const IN_FILE: u32 = 1;

/// The header of a handoff: where its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the parts are in a sealed file instead of the message.
    pub in_file: bool,
    /// Length of the envelope, in bytes; so are the others.
    pub envelope: u32,
    /// Length of the application's data.
    pub payload: u32,
    /// Length of what Apache has read of the client's next requests.
    pub pre_read: u32,
}

/// Why bytes are no handoff of this protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Too short, or something else altogether.
    #[error("{bytes} bytes do not begin with the header of a handoff, which has {HEADER}")]
    Short {
        /// How many came.
        bytes: usize,
    },
    /// The fourth byte is not `2`.
    #[error("version {0:#04x} of the protocol is not known here; this is 0x32")]
    Version(u8),
    /// A flag that changes what the rest means.
    #[error("the flags {0:#x} are not known here")]
    Flags(u32),
    /// The message does not end where the header says.
    #[error("the message has {actual} bytes and its header says {expected}")]
    Length {
        /// By the header.
        expected: u64,
        /// What came.
        actual: usize,
    },
}

impl Header {
    /// The header of parts of these lengths. `None`: one of them is 4 GiB or longer.
    #[must_use]
    pub fn new(in_file: bool, envelope: usize, payload: usize, pre_read: usize) -> Option<Self> {
        let length = |bytes: usize| u32::try_from(bytes).ok();
        Some(Self {
            in_file,
            envelope: length(envelope)?,
            payload: length(payload)?,
            pre_read: length(pre_read)?,
        })
    }

    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..3].copy_from_slice(&PREFIX);
        bytes[3] = VERSION;
        let flags = if self.in_file { IN_FILE } else { 0 };
        for (index, number) in [flags, self.envelope, self.payload, self.pre_read].into_iter().enumerate() {
            bytes[4 + 4 * index..8 + 4 * index].copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// Reads the header of a whole message.
    ///
    /// # Errors
    /// [`HeaderError`]
    pub fn decode(message: &[u8]) -> Result<Self, HeaderError> {
        let short = || HeaderError::Short { bytes: message.len() };
        if !super::is_message(message) {
            return Err(short());
        }
        // A later version may have a shorter header, so its number comes first.
        match message.get(PREFIX.len()) {
            Some(&VERSION) => {}
            Some(&version) => return Err(HeaderError::Version(version)),
            None => return Err(short()),
        }
        let (head, rest) = message.split_first_chunk::<HEADER>().ok_or_else(short)?;
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let flags = number(4);
        if flags & !IN_FILE != 0 {
            return Err(HeaderError::Flags(flags));
        }
        let header = Self {
            in_file: flags & IN_FILE != 0,
            envelope: number(8),
            payload: number(12),
            pre_read: number(16),
        };
        let expected = if header.in_file { 0 } else { header.parts() };
        if rest.len() as u64 != expected {
            return Err(HeaderError::Length { expected: expected + HEADER as u64, actual: message.len() });
        }
        Ok(header)
    }

    /// Length of the three parts together, in bytes.
    #[must_use]
    pub fn parts(&self) -> u64 {
        u64::from(self.envelope) + u64::from(self.payload) + u64::from(self.pre_read)
    }

    /// Where envelope, payload and pre-read bytes are, in the memory that holds the three.
    #[must_use]
    pub fn ranges(&self) -> [Range<usize>; 3] {
        let mut end = 0;
        [self.envelope, self.payload, self.pre_read].map(|length| {
            let start = end;
            end += length as usize;
            start..end
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = Header::new(false, 3, 2, 1).unwrap();
        let message = [&header.encode()[..], b"eeeppr"].concat();
        assert_eq!(message, b"\0HO2\0\0\0\0\0\0\0\x03\0\0\0\x02\0\0\0\x01eeeppr");
        assert_eq!(Header::decode(&message), Ok(header));
        assert_eq!(header.ranges(), [0..3, 3..5, 5..6]);
        let filed = Header::new(true, 1 << 20, 1 << 31, 0).unwrap();
        assert_eq!(Header::decode(&filed.encode()), Ok(filed));
        assert_eq!(Header::new(true, 0, 1 << 32, 0), None);
    }

    #[test]
    fn what_is_no_header_is_told_apart() {
        let message = Header::new(false, 1, 0, 0).unwrap().encode();
        assert_eq!(Header::decode(b"{\"prompt\":1}"), Err(HeaderError::Short { bytes: 12 }));
        assert_eq!(Header::decode(b"\0HO"), Err(HeaderError::Short { bytes: 3 }));
        assert_eq!(Header::decode(&message[..19]), Err(HeaderError::Short { bytes: 19 }));
        assert_eq!(Header::decode(b"\0HO3"), Err(HeaderError::Version(b'3')));
        assert_eq!(Header::decode(&message), Err(HeaderError::Length { expected: 21, actual: 20 }));
        let long = [&message[..], b"xx"].concat();
        assert_eq!(Header::decode(&long), Err(HeaderError::Length { expected: 21, actual: 22 }));
        let mut flags = message;
        flags[7] = 2;
        assert_eq!(Header::decode(&flags), Err(HeaderError::Flags(2)));
    }
}
