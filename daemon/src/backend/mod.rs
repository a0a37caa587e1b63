//! What answers prompts. One file a dialect, behind two traits: a [`Backend`] opens an [`Answer`].

pub mod mock;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::config;
use crate::request::Request;

/// A source of answers; one for the whole daemon.
pub trait Backend: Send + Sync {
    /// Asks for the answer to `request`. Completes when it is known that there will be one, so that the client's
    /// status can still tell when there won't.
    ///
    /// Dropping the future, or the answer, cancels the request.
    /// `config` is that of the moment.
    fn open(&self, request: Request, config: &config::Backend) -> Opening<'_>;
}

/// An answer that is being asked for.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<BoxAnswer, Refusal>> + Send + 'a>>;

/// An answer under way. Boxed, since each dialect's is of its own size, and most streams have the same one.
pub type BoxAnswer = Pin<Box<dyn Answer>>;

/// The pieces of one answer, in order.
pub trait Answer: Send {
    /// The next piece, lent from the answer's own memory; `None` once, after the last one.
    fn poll_next<'a>(
        self: Pin<&'a mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece<'a>, Broken>>>;
}

/// A piece of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text, to be sent as one event.
    Text(&'a str),
}

/// The backend gives no answer: a real HTTP response, since nothing has been sent yet.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Status code for the client, 400 to 599.
    pub status: u16,
    /// For the client: what is wrong and what to do.
    pub message: String,
    /// For the `Retry-After` field.
    pub retry_after: Option<Duration>,
}

/// The answer ended before its end; the client gets an error event.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Broken {
    /// For the client: what happened.
    pub message: String,
}

/// The backend that the configuration asks for.
#[must_use]
pub fn from_config(config: &config::Backend) -> Box<dyn Backend> {
    match config.provider {
        config::Provider::Mock | config::Provider::Typing => Box::new(mock::Mock),
        // Refused when the configuration was checked.
        config::Provider::OpenAi => Box::new(mock::Mock),
    }
}
