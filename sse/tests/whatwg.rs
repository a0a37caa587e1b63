//! The examples of WHATWG HTML, section 9.2.6, and the corners that its parser has.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use sse::{Scanner, TooLong};

/// What a client is told: type, data and the last event id of each event.
fn events(stream: impl AsRef<[u8]>) -> Vec<(String, String, String)> {
    let mut scanner = Scanner::new(64 * 1024);
    let mut chunk = stream.as_ref();
    let mut last_id = String::new();
    let mut events = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    while let Some(block) = scanner.next(&mut chunk) {
        let block = block.unwrap();
        if let Some(id) = block.id {
            last_id = text(id);
        }
        if let Some(data) = block.data {
            let event = if block.event.is_empty() { b"message" } else { block.event };
            events.push((text(event), text(data), last_id.clone()));
        }
    }
    events
}

/// Of each event only the data.
fn data(stream: impl AsRef<[u8]>) -> Vec<String> {
    events(stream).into_iter().map(|(_, data, _)| data).collect()
}

fn event(kind: &str, data: &str, id: &str) -> (String, String, String) {
    (kind.into(), data.into(), id.into())
}

mod examples_of_the_specification {
    use super::*;

    #[test]
    fn three_lines_of_data() {
        assert_eq!(data("data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
        assert_eq!(
            data(
                "data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\ndata: This is the third message.\n\n"
            ),
            [
                "This is the first message.",
                "This is the second message, it\nhas two lines.",
                "This is the third message.",
            ]
        );
    }

    #[test]
    fn events_have_types() {
        let stream =
            "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n";
        assert_eq!(
            events(stream),
            [event("add", "73857293", ""), event("remove", "2153", ""), event("add", "113411", "")]
        );
    }

    #[test]
    fn four_blocks_the_last_unfinished() {
        let stream =
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event";
        assert_eq!(
            events(stream),
            [event("message", "first event", "1"), event("message", "second event", "")]
        );
        let finished = format!("{stream}\n\n");
        assert_eq!(events(finished)[2], event("message", " third event", ""));
    }

    #[test]
    fn two_events_of_empty_lines() {
        assert_eq!(data("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
    }

    #[test]
    fn a_space_behind_the_colon_is_ignored() {
        assert_eq!(data("data:test\n\ndata: test\n\n"), ["test", "test"]);
    }
}

mod lines {
    use super::*;

    #[test]
    fn end_with_lf_cr_or_both() {
        assert_eq!(data("data: a\n\ndata: b\r\rdata: c\r\n\r\n"), ["a", "b", "c"]);
        assert_eq!(data("data: a\ndata: b\rdata: c\r\ndata: d\r\n\n"), ["a\nb\nc\nd"]);
        assert_eq!(data("data:a\r\ndata\ndata:b\r\n\r"), ["a\n\nb"]);
    }

    #[test]
    fn lf_and_cr_are_two_ends_and_so_a_blank_line() {
        assert_eq!(data("data: a\n\rdata: b\n\r"), ["a", "b"]);
    }

    #[test]
    fn without_an_end_are_not_read() {
        assert!(data("data: a\n").is_empty());
        assert!(data("data: a\n\ndata: b\n").len() == 1);
    }

    #[test]
    fn blank_ones_alone_are_no_events() {
        assert!(data("\n\n\r\r\r\n\r\n").is_empty());
        assert_eq!(data("\n\ndata: a\n\n\n\ndata: b\n\n\n"), ["a", "b"]);
    }

    #[test]
    fn line_separators_of_unicode_do_not_end_one() {
        assert_eq!(data("data: a\u{2028}b\u{85}c\u{b}d\n\n"), ["a\u{2028}b\u{85}c\u{b}d"]);
    }
}

mod fields {
    use super::*;

    #[test]
    fn loose_one_space_and_no_more() {
        assert_eq!(data("data:  a\ndata:\tb\ndata:\u{a0}c\ndata: \ndata:d \n\n"), [" a\n\tb\n\u{a0}c\n\nd "]);
    }

    #[test]
    fn with_other_names_are_ignored() {
        assert_eq!(
            data("data: a\nDATA: b\n data: c\ndata : d\nda-ta: e\ndata\0: f\n\0data: g\nfoo\n\n"),
            ["a"]
        );
    }

    #[test]
    fn keep_what_stands_behind_a_second_colon() {
        assert_eq!(data("data: a: b\ndata::c\n\n"), ["a: b\n:c"]);
    }

    #[test]
    fn may_hold_a_nul_but_for_ids() {
        assert_eq!(events("data: a\0b\nevent: c\0d\nid: e\0f\n\n"), [event("c\0d", "a\0b", "")]);
        assert_eq!(events("id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n")[1], event("message", "b", "1"));
    }

    #[test]
    fn that_begin_with_a_colon_are_comments() {
        assert_eq!(data(":\n: data: x\n:data:x\ndata: a\n:\n\n: only a comment\n\n"), ["a"]);
    }

    #[test]
    fn of_data_make_the_event() {
        assert!(events("event: a\n\nid: 1\nevent: b\n\nretry: 1\n\n").is_empty());
        assert_eq!(events("event: a\n\ndata: b\n\n"), [event("message", "b", "")]);
        assert_eq!(data("data\n\ndata:\n\ndata: \n\n"), ["", "", ""]);
    }

    #[test]
    fn of_type_count_as_the_last_one_says() {
        assert_eq!(events("event: a\nevent: b\ndata: x\n\n"), [event("b", "x", "")]);
        assert_eq!(events("event: a\nevent\ndata: x\n\n"), [event("message", "x", "")]);
    }

    #[test]
    fn of_id_are_kept_without_an_event_and_reset_when_empty() {
        let stream = "id: 1\n\ndata: a\n\nid: 2\nid: 3\ndata: b\n\nid\ndata: c\n\n";
        assert_eq!(
            events(stream),
            [event("message", "a", "1"), event("message", "b", "3"), event("message", "c", "")]
        );
    }

    #[test]
    fn of_retry_are_digits_only() {
        let retry = |field: &str| {
            let stream = format!("{field}\n\n");
            Scanner::new(1024).next(&mut stream.as_bytes()).unwrap().unwrap().retry
        };
        assert_eq!(retry("retry: 3000"), Some(3000));
        assert_eq!(retry("retry:0"), Some(0));
        assert_eq!(retry("retry: 18446744073709551615"), Some(u64::MAX));
        for other in
            ["", " ", " +1", " -1", " 1x", " 1 ", "  1", " 1.5", " 0x1", " 18446744073709551616", " \u{661}"]
        {
            assert_eq!(retry(&format!("retry:{other}")), None, "{other:?}");
        }
        assert_eq!(retry("retry: 3000\nretry: 1000x"), Some(3000));
        assert_eq!(retry("retry: 3000\nretry: 1000"), Some(1000));
    }
}

mod byte_order_marks {
    use super::*;

    #[test]
    fn are_dropped_once_at_the_beginning() {
        assert_eq!(data("\u{feff}data: a\n\n\u{feff}data: b\n\ndata: c\n\n"), ["a", "c"]);
        assert_eq!(data("\u{feff}\u{feff}data: a\n\ndata: b\n\n"), ["b"]);
    }

    #[test]
    fn are_no_part_of_the_block() {
        let mut chunk = "\u{feff}data: a\n\n".as_bytes();
        assert_eq!(Scanner::new(1024).next(&mut chunk).unwrap().unwrap().raw, b"data: a\n\n");
    }

    #[test]
    fn may_come_in_pieces_or_be_cut_short() {
        let mut scanner = Scanner::new(1024);
        for mut piece in [&b"\xEF"[..], b"\xBB", b"\xBFdata: a\n"] {
            assert!(scanner.next(&mut piece).is_none());
        }
        assert_eq!(scanner.next(&mut &b"\n"[..]).unwrap().unwrap().raw, b"data: a\n\n");
        assert!(data(b"\xEF\xBBdata: a\n\n").is_empty());
    }
}

#[test]
fn what_is_not_utf_8_is_left_as_it_is() {
    let mut chunk = &b"event: \xFF\ndata: \xC3\n\n"[..];
    let mut scanner = Scanner::new(1024);
    let block = scanner.next(&mut chunk).unwrap().unwrap();
    assert_eq!((block.event, block.data), (&b"\xFF"[..], Some(&b"\xC3"[..])));
}

mod a_block {
    use super::*;

    #[test]
    fn is_handed_out_verbatim_also_without_data() {
        let stream = "\n: hi\r\rid:1\nretry:  x\r\n\r\ndata:a\ndata: b\n\n";
        let mut scanner = Scanner::new(1024);
        let mut chunk = stream.as_bytes();
        let mut raws = Vec::new();
        while let Some(block) = scanner.next(&mut chunk) {
            raws.push(String::from_utf8_lossy(block.unwrap().raw).into_owned());
        }
        assert_eq!(raws, ["\n", ": hi\r\r", "id:1\nretry:  x\r\n\r\n", "data:a\ndata: b\n\n"]);
    }

    #[test]
    fn does_not_wait_for_the_lf_behind_its_last_cr() {
        let mut scanner = Scanner::new(1024);
        assert_eq!(scanner.next(&mut &b"data: a\r\n\r"[..]).unwrap().unwrap().raw, b"data: a\r\n\r");
        assert!(!scanner.unfinished());
        let mut chunk = &b"\ndata: b\r\n\r\n"[..];
        assert_eq!(scanner.next(&mut chunk).unwrap().unwrap().raw, b"data: b\r\n\r\n");
        assert!(scanner.next(&mut chunk).is_none());
    }

    #[test]
    fn may_come_in_three_chunks() {
        let mut scanner = Scanner::new(1024);
        assert!(!scanner.unfinished());
        assert!(scanner.next(&mut &b"data: a\r"[..]).is_none());
        assert!(scanner.next(&mut &b"\nda"[..]).is_none());
        assert!(scanner.unfinished());
        let mut chunk = &b"ta: b\r\n\r\n: c"[..];
        let block = scanner.next(&mut chunk).unwrap().unwrap();
        assert_eq!(block.raw, b"data: a\r\ndata: b\r\n\r\n");
        assert_eq!(block.data, Some(&b"a\nb"[..]));
        assert!(!scanner.unfinished());
        assert!(scanner.next(&mut chunk).is_none());
        assert!(scanner.unfinished());
    }

    #[test]
    fn may_have_as_many_bytes_as_are_allowed() {
        assert!(Scanner::new(10).next(&mut &b"data: ab\n\n"[..]).unwrap().is_ok());
        assert!(Scanner::new(10).next(&mut &b"data: ab\r\r\n"[..]).unwrap().is_ok());
        let mut scanner = Scanner::new(9);
        let too_long = scanner.next(&mut &b"data: ab\n\n"[..]).unwrap();
        assert_eq!(too_long, Err(TooLong { limit: 9 }));
    }

    #[test]
    fn that_is_too_long_is_noticed_before_its_end_and_stops_the_scanner() {
        let mut scanner = Scanner::new(10);
        assert!(scanner.next(&mut &b"data: abcd"[..]).is_none());
        let mut chunk = &b"e"[..];
        assert!(scanner.next(&mut chunk).unwrap().is_err());
        assert!(scanner.next(&mut chunk).is_none());
        assert!(scanner.next(&mut &b"\n\ndata: a\n\n"[..]).unwrap().is_err());
        assert!(scanner.next(&mut &b""[..]).is_none());
    }
}
