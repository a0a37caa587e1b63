//! Any source of Server-Sent Events whose URL the operator has given a name: its events, as they stand.

use http::Method;
use sse::Block;

use super::dialect::{Dialect, EndOfResponse, Question, Reading, bearer};
use crate::config::{self, Format, Profile};
use crate::request::{BadRequest, Request};

/// A source of events.
#[derive(Clone)]
pub(super) struct Verbatim {
    /// The type of the event that comes last; none: the end of the response is the end.
    end_event: Option<std::sync::Arc<str>>,
}

impl Dialect for Verbatim {
    fn of(profile: &Profile) -> Self {
        Self { end_event: profile.end_event.as_deref().map(Into::into) }
    }

    /// With `POST` the member `body` of the handoff data is sent.
    fn ask(&self, request: &Request, profile: &Profile, _: &str) -> Result<Question, BadRequest> {
        let (method, body) = match profile.method {
            config::Method::Get => (Method::GET, Vec::new()),
            config::Method::Post => {
                let body = request.others.iter().find(|(name, _)| name == "body");
                (
                    Method::POST,
                    body.map_or_else(|| b"{}".to_vec(), |(_, body)| body.get().as_bytes().to_vec()),
                )
            }
        };
        Ok(Question { method, path: "", fields: bearer(&profile.api_key).into_iter().collect(), body })
    }

    /// Nothing but its end is understood of it.
    fn read<'a>(&mut self, event: &Block<'a>, _: &'a [u8], _: &'a mut String) -> Reading<'a> {
        match &self.end_event {
            Some(end) if end.as_bytes() == event.event => Reading::end(),
            _ => Reading::default(),
        }
    }

    fn format(_: Format) -> Format {
        Format::Raw
    }

    fn end_of_response(&self) -> EndOfResponse {
        if self.end_event.is_some() { EndOfResponse::Truncated } else { EndOfResponse::Complete }
    }
}
