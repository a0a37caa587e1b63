//! The clocks of one stream: heartbeat, silence of the backend, longest duration.
//!
//! One timer for all of them. It is set when it has run out, not when something happens: a token costs a look at the
//! time, and what it postpones is noticed when the timer runs out too early.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing was sent for a while.
    Heartbeat,
    /// The backend said nothing for too long.
    Silence,
    /// The stream took too long.
    End,
}

/// The clocks of a stream.
pub(super) struct Clock {
    heartbeat: Option<Duration>,
    silence: Duration,
    /// When the stream has to end.
    end: Option<Instant>,
    /// The last sign of life of the backend.
    heard: Instant,
    /// The last bytes for the client.
    sent: Instant,
    /// None as long as the stream has not had to wait.
    timer: Option<Pin<Box<Sleep>>>,
    /// When it runs out; before the first wait, the beginning. Kept here as well: it is looked at with each token, and
    /// the timer is elsewhere in memory.
    rings: Instant,
}

impl Clock {
    /// Started now.
    pub(super) fn new(heartbeat: Option<Duration>, silence: Duration, limit: Option<Duration>) -> Self {
        let now = Instant::now();
        let end = limit.and_then(|limit| now.checked_add(limit));
        Self { heartbeat, silence, end, heard: now, sent: now, timer: None, rings: now }
    }

    /// The backend has said something, and it is on its way to the client.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.sent = now;
    }

    /// The backend has sent something that is nothing for the client.
    pub(super) fn alive(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Something that the backend has not said is on its way to the client.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// When the stream has to end.
    pub(super) fn end(&self) -> Option<Instant> {
        self.end
    }

    /// What is due `now`.
    pub(super) fn due(&self, now: Instant) -> Option<Due> {
        if now < self.rings {
            return None;
        }
        let (at, due) = self.next();
        (at <= now).then_some(due)
    }

    /// Has the task woken when something is due. Returns what is due already.
    pub(super) fn wait(&mut self, now: Instant, context: &mut Context<'_>) -> Option<Due> {
        if now < self.rings {
            return None;
        }
        let (at, due) = self.next();
        if at <= now {
            return Some(due);
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        timer.as_mut().reset(at);
        self.rings = at;
        // Unconstrained: a timer that is skipped since the task has used up its turn would not wake it later.
        match pin!(tokio::task::coop::unconstrained(timer.as_mut())).poll(context) {
            Poll::Pending => None,
            Poll::Ready(()) => Some(due),
        }
    }

    fn next(&self) -> (Instant, Due) {
        let mut next = (self.heard + self.silence, Due::Silence);
        if let Some(heartbeat) = self.heartbeat
            && self.sent + heartbeat < next.0
        {
            next = (self.sent + heartbeat, Due::Heartbeat);
        }
        match self.end {
            Some(end) if end <= next.0 => (end, Due::End),
            _ => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn heartbeats_do_not_hide_a_silent_backend() {
        let mut clock = Clock::new(Some(15 * SECOND), 40 * SECOND, None);
        let start = clock.heard;
        assert_eq!(clock.next(), (start + 15 * SECOND, Due::Heartbeat));
        clock.sent(start + 15 * SECOND);
        clock.sent(start + 30 * SECOND);
        assert_eq!(clock.next(), (start + 40 * SECOND, Due::Silence));
    }

    #[tokio::test]
    async fn what_the_backend_says_postpones_all_but_the_end() {
        let mut clock = Clock::new(Some(15 * SECOND), 40 * SECOND, Some(100 * SECOND));
        let start = clock.heard;
        clock.heard(start + 80 * SECOND);
        assert_eq!(clock.next(), (start + 95 * SECOND, Due::Heartbeat));
        clock.heard(start + 90 * SECOND);
        let end = clock.end().unwrap();
        assert_eq!(clock.next(), (end, Due::End));
        assert!(end >= start + 100 * SECOND);
    }

    #[tokio::test]
    async fn without_heartbeats_and_end_there_is_the_silence() {
        let mut clock = Clock::new(None, 40 * SECOND, None);
        let start = clock.heard;
        clock.sent(start + 30 * SECOND);
        assert_eq!(clock.next(), (start + 40 * SECOND, Due::Silence));
    }

    #[tokio::test]
    async fn who_never_had_to_wait_ends_as_well() {
        let clock = Clock::new(None, 40 * SECOND, Some(10 * SECOND));
        let start = clock.heard;
        assert_eq!(clock.due(start), None);
        assert_eq!(clock.due(start + 11 * SECOND), Some(Due::End));
    }

    #[tokio::test]
    async fn the_timer_is_set_once_and_wakes_late_enough() {
        const SHORT: Duration = Duration::from_millis(20);
        let mut clock = Clock::new(Some(SHORT), 40 * SECOND, None);
        let postponed = clock.sent + 2 * SHORT;
        let mut timers = Vec::new();
        let due = std::future::poll_fn(|context| {
            let due = clock.wait(Instant::now(), context);
            assert_eq!(clock.due(Instant::now()), due);
            timers.extend(clock.timer.as_ref().map(|timer| timer.deadline()));
            // What is sent meanwhile moves no timer.
            clock.sent(postponed - SHORT);
            due.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        timers.dedup();
        assert_eq!(timers, [postponed - SHORT, postponed]);
        assert_eq!(due, Due::Heartbeat);
        assert!(Instant::now() >= postponed);
    }
}
