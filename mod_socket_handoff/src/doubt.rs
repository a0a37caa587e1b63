//! Remembering that a daemon has not answered.
//!
//! One that hangs costs each handoff the whole time for its answer before a fallback is asked, and a worker waits
//! meanwhile. So for a while the others are asked first, and now and then one handoff finds out whether it is back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long a daemon that has not answered is asked last.
const PERIOD: Duration = Duration::from_secs(5);

/// Whether a daemon has not answered lately, as far as this child knows.
#[derive(Debug, Default)]
pub(crate) struct Doubt(Mutex<Option<Instant>>);

impl Doubt {
    /// It has not answered.
    pub(crate) fn raise(&self, now: Instant) {
        *self.lock() = Some(now + PERIOD);
    }

    /// It has.
    pub(crate) fn dispel(&self) {
        *self.lock() = None;
    }

    /// Whether others are to be asked first. When the time is over, the one who asks here finds out for all.
    pub(crate) fn is_standing(&self, now: Instant) -> bool {
        let mut until = self.lock();
        match *until {
            None => false,
            Some(end) if now < end => true,
            Some(_) => {
                *until = Some(now + PERIOD);
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_asks_again_after_a_while() {
        let (doubt, start) = (Doubt::default(), Instant::now());
        assert!(!doubt.is_standing(start));
        doubt.raise(start);
        assert!(doubt.is_standing(start) && doubt.is_standing(start + PERIOD - Duration::from_millis(1)));
        assert!(!doubt.is_standing(start + PERIOD), "this one asks");
        assert!(doubt.is_standing(start + PERIOD), "and this one does not wait for what it finds out");
        doubt.dispel();
        assert!(!doubt.is_standing(start + PERIOD));
    }
}
