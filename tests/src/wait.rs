//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How long a test waits for what must come, before it calls it missing. Long, since the machine may be busy with
/// other tests: it costs time only when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// Returns as soon as `condition` holds.
///
/// # Panics
/// When it does not hold within `limit`; `what` names it in the message.
#[track_caller]
pub fn wait_until(limit: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(limit, condition), "after {limit:?} still waiting for: {what}");
}

/// Whether `condition` came to hold within `limit`.
pub(crate) fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(INTERVAL);
    }
}
