//! Misbehaviour on request, of the backends that need no API: the field `test_pattern`.
//!
//! | pattern | the backend |
//! |---|---|
//! | `error:STATUS` | refuses with that status, 400 to 599; 429 and 503 with `Retry-After: 1` |
//! | `hang` | never begins to answer |
//! | `silent`, `silent-after:N` | begins to answer, and is silent for ever after N pieces, 0 of them for `silent` |
//! | `break-after:N` | loses its connection after N pieces |
//! | `truncate-after:N` | ends after N pieces without the mark of the end |
//! | `fail-after:N` | reports an error of its own after N pieces |
//! | `words:N` | says N words in place of the prompt |

use std::time::Duration;

use super::api_error::failure;
use super::{Broken, Refusal};
use crate::outcome::Failure;
use crate::request::BadRequest;

/// Most words that can be asked for.
const WORDS_LIMIT: usize = 1_000_000;

/// A misbehaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TestPattern {
    /// None.
    #[default]
    Well,
    /// No answer, but this status.
    Error(u16),
    /// Neither answer nor refusal.
    Hang,
    /// Silence after so many pieces.
    Silent(usize),
    /// This failure after so many pieces.
    Break(usize, Failure),
    /// So many words.
    Words(usize),
}

impl TestPattern {
    /// Understands the field.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, BadRequest> {
        let Some(text) = text else { return Ok(Self::Well) };
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, number.parse::<usize>().ok()),
            None => (text, None),
        };
        match (name, number) {
            ("error", Some(status @ 400..=599)) => u16::try_from(status).ok().map(Self::Error),
            ("hang", None) => Some(Self::Hang),
            ("silent", None) if text == "silent" => Some(Self::Silent(0)),
            ("silent-after", Some(pieces)) => Some(Self::Silent(pieces)),
            ("break-after", Some(pieces)) => Some(Self::Break(pieces, Failure::Network)),
            ("truncate-after", Some(pieces)) => Some(Self::Break(pieces, Failure::Truncated)),
            ("fail-after", Some(pieces)) => Some(Self::Break(pieces, Failure::Other)),
            ("words", Some(words)) if words <= WORDS_LIMIT => Some(Self::Words(words)),
            _ => None,
        }
        .ok_or_else(unknown)
    }

    /// The refusal that is asked for.
    pub(super) fn refusal(self) -> Option<Refusal> {
        let Self::Error(status) = self else { return None };
        Some(Refusal {
            retry_after: matches!(status, 429 | 503).then_some(Duration::from_secs(1)),
            ..Refusal::new(status, format!("the test pattern asks for status {status}"), failure(status))
        })
    }

    /// What becomes of the answer when `pieces` of it were given.
    pub(super) fn after(self, pieces: usize) -> After {
        match self {
            Self::Silent(limit) if pieces >= limit => After::Silence,
            Self::Break(limit, failure) if pieces >= limit => {
                let message = match failure {
                    Failure::Network => "the connection to the backend broke",
                    Failure::Truncated => "the backend's answer ended before its end",
                    _ => "the backend reports an error",
                };
                After::Broken(Broken::new(message, failure))
            }
            _ => After::More,
        }
    }
}

/// How an answer goes on.
pub(super) enum After {
    /// As it should.
    More,
    /// Not at all, and it does not end.
    Silence,
    /// It ends here.
    Broken(Broken),
}

fn unknown() -> BadRequest {
    let expected = "error:STATUS, hang, silent, silent-after:N, break-after:N, truncate-after:N, fail-after:N or words:N";
    BadRequest::wrong("test_pattern", "unknown", expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_understood() {
        let parse = |text| TestPattern::parse(Some(text)).unwrap();
        assert_eq!(TestPattern::parse(None).unwrap(), TestPattern::Well);
        assert_eq!(parse("error:429"), TestPattern::Error(429));
        assert_eq!(parse("hang"), TestPattern::Hang);
        assert_eq!(parse("silent"), TestPattern::Silent(0));
        assert_eq!(parse("silent-after:2"), TestPattern::Silent(2));
        assert_eq!(parse("break-after:3"), TestPattern::Break(3, Failure::Network));
        assert_eq!(parse("truncate-after:0"), TestPattern::Break(0, Failure::Truncated));
        assert_eq!(parse("words:100"), TestPattern::Words(100));
    }

    #[test]
    fn an_unknown_pattern_is_refused() {
        for wrong in
            ["", "error", "error:200", "error:x", "hang:1", "silent:", "break-after:-1", "words:1000001"]
        {
            assert!(TestPattern::parse(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_status_to_retry_says_when() {
        let refusal = |status| TestPattern::Error(status).refusal().unwrap();
        assert_eq!(refusal(429).retry_after, Some(Duration::from_secs(1)));
        assert_eq!(refusal(500).retry_after, None);
        assert_eq!(refusal(422).failure, Failure::BadRequest);
        assert!(TestPattern::Well.refusal().is_none());
    }
}
