//! Reads Server-Sent Events (WHATWG HTML, section 9.2.6) out of chunks that may be cut anywhere.
//!
//! All of it works on bytes: what the specification looks for is ASCII, which UTF-8 has nowhere else. Whether the rest
//! is UTF-8 is the caller's to ask.

use memchr::{memchr, memchr2};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A buffer above this size, in bytes, is not kept for the next event.
const KEPT: usize = 4 * 1024;

/// Cuts a stream into blocks: what stands between two blank lines. Holds no memory while no block is unfinished.
///
/// ```
/// let mut scanner = sse::Scanner::new(1024);
/// let mut chunk: &[u8] = b"data: one\n\ndata: t";
/// while let Some(block) = scanner.next(&mut chunk) {
///     assert_eq!(block.unwrap().data, Some(&b"one"[..]));
/// }
/// let mut chunk: &[u8] = b"wo\n\n";
/// assert_eq!(scanner.next(&mut chunk).unwrap().unwrap().data, Some(&b"two"[..]));
/// assert!(scanner.next(&mut chunk).is_none());
/// ```
#[derive(Debug)]
pub struct Scanner {
    /// The most bytes that a block may have.
    limit: usize,
    /// The beginning of a block whose end has not come, or the block that was handed out by the last call.
    pending: Vec<u8>,
    /// The data of a block with several data lines.
    joined: Vec<u8>,
    /// What is in `pending` was handed out.
    handed_out: bool,
    /// No more than a part of a byte order mark was seen so far.
    at_start: bool,
    /// The last block ended with CR at the end of a chunk: an LF that comes now belongs to it.
    after_cr: bool,
    /// A block was too long.
    dead: bool,
}

/// What stands between two blank lines, and the blank line behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// The block as it came, with all its line ends and the blank line. It can be passed on as it is.
    ///
    /// One byte may be missing: when a chunk ends with the CR of the blank line, the block is handed out at once, and
    /// an LF at the beginning of the next chunk is in no block. CR alone is a line end too.
    pub raw: &'a [u8],
    /// Value of the last `event` field; empty: there is none, and the event's type is `message`.
    pub event: &'a [u8],
    /// Values of the `data` fields, joined with LF. None: there is no such field, and the block is not an event for
    /// the client (a comment, an id, an interval to reconnect).
    pub data: Option<&'a [u8]>,
    /// Value of the last `id` field without a NUL; it is the stream's last event id from here on. Empty: reset.
    pub id: Option<&'a [u8]>,
    /// Value of the last `retry` field of nothing but digits, in milliseconds. One above 2^64 - 1 is ignored.
    pub retry: Option<u64>,
}

/// A block has more bytes than are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream has an event of more than {limit} bytes")]
pub struct TooLong {
    /// What is allowed, in bytes.
    pub limit: usize,
}

impl Scanner {
    /// A scanner for one stream. `limit` is the most bytes that a block may have, its line ends and names of fields
    /// included (an LF behind the CR that ends the block is not counted).
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            pending: Vec::new(),
            joined: Vec::new(),
            handed_out: false,
            at_start: true,
            after_cr: false,
            dead: false,
        }
    }

    /// The next block of `chunk`, which is advanced behind it. None: all of `chunk` is taken in, and the beginning of a
    /// block was copied. Call it until then. A block without data is handed out too: it is to be passed on, and is a
    /// sign of life.
    ///
    /// Nothing is copied for a block that stands whole in one chunk and has one data line.
    ///
    /// # Errors
    /// A block, finished or not, is longer than the limit. The rest of the stream can't be read then: each chunk gives
    /// this error again.
    pub fn next<'a, 'c: 'a>(&'a mut self, chunk: &mut &'c [u8]) -> Option<Result<Block<'a>, TooLong>> {
        self.forget_what_was_handed_out();
        self.skip_byte_order_mark(chunk);
        if let [first, rest @ ..] = chunk
            && std::mem::take(&mut self.after_cr)
            && *first == b'\n'
        {
            *chunk = rest;
        }
        if chunk.is_empty() {
            self.take_in(chunk);
            return None;
        }
        if self.dead {
            return Some(Err(self.too_long(chunk)));
        }

        let before = self.pending.len();
        let end =
            if before == 0 { end_of_block(chunk, None) } else { end_of_block(chunk, self.pending.last()) };
        if before + end.unwrap_or(chunk.len()) > self.limit {
            return Some(Err(self.too_long(chunk)));
        }
        let Some(mut end) = end else {
            self.take_in(chunk);
            return None;
        };
        if chunk[end - 1] == b'\r' {
            match chunk.get(end) {
                Some(b'\n') => end += 1,
                Some(_) => {}
                None => self.after_cr = true,
            }
        }
        let (raw, rest) = chunk.split_at(end);
        *chunk = rest;
        if before == 0 {
            return Some(Ok(Block::read(raw, &mut self.joined)));
        }
        self.pending.extend_from_slice(raw);
        self.handed_out = true;
        Some(Ok(Block::read(&self.pending, &mut self.joined)))
    }

    /// A block has begun and has not ended. At the end of the stream it is to be dropped (section 9.2.6).
    pub fn unfinished(&self) -> bool {
        !self.pending.is_empty() && !self.handed_out
    }

    fn forget_what_was_handed_out(&mut self) {
        if std::mem::take(&mut self.handed_out) {
            self.pending.clear();
        }
        for buffer in [&mut self.pending, &mut self.joined] {
            if buffer.is_empty() && buffer.capacity() > KEPT {
                *buffer = Vec::new();
            }
        }
    }

    /// The mark is dropped once at the beginning of the stream, and may come in pieces.
    fn skip_byte_order_mark(&mut self, chunk: &mut &[u8]) {
        while self.at_start
            && let [first, rest @ ..] = chunk
        {
            let seen = self.pending.len();
            if *first != BYTE_ORDER_MARK[seen] {
                self.at_start = false;
            } else if seen + 1 == BYTE_ORDER_MARK.len() {
                self.at_start = false;
                self.pending.clear();
                *chunk = rest;
            } else {
                self.pending.push(*first);
                *chunk = rest;
            }
        }
    }

    /// The chunk is at its end: copies what has begun, and holds no memory when nothing has.
    fn take_in(&mut self, chunk: &mut &[u8]) {
        self.joined = Vec::new();
        self.pending.extend_from_slice(chunk);
        *chunk = &[];
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
    }

    fn too_long(&mut self, chunk: &mut &[u8]) -> TooLong {
        self.dead = true;
        self.pending = Vec::new();
        self.joined = Vec::new();
        *chunk = &[];
        TooLong { limit: self.limit }
    }
}

