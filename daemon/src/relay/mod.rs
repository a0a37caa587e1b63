//! Carries a backend's answer to the client, event by event.

mod aside;
mod clock;
mod end;

use std::cell::RefCell;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::{BoxAnswer, Next, Opening, Refusal, Usage};
use crate::client::framing::{Frame, Framing};
use crate::client::head::{self, Fields};
use crate::client::{ClientConn, WriteError};
use crate::config::{Config, Format};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::outcome::{Failure, Outcome};
use aside::Aside;
use clock::{Clock, Due};
pub use end::End;

/// When to ask again a daemon that is shutting down: another one is about to take its place.
const RETRY_AFTER_SHUTDOWN: Duration = Duration::from_secs(1);

thread_local! {
    /// Where writes are put together: one for each thread of the runtime, none for a stream.
    static FRAME: RefCell<Frame> = RefCell::default();
}

/// An answer on its way to a client.
pub struct Relay<'a> {
    client: &'a mut ClientConn,
    source: Source<'a>,
    framing: Framing,
    format: Format,
    /// What the head will hold; none after it was sent.
    head: Option<&'a Fields>,
    clock: Clock,
    write_timeout: Duration,
    metrics: &'a Metrics,
    started: Instant,
    first_token: Option<Duration>,
    /// Pieces of the answer so far.
    pieces: u64,
}

/// What the backend is doing.
enum Source<'a> {
    /// It has not begun to answer.
    Opening(Opening<'a>),
    /// It answers.
    Answer(BoxAnswer),
}

/// What comes after one poll that did something.
enum Turn {
    /// Another one.
    Again,
    /// The client does not take these bytes yet; then another turn, or the end.
    Blocked(Box<[u8]>, Option<End>),
    /// Nothing.
    End(End),
}

/// What the backend has for now.
enum Gathered {
    /// It will wake the task when there is more.
    All,
    /// There may be more at once.
    Part,
    /// Nothing will follow.
    End(End),
}

impl<'a> Relay<'a> {
    /// Between `client` and the answer that is being opened. `fields` are for the head.
    pub fn new(
        client: &'a mut ClientConn,
        opening: Opening<'a>,
        (framing, format): (Framing, Format),
        fields: &'a Fields,
        config: &Config,
        metrics: &'a Metrics,
    ) -> Self {
        let server = &config.server;
        Self {
            client,
            source: Source::Opening(opening),
            framing,
            format,
            head: Some(fields),
            clock: Clock::new(server.heartbeat, config.backend.timeout, server.stream_timeout),
            write_timeout: server.write_timeout,
            metrics,
            started: Instant::now(),
            first_token: None,
            pieces: 0,
        }
    }

    /// From the beginning to the first piece of the answer.
    #[must_use]
    pub fn first_token(&self) -> Option<Duration> {
        self.first_token
    }

    /// Pieces of the answer that came.
    #[must_use]
    pub fn pieces(&self) -> u64 {
        self.pieces
    }

