//! Response heads, and how the end of the body is told (RFC 9112). No IO.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

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

/// Appends the head of a stream of events.
pub fn event_stream(out: &mut Vec<u8>, framing: Framing, now: SystemTime) {
    let framing = match framing {
        Framing::Chunked => "Transfer-Encoding: chunked\r\n",
        Framing::CloseDelimited => "",
    };
    // X-Accel-Buffering: nginx in front passes each event on at once.
    let head = format!(
        "HTTP/1.1 200 OK\r\n\
         Date: {date}\r\n\
         Content-Type: text/event-stream; charset=utf-8\r\n\
         Cache-Control: no-cache\r\n\
         X-Accel-Buffering: no\r\n\
         {framing}\
         Connection: close\r\n\r\n",
        date = httpdate::fmt_http_date(now),
    );
    out.extend_from_slice(head.as_bytes());
}

/// A whole response that refuses the request: JSON, `{"error":{"message":…}}`.
#[must_use]
pub fn refusal(status: u16, message: &str, retry_after: Option<Duration>, now: SystemTime) -> String {
    let body = serde_json::json!({ "error": { "message": message } }).to_string() + "\n";
    let mut response = format!(
        "HTTP/1.1 {status} {reason}\r\n\
         Date: {date}\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {length}\r\n\
         Cache-Control: no-store\r\n",
        reason = reason_phrase(status),
        date = httpdate::fmt_http_date(now),
        length = body.len(),
    );
    if let Some(wait) = retry_after {
        // Whole seconds, rounded up: never earlier than asked for.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let _ = write!(response, "Retry-After: {seconds}\r\n");
    }
    response.push_str("Connection: close\r\n\r\n");
    response + &body
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        // RFC 9112, section 4: the phrase may be empty.
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_known_to_speak_http_1_1_get_chunks() {
        assert_eq!(Framing::for_protocol(Some("HTTP/1.1")), Framing::Chunked);
        for other in [None, Some("HTTP/1.0"), Some("HTTP/2.0"), Some("")] {
            assert_eq!(Framing::for_protocol(other), Framing::CloseDelimited);
        }
    }

    #[test]
    fn a_chunk_has_its_length_in_hex_and_an_empty_piece_is_none() {
        let mut out = Vec::new();
        Framing::Chunked.write(&mut out, &[b'x'; 26]);
        Framing::Chunked.write(&mut out, b"");
        Framing::Chunked.write_end(&mut out);
        assert_eq!(out, b"1a\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
    }

    #[test]
    fn the_head_of_a_stream() {
        let mut out = Vec::new();
        event_stream(&mut out, Framing::CloseDelimited, SystemTime::UNIX_EPOCH);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n\
             X-Accel-Buffering: no\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_refusal_has_a_length_and_says_when_to_come_back() {
        let wait = Some(Duration::from_millis(1500));
        let response = refusal(503, "full \"up\"", wait, SystemTime::UNIX_EPOCH);
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(head.contains("\r\nRetry-After: 2\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert_eq!(body, "{\"error\":{\"message\":\"full \\\"up\\\"\"}}\n");
    }
}
