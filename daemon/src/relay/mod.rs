//! Carries a backend's answer to the client, event by event.

mod clock;
mod end;

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::backend::{BoxAnswer, Opening, Piece, Refusal};
use crate::client::framing::{Frame, Framing};
use crate::client::head::{self, Fields};
use crate::client::{ClientConn, WriteError};
use crate::config::{Config, Format};
use crate::metrics::Metrics;
use crate::outcome::{Failure, Outcome};
use crate::sse;
use clock::{Clock, Due};
pub use end::End;

/// Events that are ready together go out in one write, up to this many bytes: enough to make the cost of the system
/// call small, and little to keep for a client that is slow to take it.
const WRITE_SIZE: usize = 16 * 1024;

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
        }
    }

    /// From the beginning to the first piece of the answer.
    #[must_use]
    pub fn first_token(&self) -> Option<Duration> {
        self.first_token
    }

    /// Sends the answer as a stream of events until it ends, the client goes, a clock runs out, or `cancel` is
    /// cancelled.
    ///
    /// While the backend is silent nothing is held but the future itself, and the client is watched. While the client
    /// is slow the backend is not asked for more.
    pub async fn run(&mut self, cancel: &CancellationToken) -> End {
        let mut cancelled = pin!(cancel.cancelled());
        loop {
            let turn = std::future::poll_fn(|context| {
                if self.client.poll_gone(context).is_ready() {
                    return Poll::Ready(Turn::End(Outcome::ClientGone.into()));
                }
                FRAME.with_borrow_mut(|frame| self.poll_turn(frame, cancelled.as_mut(), context))
            });
            match turn.await {
                Turn::Again => {}
                Turn::Blocked(rest, end) => {
                    // On the heap, so that the room for its timers is not part of every stream.
                    if let Err(outcome) = Box::pin(self.write_rest(&rest, cancel)).await {
                        return outcome.into();
                    }
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

    /// Sends what there is, all at once.
    fn poll_turn(
        &mut self,
        frame: &mut Frame,
        cancelled: Pin<&mut WaitForCancellationFuture<'_>>,
        context: &mut Context<'_>,
    ) -> Poll<Turn> {
        let now = Instant::now();
        let due = self.clock.due(now);
        let events = frame.begin();
        let mut chunks = 0;
        let gathered = if cancelled.poll(context).is_ready() {
            let message = "the server is shutting down; please ask again";
            Gathered::End(self.fail(events, Outcome::Shutdown, 503, message))
        } else if due == Some(Due::End) {
            let message = "the answer took longer than any may; it ends here";
            Gathered::End(self.fail(events, Outcome::StreamTimeout, 504, message))
        } else {
            match (self.gather(events, &mut chunks, context), due) {
                (Gathered::All, Some(Due::Silence)) if chunks == 0 => {
                    let message = "the backend has been silent for too long";
                    Gathered::End(self.fail(events, Outcome::BackendTimeout, 504, message))
                }
                (Gathered::All, Some(Due::Heartbeat)) if chunks == 0 => {
                    sse::keep_alive(events);
                    self.clock.sent(now);
                    Gathered::All
                }
                (gathered, _) => gathered,
            }
        };
        if chunks > 0 {
            self.clock.heard(now);
            self.first_token.get_or_insert(now - self.started);
        }
        self.send(frame, gathered, chunks, now, context)
    }

    /// Appends the events that are ready.
    fn gather(&mut self, events: &mut Vec<u8>, chunks: &mut u32, context: &mut Context<'_>) -> Gathered {
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
        let start = events.len();
        while events.len() - start < WRITE_SIZE {
            match answer.as_mut().poll_next(context) {
                Poll::Pending => return Gathered::All,
                Poll::Ready(Some(Ok(Piece::Text(text)))) => {
                    sse::piece(events, self.format, text);
                    *chunks += 1;
                }
                Poll::Ready(Some(Err(broken))) => {
                    sse::error(events, &broken.message);
                    let outcome = Outcome::BackendBroken(broken.failure);
                    return Gathered::End(End::broken(outcome, broken.message));
                }
                Poll::Ready(None) => {
                    sse::done(events);
                    return Gathered::End(Outcome::Done.into());
                }
            }
        }
        Gathered::Part
    }

    /// Writes the frame, with the head if that is due.
    fn send(
        &mut self,
        frame: &mut Frame,
        gathered: Gathered,
        chunks: u32,
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
            self.metrics.sent(written, chunks);
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
    fn fail(&self, events: &mut Vec<u8>, outcome: Outcome, status: u16, message: &str) -> End {
        let retry_after = (status == 503).then_some(RETRY_AFTER_SHUTDOWN);
        let failure = Failure::Timeout;
        self.refuse(events, outcome, Refusal { status, message: message.to_owned(), retry_after, failure })
    }

    fn refuse(&self, events: &mut Vec<u8>, outcome: Outcome, refusal: Refusal) -> End {
        if self.head.is_some() {
            return End::refused(outcome, refusal);
        }
        sse::error(events, &refusal.message);
        End::broken(outcome, refusal.message)
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
