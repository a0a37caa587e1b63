//! The lines of the access log. No IO.

use std::fmt::Write;
use std::time::Duration;

use super::time::Utc;
use super::{Asked, Finished};
use crate::config::AccessLogFormat;

/// Appends one line with its end. What came from outside is escaped: it can neither end the line nor a field.
pub(super) fn write(out: &mut String, finished: &Finished, format: AccessLogFormat) {
    match format {
        AccessLogFormat::Combined => combined(out, finished),
        AccessLogFormat::Json => json(out, finished),
    }
    out.push('\n');
}

/// Apache's `combined` with more behind it. With protocol 1 request line, referrer and browser are unknown.
fn combined(out: &mut String, finished: &Finished) {
    let Finished { status, bytes, outcome, .. } = finished;
    match finished.client {
        Some(address) => _ = write!(out, "{address} - "),
        None => out.push_str("- - "),
    }
    match &finished.user_id {
        Some(user) => escape(out, user.as_bytes(), true),
        None => out.push('-'),
    }
    let asked = finished.asked.as_deref();
    let _ = write!(out, " [{}]", Utc::new(finished.time).apache());
    quoted(out, " ", asked.and_then(Asked::request));
    let _ = match status {
        0 => write!(out, " - {bytes}"),
        _ => write!(out, " {status} {bytes}"),
    };
    quoted(out, " ", asked.and_then(Asked::referer));
    quoted(out, " ", asked.and_then(Asked::user_agent));
    let _ = write!(out, " outcome={} duration_ms={}", outcome.name(), milliseconds(finished.duration));
    match finished.first_token {
        Some(duration) => _ = write!(out, " first_token_ms={}", milliseconds(duration)),
        None => out.push_str(" first_token_ms=-"),
    }
    let _ = write!(out, " backend={}", finished.backend.as_deref().unwrap_or("-"));
    for (name, tokens) in [("tokens_in", finished.usage.input), ("tokens_out", finished.usage.output)] {
        let _ = match tokens {
            Some(tokens) => write!(out, " {name}={tokens}"),
            None => write!(out, " {name}=-"),
        };
    }
    quoted(out, " request_id=", finished.request_id.as_ref().map(String::as_bytes));
    quoted(out, " unique_id=", asked.and_then(Asked::unique_id));
}

fn quoted(out: &mut String, before: &str, text: Option<&[u8]>) {
    out.push_str(before);
    out.push('"');
    escape(out, text.unwrap_or(b"-"), false);
    out.push('"');
}

fn json(out: &mut String, finished: &Finished) {
    let asked = |part: fn(&Asked) -> Option<&[u8]>| {
        let part = finished.asked.as_deref().and_then(part);
        part.map(String::from_utf8_lossy)
    };
    let line = serde_json::json!({
        "time": Utc::new(finished.time).rfc_3339().to_string(),
        "client": finished.client,
        "request": asked(Asked::request),
        "referer": asked(Asked::referer),
        "user_agent": asked(Asked::user_agent),
        "unique_id": asked(Asked::unique_id),
        "user_id": finished.user_id,
        "request_id": finished.request_id,
        "status": (finished.status != 0).then_some(finished.status),
        "outcome": finished.outcome.name(),
        "reason": finished.outcome.reason().map(crate::outcome::Reason::name),
        "bytes": finished.bytes,
        "duration_ms": milliseconds(finished.duration),
        "first_token_ms": finished.first_token.map(milliseconds),
        "backend": finished.backend.as_deref(),
        "tokens_in": finished.usage.input,
        "tokens_out": finished.usage.output,
    });
    let _ = write!(out, "{line}");
}

/// As Apache does: quotes and backslashes with a backslash, control characters and all that is not ASCII as `\xhh`.
/// A `bare` text has no quotes around it, so its spaces are escaped as well.
fn escape(out: &mut String, text: &[u8], bare: bool) {
    for byte in text.iter().copied() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' ' if !bare => out.push(' '),
            b'!'..=b'~' => out.push(char::from(byte)),
            other => _ = write!(out, "\\x{other:02x}"),
        }
    }
}

