//! The handoff data: what the application asks for. No IO.

mod error;
mod members;
mod messages;
mod passed_on;
mod response_headers;

use handoff_protocol::v2::Envelope;
use http::{HeaderName, HeaderValue};
use serde_json::value::RawValue;

pub use error::BadRequest;
use members::Members;
pub use messages::Messages;
pub use response_headers::ResponseHeaders;

use crate::config::Format;

/// Longest `request_id`, in bytes: it stands in a response head and in every log line.
const REQUEST_ID_LIMIT: usize = 256;

/// What the application put into `X-Handoff-Data`, a JSON object. `null` counts as not given. A field of the wrong
/// type is refused, never ignored: an answer to half a request looks right and is wrong.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `prompt`, a string.
    pub prompt: Option<String>,
    /// `messages`, the conversation so far: an array of objects, each with a `role`.
    pub messages: Option<Messages>,
    /// `model`, a string.
    pub model: Option<String>,
    /// `system`, a string: what the model is told before the conversation.
    pub system: Option<String>,
    /// `max_tokens`, a whole number from 1.
    pub max_tokens: Option<u64>,
    /// `temperature`, a number.
    pub temperature: Option<f64>,
    /// `user_id`, a string or a number: the application's user, for logs and the limit of streams per user.
    pub user_id: Option<String>,
    /// `request_id`, a string or a number: names this request in logs and in the field `X-Request-Id`.
    pub request_id: Option<String>,
    /// `format`, a string: how pieces of text are written as events.
    pub format: Option<Format>,
    /// `backend`, a string: which backend answers, if not the configured one.
    pub backend: Option<String>,
    /// `protocol`, a string: the protocol of the client's request, as in PHP's `$_SERVER['SERVER_PROTOCOL']`.
    pub protocol: Option<String>,
    /// `response_headers`, an object: fields for the head of the response.
    pub response_headers: ResponseHeaders,
    /// Fields of the client's request that a backend gets as well. Only protocol 2 tells them.
    pub passed_on: Vec<(HeaderName, HeaderValue)>,
    /// `test_pattern`, a string: how a backend for tests shall misbehave.
    pub test_pattern: Option<String>,
    /// Every other member, as it was written: a backend may pass it on.
    pub others: Vec<(String, Box<RawValue>)>,
}

impl Request {
    /// Understands the handoff data, and what the module tells beside it. That wins: it cannot be mistaken.
    ///
    /// # Errors
    /// [`BadRequest`]
    pub fn of(data: &[u8], envelope: Option<&Envelope>) -> Result<Self, BadRequest> {
        let mut request = Self::parse(data)?;
        if let Some(envelope) = envelope {
            request.protocol = envelope.protocol.as_str().map(str::to_owned);
            request.passed_on = passed_on::passed_on(envelope);
        }
        Ok(request)
    }

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
        let mut members = Members::parse(text)?;
        Ok(Self {
            prompt: members.string("prompt")?,
            messages: members.take("messages").map(Messages::new).transpose()?,
            model: members.string("model")?,
            system: members.string("system")?,
            max_tokens: members.positive("max_tokens")?,
            temperature: members.number("temperature")?,
            user_id: members.string_or_number("user_id")?,
            request_id: members.string_or_number("request_id")?.map(checked_request_id).transpose()?,
            format: members.string("format")?.map(|name| format(&name)).transpose()?,
            backend: members.string("backend")?,
            protocol: members.string("protocol")?,
            response_headers: members
                .take("response_headers")
                .map(ResponseHeaders::new)
                .transpose()?
                .unwrap_or_default(),
            passed_on: Vec::new(),
            test_pattern: members.string("test_pattern")?,
            others: members.rest(),
        })
    }

    /// What the user said last: the prompt, else the text of the last message of role `user`.
    #[must_use]
    pub fn last_words(&self) -> Option<String> {
        match &self.prompt {
            Some(prompt) if !prompt.is_empty() => Some(prompt.clone()),
            _ => self.messages.as_ref().and_then(Messages::last_user_text).filter(|text| !text.is_empty()),
        }
    }
}

/// It becomes a response field, so it must not be able to end one.
fn checked_request_id(id: String) -> Result<String, BadRequest> {
    let problem = if id.chars().any(char::is_control) {
        "has a control character"
    } else if id.len() > REQUEST_ID_LIMIT {
        "is too long"
    } else {
        return Ok(id);
    };
    Err(BadRequest::wrong("request_id", problem, "at most 256 bytes without control characters"))
}