    /// What the backend has counted.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match &self.source {
            Source::Opening(_) => Usage::default(),
            Source::Answer(answer) => answer.usage(),
        }
    }

    /// Sends the answer as a stream of events until it ends, the client goes, a clock runs out, or `cancel` is
    /// cancelled.
    ///
    /// While the backend is silent nothing is held but the future itself, and the client is watched. While the client
    /// is slow the backend is not asked for more.
    pub async fn run(&mut self, cancel: &CancellationToken) -> End {
        let mut cancelled = pin!(cancel.cancelled());
        let mut aside = Aside::default();
        loop {
            let turn = std::future::poll_fn(|context| {
                let mut cut = false;
                if let Some(waker) = aside.rung(context) {
                    let context = &mut Context::from_waker(&waker);
                    if self.client.poll_gone(context).is_ready() {
                        return Poll::Ready(Turn::End(Outcome::ClientGone.into()));
                    }
                    cut = cancelled.as_mut().poll(context).is_ready();
                }
                FRAME.with_borrow_mut(|frame| self.poll_turn(frame, cut, context))
            });
            match turn.await {
                Turn::Again => {}
                Turn::Blocked(rest, end) => {
                    // On the heap, so that the room for its timers is not part of every stream.
                    if let Err(outcome) = Box::pin(self.write_rest(&rest, cancel)).await {
                        return outcome.into();
                    }
                    aside.forget();
                    if let Some(end) = end {
                        return end;
                    }
                }
                Turn::End(end) => return end,
            }
            // An answer that is always ready, to a client that always takes it, would keep other streams waiting.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Sends what there is, all at once. `cut`: that is all.
    fn poll_turn(&mut self, frame: &mut Frame, cut: bool, context: &mut Context<'_>) -> Poll<Turn> {
        let now = Instant::now();
        let due = self.clock.due(now);
        let mut events = Events::new(frame.begin(), self.format);
        let gathered = if cut {
            let message = "the server is shutting down; please ask again";
            Gathered::End(self.fail(&mut events, Outcome::Shutdown, 503, message))
        } else if due == Some(Due::End) {
            let message = "the answer took longer than any may; it ends here";
            Gathered::End(self.fail(&mut events, Outcome::StreamTimeout, 504, message))
        } else {
            let gathered = self.gather(&mut events, context);
            if events.pieces() > 0 {
                self.clock.heard(now);
                self.first_token.get_or_insert(now - self.started);
                self.pieces += u64::from(events.pieces());
            } else if events.is_alive() {
                self.clock.alive(now);
            }
            match (gathered, due) {
                (Gathered::All, Some(Due::Silence)) if !events.is_alive() => {
                    let message = "the backend has been silent for too long";
                    Gathered::End(self.fail(&mut events, Outcome::BackendTimeout, 504, message))
                }
                (Gathered::All, Some(Due::Heartbeat)) if events.pieces() == 0 => {
                    events.keep_alive();
                    self.clock.sent(now);
                    Gathered::All
                }
                (gathered, _) => gathered,
            }
        };
        let pieces = events.pieces();
        self.send(frame, gathered, pieces, now, context)
    }

    /// Appends the events that are ready.
    fn gather(&mut self, events: &mut Events<'_>, context: &mut Context<'_>) -> Gathered {
        if let Source::Opening(opening) = &mut self.source {
            match opening.as_mut().poll(context) {
                Poll::Pending => return Gathered::All,
                Poll::Ready(Ok(answer)) => {
                    self.metrics.backend_answered(self.started.elapsed());
                    self.source = Source::Answer(answer);
                }
                Poll::Ready(Err(refusal)) => {
                    let outcome = Outcome::Refused(refusal.failure);
                    return Gathered::End(self.refuse(events, outcome, refusal));
                }
            }
        }
        let Source::Answer(answer) = &mut self.source else { return Gathered::All };
        match answer.as_mut().poll_write(context, events) {
            Poll::Pending => Gathered::All,
            Poll::Ready(Ok(Next::More)) => Gathered::Part,
            Poll::Ready(Ok(Next::End)) => {
                events.done();
                Gathered::End(Outcome::Done.into())
            }
            Poll::Ready(Err(broken)) => {
                if !broken.told {
                    events.error(&broken.message);
                }
                let outcome = Outcome::BackendBroken(broken.failure);
                Gathered::End(End::broken(outcome, broken.cause.unwrap_or(broken.message)))
            }
        }
    }

    /// Writes the frame, with the head if that is due.
    fn send(
        &mut self,
        frame: &mut Frame,
        gathered: Gathered,
        pieces: u32,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Turn> {
        let (more, end) = match gathered {
            Gathered::End(end) if end.refusal.is_some() => return Poll::Ready(Turn::End(end)),
            Gathered::End(end) => (false, Some(end)),
            Gathered::Part => (true, None),
            Gathered::All => (false, None),
        };
        // The head goes out with the first events if they are ready, else as soon as the backend answers.
        let answered = matches!(self.source, Source::Answer(_));
        let fields = if answered || !frame.is_empty() { self.head.take() } else { None };
        let head = fields
            .map(|fields| head::event_stream(self.framing, fields, SystemTime::now()))
            .unwrap_or_default();
        let bytes = frame.close(self.framing, &head, end.is_some());
        if !bytes.is_empty() {
            let Ok(written) = self.client.write_now(bytes) else {
                return Poll::Ready(Turn::End(Outcome::ClientGone.into()));
            };
            self.metrics.sent(written, pieces);
            if written < bytes.len() {
                return Poll::Ready(Turn::Blocked(bytes[written..].into(), end));
            }
        }
        match end {
            Some(end) => Poll::Ready(Turn::End(end)),
            None if more => Poll::Ready(Turn::Again),
            // Whoever has more wakes the task: backend, client, cancellation, and the timer, which is set here.
            None if self.clock.wait(now, context).is_some() => Poll::Ready(Turn::Again),
            None => Poll::Pending,
        }
    }

    /// Ends with a status if nothing was sent, else with an error event.
    fn fail(&self, events: &mut Events<'_>, outcome: Outcome, status: u16, message: &str) -> End {
        let retry_after = (status == 503).then_some(RETRY_AFTER_SHUTDOWN);
        self.refuse(
            events,
            outcome,
            Refusal { retry_after, ..Refusal::new(status, message, Failure::Timeout) },
        )
    }

    fn refuse(&self, events: &mut Events<'_>, outcome: Outcome, refusal: Refusal) -> End {
        if self.head.is_some() {
            return End::refused(outcome, refusal);
        }
        events.error(&refusal.message);
        End::broken(outcome, refusal.cause.unwrap_or(refusal.message))
    }

    /// Writes what the client did not take at once.
    async fn write_rest(&mut self, rest: &[u8], cancel: &CancellationToken) -> Result<(), Outcome> {
        let before = self.client.sent();
        let end = self.clock.end();
        let too_late = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            biased;
            result = self.client.write(rest, self.write_timeout) => result.map_err(outcome),
            // In the midst of an event there is no place for an error event: the stream is cut.
            () = cancel.cancelled() => Err(Outcome::Shutdown),
            () = too_late => Err(Outcome::StreamTimeout),
        };
        self.metrics.sent(usize::try_from(self.client.sent() - before).unwrap_or_default(), 0);
        // Meanwhile nobody listened to the backend.
        self.clock.heard(Instant::now());
        result
    }
}

/// How a stream ends whose client could not be written to.
pub(crate) fn outcome(error: WriteError) -> Outcome {
    match error {
        WriteError::Gone => Outcome::ClientGone,
        WriteError::Deadline => Outcome::WriteTimeout,
    }
}
