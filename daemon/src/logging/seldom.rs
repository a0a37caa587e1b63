//! What lasts is told of now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often something that lasts is logged, at most.
const INTERVAL: Duration = Duration::from_secs(10);

/// When something was logged last.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Never yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether it is time to log it, again; then it counts as logged.
    pub fn is_due(&self) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = logged.is_none_or(|at| at.elapsed() >= INTERVAL);
        if due {
            *logged = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_told_and_the_next_is_not() {
        let seldom = Seldom::new();
        assert!(seldom.is_due());
        assert!(!seldom.is_due());
    }
}