impl<'a> Block<'a> {
    /// Reads the fields of a block. `joined` is where data of several lines is put together.
    fn read(raw: &'a [u8], joined: &'a mut Vec<u8>) -> Self {
        let mut block = Self { raw, event: b"", data: None, id: None, retry: None };
        let mut several = false;
        let mut rest = raw;
        while let Some((line, behind)) = split_line(rest) {
            rest = behind;
            let (name, value) = split_field(line);
            match name {
                b"data" => match block.data {
                    None => block.data = Some(value),
                    Some(first) => {
                        if !several {
                            several = true;
                            joined.clear();
                            joined.extend_from_slice(first);
                        }
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                    }
                },
                b"event" => block.event = value,
                b"id" if memchr(0, value).is_none() => block.id = Some(value),
                b"retry" => block.retry = milliseconds(value).or(block.retry),
                // A comment's name is empty.
                _ => {}
            }
        }
        if several {
            block.data = Some(joined);
        }
        block
    }
}

/// Where the first blank line ends, without an LF behind its CR. `last` is the byte before `bytes`, None at the
/// beginning of a block.
fn end_of_block(bytes: &[u8], last: Option<&u8>) -> Option<usize> {
    let mut at = usize::from(last == Some(&b'\r') && bytes.first() == Some(&b'\n'));
    let mut line_is_empty = matches!(last, None | Some(b'\r' | b'\n'));
    loop {
        let rest = bytes.get(at..)?;
        if line_is_empty && matches!(rest.first()?, b'\r' | b'\n') {
            return Some(at + 1);
        }
        let (_, behind) = split_line(rest)?;
        at = bytes.len() - behind.len();
        line_is_empty = true;
    }
}

/// The first line, and what stands behind its end, which is LF, CR or both.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr2(b'\n', b'\r', bytes)?;
    let behind = match &bytes[end..] {
        [b'\r', b'\n', behind @ ..] | [_, behind @ ..] => behind,
        [] => &[],
    };
    Some((&bytes[..end], behind))
}

/// Name and value: what stands before the first colon, and behind it without one space.
fn split_field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = memchr(b':', line) else { return (line, b"") };
    let value = &line[colon + 1..];
    (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
}

fn milliseconds(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a chunk in and says how many blocks there were.
    fn blocks(scanner: &mut Scanner, mut chunk: &[u8]) -> usize {
        let mut count = 0;
        while let Some(block) = scanner.next(&mut chunk) {
            block.unwrap();
            count += 1;
        }
        count
    }

    fn memory(scanner: &Scanner) -> usize {
        scanner.pending.capacity() + scanner.joined.capacity()
    }

    #[test]
    fn a_block_in_one_chunk_is_not_copied() {
        let mut scanner = Scanner::new(1024);
        let stream = b"event: a\ndata: b\nid: c\n\n";
        let mut chunk = &stream[..];
        let block = scanner.next(&mut chunk).unwrap().unwrap();
        for part in [block.raw, block.event, block.data.unwrap(), block.id.unwrap()] {
            assert!(stream.as_ptr_range().contains(&part.as_ptr()));
        }
        assert_eq!(memory(&scanner), 0);
    }

    #[test]
    fn a_silent_stream_holds_no_memory() {
        let mut scanner = Scanner::new(1024);
        assert_eq!(blocks(&mut scanner, b"\xEF\xBB\xBFdata: a\ndata: b\n\ndata: c"), 1);
        assert_eq!(blocks(&mut scanner, b"d\n"), 0);
        assert_eq!(blocks(&mut scanner, b"\n"), 1);
        assert_eq!(memory(&scanner), 0);
    }

    #[test]
    fn a_large_buffer_is_not_kept_for_the_next_block() {
        let mut scanner = Scanner::new(1024 * 1024);
        assert_eq!(blocks(&mut scanner, &[b'x'; 100_000]), 0);
        assert_eq!(blocks(&mut scanner, b"\n\ndata: a"), 1);
        assert!(memory(&scanner) <= KEPT);
    }

    #[test]
    fn a_block_that_is_too_long_holds_no_memory() {
        let mut scanner = Scanner::new(10);
        assert_eq!(blocks(&mut scanner, b"data: abc"), 0);
        let mut chunk = &b"de"[..];
        assert_eq!(scanner.next(&mut chunk), Some(Err(TooLong { limit: 10 })));
        assert_eq!(memory(&scanner), 0);
    }
}
