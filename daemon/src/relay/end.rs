//! How a relay ends.

use crate::backend::Refusal;
use crate::outcome::Outcome;

/// How a relay ended.
#[derive(Debug)]
pub struct End {
    /// In a word.
    pub outcome: Outcome,
    /// Nothing was sent: the client is still to be told this.
    pub refusal: Option<Box<Refusal>>,
    /// What went wrong, for the log.
    pub cause: Option<Box<str>>,
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, refusal: None, cause: None }
    }
}

impl End {
    /// Nothing was sent, and `refusal` is to be.
    #[must_use]
    pub fn refused(outcome: Outcome, refusal: Refusal) -> Self {
        let cause = Some(refusal.cause.as_deref().unwrap_or(&refusal.message).into());
        Self { outcome, refusal: Some(Box::new(refusal)), cause }
    }

    /// `cause` broke it off.
    #[must_use]
    pub fn broken(outcome: Outcome, cause: String) -> Self {
        Self { outcome, refusal: None, cause: Some(cause.into()) }
    }
}
