//! However a stream is cut, the scanner reads the same as the specification's own words.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod reference;

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

/// Streams of what means something to the parser, and of a little that does not.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        8 => prop::sample::select(vec![&b"\n"[..], b"\r", b"\r\n"]),
        4 => prop::sample::select(vec![&b"data"[..], b"event", b"id", b"retry", b"data:", b"data: "]),
        4 => prop::sample::select(vec![&b":"[..], b" ", b"x", b"0", b"12", b"\0", b"\xEF\xBB\xBF", b"\xEF", b"\xBB"]),
        1 => Just(&b"18446744073709551615"[..]),
        1 => Just(&b"18446744073709551616"[..]),
    ];
    vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_stream_is_read_the_same_however_it_is_cut(
        stream in stream(),
        cuts in vec(any::<prop::sample::Index>(), 0..10),
        limit in prop_oneof![Just(usize::MAX), 0usize..80],
    ) {
        let cuts: BTreeSet<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        reference::check_cut(&stream, &cuts, limit);
    }

    #[test]
    fn so_are_bytes_that_mean_nothing(stream in vec(any::<u8>(), 0..200)) {
        reference::check(&stream);
    }

    #[test]
    fn what_is_passed_on_is_what_came(stream in stream()) {
        let whole = reference::read(&stream, usize::MAX);
        let mut scanner = sse::Scanner::new(usize::MAX);
        let mut chunk = &stream[..];
        let mut passed_on = Vec::new();
        while let Some(block) = scanner.next(&mut chunk) {
            passed_on.extend_from_slice(block.unwrap().raw);
        }
        let without_mark = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&stream);
        prop_assert!(without_mark.starts_with(&passed_on));
        prop_assert_eq!(without_mark.len() > passed_on.len(), whole.unfinished);
    }

    #[test]
    fn what_is_passed_on_reads_the_same_again(stream in stream()) {
        let mut scanner = sse::Scanner::new(usize::MAX);
        let mut passed_on = Vec::new();
        // The worst case: each LF behind a CR comes in another chunk.
        for byte in &stream {
            let mut chunk = std::slice::from_ref(byte);
            while let Some(block) = scanner.next(&mut chunk) {
                passed_on.extend_from_slice(block.unwrap().raw);
            }
        }
        let events = |stream: &[u8]| {
            let mut blocks = reference::read(stream, usize::MAX).blocks;
            // An empty line may join the CR before it, and says nothing.
            blocks.retain(|block| block.raw.iter().any(|byte| !matches!(byte, b'\r' | b'\n')));
            blocks.into_iter().map(|block| (block.event, block.data, block.id, block.retry)).collect::<Vec<_>>()
        };
        // A second byte order mark is not at the beginning of the stream any more when the first is gone.
        prop_assume!(!stream.starts_with(b"\xEF\xBB\xBF\xEF\xBB\xBF"));
        prop_assert_eq!(events(&passed_on), events(&stream));
    }
}

#[test]
fn every_seed_of_the_fuzzer_is_read_the_same() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/sse_scanner");
    let mut count = 0;
    for seed in std::fs::read_dir(&seeds).unwrap() {
        reference::check(&std::fs::read(seed.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", seeds.display());
}
