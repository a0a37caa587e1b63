//! Which request goes on which connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::attempt::Attempt;
use crate::body::Body;
use crate::dial::Dialler;
use crate::error::Failure;
use crate::http1::Http1;
use crate::ledger::{Idle, Lease, Ledger, MOVES, Waiter, Want, deliver};
use crate::{SendError, Settings, SetupError, http1, http2};

/// All connections to one origin.
pub(crate) struct Pool {
    pub(crate) dialler: Dialler,
    ledger: Mutex<Ledger>,
    pub(crate) open: AtomicUsize,
    dials: AtomicU64,
    pub(crate) dial_failures: AtomicU64,
    retries: AtomicU64,
}

/// What is going on in a pool, and what was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Connections that are open now, idle ones too.
    pub connections: usize,
    /// Requests on connections now, from their sending until their answers' ends.
    pub streams: usize,
    /// Requests that wait for a connection that is being dialled for them.
    pub waiting: usize,
    /// Connections that were begun.
    pub dials: u64,
    /// Connections that did not come about.
    pub dial_failures: u64,
    /// Requests that were sent once more, since the peer had not processed them.
    pub retries: u64,
}

/// What a connection's driver wants to know.
pub(crate) struct Check {
    pub(crate) has_streams: bool,
    pub(crate) next_check: Duration,
}

impl Pool {
    pub(crate) fn new(settings: Settings) -> Result<Arc<Self>, SetupError> {
        let dialler = Dialler::new(settings)?;
        Ok(Arc::new(Self {
            dialler,
            ledger: Mutex::default(),
            open: AtomicUsize::new(0),
            dials: AtomicU64::new(0),
            dial_failures: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }))
    }

