//! What distinguishes one API from another. No IO.

use http::HeaderValue;
use skim::Value;
use sse::Block;

use super::Usage;
use super::api_error::ApiError;
use crate::config::{Format, Profile, Secret};
use crate::request::{BadRequest, Request};

/// How an API is asked, and what the events of its answers say. Each answer has a copy of its own.
pub(super) trait Dialect: Clone + Send + Sync + Unpin + 'static {
    /// That of `profile`, which is of this type.
    fn of(profile: &Profile) -> Self;

    /// What is asked, below the profile's base. `default_model` is for dialects whose models it can name.
    ///
    /// # Errors
    /// The request cannot be put into this dialect: 400.
    fn ask(&self, request: &Request, profile: &Profile, default_model: &str) -> Result<Question, BadRequest>;

    /// What an event with data says. `scratch` is for text that does not stand in the event as it is meant.
    fn read<'a>(&mut self, event: &Block<'a>, data: &'a [u8], scratch: &'a mut String) -> Reading<'a>;

    /// The format that a client gets who asks for this one.
    fn format(asked: Format) -> Format {
        asked
    }

    /// What it means that a response ends, completely, without an event that marks the end.
    fn end_of_response(&self) -> EndOfResponse {
        EndOfResponse::Truncated
    }
}

/// A request to an API, without what is the same for all.
#[derive(Debug)]
pub(super) struct Question {
    /// `POST` or `GET`.
    pub(super) method: http::Method,
    /// Below the base: `/chat/completions`.
    pub(super) path: &'static str,
    /// The dialect's own fields, the key's included.
    pub(super) fields: Vec<(&'static str, HeaderValue)>,
    /// JSON.
    pub(super) body: Vec<u8>,
}

/// What an event says.
#[derive(Debug, Default)]
pub(super) struct Reading<'a> {
    /// Text for the client.
    pub(super) text: &'a str,
    /// The answer is complete.
    pub(super) end: bool,
    /// Tokens so far.
    pub(super) usage: Option<Usage>,
    /// The answer ends here, and not well.
    pub(super) error: Option<Box<ApiError>>,
}

/// The end of a response that no event has announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndOfResponse {
    /// Something is missing.
    Truncated,
    /// This API has no other mark.
    Complete,
}

impl<'a> Reading<'a> {
    /// Only text.
    #[must_use]
    pub(super) fn text(text: &'a str) -> Self {
        Self { text, ..Self::default() }
    }

    /// The answer is complete.
    #[must_use]
    pub(super) fn end() -> Self {
        Self { end: true, ..Self::default() }
    }

    /// The answer ends here, and not well.
    #[must_use]
    pub(super) fn error(error: ApiError) -> Self {
        Self { error: Some(Box::new(error)), ..Self::default() }
    }
}

/// What kind of event it is. Some who speak as others do leave the field `event` out, and have its value in the data only.
pub(super) fn kind<'a>(event: &Block<'a>, data: &'a [u8]) -> &'a [u8] {
    if !event.event.is_empty() {
        return event.event;
    }
    let Ok([Some(kind)]) = Value::of(data).pick(["type"]) else { return b"" };
    kind.raw().strip_prefix(b"\"").and_then(|kind| kind.strip_suffix(b"\"")).unwrap_or_default()
}

/// `Authorization: Bearer KEY`, if there is a key.
pub(super) fn bearer(key: &Secret) -> Option<(&'static str, HeaderValue)> {
    secret(&format!("Bearer {}", key.expose()))
        .filter(|_| !key.is_empty())
        .map(|value| ("authorization", value))
}

/// A field's value that nobody prints. Keys were checked by the configuration.
pub(super) fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
