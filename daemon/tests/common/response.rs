//! Reads HTTP responses as a strict client does.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A whole response, up to the end of the connection.
#[derive(Debug)]
pub struct Response {
    /// Status line and fields, with their line ends.
    pub head: String,
    /// Without the chunks' framing.
    pub body: String,
    /// The last chunk came; true for a response that is not chunked.
    pub complete: bool,
}

impl Response {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The one value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().filter_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        });
        let value = values.next();
        assert!(values.next().is_none(), "{name} more than once: {}", self.head);
        value
    }

    /// The events: type and data, as a browser has them.
    pub fn events(&self) -> Vec<(String, String)> {
        let Some(events) = self.body.strip_suffix("\n\n") else {
            assert!(self.body.is_empty(), "the last event is not finished: {:?}", self.body);
            return Vec::new();
        };
        // Comments are no events.
        events.split("\n\n").filter(|event| !event.starts_with(':')).map(event).collect()
    }

    /// The data of all messages, put together.
    pub fn text(&self) -> String {
        let messages = self.events().into_iter().filter(|(kind, _)| kind == "message");
        messages.map(|(_, data)| data).collect()
    }

    /// The last event is the one that tells the end, and it is the only one of its kind.
    pub fn is_done(&self) -> bool {
        let events = self.events();
        let done = ("done".to_owned(), "[DONE]".to_owned());
        events.last() == Some(&done) && events.iter().filter(|(kind, _)| kind == "done").count() == 1
    }
}

fn event(text: &str) -> (String, String) {
    let (mut kind, mut data) = ("message".to_owned(), Vec::new());
    for line in text.split('\n') {
        match line.split_once(": ").unwrap() {
            ("event", value) => value.clone_into(&mut kind),
            ("data", value) => data.push(value),
            (other, _) => panic!("unknown field {other:?}"),
        }
    }
    (kind, data.join("\n"))
}

/// Reads until the end of the connection. A reset is a failure.
pub async fn read(mut client: TcpStream) -> Response {
    let mut bytes = Vec::new();
    let all = client.read_to_end(&mut bytes);
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap().unwrap();
    parse(&bytes)
}

pub fn parse(bytes: &[u8]) -> Response {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (head, rest) = text.split_once("\r\n\r\n").unwrap();
    let head = head.to_owned();
    if head.contains("\r\nTransfer-Encoding: chunked") {
        let (body, complete) = unchunk(rest.as_bytes());
        Response { head, body: String::from_utf8(body).unwrap(), complete }
    } else {
        Response { head, body: rest.to_owned(), complete: true }
    }
}

/// The body, and whether its last chunk was there.
fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        rest = &rest[end + 2..];
        if size == 0 {
            assert_eq!(rest, b"\r\n");
            return (body, true);
        }
        if rest.len() < size + 2 {
            break;
        }
        body.extend_from_slice(&rest[..size]);
        assert_eq!(&rest[size..size + 2], b"\r\n");
        rest = &rest[size + 2..];
    }
    (body, false)
}
