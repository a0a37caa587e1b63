//! What answers prompts, behind two traits: a [`Backend`] opens an [`Answer`].
//!
//! | what | where |
//! |---|---|
//! | backends that need no API | [`mock`], [`typing`], [`recital`], [`test_pattern`] |
//! | an API: asks it, holds the client's status until it answers, reads its events | [`api`], [`stream`], [`refused`] |
//! | how each API is asked and what its events say: one file a dialect, behind [`dialect::Dialect`] | [`openai`], [`openai_responses`], [`anthropic`], [`verbatim`] |
//! | what dialects share | [`body`], [`template`], [`api_error`], [`secrets`] |

mod anthropic;
mod api;
mod api_error;
mod body;
mod dialect;
#[cfg(test)]
mod fixtures;
mod mock;
mod openai;
mod openai_responses;
mod recital;
mod refused;
mod secrets;
mod stream;
mod template;
mod test_pattern;
mod typing;
mod verbatim;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::Api;
use dialect::Dialect;
pub use mock::Mock;
pub use typing::Typing;

use crate::config::{self, DialectName, Format};
use crate::events::Events;
use crate::outcome::Failure;
use crate::request::{BadRequest, Request};

/// A source of answers; one for the whole daemon.
pub trait Backend: Send + Sync {
    /// Asks for the answer to `request`, with the settings of this moment. Completes when it is known that there will
    /// be one, so that the client's status can still tell when there won't.
    ///
    /// Dropping the future, or the answer, cancels the request.
    ///
    /// # Errors
    /// This backend cannot be asked so.
    fn open(&self, request: &Request, config: &config::Backend) -> Result<Opening<'_>, BadRequest>;

    /// The format that a client gets who asks for this one. By default a backend has text and no events of its own.
    fn format(&self, asked: Format) -> Format {
        if asked == Format::Raw { Format::Text } else { asked }
    }

    /// What its connections do, if it has any.
    fn connections(&self) -> Option<upstream::Figures> {
        None
    }
}

/// An answer that is being asked for.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<BoxAnswer, Refusal>> + Send + 'a>>;

/// An answer under way. Boxed, since each dialect's is of its own size, and most streams have the same one.
pub type BoxAnswer = Pin<Box<dyn Answer>>;

/// The pieces of one answer, in order.
pub trait Answer: Send {
    /// Writes what is ready to `events`, until they are full. Pending: what was ready is written, and the task is woken
    /// when there is more.
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        events: &mut Events<'_>,
    ) -> Poll<Result<Next, Broken>>;

    /// What the backend has counted, as far as it has told.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// How an answer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The events are full.
    More,
    /// It is complete.
    End,
}

/// Tokens, as the backend counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the request.
    pub input: Option<u64>,
    /// Of the answer.
    pub output: Option<u64>,
}

impl Usage {
    /// What is told later is more.
    fn add(&mut self, more: Self) {
        self.input = more.input.or(self.input);
        self.output = more.output.or(self.output);
    }
}

/// The backend gives no answer: a real HTTP response, since nothing has been sent yet.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Status code for the client, 400 to 599.
    pub status: u16,
    /// For the client: what is wrong and what to do.
    pub message: String,
    /// For the log, where it says more than the client may know.
    pub cause: Option<String>,
    /// For the `Retry-After` field.
    pub retry_after: Option<Duration>,
    /// For logs and metrics.
    pub failure: Failure,
}

impl Refusal {
    /// Without anything else to say.
    #[must_use]
    pub fn new(status: u16, message: impl Into<String>, failure: Failure) -> Self {
        Self { status, message: message.into(), cause: None, retry_after: None, failure }
    }
}

/// The answer ended before its end; the client gets an error event.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Broken {
    /// For the client: what happened.
    pub message: String,
    /// For the log, where it says more than the client may know.
    pub cause: Option<String>,
    /// The client has got the backend's own error event, as it stood.
    pub told: bool,
    /// For logs and metrics.
    pub failure: Failure,
}

impl Broken {
    /// Without anything else to say.
    #[must_use]
    pub fn new(message: impl Into<String>, failure: Failure) -> Self {
        Self { message: message.into(), cause: None, told: false, failure }
    }
}

/// All backends that requests can name, and the one for those that name none.
pub struct Backends {
    known: Vec<Known>,
    /// Index of the configured one.
    default: usize,
}

/// A backend by name.
pub struct Known {
    /// As requests, metrics and logs have it.
    pub name: Arc<str>,
    /// Who answers.
    pub backend: Box<dyn Backend>,
}

impl Backends {
    /// The backends that the configuration allows.
    #[must_use]
    pub fn new(config: &config::Backend) -> Self {
        let known = |name: &str, backend| Known { name: name.into(), backend };
        let mut all = vec![known("mock", Box::new(Mock) as _), known("typing", Box::new(Typing) as _)];
        all.extend(config.profiles.iter().map(|profile| known(&profile.name, api(profile, config))));
        // The configuration has been checked: somebody has that name.
        let default = all.iter().position(|known| *known.name == *config.provider).unwrap_or_default();
        Self { known: all, default }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// Nobody has that name.
    pub fn choose(&self, name: Option<&str>) -> Result<(usize, &dyn Backend), BadRequest> {
        let index = match name {
            None => Some(self.default),
            Some(name) => self.known.iter().position(|known| *known.name == *name),
        };
        match index {
            Some(index) => Ok((index, &*self.known[index].backend)),
            None => {
                let names: Vec<_> = self.known.iter().map(|known| format!("\"{}\"", known.name)).collect();
                Err(BadRequest::wrong("backend", "unknown", names.join(" or ")))
            }
        }
    }

    /// All of them, in the order of their indices.
    #[must_use]
    pub fn all(&self) -> &[Known] {
        &self.known
    }
}

/// The backend of `[backend.NAME]`. A new dialect is a file beside these, a word in the configuration, and a line here.
fn api(profile: &config::Profile, config: &config::Backend) -> Box<dyn Backend> {
    fn of<D: Dialect>(profile: &config::Profile, config: &config::Backend) -> Box<dyn Backend> {
        Box::new(Api::<D>::new(profile, config))
    }
    match profile.dialect {
        DialectName::OpenAi => of::<openai::ChatCompletions>(profile, config),
        DialectName::OpenAiResponses => of::<openai_responses::Responses>(profile, config),
        DialectName::Anthropic => of::<anthropic::Messages>(profile, config),
        DialectName::Sse => of::<verbatim::Verbatim>(profile, config),
    }
}
