//! What answers prompts. One file a dialect, behind two traits: a [`Backend`] opens an [`Answer`].

mod mock;
mod recital;
mod test_pattern;
mod typing;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub use mock::Mock;
pub use typing::Typing;

use crate::config::{self, Provider};
use crate::outcome::Failure;
use crate::request::{BadRequest, Request};

/// A source of answers; one for the whole daemon.
pub trait Backend: Send + Sync {
    /// Asks for the answer to `request`, with the settings of this moment. Completes when it is known that there will
    /// be one, so that the client's status can still tell when there won't.
    ///
    /// Dropping the future, or the answer, cancels the request.
    fn open(&self, request: &Request, config: &config::Backend) -> Opening<'_>;
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
    /// For logs and metrics.
    pub failure: Failure,
}

/// The answer ended before its end; the client gets an error event.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Broken {
    /// For the client: what happened.
    pub message: String,
    /// For logs and metrics.
    pub failure: Failure,
}

/// All backends that requests can name, and the one for those that name none.
pub struct Backends {
    known: Vec<(&'static str, Box<dyn Backend>)>,
    /// Index of the configured one.
    default: usize,
}

impl Backends {
    /// The backends that the configuration allows.
    #[must_use]
    pub fn new(config: &config::Backend) -> Self {
        let known: Vec<(_, Box<dyn Backend>)> = vec![("mock", Box::new(Mock)), ("typing", Box::new(Typing))];
        let default = match config.provider {
            Provider::Typing => 1,
            // The configuration is refused before it comes to OpenAi.
            Provider::Mock | Provider::OpenAi => 0,
        };
        Self { known, default }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// Nobody has that name.
    pub fn choose(&self, name: Option<&str>) -> Result<&dyn Backend, BadRequest> {
        let Some(name) = name else { return Ok(&*self.known[self.default].1) };
        match self.known.iter().find(|(known, _)| *known == name) {
            Some((_, backend)) => Ok(&**backend),
            None => {
                let names: Vec<_> = self.known.iter().map(|(known, _)| format!("\"{known}\"")).collect();
                Err(BadRequest::wrong("backend", "unknown", names.join(" or ")))
            }
        }
    }
}
