//! Fields for the head of the response: the field `response_headers`.
//!
//! Their values often come from users, by way of an application that did not look. Whatever could end a field, begin
//! another one, or change where the body ends, is refused.

use serde_json::value::RawValue;

use super::BadRequest;
use super::members::{self, Members, kind};

/// What the daemon says of the message itself: its framing (RFC 9112, sections 6 and 9) and how it is to be read.
const PROTECTED: [&str; 17] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-accel-buffering",
    "x-handoff-data",
    "x-request-id",
    "x-sendfile",
    "x-socket-handoff",
];

/// Checked fields, as they stand in the head. Most requests have none, and then nothing is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// Whole lines, each with its line end.
    lines: String,
    /// Replaces the daemon's own.
    cache_control: Option<String>,
}

impl ResponseHeaders {
    /// Checks `raw`: an object of names and values. A value is a string, or an array of strings for a field that
    /// stands several times, such as `Set-Cookie`.
    pub(super) fn new(raw: &RawValue) -> Result<Self, BadRequest> {
        let mut headers = Self::default();
        let mut names: Vec<String> = Vec::new();
        for (name, value) in Members::nested("response_headers", raw)?.0 {
            let field = format!("response_headers.{name}");
            let lower = name.to_ascii_lowercase();
            if !is_token(&name) {
                return Err(BadRequest::wrong(field, "no field name", "letters, digits and hyphens"));
            }
            if PROTECTED.contains(&lower.as_str()) {
                return Err(BadRequest::wrong(field, "set by the daemon itself", "other fields"));
            }
            if names.contains(&lower) {
                return Err(BadRequest::wrong(field, "there twice", "an array of values"));
            }
            for value in values(&field, value)? {
                headers.add(&name, &lower, value);
            }
            names.push(lower);
        }
        Ok(headers)
    }

    fn add(&mut self, name: &str, lower: &str, value: String) {
        if lower == "cache-control" {
            let directives = self.cache_control.get_or_insert_default();
            if !directives.is_empty() {
                directives.push_str(", ");
            }
            directives.push_str(&value);
        } else {
            for part in [name, ": ", &value, "\r\n"] {
                self.lines.push_str(part);
            }
        }
    }

    /// The fields but `Cache-Control`: whole lines.
    #[must_use]
    pub fn lines(&self) -> &str {
        &self.lines
    }

    /// The value of `Cache-Control`, if one was given.
    #[must_use]
    pub fn cache_control(&self) -> Option<&str> {
        self.cache_control.as_deref()
    }
}

fn values(field: &str, raw: &RawValue) -> Result<Vec<String>, BadRequest> {
    const EXPECTED: &str = "a string or an array of strings";
    let values = match kind(raw.get()) {
        "a string" => vec![raw],
        "an array" => serde_json::from_str(raw.get()).unwrap_or_default(),
        other => return Err(BadRequest::wrong(field, other, EXPECTED)),
    };
    let checked = |raw: &RawValue| {
        let value = members::string(field, raw)?;
        // RFC 9110, section 5.5: CR, LF and NUL are dangerous, other control characters invalid.
        match value.chars().any(char::is_control) {
            true => Err(BadRequest::wrong(field, "has a control character", "text of one line")),
            false => Ok(value),
        }
    };
    values.into_iter().map(checked).collect()
}

/// RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<ResponseHeaders, String> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        ResponseHeaders::new(&raw).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_become_lines() {
        let headers = check(r#"{"X-Model":"größer","Set-Cookie":["a=1","b=2"],"X-Empty":""}"#).unwrap();
        let expected = "X-Model: größer\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty: \r\n";
        assert_eq!(headers.lines(), expected);
        assert_eq!(headers.cache_control(), None);
    }

    #[test]
    fn cache_control_may_be_replaced_and_nothing_else() {
        let headers = check(r#"{"cache-control":"no-store"}"#).unwrap();
        assert_eq!((headers.cache_control(), headers.lines()), (Some("no-store"), ""));
        for name in PROTECTED.into_iter().chain(["Content-Length", "TRANSFER-ENCODING", "Connection"]) {
            let message = check(&format!("{{\"{name}\":\"x\"}}")).unwrap_err();
            assert!(message.contains("is set by the daemon itself"), "{name}: {message}");
        }
    }

    #[test]
    fn a_value_cannot_begin_another_field() {
        for injection in [
            "a\\r\\nSet-Cookie: evil=1",
            "a\\nb",
            "a\\rb",
            "a\\u0000b",
            "\\r\\n\\r\\n<script>",
            "\\u007f",
            "\\u0085",
        ] {
            for json in
                [format!("{{\"X-A\":\"{injection}\"}}"), format!("{{\"X-A\":[\"ok\",\"{injection}\"]}}")]
            {
                let message = check(&json).unwrap_err();
                assert!(
                    message.contains("\"response_headers.X-A\" of the handoff data has a control"),
                    "{message}"
                );
            }
        }
    }

    #[test]
    fn a_name_is_a_token() {
        for name in ["", "X A", "X-A:", " X", "X\\r\\nY", "X\\u0000", "X\\tY", "X-ö", "X(", "\\\"X"] {
            let message = check(&format!("{{\"{name}\":\"x\"}}")).unwrap_err();
            assert!(message.contains("is no field name"), "{name}: {message}");
            assert!(!message.contains(['\r', '\n', '\0']), "{message:?}");
        }
    }

    #[test]
    fn a_name_stands_once() {
        assert!(check(r#"{"X-A":"1","x-a":"2"}"#).unwrap_err().contains("is there twice"));
        assert!(check(r#"{"X-A":"1","X-A":"2"}"#).unwrap_err().contains("is there twice"));
        let both = check(r#"{"Cache-Control":"public","CACHE-CONTROL":"private"}"#);
        assert!(both.unwrap_err().contains("is there twice"));
    }

    #[test]
    fn a_value_is_text() {
        for json in [r#"{"X-A":1}"#, r#"{"X-A":null}"#, r#"{"X-A":{}}"#, r#"{"X-A":[1]}"#, "[]", "\"X-A: 1\""]
        {
            assert!(check(json).unwrap_err().contains("\"response_headers"), "{json}");
        }
    }
}
