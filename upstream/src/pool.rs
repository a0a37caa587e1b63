//! Which request goes on which connection.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::oneshot;

use crate::body::Body;
use crate::dial::{Dialler, Fresh};
use crate::error::Failure;
use crate::http1::{Fresh1, Http1};
use crate::http2::{Driver, Fresh2};
use crate::link::Link;
use crate::{SendError, Settings, SetupError, http1, http2};

/// How often a request is moved to another connection.
const MOVES: usize = 3;

/// All connections to one origin.
pub(crate) struct Pool {
    pub(crate) dialler: Dialler,
    state: Mutex<State>,
    open: AtomicUsize,
    dials: AtomicU64,
    dial_failures: AtomicU64,
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

#[derive(Default)]
struct State {
    /// HTTP/2, by growing id.
    connections: Vec<Entry>,
    /// HTTP/1.1, the longest idle one first.
    idle: Vec<Idle>,
    /// In the order in which they came.
    waiters: BTreeMap<u64, Waiter>,
    /// Connections that are being dialled.
    dialling: usize,
    /// How many streams a new connection is expected to take, from the last one that was made.
    capacity: usize,
    /// Streams on HTTP/2 connections, also on those that take no new ones.
    streams: usize,
    /// HTTP/1.1 connections that are open.
    http1_open: usize,
    /// The next connection's id, or the next waiter's.
    next: u64,
    /// Nobody sends any more.
    is_closed: bool,
    /// Somebody waits for idle connections to grow old.
    is_swept: bool,
}

/// An HTTP/2 connection that takes streams.
struct Entry {
    id: u64,
    link: Arc<Link>,
    sender: SendRequest<Bytes>,
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS.
    limit: usize,
    active: usize,
    /// Since when `active` is 0.
    idle_since: Instant,
}

struct Idle {
    connection: Http1,
    since: Instant,
}

struct Waiter {
    want: Want,
    answer: oneshot::Sender<Result<Lease, SendError>>,
}

/// A waiter, and what it waited for.
type Served = (oneshot::Sender<Result<Lease, SendError>>, Lease);

fn deliver(served: Vec<Served>) {
    for (answer, lease) in served {
        // A waiter that has just left lets go of its lease, which makes it another's.
        let _ = answer.send(Ok(lease));
    }
}

/// Which connections will do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Any,
    /// None of these HTTP/2 connections, which refused the request.
    Other([u64; MOVES]),
    /// None that was idle: the last one was stale.
    New,
}

/// The right to send one request.
enum Lease {
    Http1(Http1),
    Http2(Slot, SendRequest<Bytes>),
}

/// A stream's place on an HTTP/2 connection; given to a waiter when dropped.
pub(crate) struct Slot(Arc<Link>);

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
            state: Mutex::default(),
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
                    match http1::exchange(connection, &outgoing).await {
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
            let state = self.lock();
            (state.streams + state.http1_open.saturating_sub(state.idle.len()), state.waiters.len())
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
            let mut state = self.lock();
            state.is_closed = true;
            (std::mem::take(&mut state.connections), std::mem::take(&mut state.idle))
        };
        drop((connections, idle));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> &Settings {
        &self.dialler.settings
    }

    /// The right to send, now if there is room, or when a connection has been dialled, or room has come up before.
    async fn lease(self: &Arc<Self>, want: Want) -> Result<Lease, SendError> {
        let waiting = {
            let mut state = self.lock();
            if let Some(lease) = state.take(self.settings(), want) {
                return Ok(lease);
            }
            let (answer, answered) = oneshot::channel();
            let ticket = state.number();
            state.waiters.insert(ticket, Waiter { want, answer });
            self.dial_enough(&mut state);
            Waiting { pool: self, ticket, answered }
        };
        waiting.await
    }

    /// Dials as many connections as the waiters need. A dial is nobody's: it goes on when its waiter leaves.
    fn dial_enough(self: &Arc<Self>, state: &mut State) {
        if !self.dialler.hopes_for_http2() {
            state.capacity = 1;
        } else if state.capacity == 0 {
            state.capacity = self.settings().streams_per_connection.max(1);
        }
        while state.dialling * state.capacity < state.waiters.len() {
            state.dialling += 1;
            self.dials.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(Dial { pool: Arc::clone(self), is_over: false }.run());
        }
    }

    /// Answers waiters with the room that has come up. The lock is let go before any of them is woken.
    fn serve(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let served = state.serve(self.settings());
        drop(state);
        deliver(served);
    }

    /// The same, and dials for those who are left.
    fn serve_or_dial(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let served = state.serve(self.settings());
        self.dial_enough(&mut state);
        drop(state);
        deliver(served);
    }

    /// An HTTP/2 stream is over.
    fn release(self: &Arc<Self>, id: u64) {
        let mut state = self.lock();
        state.streams -= 1;
        if let Some(entry) = state.entry(id) {
            entry.active -= 1;
            if entry.active == 0 {
                entry.idle_since = Instant::now();
            }
            if !state.waiters.is_empty() {
                self.serve(state);
            }
        }
    }

    /// The peer has sent other SETTINGS.
    pub(crate) fn limit_changed(self: &Arc<Self>, id: u64, limit: usize) {
        let mut state = self.lock();
        state.capacity = limit.clamp(1, self.settings().streams_per_connection.max(1));
        if let Some(entry) = state.entry(id) {
            entry.limit = limit;
        }
        self.serve_or_dial(state);
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
        let mut state = self.lock();
        let Some(entry) = state.entry(id) else {
            // It takes no new streams. Those that it had are still asked after.
            return Check { has_streams: true, next_check };
        };
        if entry.active > 0 {
            return Check { has_streams: true, next_check };
        }
        let left = self.settings().idle_timeout.saturating_sub(entry.idle_since.elapsed());
        if left.is_zero() {
            // h2 says goodbye and closes, since nobody can send on it any more.
            let entry = state.remove(id);
            drop(state);
            drop(entry);
            return Check { has_streams: false, next_check };
        }
        Check { has_streams: false, next_check: next_check.min(left) }
    }

    /// An HTTP/1.1 connection is ready for another request.
    pub(crate) fn put_back(self: &Arc<Self>, mut connection: Http1) {
        connection.mark_idle();
        let surplus = {
            let mut state = self.lock();
            if state.is_closed {
                Some(connection)
            } else {
                state.idle.push(Idle { connection, since: Instant::now() });
                let served = state.serve(self.settings());
                let surplus = (state.idle.len() > self.settings().pool_max_idle_per_host)
                    .then(|| state.idle.remove(0).connection);
                self.sweep_later(&mut state);
                drop(state);
                deliver(served);
                surplus
            }
        };
        drop(surplus);
    }

    /// Sees to it that idle HTTP/1.1 connections are closed in time: one task while there are any.
    fn sweep_later(self: &Arc<Self>, state: &mut State) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if state.is_swept || state.idle.is_empty() {
            return;
        }
        state.is_swept = true;
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
            let mut state = self.lock();
            let young = state.idle.partition_point(|idle| idle.since.elapsed() >= timeout);
            let old: Vec<_> = state.idle.drain(..young).collect();
            let next = state.idle.first().map(|idle| timeout.saturating_sub(idle.since.elapsed()));
            state.is_swept = next.is_some();
            (old, next)
        };
        drop(old);
        next
    }
}

