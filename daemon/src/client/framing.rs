//! How the end of a body is told (RFC 9112), and the memory in which writes are put together. No IO.

use std::io::Write;

/// Longest line before a chunk that is written here: eight hexadecimal digits, CR, LF.
const CHUNK_LINE: usize = 10;

/// Memory that is kept for the next write.
const KEPT: usize = 64 * 1024;

/// How a client learns where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Transfer-Encoding: chunked`: a stream that was cut cannot pass for a complete one.
    Chunked,
    /// The end of the connection is the end of the body: all that HTTP/1.0 understands.
    CloseDelimited,
}

impl Framing {
    /// The framing for a client that spoke `protocol`. Chunks go to those only who are known to understand them.
    #[must_use]
    pub fn for_protocol(protocol: Option<&str>) -> Self {
        if protocol == Some("HTTP/1.1") { Self::Chunked } else { Self::CloseDelimited }
    }

    /// Appends a piece of the body. An empty piece is nothing: an empty chunk would be the last one.
    pub fn write(self, out: &mut Vec<u8>, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        match self {
            Self::Chunked => {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
            Self::CloseDelimited => out.extend_from_slice(piece),
        }
    }

    /// Appends what follows the whole body.
    pub fn write_end(self, out: &mut Vec<u8>) {
        if self == Self::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// One write to a client: head, a piece of the body, and what frames it. The body comes first, since the chunk's
/// length is known last; there is room in front of it. The memory is used again, so that a write allocates nothing.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
}

impl Default for Frame {
    fn default() -> Self {
        Self { bytes: vec![0; CHUNK_LINE] }
    }
}

impl Frame {
    /// Begins another write. What is appended here is the piece of the body.
    pub fn begin(&mut self) -> &mut Vec<u8> {
        self.bytes.resize(CHUNK_LINE, 0);
        self.bytes.shrink_to(KEPT);
        &mut self.bytes
    }

    /// Whether there is nothing of the body in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == CHUNK_LINE
    }

    /// All that is to be written: `head`, the piece framed, and after the `last` piece what ends the body. An empty
    /// piece is nothing: an empty chunk would be the last one.
    pub fn close(&mut self, framing: Framing, head: &[u8], last: bool) -> &[u8] {
        let mut start = CHUNK_LINE;
        if framing == Framing::Chunked && !self.is_empty() {
            start = self.write_chunk_line();
            self.bytes.extend_from_slice(b"\r\n");
        }
        if last {
            framing.write_end(&mut self.bytes);
        }
        if !head.is_empty() {
            // Once a stream.
            self.bytes.splice(..start, head.iter().copied());
            start = 0;
        }
        &self.bytes[start..]
    }

    /// Writes the length in front of the piece, and returns where it starts.
    fn write_chunk_line(&mut self) -> usize {
        let mut left = self.bytes.len() - CHUNK_LINE;
        let mut start = CHUNK_LINE - 2;
        self.bytes[start..CHUNK_LINE].copy_from_slice(b"\r\n");
        while left > 0 {
            start -= 1;
            self.bytes[start] = b"0123456789abcdef"[left & 15];
            left >>= 4;
        }
        start
    }
}

/// Appends a field to a head.
pub(super) fn field(head: &mut Vec<u8>, name: &str, value: impl std::fmt::Display) {
    let _ = write!(head, "{name}: {value}\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn closed(frame: &mut Frame, piece: &[u8], framing: Framing, head: &str, last: bool) -> Vec<u8> {
        frame.begin().extend_from_slice(piece);
        frame.close(framing, head.as_bytes(), last).to_vec()
    }

    #[test]
    fn only_clients_known_to_speak_http_1_1_get_chunks() {
        assert_eq!(Framing::for_protocol(Some("HTTP/1.1")), Framing::Chunked);
        for other in [None, Some("HTTP/1.0"), Some("HTTP/2.0"), Some("")] {
            assert_eq!(Framing::for_protocol(other), Framing::CloseDelimited);
        }
    }

    #[test]
    fn a_chunk_has_its_length_in_hex_and_an_empty_piece_is_none() {
        let frame = &mut Frame::default();
        assert_eq!(
            closed(frame, &[b'x'; 26], Framing::Chunked, "", false),
            b"1a\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"
        );
        assert_eq!(closed(frame, b"", Framing::Chunked, "", false), b"");
        assert_eq!(closed(frame, b"ab", Framing::Chunked, "", true), b"2\r\nab\r\n0\r\n\r\n");
        assert_eq!(closed(frame, b"", Framing::Chunked, "", true), b"0\r\n\r\n");
        assert_eq!(closed(frame, b"ab", Framing::CloseDelimited, "", true), b"ab");
    }

    #[test]
    fn the_head_goes_before_the_first_piece() {
        let frame = &mut Frame::default();
        assert_eq!(closed(frame, b"ab", Framing::Chunked, "H\r\n\r\n", false), b"H\r\n\r\n2\r\nab\r\n");
        assert_eq!(closed(frame, b"cd", Framing::Chunked, "", false), b"2\r\ncd\r\n");
        assert_eq!(closed(frame, b"", Framing::Chunked, "H\r\n\r\n", false), b"H\r\n\r\n");
        assert_eq!(closed(frame, b"ef", Framing::CloseDelimited, "H", false), b"Hef");
    }

    #[test]
    fn the_memory_of_one_long_write_is_not_kept() {
        let frame = &mut Frame::default();
        closed(frame, &vec![b'x'; 10 * KEPT], Framing::Chunked, "", false);
        assert!(frame.begin().capacity() <= KEPT);
    }

    proptest! {
        #[test]
        fn a_frame_is_what_framing_writes(length in 1_usize..70_000) {
            let written = closed(&mut Frame::default(), &vec![b'x'; length], Framing::Chunked, "", false);
            let mut expected = Vec::new();
            Framing::Chunked.write(&mut expected, &vec![b'x'; length]);
            prop_assert_eq!(written, expected);
        }
    }
}