    /// Sends a request, and once more elsewhere if it surely was not processed.
    pub(crate) async fn send(
        self: &Arc<Self>,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Body>, SendError> {
        let outgoing = self.dialler.origin.outgoing(request)?;
        let mut want = Want::Any;
        let mut refused = [0; MOVES];
        let mut moves = 0;
        loop {
            let failure = match self.lease(want).await? {
                Lease::Http2(slot, sender) => {
                    let id = slot.0.id;
                    match http2::exchange(slot, sender, &outgoing).await {
                        Ok(response) => return Ok(response),
                        Err(failure) => {
                            if let Some(place) = refused.get_mut(moves) {
                                *place = id;
                            }
                            want = Want::Other(refused);
                            failure
                        }
                    }
                }
                Lease::Http1(connection) => {
                    let was_idle = connection.was_idle();
                    // Boxed, since most requests do without it.
                    match Box::pin(http1::exchange(connection, &outgoing)).await {
                        Ok(response) => return Ok(response),
                        Err(failure) => {
                            if !was_idle {
                                self.dialler.learned.forget();
                            }
                            want = Want::New;
                            failure
                        }
                    }
                }
            };
            match failure {
                Failure::Unprocessed(error) if moves < MOVES => {
                    tracing::debug!(error = %error, "the request goes to another connection");
                    moves += 1;
                    self.retries.fetch_add(1, Ordering::Relaxed);
                }
                Failure::Unprocessed(error) | Failure::Final(error) => return Err(error),
            }
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let (streams, waiting) = {
            let ledger = self.lock();
            (ledger.streams + ledger.http1_open.saturating_sub(ledger.idle.len()), ledger.waiters.len())
        };
        Figures {
            connections: self.open.load(Ordering::Relaxed),
            streams,
            waiting,
            dials: self.dials.load(Ordering::Relaxed),
            dial_failures: self.dial_failures.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    /// Closes what is idle; what is busy is closed after its last stream.
    pub(crate) fn close(&self) {
        let (connections, idle) = {
            let mut ledger = self.lock();
            ledger.is_closed = true;
            (std::mem::take(&mut ledger.connections), std::mem::take(&mut ledger.idle))
        };
        drop((connections, idle));
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.dialler.settings
    }

    /// The right to send, now if there is room, or when a connection has been dialled, or room has come up before.
    async fn lease(self: &Arc<Self>, want: Want) -> Result<Lease, SendError> {
        let (waiting, dials) = {
            let mut ledger = self.lock();
            if let Some(lease) = ledger.take(self.settings(), want) {
                return Ok(lease);
            }
            let (answer, answered) = oneshot::channel();
            let ticket = ledger.number();
            ledger.waiters.insert(ticket, Waiter { want, answer });
            (Waiting { pool: self, ticket, answered }, self.dials_needed(&mut ledger))
        };
        self.dial(dials);
        waiting.await
    }

    /// How many more connections the waiters need. They count as being dialled from here on.
    pub(crate) fn dials_needed(&self, ledger: &mut Ledger) -> usize {
        if !self.dialler.hopes_for_http2() {
            ledger.capacity = 1;
        } else if ledger.capacity == 0 {
            ledger.capacity = self.settings().streams_per_connection.max(1);
        }
        let dials = ledger.waiters.len().div_ceil(ledger.capacity).saturating_sub(ledger.dialling);
        ledger.dialling += dials;
        dials
    }

    /// Begins connections. They are nobody's: each goes on when its waiter leaves. Never with the ledger locked: a
    /// runtime that ends drops a task at once, and with it the attempt, which writes into the ledger.
    pub(crate) fn dial(self: &Arc<Self>, count: usize) {
        self.dials.fetch_add(count as u64, Ordering::Relaxed);
        for _ in 0..count {
            tokio::spawn(Attempt::new(Arc::clone(self)).run());
        }
    }

    /// Answers waiters with the room that has come up. The lock is let go before any of them is woken.
    fn serve(&self, mut ledger: MutexGuard<'_, Ledger>) {
        let served = ledger.serve(self.settings());
        drop(ledger);
        deliver(served);
    }

    /// The same, and dials for those who are left.
    pub(crate) fn serve_or_dial(self: &Arc<Self>, mut ledger: MutexGuard<'_, Ledger>) {
        let served = ledger.serve(self.settings());
        let dials = self.dials_needed(&mut ledger);
        drop(ledger);
        deliver(served);
        self.dial(dials);
    }

    /// An HTTP/2 stream is over.
    pub(crate) fn release(&self, id: u64) {
        let mut ledger = self.lock();
        ledger.streams -= 1;
        if let Some(entry) = ledger.entry(id) {
            entry.active -= 1;
            if entry.active == 0 {
                entry.idle_since = Instant::now();
            }
            if !ledger.waiters.is_empty() {
                self.serve(ledger);
            }
        }
    }

    /// The peer has sent other SETTINGS.
    pub(crate) fn limit_changed(self: &Arc<Self>, id: u64, limit: usize) {
        let mut ledger = self.lock();
        ledger.capacity = limit.clamp(1, self.settings().streams_per_connection.max(1));
        if let Some(entry) = ledger.entry(id) {
            entry.limit = limit;
        }
        self.serve_or_dial(ledger);
    }

    /// An HTTP/2 connection has ended.
    pub(crate) fn ended(&self, id: u64) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let entry = self.lock().remove(id);
        drop(entry);
    }

    /// The time until a new connection's first check.
    pub(crate) fn first_check(&self) -> Duration {
        self.settings().ping_interval.min(self.settings().idle_timeout)
    }

    /// Whether an HTTP/2 connection has streams; gives it up when it had none for too long.
    pub(crate) fn check(&self, id: u64) -> Check {
        let next_check = self.first_check();
        let mut ledger = self.lock();
        let Some(entry) = ledger.entry(id) else {
            // It takes no new streams. Those that it had are still asked after.
            return Check { has_streams: true, next_check };
        };
        if entry.active > 0 {
            return Check { has_streams: true, next_check };
        }
        let left = self.settings().idle_timeout.saturating_sub(entry.idle_since.elapsed());
        if left.is_zero() {
            // h2 says goodbye and closes, since nobody can send on it any more.
            let entry = ledger.remove(id);
            drop(ledger);
            drop(entry);
            return Check { has_streams: false, next_check };
        }
        Check { has_streams: false, next_check: next_check.min(left) }
    }

    /// An HTTP/1.1 connection is ready for another request.
    pub(crate) fn put_back(self: &Arc<Self>, mut connection: Http1) {
        connection.mark_idle();
        let surplus = {
            let mut ledger = self.lock();
            if ledger.is_closed {
                Some(connection)
            } else {
                ledger.idle.push(Idle { connection, since: Instant::now() });
                let served = ledger.serve(self.settings());
                let surplus = (ledger.idle.len() > self.settings().pool_max_idle_per_host)
                    .then(|| ledger.idle.remove(0).connection);
                self.sweep_later(&mut ledger);
                drop(ledger);
                deliver(served);
                surplus
            }
        };
        drop(surplus);
    }

    /// Sees to it that idle HTTP/1.1 connections are closed in time: one task while there are any.
    fn sweep_later(self: &Arc<Self>, ledger: &mut Ledger) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if ledger.is_swept || ledger.idle.is_empty() {
            return;
        }
        ledger.is_swept = true;
        let pool = Arc::downgrade(self);
        let mut wait = self.settings().idle_timeout;
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(wait).await;
                let Some(pool) = pool.upgrade() else { return };
                match pool.sweep() {
                    Some(next) => wait = next,
                    None => return,
                }
            }
        });
    }

    /// Closes idle connections that are too old. The time until the next one is; `None`: none is left.
    fn sweep(&self) -> Option<Duration> {
        let timeout = self.settings().idle_timeout;
        let (old, next) = {
            let mut ledger = self.lock();
            let young = ledger.idle.partition_point(|idle| idle.since.elapsed() >= timeout);
            let old: Vec<_> = ledger.idle.drain(..young).collect();
            let next = ledger.idle.first().map(|idle| timeout.saturating_sub(idle.since.elapsed()));
            ledger.is_swept = next.is_some();
            (old, next)
        };
        drop(old);
        next
    }
}

/// A request in the queue; leaves it when dropped.
struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    ticket: u64,
    answered: oneshot::Receiver<Result<Lease, SendError>>,
}

impl Future for Waiting<'_> {
    type Output = Result<Lease, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answered).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| Err(interrupted(self.pool))))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waiter = self.pool.lock().waiters.remove(&self.ticket);
        drop(waiter);
    }
}

pub(crate) fn interrupted(pool: &Pool) -> SendError {
    SendError::Connect { address: pool.dialler.address(), detail: "the attempt was interrupted".into() }
}
