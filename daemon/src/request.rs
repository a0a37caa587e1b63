//! The handoff data: what the application asks for. No IO.

use serde_json::{Map, Value};

/// What the application put into `X-Handoff-Data`, a JSON object. Fields that are not listed here are ignored, and
/// `null` counts as not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `prompt`, a string.
    pub prompt: Option<String>,
    /// `request_id`, a string or a number: names this request in logs.
    pub request_id: Option<String>,
    /// `user_id`, a string or a number: the application's user, for logs.
    pub user_id: Option<String>,
    /// `model`, a string.
    pub model: Option<String>,
    /// `protocol`, a string: the protocol of the client's request, as in PHP's `$_SERVER['SERVER_PROTOCOL']`.
    pub protocol: Option<String>,
}

/// What is wrong with handoff data, and where. Values are not quoted: they may be secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Not text.
    #[error("the handoff data is not UTF-8: byte {offset} starts no character; send JSON in UTF-8")]
    NotUtf8 {
        /// Offset of the first wrong byte, from 0.
        offset: usize,
    },
    /// Not JSON.
    #[error("the handoff data is not JSON: {what}; build it with json_encode() or its like")]
    NotJson {
        /// The parser's words, which tell line and column, from 1.
        what: String,
    },
    /// JSON, but another kind of value.
    #[error("the handoff data is {found}; send a JSON object such as {{\"prompt\":\"Hello\"}}")]
    NotAnObject {
        /// The kind that was found.
        found: &'static str,
    },
    /// A known field of the wrong type.
    #[error("the field \"{field}\" of the handoff data is {found}; send {expected}")]
    WrongType {
        /// The field's name.
        field: &'static str,
        /// The type that was found.
        found: &'static str,
        /// The types that are taken.
        expected: &'static str,
    },
}

impl Request {
    /// Parses handoff data. No data at all is a request without any field.
    ///
    /// # Errors
    /// [`BadRequest`]. Nothing is guessed from data that is not understood.
    pub fn parse(data: &[u8]) -> Result<Self, BadRequest> {
        if data.is_empty() {
            return Ok(Self::default());
        }
        let text =
            std::str::from_utf8(data).map_err(|error| BadRequest::NotUtf8 { offset: error.valid_up_to() })?;
        let value =
            serde_json::from_str(text).map_err(|error| BadRequest::NotJson { what: error.to_string() })?;
        let Value::Object(mut fields) = value else {
            return Err(BadRequest::NotAnObject { found: kind(&value) });
        };
        Ok(Self {
            prompt: string(&mut fields, "prompt")?,
            request_id: string_or_number(&mut fields, "request_id")?,
            user_id: string_or_number(&mut fields, "user_id")?,
            model: string(&mut fields, "model")?,
            protocol: string(&mut fields, "protocol")?,
        })
    }
}

fn string(fields: &mut Map<String, Value>, field: &'static str) -> Result<Option<String>, BadRequest> {
    match fields.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(BadRequest::WrongType { field, found: kind(&other), expected: "a string" }),
    }
}

fn string_or_number(
    fields: &mut Map<String, Value>,
    field: &'static str,
) -> Result<Option<String>, BadRequest> {
    match fields.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => {
            Err(BadRequest::WrongType { field, found: kind(&other), expected: "a string or a number" })
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(data: &[u8]) -> String {
        Request::parse(data).unwrap_err().to_string()
    }

    #[test]
    fn the_fields_are_read() {
        let data = br#"{"prompt":"Gr\u00fc\u00df \"dich\"","request_id":"r1","user_id":123,"model":"m",
                        "protocol":"HTTP/1.1","temperature":0.5}"#;
        let expected = Request {
            prompt: Some("Grüß \"dich\"".into()),
            request_id: Some("r1".into()),
            user_id: Some("123".into()),
            model: Some("m".into()),
            protocol: Some("HTTP/1.1".into()),
        };
        assert_eq!(Request::parse(data), Ok(expected));
    }

    #[test]
    fn no_data_and_null_fields_are_fields_not_given() {
        for data in [&b""[..], b"{}", br#"{"prompt":null,"user_id":null}"#] {
            assert_eq!(Request::parse(data), Ok(Request::default()));
        }
    }

    #[test]
    fn what_is_not_json_is_told_with_line_and_column() {
        assert!(message(b"{\"prompt\":\n  oops}").contains("line 2 column 3"));
        assert!(message(b"Hello").starts_with("the handoff data is not JSON: "));
        assert!(message(b"{\"prompt\":\"cut").contains("line 1 column 14"));
        assert!(message(b"{} {}").contains("line 1 column 4"));
        assert!(message(b"[".repeat(100_000).as_slice()).contains("recursion limit"));
    }

    #[test]
    fn what_is_not_utf_8_is_told_with_its_offset() {
        assert!(message(b"{\"prompt\":\"\xff\"}").contains("byte 11 "));
        assert!(message("{\"prompt\":\"ü".as_bytes().split_last().unwrap().1).contains("byte 11 "));
    }

    #[test]
    fn json_of_another_kind_is_not_an_object() {
        assert!(message(b"\"Hello\"").contains("is a string; send a JSON object"));
        assert!(message(b"[1]").contains("is an array;"));
        assert!(message(b"null").contains("is null;"));
    }

    #[test]
    fn a_wrong_type_names_the_field_and_not_its_value() {
        assert_eq!(
            message(br#"{"prompt":5}"#),
            "the field \"prompt\" of the handoff data is a number; send a string"
        );
        assert!(message(br#"{"user_id":true}"#).ends_with("is a boolean; send a string or a number"));
        assert!(message(br#"{"model":["secret"]}"#).contains("\"model\" of the handoff data is an array"));
        assert!(!message(br#"{"model":["secret"]}"#).contains("secret"));
    }
}