/// With three digits after the point.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::backend::Usage;
    use crate::outcome::{Failure, Outcome};

    fn finished() -> Finished {
        Finished {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            client: Some("192.0.2.7".parse().unwrap()),
            asked: None,
            request_id: Some("req_1".into()),
            user_id: Some("42".into()),
            status: 200,
            outcome: Outcome::Done,
            bytes: 1234,
            duration: Duration::from_micros(12_345),
            first_token: Some(Duration::from_micros(678)),
            backend: Some("groq".into()),
            usage: Usage { input: Some(7), output: Some(9) },
        }
    }

    fn line(finished: &Finished, format: AccessLogFormat) -> String {
        let mut out = String::new();
        write(&mut out, finished, format);
        out
    }

    #[test]
    fn apaches_combined_format_with_more_behind_it() {
        assert_eq!(
            line(&finished(), AccessLogFormat::Combined),
            "192.0.2.7 - 42 [01/Jan/1970:00:00:01 +0000] \"-\" 200 1234 \"-\" \"-\" outcome=done \
             duration_ms=12.345 first_token_ms=0.678 backend=groq tokens_in=7 tokens_out=9 request_id=\"req_1\" \
             unique_id=\"-\"\n"
        );
    }

    #[test]
    fn what_is_unknown_is_a_dash() {
        let finished = Finished {
            client: None,
            request_id: None,
            user_id: None,
            status: 0,
            outcome: Outcome::ClientGone,
            first_token: None,
            backend: None,
            usage: Usage::default(),
            ..finished()
        };
        assert_eq!(
            line(&finished, AccessLogFormat::Combined),
            "- - - [01/Jan/1970:00:00:01 +0000] \"-\" - 1234 \"-\" \"-\" outcome=client_gone \
             duration_ms=12.345 first_token_ms=- backend=- tokens_in=- tokens_out=- request_id=\"-\" unique_id=\"-\"\n"
        );
    }

    #[test]
    fn json_is_an_object_a_line() {
        let finished = Finished { outcome: Outcome::BackendBroken(Failure::Truncated), ..finished() };
        let line = line(&finished, AccessLogFormat::Json);
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "request": null, "referer": null, "user_agent": null, "unique_id": null,
            "time": "1970-01-01T00:00:01.500Z", "client": "192.0.2.7", "user_id": "42", "request_id": "req_1",
            "status": 200, "outcome": "backend_broken", "reason": "truncated", "bytes": 1234,
            "duration_ms": 12.345, "first_token_ms": 0.678,
            "backend": "groq", "tokens_in": 7, "tokens_out": 9,
        });
        assert_eq!(value, expected);
    }

    fn asked() -> Option<Box<Asked>> {
        let text = br#"{"method":"POST","target":"/chat?a=\"","protocol":"HTTP/1.1","id":"Z1-x",
            "request_headers":[["Referer","https://example.org/"],["User-Agent","J\u00fcrgen\n"]]}"#;
        Some(Box::new(Asked::of(&handoff_protocol::v2::Envelope::decode(text).unwrap())))
    }

    #[test]
    fn what_apache_tells_stands_where_apache_has_it() {
        let finished = Finished { asked: asked(), ..finished() };
        let combined = line(&finished, AccessLogFormat::Combined);
        let expected = "[01/Jan/1970:00:00:01 +0000] \"POST /chat?a=\\\" HTTP/1.1\" 200 1234 \
                        \"https://example.org/\" \"J\\xfcrgen\\x0a\" outcome=done ";
        assert!(combined.contains(expected), "{combined}");
        assert!(combined.ends_with(" request_id=\"req_1\" unique_id=\"Z1-x\"\n"), "{combined}");
        let json = line(&finished, AccessLogFormat::Json);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["request"], "POST /chat?a=\" HTTP/1.1");
        assert_eq!(json["referer"], "https://example.org/");
        assert_eq!(json["user_agent"], "J\u{fffd}rgen\n");
        assert_eq!(json["unique_id"], "Z1-x");
    }

    #[test]
    fn foreign_text_can_neither_end_the_line_nor_a_field() {
        let evil = "a\" 200 9\r\n1.2.3.4 - - \\ \u{1b}[31m\0ü";
        let finished =
            Finished { request_id: Some(evil.into()), user_id: Some("two words\n".into()), ..finished() };
        let combined = line(&finished, AccessLogFormat::Combined);
        assert_eq!(combined.matches('\n').count(), 1);
        assert!(combined.contains(" - two\\x20words\\x0a ["), "{combined}");
        let id = "request_id=\"a\\\" 200 9\\x0d\\x0a1.2.3.4 - - \\\\ \\x1b[31m\\x00\\xc3\\xbc\"";
        assert!(combined.contains(id), "{combined}");
        let json = line(&finished, AccessLogFormat::Json);
        assert_eq!(json.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["request_id"], evil);
    }
}
