//! Reading an unread request body away before a handoff.
//!
//! Unread bytes in the client's socket turn the daemon's close into a TCP reset, and a slow client then loses the end
//! of its response. `ap_discard_request_body` is no way to do this: it blocks for as long as the client likes, and it
//! asks for the body with "100 Continue".

use std::time::{Duration, Instant};

use crate::httpd::{BodyRead, Request};
use crate::refusal::Refusal;

/// How much of the body to read, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) timeout: Duration,
}

/// Reads the rest of the request body and drops it.
///
/// A client that waits for "100 Continue" has not sent its body and is not asked for it.
///
/// # Errors
/// A [`Refusal`] when a limit is reached or the body is broken.
pub(crate) fn drain(request: Request<'_>, limits: Limits) -> Result<(), Refusal> {
    if !request.has_body() || request.expects_continue() {
        return Ok(());
    }
    let deadline = Instant::now() + limits.timeout;
    let mut total = 0;
    loop {
        match request.read_body() {
            BodyRead::End => return Ok(()),
            BodyRead::Data(bytes) => {
                total += bytes;
                if total > limits.bytes {
                    return Err(Refusal::BodyTooLarge(limits.bytes));
                }
                if Instant::now() >= deadline {
                    return Err(Refusal::BodyTimeout(limits.timeout));
                }
            }
            BodyRead::NothingYet => {
                let remaining = deadline.saturating_duration_since(Instant::now());
                if remaining.is_zero() || !request.connection().wait_readable(remaining) {
                    return Err(Refusal::BodyTimeout(limits.timeout));
                }
            }
            BodyRead::Failed(408) => return Err(Refusal::BodyTimeout(limits.timeout)),
            BodyRead::Failed(status) => return Err(Refusal::BodyBroken(status)),
        }
    }
}
