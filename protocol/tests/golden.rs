//! The bytes of each kind of message, as they stand in `golden/` and, with fewer of them, in docs/PROTOCOL.md. They never
//! change: other languages speak this too.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod oracle;

use std::path::Path;
use std::time::Duration;

use handoff_protocol::v2::message::{HEADER, Header};
use handoff_protocol::v2::{Answer, Envelope};

const MANIFEST: &str = env!("CARGO_MANIFEST_DIR");

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(MANIFEST).join("tests/golden").join(name).with_extension("hex"))
        .unwrap()
}

/// Bytes in hexadecimal, with comments from `#` to the end of the line.
fn bytes(text: &str) -> Vec<u8> {
    let before_comment = |line: &str| line.split('#').next().unwrap_or_default().to_owned();
    let numbers: String = text.lines().map(|line| before_comment(line) + " ").collect();
    numbers.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// Reads a golden handoff, whose parts are inline, and checks that they would be written so.
#[track_caller]
fn inline(name: &str) -> (Envelope, Vec<u8>, Vec<u8>) {
    let bytes = bytes(&text(name));
    let header = Header::decode(&bytes).unwrap();
    let parts = header.ranges().map(|range| bytes[HEADER..][range].to_vec());
    let [envelope, payload, pre_read] = &parts;
    assert_eq!(Header::new(false, envelope.len(), payload.len(), pre_read.len()), Some(header));
    assert_eq!(header.encode(), bytes[..HEADER]);
    let [envelope, payload, pre_read] = parts;
    (Envelope::decode(&envelope).unwrap(), payload, pre_read)
}

#[test]
fn the_handoffs() {
    let (envelope, payload, pre_read) = inline("handoff");
    assert_eq!(
        (envelope.method, envelope.target, envelope.protocol),
        ("GET".into(), "/".into(), "HTTP/1.1".into())
    );
    assert_eq!((&payload[..], &pre_read[..]), (&b"{\"prompt\":\"Hi\"}"[..], &b""[..]));
    assert_eq!(inline("handoff-without-data").1, b"");
}

#[test]
fn the_handoff_of_everything() {
    let (envelope, payload, pre_read) = inline("handoff-of-everything");
    let written = bytes(&text("handoff-of-everything"));
    // The members in the module's order.
    let again = oracle::write(&envelope);
    assert_eq!(again, written[HEADER..HEADER + again.len()], "{}", again.escape_ascii());
    assert_eq!(payload, "{\"prompt\":\"Grüße\"}".as_bytes());
    assert_eq!(pre_read, b"GET /next HTTP/1.1\r\n");

    assert_eq!(envelope.target, "/chat.php?q=%22\"".into());
    assert_eq!(envelope.id, Some("aSBrTX8AAQEAAAk-".into()));
    assert_eq!(
        (envelope.scheme, envelope.server_name),
        (Some("http".into()), Some("www.example.org".into()))
    );
    assert_eq!(envelope.useragent, "2001:db8::7".parse().ok());
    assert_eq!(envelope.client, "192.0.2.1:50312".parse().ok());
    assert_eq!(envelope.local, "[2001:db8::1]:80".parse().ok());
    assert_eq!(envelope.user.unwrap().as_bytes(), b"J\xfcrgen");
    assert_eq!(envelope.request_headers[2].1, "Jürgen".into());
    assert_eq!(envelope.status, Some(200));
    assert_eq!(envelope.response_headers[1], ("Set-Cookie".into(), "b=2".into()));
    assert_eq!(envelope.response_headers[2].1, "a\tb".into());
}

#[test]
fn the_handoff_in_a_file() {
    let header = Header::new(true, 51, 100_000, 0).unwrap();
    let bytes = bytes(&text("handoff-in-file"));
    assert_eq!(bytes, header.encode());
    assert_eq!(Header::decode(&bytes), Ok(header));
}

#[test]
fn the_answers() {
    for (name, answer) in [
        ("accepted", Answer::Accepted),
        (
            "busy",
            Answer::Busy { retry_after: Duration::from_secs(3), reason: "400 streams are running".into() },
        ),
        ("draining", Answer::Draining),
        ("bad", Answer::Bad { reason: "the flags 0x2 are not known here".into() }),
    ] {
        let bytes = bytes(&text(name));
        assert_eq!(answer.encode(), bytes, "{name}");
        assert_eq!(Answer::decode(&bytes), Ok(answer), "{name}");
    }
}

/// A block is marked `<!-- golden: NAME -->`.
#[test]
fn the_examples_of_the_document_are_these() {
    let document = std::fs::read_to_string(Path::new(MANIFEST).join("../docs/PROTOCOL.md")).unwrap();
    let mut names = Vec::new();
    for marked in document.split("<!-- golden: ").skip(1) {
        let (name, rest) = marked.split_once(" -->\n```").unwrap();
        let block = rest.split_once('\n').unwrap().1.split_once("```").unwrap().0;
        assert_eq!(bytes(block), bytes(&text(name)), "{name}");
        names.push(name);
    }
    assert_eq!(names, ["handoff", "handoff-in-file", "accepted", "busy"]);
}