fn format(name: &str) -> Result<Format, BadRequest> {
    match name {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        "raw" => Ok(Format::Raw),
        _ => Err(BadRequest::wrong("format", "unknown", "\"text\", \"json\" or \"raw\"")),
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
                        "system":"s","max_tokens":100,"temperature":0.5,"format":"json","backend":"mock",
                        "test_pattern":"silent","protocol":"HTTP/1.1"}"#;
        let request = Request::parse(data).unwrap();
        assert_eq!(request.prompt.as_deref(), Some("Grüß \"dich\""));
        assert_eq!(request.request_id.as_deref(), Some("r1"));
        assert_eq!(request.user_id.as_deref(), Some("123"));
        assert_eq!(request.model.as_deref(), Some("m"));
        assert_eq!(request.system.as_deref(), Some("s"));
        assert_eq!(request.max_tokens, Some(100));
        assert_eq!(request.temperature, Some(0.5));
        assert_eq!(request.format, Some(Format::Json));
        assert_eq!(request.backend.as_deref(), Some("mock"));
        assert_eq!(request.test_pattern.as_deref(), Some("silent"));
        assert_eq!(request.protocol.as_deref(), Some("HTTP/1.1"));
        assert!(request.others.is_empty());
    }

    #[test]
    fn no_data_and_null_fields_are_fields_not_given() {
        for data in [&b""[..], b"{}", br#"{"prompt":null,"user_id":null,"messages":null,"max_tokens":null}"#]
        {
            let request = Request::parse(data).unwrap();
            assert!(request.prompt.is_none() && request.user_id.is_none() && request.messages.is_none());
            assert!(request.max_tokens.is_none());
        }
    }

    #[test]
    fn other_members_are_kept_as_they_were_written() {
        let request = Request::parse(br#"{"top_p":0.10,"prompt":"x","tools":[ {"a":1e2} ]}"#).unwrap();
        let others: Vec<_> = request.others.iter().map(|(name, raw)| (name.as_str(), raw.get())).collect();
        assert_eq!(others, [("top_p", "0.10"), ("tools", "[ {\"a\":1e2} ]")]);
    }

    #[test]
    fn what_is_not_json_is_told_with_line_and_column() {
        assert!(message(b"{\"prompt\":\n  oops}").contains("line 2 column 3"));
        assert!(message(b"Hello").starts_with("the handoff data is not JSON: "));
        assert!(message(b"{\"prompt\":\"cut").contains("line 1 column 14"));
        assert!(message(b"{} {}").contains("line 1 column 4"));
        assert!(message(b"[".repeat(100_000).as_slice()).contains("column 100000"));
    }

    #[test]
    fn what_is_not_utf_8_is_told_with_its_offset() {
        assert!(message(b"{\"prompt\":\"\xff\"}").contains("byte 11 "));
        assert!(message("{\"prompt\":\"ü".as_bytes().split_last().unwrap().1).contains("byte 11 "));
    }

    #[test]
    fn json_of_another_kind_is_not_an_object() {
        assert!(message(b"\"Hello\"").contains("is a string; send a JSON object"));
        assert!(message(b" [1]").contains("is an array;"));
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

    #[test]
    fn numbers_in_quotes_are_no_numbers() {
        assert!(message(br#"{"temperature":"0.5"}"#).ends_with("is a string; send a number"));
        assert!(
            message(br#"{"max_tokens":"100"}"#).contains("\"max_tokens\" of the handoff data is a string")
        );
        for wrong in ["0", "-1", "1.5", "1e400", "99999999999999999999"] {
            let data = format!("{{\"max_tokens\":{wrong}}}");
            assert!(message(data.as_bytes()).ends_with("send a whole number from 1"), "{wrong}");
        }
    }

    #[test]
    fn a_member_that_stands_twice_is_refused() {
        // Two readers of such an object may see two different requests.
        assert!(message(br#"{"prompt":"a","x":1,"prompt":"b"}"#).contains("\"prompt\" of the handoff data"));
        assert!(message(b"{\"a\\nb\":1,\"a\\u000ab\":2}").contains("\"a\\nb\""), "names are foreign text");
    }

    #[test]
    fn half_a_surrogate_pair_names_its_field() {
        assert!(message(br#"{"prompt":"\ud83d"}"#).contains("\"prompt\" of the handoff data is no text"));
        assert_eq!(Request::parse(br#"{"prompt":"\ud83d\ude00"}"#).unwrap().prompt.unwrap(), "😀");
    }

    #[test]
    fn an_identifier_cannot_end_a_field_of_the_head() {
        assert!(message(br#"{"request_id":"a\r\nX-Evil: 1"}"#).contains("has a control character"));
        assert!(
            message(format!("{{\"request_id\":\"{}\"}}", "x".repeat(257)).as_bytes()).contains("too long")
        );
    }

    #[test]
    fn an_unknown_format_names_the_known_ones() {
        assert!(message(br#"{"format":"yaml"}"#).ends_with("send \"text\", \"json\" or \"raw\""));
    }

    #[test]
    fn the_last_words_are_the_prompt_or_the_last_message_of_the_user() {
        let words = |data: &str| Request::parse(data.as_bytes()).unwrap().last_words();
        let messages = r#""messages":[{"role":"user","content":"a"},{"role":"user","content":"b"},
                                      {"role":"assistant","content":"c"}]"#;
        assert_eq!(words(&format!("{{{messages}}}")).as_deref(), Some("b"));
        assert_eq!(words(&format!("{{\"prompt\":\"p\",{messages}}}")).as_deref(), Some("p"));
        assert_eq!(words("{}"), None);
    }
}
