//! The application's own answer on the response of the stream.

use std::io::Read;
use std::time::Duration;

use handoff_protocol::v2::Answer;

use crate::common::process::Process;
use crate::common::response::Response;
use crate::common::{Daemon, SOON, mock};
use crate::module::{Module, envelope_of};

/// What PHP and mod_headers have set.
const FIELDS: [(&[u8], &[u8]); 13] = [
    (b"Set-Cookie", b"session=1; HttpOnly"),
    (b"Set-Cookie", b"theme=dark"),
    (b"Access-Control-Allow-Origin", b"https://example.org"),
    (b"Content-Security-Policy", b"default-src 'self'"),
    (b"X-Request-Id", b"from-apache"),
    (b"Cache-Control", b"private"),
    (b"Content-Type", b"text/html"),
    (b"Content-Length", b"5"),
    (b"Transfer-Encoding", b"identity"),
    (b"Connection", b"keep-alive"),
    (b"ETag", b"\"1\""),
    (b"X-Broken", b"a\r\nX-Evil: 1"),
    (b"X-Model", b"the application's"),
];

fn envelope(method: &[u8], protocol: &[u8], status: u16) -> Vec<u8> {
    envelope_of(method, protocol, |writer| {
        writer.number("status", status);
        writer.fields("response_headers", FIELDS.into_iter());
    })
}

fn ask(daemon: &Process, status: u16, data: &[u8]) -> Response {
    Module::connect(&daemon.path).ask(&envelope(b"POST", b"HTTP/1.1", status), data)
}

fn cookies(response: &Response) -> Vec<&str> {
    response.head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: ")).collect()
}

#[test]
fn its_fields_and_status_are_those_of_the_stream_and_the_framing_is_the_daemons() {
    let daemon = Process::start(&["--delay", "0"]);
    let response = ask(&daemon, 201, b"{}");
    assert!(response.head.starts_with("HTTP/1.1 201 Created\r\n"), "{}", response.head);
    assert!(response.is_done() && response.complete);
    assert_eq!(cookies(&response), ["session=1; HttpOnly", "theme=dark"]);
    for (name, value) in [
        ("Access-Control-Allow-Origin", "https://example.org"),
        ("Content-Security-Policy", "default-src 'self'"),
        ("X-Request-Id", "from-apache"),
        ("Cache-Control", "private"),
        ("X-Model", "the application's"),
        ("Content-Type", "text/event-stream; charset=utf-8"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
    ] {
        assert_eq!(response.field(name), Some(value), "{name}");
    }
    for name in ["Content-Length", "ETag", "X-Broken", "X-Evil"] {
        assert_eq!(response.field(name), None, "{name}");
    }
}

#[test]
fn handoff_data_wins_over_it() {
    let daemon = Process::start(&["--delay", "0"]);
    let data = br#"{"request_id":"own","response_headers":{"x-model":"the data's","Set-Cookie":"a=1"}}"#;
    let response = ask(&daemon, 200, data);
    assert_eq!(response.field("X-Model"), Some("the data's"));
    assert_eq!(response.field("X-Request-Id"), Some("own"));
    assert_eq!(cookies(&response), ["a=1"]);
    assert!(response.field("Content-Security-Policy").is_some());
}

#[test]
fn a_refusal_has_its_cookies_and_cors_but_neither_its_status_nor_its_caching() {
    let daemon = Process::start(&["--delay", "0"]);
    for (data, status) in
        [(&br#"{"test_pattern":"error:429"}"#[..], 429), (b"no JSON", 400), (br#"{"backend":"nobody"}"#, 400)]
    {
        let response = ask(&daemon, 201, data);
        assert_eq!(response.status(), status);
        assert_eq!(cookies(&response).len(), 2);
        assert_eq!(response.field("Access-Control-Allow-Origin"), Some("https://example.org"));
        assert_eq!(response.field("X-Request-Id"), Some("from-apache"));
        assert_eq!(response.field("Cache-Control"), Some("no-store"));
        assert_eq!(response.field("Content-Type"), Some("application/json"));
        assert_eq!(response.field("Content-Length"), Some(&*response.body.len().to_string()));
    }
}

#[test]
fn a_status_without_a_body_is_none_for_a_stream() {
    let daemon = Process::start(&["--delay", "0"]);
    for (status, expected) in [(204, 200), (304, 200), (100, 200), (206, 200), (404, 404), (503, 503)] {
        let response = ask(&daemon, status, b"{}");
        assert_eq!(response.status(), expected, "{status}");
        assert!(response.is_done());
    }
}

#[test]
fn chunks_are_for_http_1_1() {
    let daemon = Process::start(&["--delay", "0"]);
    let module = Module::connect(&daemon.path);
    // Whatever the data say: the module knows.
    let old = module.ask(&envelope(b"GET", b"HTTP/1.0", 200), br#"{"protocol":"HTTP/1.1"}"#);
    assert_eq!(old.field("Transfer-Encoding"), None);
    assert!(old.is_done() && old.head.starts_with("HTTP/1.1 200 "));
    let new = module.ask(&envelope(b"GET", b"HTTP/1.1", 200), br#"{"protocol":"HTTP/1.0"}"#);
    assert!(new.complete && new.field("Transfer-Encoding") == Some("chunked"));
}

/// The head, and whatever follows it.
fn head_and_rest(module: &Module, data: &[u8]) -> (String, String) {
    let (mut client, answer) = module.hand_off(&envelope(b"HEAD", b"HTTP/1.1", 200), data);
    assert_eq!(answer, Some(Answer::Accepted));
    client.set_read_timeout(Some(SOON)).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    let (head, rest) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), rest.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn head_gets_the_head_of_a_stream_at_once() {
    // A backend that was asked would not answer for an hour.
    let daemon = Daemon::start(|config| config.backend = mock(Duration::from_secs(3600)));
    let module = Module::connect(&daemon.path);
    let (head, rest) = head_and_rest(&module, b"{}");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/event-stream; charset=utf-8\r\n"), "{head}");
    assert!(head.contains("\r\nSet-Cookie: theme=dark\r\n"), "{head}");
    assert_eq!(rest, "");
    let (head, rest) = head_and_rest(&module, b"no JSON");
    assert!(head.starts_with("HTTP/1.1 400 ") && head.contains("\r\nContent-Length: "), "{head}");
    assert_eq!(rest, "");
}
