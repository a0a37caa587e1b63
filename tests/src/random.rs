//! Random numbers that can be had again: the same seed, the same numbers.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A sequence of random numbers (SplitMix64). Prints its seed when a test fails; `TEST_SEED` sets it.
#[derive(Debug)]
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// By `TEST_SEED`, or by the clock.
    ///
    /// # Panics
    /// When `TEST_SEED` is not a number.
    #[must_use]
    pub fn new() -> Self {
        let named = std::env::var("TEST_SEED").ok();
        let seed = named.map(|seed| seed.parse().expect("TEST_SEED is a number")).unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.as_nanos() as u64
        });
        Self { seed, state: seed }
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time in `range`, in milliseconds.
    pub fn milliseconds(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.next() % (range.end - range.start))
    }

    /// One of `things`.
    ///
    /// # Panics
    /// When there is none.
    pub fn one_of<T: Copy>(&mut self, things: &[T]) -> T {
        things[(self.next() % things.len() as u64) as usize]
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the same random moments again: TEST_SEED={}", self.seed);
        }
    }
}
