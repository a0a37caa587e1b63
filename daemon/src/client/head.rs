//! Response heads, and whole responses that refuse (RFC 9112). No IO.

use std::time::{Duration, SystemTime};

pub use super::framing::Framing;
use super::framing::field;
use crate::request::ResponseHeaders;

/// What the application and the request say of the head.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// Fields that the application asked for.
    pub headers: ResponseHeaders,
    /// For `X-Request-Id`.
    pub request_id: Option<String>,
}

impl Fields {
    fn write(&self, head: &mut String) {
        if let Some(id) = &self.request_id {
            field(head, "X-Request-Id", id);
        }
        head.push_str(self.headers.lines());
    }
}

/// The head of a stream of events.
#[must_use]
pub fn event_stream(framing: Framing, fields: &Fields, now: SystemTime) -> String {
    let mut head = String::with_capacity(320 + fields.headers.lines().len());
    head.push_str("HTTP/1.1 200 OK\r\n");
    field(&mut head, "Date", httpdate::fmt_http_date(now));
    field(&mut head, "Content-Type", "text/event-stream; charset=utf-8");
    field(&mut head, "Cache-Control", fields.headers.cache_control().unwrap_or("no-cache"));
    // nginx in front passes each event on at once.
    field(&mut head, "X-Accel-Buffering", "no");
    fields.write(&mut head);
    if framing == Framing::Chunked {
        field(&mut head, "Transfer-Encoding", "chunked");
    }
    head.push_str("Connection: close\r\n\r\n");
    head
}

/// A whole response that refuses the request: JSON, `{"error":{"message":…}}`.
#[must_use]
pub fn refusal(status: u16, message: &str, retry_after: Option<Duration>, now: SystemTime) -> String {
    refusal_with(status, message, retry_after, &Fields::default(), now)
}

/// As [`refusal`], with `fields`. It is not for caches, whatever the application says of the answer.
#[must_use]
pub fn refusal_with(
    status: u16,
    message: &str,
    retry_after: Option<Duration>,
    fields: &Fields,
    now: SystemTime,
) -> String {
    let body = serde_json::json!({ "error": { "message": message } }).to_string() + "\n";
    let mut response = format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status));
    field(&mut response, "Date", httpdate::fmt_http_date(now));
    field(&mut response, "Content-Type", "application/json");
    field(&mut response, "Content-Length", body.len());
    field(&mut response, "Cache-Control", "no-store");
    if let Some(wait) = retry_after {
        // Whole seconds, rounded up: never earlier than asked for.
        field(&mut response, "Retry-After", wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    }
    fields.write(&mut response);
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
    use crate::request::Request;

    fn fields(data: &str) -> Fields {
        let request = Request::parse(data.as_bytes()).unwrap();
        Fields { headers: request.response_headers, request_id: request.request_id }
    }

    #[test]
    fn the_head_of_a_stream() {
        assert_eq!(
            event_stream(Framing::CloseDelimited, &Fields::default(), SystemTime::UNIX_EPOCH),
            "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n\
             X-Accel-Buffering: no\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn the_application_adds_fields_and_replaces_cache_control() {
        let fields = fields(
            r#"{"request_id":"r1","response_headers":{"X-A":"1","Cache-Control":["private","no-store"]}}"#,
        );
        let head = event_stream(Framing::Chunked, &fields, SystemTime::UNIX_EPOCH);
        let expected = "Cache-Control: private, no-store\r\nX-Accel-Buffering: no\r\nX-Request-Id: r1\r\n\
                        X-A: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        assert!(head.ends_with(expected), "{head}");
    }

    #[test]
    fn a_refusal_has_a_length_and_says_when_to_come_back() {
        let wait = Some(Duration::from_millis(1500));
        let fields = fields(r#"{"request_id":"r1","response_headers":{"Cache-Control":"public","X-A":"1"}}"#);
        let response = refusal_with(503, "full \"up\"", wait, &fields, SystemTime::UNIX_EPOCH);
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(head.contains("\r\nRetry-After: 2\r\n"));
        assert!(head.contains("\r\nCache-Control: no-store\r\n") && !head.contains("public"));
        assert!(head.contains("\r\nX-Request-Id: r1\r\nX-A: 1\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert_eq!(body, "{\"error\":{\"message\":\"full \\\"up\\\"\"}}\n");
    }
}
