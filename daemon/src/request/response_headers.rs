//! Fields for the head of the response: the field `response_headers` of the handoff data, and with protocol 2 those that
//! the application has set itself.
//!
//! Their values often come from users, by way of an application that did not look. Whatever could end a field, begin
//! another one, or change where the body ends, is refused in handoff data, and left out of the application's own fields,
//! which were meant for another body.

use handoff_protocol::v2::envelope;
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

/// What an application says of its own body, which nobody gets.
const OF_ANOTHER_BODY: [&str; 4] = ["accept-ranges", "content-md5", "etag", "last-modified"];

/// Checked fields, as they stand in the head. Most requests have none, and then nothing is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeaders(Option<Box<Checked>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Checked {
    /// Whole lines, each with its line end. Octets: what is no UTF-8 passes as it is.
    lines: Vec<u8>,
    /// Replaces the daemon's own.
    cache_control: Option<Vec<u8>>,
    /// Gives way to the daemon's own.
    retry_after: Option<Vec<u8>>,
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
                headers.add(&name, &lower, value.as_bytes());
            }
            names.push(lower);
        }
        Ok(headers)
    }

    /// One field, which the daemon sets itself.
    #[must_use]
    pub fn one(name: &'static str, value: &'static str) -> Self {
        let mut headers = Self::default();
        headers.add(name, &name.to_ascii_lowercase(), value.as_bytes());
        headers
    }

    /// Puts the application's own fields in front, those that have the name of one of these excepted. `request_id`: the
    /// daemon writes an `X-Request-Id`.
    #[must_use]
    pub fn with_application(self, fields: &envelope::Fields, request_id: bool) -> Self {
        let mut all = Self::default();
        for (name, value) in fields {
            let Some((name, value)) = name.as_str().zip(Some(value.as_bytes())) else { continue };
            let lower = name.to_ascii_lowercase();
            let ours = match lower.as_str() {
                "x-request-id" => request_id,
                name => PROTECTED.contains(&name) || OF_ANOTHER_BODY.contains(&name),
            };
            if is_token(name) && !ours && is_value(value) && !self.has(&lower) {
                all.add(name, &lower, value);
            }
        }
        let (Some(own), Some(application)) = (self.0.as_deref(), all.0.as_deref_mut()) else {
            return Self(self.0.or(all.0));
        };
        application.lines.extend_from_slice(&own.lines);
        let either = |own: &Option<Vec<u8>>, other: &mut Option<Vec<u8>>| {
            if own.is_some() {
                other.clone_from(own);
            }
        };
        either(&own.cache_control, &mut application.cache_control);
        either(&own.retry_after, &mut application.retry_after);
        all
    }

    fn add(&mut self, name: &str, lower: &str, value: &[u8]) {
        let fields = self.0.get_or_insert_default();
        match lower {
            "cache-control" => {
                let directives = fields.cache_control.get_or_insert_default();
                if !directives.is_empty() {
                    directives.extend_from_slice(b", ");
                }
                directives.extend_from_slice(value);
            }
            "retry-after" => fields.retry_after = Some(value.to_vec()),
            _ => {
                for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                    fields.lines.extend_from_slice(part);
                }
            }
        }
    }

    fn has(&self, lower: &str) -> bool {
        match lower {
            "cache-control" => self.cache_control().is_some(),
            "retry-after" => self.retry_after().is_some(),
            _ => self.lines().split(|byte| *byte == b'\n').any(|line| {
                let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
                name.eq_ignore_ascii_case(lower.as_bytes())
            }),
        }
    }

    /// The fields but those that have a place of their own: whole lines.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        self.0.as_deref().map_or(b"", |fields| &fields.lines)
    }

    /// The value of `Cache-Control`, if one was given.
    #[must_use]
    pub fn cache_control(&self) -> Option<&[u8]> {
        self.0.as_deref()?.cache_control.as_deref()
    }

    /// The value of `Retry-After`, if one was given.
    #[must_use]
    pub fn retry_after(&self) -> Option<&[u8]> {
        self.0.as_deref()?.retry_after.as_deref()
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

/// RFC 9110, section 5.5: octets without control characters, the tab excepted.
pub(super) fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
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
        assert_eq!(headers.lines(), expected.as_bytes());
        assert_eq!(headers.cache_control(), None);
    }

    #[test]
    fn cache_control_may_be_replaced_and_nothing_else() {
        let headers = check(r#"{"cache-control":"no-store"}"#).unwrap();
        assert_eq!((headers.cache_control(), headers.lines()), (Some(&b"no-store"[..]), &b""[..]));
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

    fn with_application(own: &str, fields: &[(&str, &[u8])]) -> ResponseHeaders {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        check(own).unwrap().with_application(&fields, false)
    }

    #[test]
    fn the_applications_own_fields_come_first_as_often_as_they_are_there() {
        let fields: [(&str, &[u8]); 4] =
            [("Set-Cookie", b"a=1"), ("X-Name", b"J\xfcrgen\tX"), ("set-cookie", b"b=2"), ("X-Empty", b"")];
        let headers = with_application(r#"{"X-B":"2"}"#, &fields);
        let expected =
            b"Set-Cookie: a=1\r\nX-Name: J\xfcrgen\tX\r\nset-cookie: b=2\r\nX-Empty: \r\nX-B: 2\r\n";
        assert_eq!(headers.lines(), expected);
    }

    #[test]
    fn handoff_data_replaces_the_applications_own_fields() {
        let fields: [(&str, &[u8]); 4] =
            [("Set-Cookie", b"a=1"), ("Cache-Control", b"public"), ("RETRY-AFTER", b"7"), ("X-Kept", b"1")];
        let own = r#"{"set-cookie":["b=2","c=3"],"cache-control":"private"}"#;
        let headers = with_application(own, &fields);
        assert_eq!(headers.lines(), b"X-Kept: 1\r\nset-cookie: b=2\r\nset-cookie: c=3\r\n");
        assert_eq!(headers.cache_control(), Some(&b"private"[..]));
        assert_eq!(headers.retry_after(), Some(&b"7"[..]));
        let both = with_application("{}", &[("Cache-Control", b"no-store"), ("cache-control", b"private")]);
        assert_eq!(both.cache_control(), Some(&b"no-store, private"[..]));
    }

    #[test]
    fn what_belongs_to_another_body_or_could_change_ours_is_left_out() {
        for name in PROTECTED.into_iter().chain(OF_ANOTHER_BODY).filter(|name| *name != "x-request-id") {
            assert_eq!(with_application("{}", &[(name, b"x")]).lines(), b"", "{name}");
        }
        for (name, value) in [("X-A", &b"a\r\nX-Evil: 1"[..]), ("X A", b"1"), ("", b"1"), ("X-A", b"\0")] {
            assert_eq!(with_application("{}", &[(name, value)]).lines(), b"", "{name}");
        }
    }

    #[test]
    fn the_applications_request_id_passes_unless_there_is_one_already() {
        let fields = vec![("X-Request-Id".into(), "a".into())];
        let none = ResponseHeaders::default();
        assert_eq!(none.clone().with_application(&fields, false).lines(), b"X-Request-Id: a\r\n");
        assert_eq!(none.with_application(&fields, true).lines(), b"");
    }

    #[test]
    fn a_value_is_text() {
        for json in [r#"{"X-A":1}"#, r#"{"X-A":null}"#, r#"{"X-A":{}}"#, r#"{"X-A":[1]}"#, "[]", "\"X-A: 1\""]
        {
            assert!(check(json).unwrap_err().contains("\"response_headers"), "{json}");
        }
    }
}
