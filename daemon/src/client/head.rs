//! Response heads, and whole responses that refuse (RFC 9112). No IO.

use std::time::{Duration, SystemTime};

use handoff_protocol::v2::Envelope;

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
    /// The application's status, for a stream; none: 200.
    pub status: Option<u16>,
    /// The request was `HEAD`: there is no body.
    pub head_only: bool,
}

impl Fields {
    /// What the daemon has to say itself, with what `envelope` tells of the application's answer.
    #[must_use]
    pub fn new(headers: ResponseHeaders, request_id: Option<String>, envelope: Option<&Envelope>) -> Self {
        let Some(envelope) = envelope else { return Self { headers, request_id, ..Self::default() } };
        Self {
            headers: headers.with_application(&envelope.response_headers, request_id.is_some()),
            request_id,
            status: envelope.status.and_then(stream_status),
            head_only: envelope.method.as_bytes() == b"HEAD",
        }
    }

    /// The status of a stream.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.unwrap_or(200)
    }

    fn write(&self, head: &mut Vec<u8>) {
        if let Some(id) = &self.request_id {
            field(head, "X-Request-Id", id);
        }
        head.extend_from_slice(self.headers.lines());
    }
}

/// The status for a stream of an application that has said `status`: those that forbid a body, or say that it is something
/// else than the whole (RFC 9110, section 15), are none.
fn stream_status(status: u16) -> Option<u16> {
    (matches!(status, 200..=599) && !matches!(status, 204 | 205 | 206 | 304)).then_some(status)
}

/// The head of a stream of events.
#[must_use]
pub fn event_stream(framing: Framing, fields: &Fields, now: SystemTime) -> Vec<u8> {
    stream("text/event-stream; charset=utf-8", framing, fields, now)
}

/// The head of a body that comes piece by piece.
#[must_use]
pub fn stream(content_type: &str, framing: Framing, fields: &Fields, now: SystemTime) -> Vec<u8> {
    let mut head = Vec::with_capacity(320 + fields.headers.lines().len());
    status_line(&mut head, fields.status());
    field(&mut head, "Date", httpdate::fmt_http_date(now));
    field(&mut head, "Content-Type", content_type);
    octets(&mut head, "Cache-Control", fields.headers.cache_control().unwrap_or(b"no-cache"));
    // nginx in front passes each event on at once.
    field(&mut head, "X-Accel-Buffering", "no");
    if let Some(wait) = fields.headers.retry_after() {
        octets(&mut head, "Retry-After", wait);
    }
    fields.write(&mut head);
    if framing == Framing::Chunked {
        field(&mut head, "Transfer-Encoding", "chunked");
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    head
}

/// A whole response that refuses the request: JSON, `{"error":{"message":…}}`, with `fields`. It is not for caches, whatever the application says of the answer.
#[must_use]
pub fn refusal(
    status: u16,
    message: &str,
    retry_after: Option<Duration>,
    fields: &Fields,
    now: SystemTime,
) -> Vec<u8> {
    let body = serde_json::json!({ "error": { "message": message } }).to_string() + "\n";
    let mut response = Vec::new();
    status_line(&mut response, status);
    field(&mut response, "Date", httpdate::fmt_http_date(now));
    field(&mut response, "Content-Type", "application/json");
    field(&mut response, "Content-Length", body.len());
    field(&mut response, "Cache-Control", "no-store");
    match (retry_after, fields.headers.retry_after()) {
        // Whole seconds, rounded up: never earlier than asked for.
        (Some(wait), _) => {
            field(&mut response, "Retry-After", wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        }
        (None, Some(wait)) => octets(&mut response, "Retry-After", wait),
        (None, None) => {}
    }
    fields.write(&mut response);
    response.extend_from_slice(b"Connection: close\r\n\r\n");
    if !fields.head_only {
        response.extend_from_slice(body.as_bytes());
    }
    response
}

fn status_line(head: &mut Vec<u8>, status: u16) {
    head.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status)).as_bytes());
}

fn octets(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
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
        Fields { headers: request.response_headers, request_id: request.request_id, ..Fields::default() }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_head_of_a_stream() {
        assert_eq!(
            text(event_stream(Framing::CloseDelimited, &Fields::default(), SystemTime::UNIX_EPOCH)),
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
        let head = text(event_stream(Framing::Chunked, &fields, SystemTime::UNIX_EPOCH));
        let expected = "Cache-Control: private, no-store\r\nX-Accel-Buffering: no\r\nX-Request-Id: r1\r\n\
                        X-A: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        assert!(head.ends_with(expected), "{head}");
    }

    #[test]
    fn a_refusal_has_a_length_and_says_when_to_come_back() {
        let wait = Some(Duration::from_millis(1500));
        let fields = fields(r#"{"request_id":"r1","response_headers":{"Cache-Control":"public","X-A":"1"}}"#);
        let response = text(refusal(503, "full \"up\"", wait, &fields, SystemTime::UNIX_EPOCH));
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(head.contains("\r\nRetry-After: 2\r\n"));
        assert!(head.contains("\r\nCache-Control: no-store\r\n") && !head.contains("public"));
        assert!(head.contains("\r\nX-Request-Id: r1\r\nX-A: 1\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert_eq!(body, "{\"error\":{\"message\":\"full \\\"up\\\"\"}}\n");
    }

    #[test]
    fn the_applications_status_is_that_of_a_stream_where_a_body_may_follow() {
        for status in [200, 201, 203, 302, 404, 429, 503, 599] {
            assert_eq!(stream_status(status), Some(status));
        }
        for status in [0, 100, 101, 103, 199, 204, 205, 206, 304, 600] {
            assert_eq!(stream_status(status), None, "{status}");
        }
        let fields = Fields { status: Some(201), ..Fields::default() };
        let head = text(event_stream(Framing::Chunked, &fields, SystemTime::UNIX_EPOCH));
        assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{head}");
    }

    #[test]
    fn a_field_stands_once_whoever_has_set_it() {
        let own = Fields {
            headers: fields(r#"{"response_headers":{"Retry-After":"9"}}"#).headers,
            ..Fields::default()
        };
        let wait = Some(Duration::from_secs(1));
        for (wait, expected) in [(wait, "Retry-After: 1\r\n"), (None, "Retry-After: 9\r\n")] {
            let response = text(refusal(503, "", wait, &own, SystemTime::UNIX_EPOCH));
            assert_eq!(response.matches("Retry-After").count(), 1);
            assert!(response.contains(expected), "{response}");
        }
        assert!(
            text(event_stream(Framing::Chunked, &own, SystemTime::UNIX_EPOCH)).contains("Retry-After: 9\r\n")
        );
    }

    #[test]
    fn a_refusal_of_head_has_the_length_and_no_body() {
        let fields = Fields { head_only: true, ..Fields::default() };
        let response = text(refusal(400, "wrong", None, &fields, SystemTime::UNIX_EPOCH));
        assert!(
            response.ends_with("\r\n\r\n") && response.contains("\r\nContent-Length: 30\r\n"),
            "{response}"
        );
    }
}
