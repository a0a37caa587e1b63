//! The parsing of WHATWG HTML, section 9.2.6, once more: slowly, a byte at a time, over the whole stream, as the
//! specification tells it. And the comparison of the scanner with it, which the fuzzer shares.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::collections::BTreeSet;

use sse::{Block, Scanner};

/// A block by the letter of the specification.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) raw: Vec<u8>,
    pub(crate) event: Vec<u8>,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) id: Option<Vec<u8>>,
    pub(crate) retry: Option<u64>,
    /// Where in the stream the blank line is complete: an LF may follow its CR.
    complete_at: usize,
}

/// What is in a whole stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) blocks: Vec<Expected>,
    /// A block, or the unfinished one, is over the limit; there is nothing behind it.
    pub too_long: bool,
    /// The stream ends within a block.
    pub(crate) unfinished: bool,
}

/// Reads a whole stream.
pub(crate) fn read(stream: &[u8], limit: usize) -> Stream {
    let mut blocks = Vec::new();
    let mut at = if stream.starts_with(&[0xEF, 0xBB, 0xBF]) { 3 } else { 0 };
    let mut begin = at;
    let (mut data, mut event, mut id, mut retry) = (Vec::new(), Vec::new(), None, None);
    loop {
        let mut line = Vec::new();
        while at < stream.len() && stream[at] != b'\r' && stream[at] != b'\n' {
            line.push(stream[at]);
            at += 1;
        }
        if at == stream.len() {
            let rest = stream.len() - begin;
            let part_of_mark = stream.len() < 3 && [0xEF, 0xBB, 0xBF].starts_with(stream);
            return Stream { blocks, too_long: rest > limit && !part_of_mark, unfinished: rest > 0 };
        }
        let complete_at = at + 1;
        at += if stream[at..].starts_with(b"\r\n") { 2 } else { 1 };
        if !line.is_empty() {
            process_line(&line, &mut data, &mut event, &mut id, &mut retry);
            continue;
        }
        if complete_at - begin > limit {
            return Stream { blocks, too_long: true, unfinished: false };
        }
        blocks.push(Expected {
            raw: stream[begin..at].to_vec(),
            event: std::mem::take(&mut event),
            data: match std::mem::take(&mut data) {
                buffer if buffer.is_empty() => None,
                buffer => Some(buffer[..buffer.len() - 1].to_vec()),
            },
            id: id.take(),
            retry: retry.take(),
            complete_at,
        });
        begin = at;
    }
}

fn process_line(
    line: &[u8],
    data: &mut Vec<u8>,
    event: &mut Vec<u8>,
    id: &mut Option<Vec<u8>>,
    retry: &mut Option<u64>,
) {
    let (field, value) = match line.iter().position(|byte| *byte == b':') {
        Some(0) => return,
        Some(colon) if line.get(colon + 1) == Some(&b' ') => (&line[..colon], &line[colon + 2..]),
        Some(colon) => (&line[..colon], &line[colon + 1..]),
        None => (line, &b""[..]),
    };
    if field == b"event" {
        *event = value.to_vec();
    } else if field == b"data" {
        data.extend_from_slice(value);
        data.push(b'\n');
    } else if field == b"id" {
        if !value.contains(&0) {
            *id = Some(value.to_vec());
        }
    } else if field == b"retry" && !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        let number = value.iter().try_fold(0u64, |number, digit| {
            number.checked_mul(10).and_then(|number| number.checked_add(u64::from(digit - b'0')))
        });
        *retry = number.or(*retry);
    }
}

/// The scanner reads the same as the reference, cut in many ways.
pub(crate) fn check(stream: &[u8]) {
    let mut dice = Dice::thrown_for(stream);
    for limit in [usize::MAX, dice.below(stream.len() + 2)] {
        check_cut(stream, &BTreeSet::new(), limit);
        check_cut(stream, &(0..stream.len()).collect(), limit);
        for _ in 0..4 {
            let cuts = (0..dice.below(8)).map(|_| dice.below(stream.len() + 1)).collect();
            check_cut(stream, &cuts, limit);
        }
        // At the places that matter.
        let line_ends = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let near_line_ends = (1..stream.len()).filter(|at| line_ends(&stream[at - 1]) && dice.below(2) == 0);
        check_cut(stream, &near_line_ends.collect(), limit);
    }
}

/// The scanner reads the same as the reference when the stream comes in pieces, cut at `cuts`.
pub(crate) fn check_cut(stream: &[u8], cuts: &BTreeSet<usize>, limit: usize) {
    let expected = read(stream, limit);
    let mut scanner = Scanner::new(limit);
    let mut blocks = expected.blocks.iter();
    let mut too_long = false;
    let mut begin = 0;
    for end in cuts.iter().copied().chain([stream.len()]) {
        let mut chunk = &stream[begin..end];
        while let Some(block) = scanner.next(&mut chunk) {
            match block {
                Ok(block) => {
                    assert!(!too_long, "a block behind the one that is too long");
                    let expected = blocks.next().expect("more blocks than there are");
                    assert!(expected.complete_at <= end, "a block before it is complete");
                    assert_block(&block, expected, cuts);
                }
                Err(_) => too_long = true,
            }
        }
        assert!(chunk.is_empty(), "something of the chunk was not read");
        if let Some(next) = blocks.as_slice().first() {
            assert!(next.complete_at > end, "a block is complete and is not handed out");
        }
        begin = end;
    }
    assert!(blocks.as_slice().is_empty());
    assert_eq!(too_long, expected.too_long, "too long");
    assert_eq!(scanner.unfinished(), expected.unfinished && !too_long, "unfinished");
}

fn assert_block(block: &Block<'_>, expected: &Expected, cuts: &BTreeSet<usize>) {
    let lf_came_later = expected.raw.ends_with(b"\r\n") && cuts.contains(&expected.complete_at);
    assert_eq!(block.raw, &expected.raw[..expected.raw.len() - usize::from(lf_came_later)]);
    assert_eq!(block.event, expected.event);
    assert_eq!(block.data, expected.data.as_deref());
    assert_eq!(block.id, expected.id.as_deref());
    assert_eq!(block.retry, expected.retry);
}

/// Numbers that are arbitrary, and the same for the same bytes (xorshift, begun with FNV-1a).
struct Dice(u64);

impl Dice {
    fn thrown_for(bytes: &[u8]) -> Self {
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        if end == 0 { 0 } else { (self.0 >> 20) as usize % end }
    }
}
