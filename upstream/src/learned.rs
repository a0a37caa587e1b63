//! Whether a peer behind `http://` speaks HTTP/2 is not written anywhere: it is learned.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a peer is taken for one that speaks HTTP/1.1 only: it may be replaced by a newer one.
const REMEMBERED: Duration = Duration::from_secs(600);

/// What is known of the peer's HTTP versions.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    http1_until: Mutex<Option<Instant>>,
    /// It sent SETTINGS once, so a connection that ends without them is an accident.
    spoke_http2: AtomicBool,
    warned: AtomicBool,
}

impl Learned {
    /// HTTP/2 is worth no attempt.
    pub(crate) fn is_http1_only(&self) -> bool {
        self.lock().is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn http2_was_spoken(&self) {
        self.spoke_http2.store(true, Ordering::Relaxed);
    }

    /// Whether the peer was ever heard to speak HTTP/2.
    pub(crate) fn speaks_http2(&self) -> bool {
        self.spoke_http2.load(Ordering::Relaxed)
    }

    /// Remembers it, and tells the operator once.
    pub(crate) fn http1_only(&self, address: &str) {
        *self.lock() = Some(Instant::now() + REMEMBERED);
        self.spoke_http2.store(false, Ordering::Relaxed);
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                address,
                "the API speaks no HTTP/2 without TLS: going on with HTTP/1.1, a connection for each stream; \
                 http2_enabled = false saves the attempts"
            );
        }
    }

    /// HTTP/1.1 did not work either.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.http1_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