impl State {
    /// A number that was never given before.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.connections.binary_search_by_key(&id, |entry| entry.id).ok()
    }

    fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        let position = self.position(id)?;
        self.connections.get_mut(position)
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        self.position(id).map(|position| self.connections.remove(position))
    }

    /// Room for one request: on the busiest connection that has some, so that the others can become idle.
    fn take(&mut self, settings: &Settings, want: Want) -> Option<Lease> {
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
    fn serve(&mut self, settings: &Settings) -> Vec<Served> {
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

fn interrupted(pool: &Pool) -> SendError {
    SendError::Connect { address: pool.dialler.address(), detail: "the attempt was interrupted".into() }
}

/// A connection that is being made, for whoever waits when it is there.
struct Dial {
    pool: Arc<Pool>,
    is_over: bool,
}

impl Dial {
    async fn run(mut self) {
        match self.pool.dialler.dial().await {
            Ok(fresh) => self.succeeded(fresh),
            Err(error) => {
                tracing::debug!(error = %error, "no connection");
                self.failed(&error);
            }
        }
    }

    /// Takes the connection in.
    fn succeeded(&mut self, fresh: Fresh) {
        self.is_over = true;
        let pool = &self.pool;
        let mut state = pool.lock();
        state.dialling -= 1;
        if state.is_closed {
            return;
        }
        let id = state.number();
        let link =
            |traffic| Arc::new(Link { id, pool: Arc::clone(pool), traffic, silent: AtomicBool::new(false) });
        pool.open.fetch_add(1, Ordering::Relaxed);
        match fresh {
            Fresh::Http2(fresh) => {
                let Fresh2 { sender, connection, traffic, limit } = *fresh;
                let link = link(traffic);
                tokio::spawn(Driver::new(connection, limit, Arc::clone(&link)));
                state.capacity = limit.min(pool.settings().streams_per_connection.max(1));
                state.connections.push(Entry {
                    id,
                    link,
                    sender,
                    limit,
                    active: 0,
                    idle_since: Instant::now(),
                });
                pool.serve_or_dial(state);
            }
            Fresh::Http1(fresh) => {
                let Fresh1 { sender, connection, traffic } = *fresh;
                state.capacity = 1;
                state.http1_open += 1;
                let open = Open1(Arc::clone(pool));
                let driver = tokio::spawn(async move {
                    let _open = open;
                    // Its exchange has the error.
                    let _ = connection.await;
                });
                let connection = Http1::new(sender, driver.abort_handle(), link(traffic));
                let waiter = state.waiters.pop_first();
                pool.dial_enough(&mut state);
                drop(state);
                let unwanted = match waiter {
                    Some((_, waiter)) => waiter.answer.send(Ok(Lease::Http1(connection))).err(),
                    None => Some(Ok(Lease::Http1(connection))),
                };
                if let Some(Ok(Lease::Http1(connection))) = unwanted {
                    pool.put_back(connection);
                }
            }
        }
    }

    /// Tells those that the connection was for: all whom no other dial can serve, the longest waiting first.
    fn failed(&mut self, error: &SendError) {
        self.is_over = true;
        self.pool.dial_failures.fetch_add(1, Ordering::Relaxed);
        let mut failed = Vec::new();
        {
            let mut state = self.pool.lock();
            state.dialling -= 1;
            while state.waiters.len() > state.dialling * state.capacity {
                let Some((_, waiter)) = state.waiters.pop_first() else { break };
                failed.push(waiter.answer);
            }
        }
        for answer in failed {
            let _ = answer.send(Err(error.clone()));
        }
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        if !self.is_over {
            self.failed(&interrupted(&Arc::clone(&self.pool)));
        }
    }
}

/// Counts an HTTP/1.1 connection while its task lives.
struct Open1(Arc<Pool>);

impl Drop for Open1 {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.lock().http1_open -= 1;
    }
}
