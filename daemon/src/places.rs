//! How many streams there are, and whether one more may begin.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the streams.
#[derive(Debug, Default)]
pub struct Places {
    taken: Arc<AtomicUsize>,
}

/// A stream's place; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Places {
    /// Takes a place, unless `max` are taken. The limit is that of the moment: it may have changed since.
    pub fn try_take(&self, max: usize) -> Option<Place> {
        let one_more = |taken| (taken < max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Place(self.taken.clone()))
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_allowed_at_the_moment() {
        let places = Places::default();
        let first = places.try_take(1);
        assert!(first.is_some() && places.try_take(1).is_none());
        let second = places.try_take(2);
        assert!(second.is_some());
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.try_take(1).is_none());
    }
}
