//! Who is where: the connections, what is on them, and who waits for room. Nothing here waits or wakes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::oneshot;

use crate::http1::Http1;
use crate::link::Link;
use crate::{SendError, Settings, http2};

/// How often a request is moved to another connection.
pub(crate) const MOVES: usize = 3;

/// What a pool knows of itself.
#[derive(Default)]
pub(crate) struct Ledger {
    /// HTTP/2, by growing id.
    pub(crate) connections: Vec<Entry>,
    /// HTTP/1.1, the longest idle one first.
    pub(crate) idle: Vec<Idle>,
    /// In the order in which they came.
    pub(crate) waiters: BTreeMap<u64, Waiter>,
    /// Connections that are being dialled.
    pub(crate) dialling: usize,
    /// How many streams a new connection is expected to take, from the last one that was made.
    pub(crate) capacity: usize,
    /// Streams on HTTP/2 connections, also on those that take no new ones.
    pub(crate) streams: usize,
    /// HTTP/1.1 connections that are open.
    pub(crate) http1_open: usize,
    /// The next connection's id, or the next waiter's.
    pub(crate) next: u64,
    /// Nobody sends any more.
    pub(crate) is_closed: bool,
    /// Somebody waits for idle connections to grow old.
    pub(crate) is_swept: bool,
}

/// An HTTP/2 connection that takes streams.
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) link: Arc<Link>,
    pub(crate) sender: SendRequest<Bytes>,
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS.
    pub(crate) limit: usize,
    pub(crate) active: usize,
    /// Since when `active` is 0.
    pub(crate) idle_since: Instant,
}

pub(crate) struct Idle {
    pub(crate) connection: Http1,
    pub(crate) since: Instant,
}

pub(crate) struct Waiter {
    pub(crate) want: Want,
    pub(crate) answer: oneshot::Sender<Result<Lease, SendError>>,
}

/// A waiter, and what it waited for.
pub(crate) type Served = (oneshot::Sender<Result<Lease, SendError>>, Lease);

pub(crate) fn deliver(served: Vec<Served>) {
    for (answer, lease) in served {
        // A waiter that has just left lets go of its lease, which makes it another's.
        let _ = answer.send(Ok(lease));
    }
}

/// Which connections will do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Any,
    /// None of these HTTP/2 connections, which refused the request.
    Other([u64; MOVES]),
    /// None that was idle: the last one was stale.
    New,
}

/// The right to send one request.
pub(crate) enum Lease {
    Http1(Http1),
    Http2(Slot, SendRequest<Bytes>),
}

/// A stream's place on an HTTP/2 connection; given to a waiter when dropped.
pub(crate) struct Slot(pub(crate) Arc<Link>);

impl Slot {
    pub(crate) fn link(&self) -> &Link {
        &self.0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.pool.release(self.0.id);
    }
}

impl Ledger {
    /// A number that was never given before.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.connections.binary_search_by_key(&id, |entry| entry.id).ok()
    }

    pub(crate) fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        let position = self.position(id)?;
        self.connections.get_mut(position)
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Entry> {
        self.position(id).map(|position| self.connections.remove(position))
    }

    /// Room for one request: on the busiest connection that has some, so that the others can become idle.
    pub(crate) fn take(&mut self, settings: &Settings, want: Want) -> Option<Lease> {
        loop {
            let has_room = |entry: &Entry| {
                entry.active < entry.limit.min(settings.streams_per_connection.max(1))
                    && !matches!(want, Want::Other(refused) if refused.contains(&entry.id))
            };
            let candidates = self.connections.iter().enumerate().filter(|(_, entry)| has_room(entry));
            let Some((busiest, _)) = candidates.max_by_key(|(_, entry)| entry.active) else { break };
            let entry = &mut self.connections[busiest];
            if http2::is_open(&mut entry.sender) {
                entry.active += 1;
                self.streams += 1;
                return Some(Lease::Http2(Slot(Arc::clone(&entry.link)), entry.sender.clone()));
            }
            // It goes away: its streams go on, and no new one begins.
            self.connections.remove(busiest);
        }
        if want == Want::New {
            return None;
        }
        while let Some(Idle { connection, .. }) = self.idle.pop() {
            if connection.is_ready() {
                return Some(Lease::Http1(connection));
            }
        }
        None
    }

    /// Takes room for the waiters, the longest waiting first.
    pub(crate) fn serve(&mut self, settings: &Settings) -> Vec<Served> {
        let mut served = Vec::new();
        let mut from = 0;
        while let Some((&ticket, waiter)) = self.waiters.range(from..).next() {
            let want = waiter.want;
            match self.take(settings, want) {
                Some(lease) => {
                    if let Some(waiter) = self.waiters.remove(&ticket) {
                        served.push((waiter.answer, lease));
                    }
                }
                None if want == Want::Any => break,
                None => {}
            }
            from = ticket + 1;
        }
        served
    }
}
