//! What a client is told when an API gives no answer (facts that are the operator's stay in the log). No IO.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;
use upstream::SendError;

use super::api_error::{ApiError, failure};
use super::{Broken, Refusal};
use crate::outcome::Failure;

/// The response to a request that the API answers with `status`, `fields` and `body`.
#[must_use]
pub(super) fn by_status(status: u16, fields: &HeaderMap, body: &[u8]) -> Refusal {
    let error = ApiError::parse(body);
    let cause = error.as_ref().map(ApiError::cause).unwrap_or_else(|| "without a sentence".to_owned());
    let mut refusal = of(status, error.as_ref());
    refusal.cause = Some(format!("the backend answered with {status}: {cause}"));
    refusal.retry_after = fields.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
    refusal
}

/// The response when an error is the first event of the answer.
#[must_use]
pub(super) fn by_event(error: &ApiError) -> Refusal {
    let mut refusal = of(error.status(), Some(error));
    refusal.cause = Some(format!("the backend's answer begins with an error: {}", error.cause()));
    refusal
}

/// The end of an answer in which the API reports an error. `told`: the client has got the API's own event.
#[must_use]
pub(super) fn in_mid_stream(error: &ApiError, told: bool) -> Broken {
    let word = error.word().map(|word| format!(" ({word})")).unwrap_or_default();
    let cause = Some(format!("the backend reports an error in its answer: {}", error.cause()));
    let message = format!("the backend reports an error{word}; the answer ends here");
    Broken { message, cause, told, failure: Failure::Other }
}

/// The response when the API cannot be reached.
#[must_use]
pub(super) fn unreached(error: &SendError) -> Refusal {
    let (status, message, failure) = match error {
        SendError::ConnectTimeout { .. } => {
            (504, "the backend does not answer in time; please ask again later", Failure::Timeout)
        }
        _ => (502, "the backend cannot be reached; please ask again later", Failure::Network),
    };
    Refusal { cause: Some(error.to_string()), ..Refusal::new(status, message, failure) }
}

/// What the client gets for a status of the API. What is wrong with the request is told in the API's words, since only they
/// say what; all else is the operator's, whose account and key those words may name.
fn of(status: u16, error: Option<&ApiError>) -> Refusal {
    let failure = failure(status);
    let (status, message) = match status {
        400 | 404 | 413 | 422 => {
            let said = error.map(|error| error.message.as_str()).filter(|said| !said.is_empty());
            (status, format!("the backend refuses the request: {}", said.unwrap_or("it does not say why")))
        }
        429 => (429, "the backend has too many requests; please ask again later".to_owned()),
        401 | 403 => (502, "the backend does not accept the server's credentials".to_owned()),
        408 | 504 => (504, "the backend did not answer in time; please ask again later".to_owned()),
        _ => (502, "the backend failed; please ask again later".to_owned()),
    };
    Refusal::new(status, message, failure)
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        by_status(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn what_is_wrong_with_the_request_passes_on_and_all_else_is_a_bad_gateway() {
        for (status, expected) in [
            (400, 400),
            (401, 502),
            (402, 502),
            (403, 502),
            (404, 404),
            (408, 504),
            (413, 413),
            (422, 422),
            (429, 429),
            (302, 502),
            (500, 502),
            (503, 502),
            (504, 504),
            (529, 502),
        ] {
            assert_eq!(refusal(status, "").status, expected, "{status}");
        }
    }

    #[test]
    fn the_apis_words_reach_the_client_only_about_its_own_request() {
        let body = r#"{"error":{"message":"key sk-abc of org-1","type":"t"}}"#;
        for status in [401, 403, 429, 500, 503] {
            let refusal = refusal(status, body);
            assert!(!refusal.message.contains("org-1"), "{status}: {}", refusal.message);
        }
        assert!(refusal(400, body).message.contains("org-1"));
        assert!(refusal(500, body).cause.unwrap().contains("org-1"));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(retry_after(&later).unwrap() > Duration::from_secs(90));
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn an_error_as_first_event_has_the_status_that_it_would_have_had() {
        let error = ApiError::parse(br#"{"error":{"type":"rate_limit_error","message":"m"}}"#).unwrap();
        assert_eq!(by_event(&error).status, 429);
        let error = ApiError::parse(br#"{"error":{"type":"overloaded_error","message":"m"}}"#).unwrap();
        assert_eq!(by_event(&error).status, 502);
    }
}
