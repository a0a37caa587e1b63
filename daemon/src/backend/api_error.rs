//! What APIs say when they cannot answer. Each has a form of its own; this reads them all. No IO.

use serde_json::Value;

use crate::outcome::Failure;

/// Longest name or message that is passed on or logged, in bytes.
const MESSAGE_LIMIT: usize = 1000;

/// An error, as the API tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    /// The API's name for it, such as `rate_limit_exceeded`; empty if it gives none.
    pub(super) kind: String,
    /// The API's sentence.
    pub(super) message: String,
    /// The status that the API would have given, if it says so.
    status: Option<u16>,
}

impl ApiError {
    /// Reads an error's JSON:
    /// `{"error":{"message","type","code"}}` (OpenAI, Anthropic), `{"error":"…"}` (Ollama), `{"object":"error","message",…}`
    /// (vLLM), `{"detail":"…"}` (FastAPI), `{"type":"error","code","message"}` (Responses),
    /// `{"response":{"error":{…}}}` (Responses, `response.failed`). Anything else is none.
    #[must_use]
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let json: Value = serde_json::from_slice(json).ok()?;
        Self::find(&json).map(Self::of)
    }

    /// Of an event of which nothing else is known than that it is an error.
    #[must_use]
    pub(super) fn of_event(data: &[u8]) -> Self {
        Self::parse(data).unwrap_or_else(|| Self {
            kind: String::new(),
            message: limited(&String::from_utf8_lossy(data)),
            status: None,
        })
    }

    /// An event that cannot be read.
    #[must_use]
    pub(super) fn unreadable(malformed: skim::Malformed) -> Self {
        Self { kind: "unreadable".to_owned(), message: format!("an event has {malformed}"), status: None }
    }

    fn find(json: &Value) -> Option<&Value> {
        if let Some(error) = json.get("error").filter(|error| error.is_object() || error.is_string()) {
            return Some(error);
        }
        if let Some(error) = json.get("response").and_then(|response| response.get("error")) {
            return error.is_object().then_some(error);
        }
        let is_error = |name: &str| json.get(name).is_some_and(|value| value == "error");
        if is_error("object") || is_error("type") || json.get("detail").is_some() {
            return Some(json);
        }
        // What an error's response holds is an error, whatever else it says of itself.
        json.get("message").is_some().then_some(json)
    }

    fn of(error: &Value) -> Self {
        let word = |name: &str| error.get(name).and_then(Value::as_str).filter(|word| *word != "error");
        let message = error.as_str().or_else(|| word("message")).or_else(|| word("detail"));
        let status = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        Self {
            kind: limited(word("code").or_else(|| word("type")).unwrap_or_default()),
            message: limited(message.unwrap_or_default()),
            status: status.filter(|status| (400..600).contains(status)),
        }
    }

    /// The status that the API would have given, had it known before.
    #[must_use]
    pub(super) fn status(&self) -> u16 {
        self.status.unwrap_or(match self.kind.as_str() {
            "invalid_request_error" | "context_length_exceeded" | "invalid_prompt" => 400,
            "authentication_error" | "invalid_api_key" => 401,
            "permission_error" => 403,
            "not_found_error" | "model_not_found" => 404,
            "request_too_large" => 413,
            "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" => 429,
            "timeout_error" => 504,
            _ => 500,
        })
    }

    /// Its name, if it is one that may be shown to anybody: a word.
    #[must_use]
    pub(super) fn word(&self) -> Option<&str> {
        let word =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-');
        Some(self.kind.as_str()).filter(|kind| !kind.is_empty() && kind.len() <= 60 && word(kind))
    }

    /// For the log.
    #[must_use]
    pub(super) fn cause(&self) -> String {
        match (self.kind.as_str(), self.message.as_str()) {
            ("", "") => "without a word".to_owned(),
            ("", message) => message.to_owned(),
            (kind, "") => kind.to_owned(),
            (kind, message) => format!("{kind}: {message}"),
        }
    }
}

/// What kind of failure a status is.
#[must_use]
pub(super) fn failure(status: u16) -> Failure {
    match status {
        400 | 404 | 413 | 422 => Failure::BadRequest,
        408 | 504 => Failure::Timeout,
        _ => Failure::Other,
    }
}

/// At most so much of it, and on one line: it goes into a log.
fn limited(text: &str) -> String {
    let mut end = text.len().min(MESSAGE_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, kind: &str, message: &str, status: u16) {
        let error = ApiError::parse(json.as_bytes()).unwrap();
        assert_eq!((error.kind.as_str(), error.message.as_str(), error.status()), (kind, message, status));
    }

    #[test]
    fn each_apis_errors_are_understood() {
        check(r#"{"error":{"message":"m","type":"server_error","code":null}}"#, "server_error", "m", 500);
        check(
            r#"{"error":{"message":"m","type":"requests","code":"rate_limit_exceeded"}}"#,
            "rate_limit_exceeded",
            "m",
            429,
        );
        check(
            r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
            "overloaded_error",
            "m",
            500,
        );
        check(
            r#"{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}"#,
            "BadRequestError",
            "m",
            400,
        );
        check(r#"{"error":"model not found"}"#, "", "model not found", 500);
        check(r#"{"detail":"Not Found"}"#, "", "Not Found", 500);
        check(
            r#"{"type":"error","code":"rate_limit_exceeded","message":"m","param":null}"#,
            "rate_limit_exceeded",
            "m",
            429,
        );
        check(
            r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"m"}}}"#,
            "server_error",
            "m",
            500,
        );
    }

    #[test]
    fn what_is_no_error_is_none() {
        for json in
            ["", "[]", "{}", r#"{"error":null}"#, r#"{"response":{"error":null}}"#, r#"{"choices":[]}"#]
        {
            assert_eq!(ApiError::parse(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn only_a_word_is_shown_to_anybody() {
        let kind = |kind: &str| ApiError { kind: kind.into(), message: String::new(), status: None };
        assert_eq!(kind("overloaded_error").word(), Some("overloaded_error"));
        for other in ["", "no word", "sk-Secret", "<b>"] {
            assert_eq!(kind(other).word(), None);
        }
    }

    #[test]
    fn a_long_name_is_cut_as_well() {
        let json = serde_json::json!({ "error": { "type": "x\n".repeat(MESSAGE_LIMIT) } }).to_string();
        let error = ApiError::parse(json.as_bytes()).unwrap();
        assert!(error.kind.len() <= MESSAGE_LIMIT && !error.kind.contains('\n'));
    }

    #[test]
    fn a_long_message_is_cut_between_characters_and_has_one_line() {
        let json = serde_json::json!({ "error": { "message": "ü\n".repeat(MESSAGE_LIMIT) } }).to_string();
        let error = ApiError::parse(json.as_bytes()).unwrap();
        assert!(error.message.len() <= MESSAGE_LIMIT && !error.message.contains('\n'));
    }
}
