//! What the server has seen: shared by its connections, read by tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use tokio::sync::Notify;

use crate::answer::Answer;
use crate::plan::Planner;
use crate::settings::Settings;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// `POST` in most cases.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// All header fields; for HTTP/2 without the pseudo fields, but with `host` made of `:authority`.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// Which connection it came on: the first one accepted is 1.
    pub connection: usize,
}

impl RecordedRequest {
    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Counters and records of one server.
pub(crate) struct State {
    pub(crate) settings: Settings,
    planner: Planner,
    pub(crate) connections: AtomicUsize,
    pub(crate) connections_total: AtomicUsize,
    pub(crate) streams: AtomicUsize,
    pub(crate) cancelled: AtomicUsize,
    pub(crate) completed: AtomicUsize,
    resets: Mutex<Vec<u32>>,
    requests: Mutex<Vec<RecordedRequest>>,
    pub(crate) changed: Notify,
}

impl State {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            planner: Planner::new(),
            settings,
            connections: AtomicUsize::new(0),
            connections_total: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            completed: AtomicUsize::new(0),
            resets: Mutex::default(),
            requests: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Takes a request down, and decides what it gets.
    pub(crate) fn answer(&self, request: &RecordedRequest) -> Answer {
        self.record(request);
        self.planner.answer(&self.settings, request)
    }

    fn record(&self, request: &RecordedRequest) {
        if self.settings.verbose {
            eprintln!(
                "connection {}: {} {} ({:?}, {} bytes)",
                request.connection,
                request.method,
                request.path,
                request.version,
                request.body.len()
            );
        }
        if self.settings.record {
            lock(&self.requests).push(request.clone());
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        lock(&self.requests).clone()
    }

    /// The client sent RST_STREAM with this code.
    pub(crate) fn reset_by_client(&self, code: u32) {
        if self.settings.record {
            lock(&self.resets).push(code);
        }
    }

    pub(crate) fn resets(&self) -> Vec<u32> {
        lock(&self.resets).clone()
    }

    pub(crate) fn add(&self, counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

/// A panic elsewhere does not make the records worse.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One more of `counter` as long as this lives.
pub(crate) struct Counted {
    state: Arc<State>,
    counter: fn(&State) -> &AtomicUsize,
}

impl Counted {
    /// Counts a connection, and numbers it.
    pub(crate) fn connection(state: &Arc<State>) -> (Self, usize) {
        let number = state.connections_total.fetch_add(1, Ordering::SeqCst) + 1;
        (Self::new(state, |state| &state.connections), number)
    }

    /// Counts a stream.
    pub(crate) fn stream(state: &Arc<State>) -> Self {
        Self::new(state, |state| &state.streams)
    }

    fn new(state: &Arc<State>, counter: fn(&State) -> &AtomicUsize) -> Self {
        state.add(counter(state));
        Self { state: Arc::clone(state), counter }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.counter)(&self.state).fetch_sub(1, Ordering::SeqCst);
        self.state.changed.notify_waiters();
    }
}
