//! What one client has got so far. No IO.

/// The end of a response's head.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// How the head of a good answer begins.
const OK: &[u8] = b"HTTP/1.1 200 ";

/// An answer, as far as it has come.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Ends of events that came: empty lines.
    pub events: u64,
    /// Bytes of the body.
    pub length: usize,
    /// How much of [`HEAD_END`] has come in a row.
    head_end: usize,
    /// Bytes of the head that were compared with [`OK`].
    begun: usize,
    /// The last byte that came: an empty line may come in two pieces.
    last: u8,
    wrong: bool,
}

impl Answer {
    /// Takes the bytes that came next. With a `wanted` body, theirs are compared with it.
    pub fn take(&mut self, bytes: &[u8], wanted: Option<&[u8]>) {
        for byte in bytes {
            self.events += u64::from(*byte == b'\n' && self.last == b'\n');
            self.last = *byte;
        }
        let body = self.take_head(bytes);
        if let Some(wanted) = wanted {
            self.wrong |= wanted.get(self.length..self.length + body.len()) != Some(body);
        }
        self.length += body.len();
    }

    /// Whether it is a 200 whose body is all of `wanted`.
    #[must_use]
    pub fn is(&self, wanted: &[u8]) -> bool {
        self.is_ok() && !self.wrong && self.length == wanted.len()
    }

    /// Whether it is a 200, and its head has come.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.begun == OK.len() && self.has_head()
    }

    fn has_head(&self) -> bool {
        self.head_end == HEAD_END.len()
    }

    /// What of `bytes` belongs to the body.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (index, byte) in bytes.iter().enumerate() {
            if self.has_head() {
                return &bytes[index..];
            }
            if OK.get(self.begun) == Some(byte) {
                self.begun += 1;
            } else if self.begun < OK.len() {
                // Never complete again.
                self.begun = usize::MAX;
            }
            self.head_end = match *byte == HEAD_END[self.head_end] {
                true => self.head_end + 1,
                false => usize::from(*byte == HEAD_END[0]),
            };
        }
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"data: a\n\ndata: b\n\n";

    fn answer(head: &str, body: &[u8], piece: usize) -> Answer {
        let mut answer = Answer::default();
        let bytes = [head.as_bytes(), body].concat();
        bytes.chunks(piece).for_each(|piece| answer.take(piece, Some(BODY)));
        answer
    }

    #[test]
    fn it_is_the_same_in_any_pieces() {
        for piece in 1..60 {
            let answer = answer("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", BODY, piece);
            assert!(answer.is(BODY), "in pieces of {piece}");
            assert_eq!(answer.events, 2);
        }
    }

    #[test]
    fn what_is_missing_or_different_or_too_much_is_seen() {
        for wrong in [&BODY[1..], &BODY[..BODY.len() - 1], b"data: a\n\ndata: c\n\n", &[BODY, b"x"].concat()]
        {
            assert!(!answer("HTTP/1.1 200 OK\r\n\r\n", wrong, 7).is(BODY));
        }
        for head in ["HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert!(!answer(head, BODY, 7).is(BODY));
        }
    }
}
