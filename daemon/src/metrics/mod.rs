//! What the daemon counts, and where an operator reads it.

mod answers;
pub mod endpoint;
mod exposition;
mod histogram;
mod process;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use answers::Answers;
use exposition::Exposition;
pub use exposition::Format;
use histogram::Histogram;

use handoff_protocol::v2::Answer;

use crate::backend::{Backends, Usage};
use crate::outcome::{Limit, Outcome, Reason};
use crate::receive::{Event, Failure, Protocol};

/// How handoffs of protocol 2 were answered; the last one is no answer: its sender had given up.
const REPLIES: [&str; 5] = ["accepted", "busy", "draining", "bad", "sender_gone"];

/// The figures of one daemon. Counting is an addition; only the end of a stream does more.
#[derive(Debug)]
pub struct Metrics {
    start: Instant,
    /// When the first connection came, from `start` on.
    first: OnceLock<Duration>,
    /// When the last stream ended, in microseconds from `start` on.
    last: AtomicU64,
    active: AtomicUsize,
    peak: AtomicUsize,
    connections: AtomicU64,
    completed: AtomicU64,
    handoffs_received: AtomicU64,
    handoffs_failed: AtomicU64,
    /// Those of protocol 1, those of protocol 2.
    protocols: [AtomicU64; 2],
    /// In the order of [`REPLIES`].
    replies: [AtomicU64; REPLIES.len()],
    strangers: AtomicU64,
    sent: Sent,
    backend_requests: AtomicU64,
    backend_errors: AtomicU64,
    rejected: [AtomicU64; Limit::ALL.len()],
    errors: [AtomicU64; Reason::ALL.len()],
    handoff: Histogram<9>,
    stream: Histogram<12>,
    backend: Histogram<13>,
    first_token: Histogram<13>,
    answers: Answers,
}

/// Counted at each write, by all threads: on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Sent {
    bytes: AtomicU64,
    chunks: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        const LATENCY: [f64; 13] =
            [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
        Self {
            start: Instant::now(),
            first: OnceLock::new(),
            last: AtomicU64::default(),
            active: AtomicUsize::default(),
            peak: AtomicUsize::default(),
            connections: AtomicU64::default(),
            completed: AtomicU64::default(),
            handoffs_received: AtomicU64::default(),
            handoffs_failed: AtomicU64::default(),
            protocols: Default::default(),
            replies: Default::default(),
            strangers: AtomicU64::default(),
            sent: Sent::default(),
            backend_requests: AtomicU64::default(),
            backend_errors: AtomicU64::default(),
            rejected: Default::default(),
            errors: Default::default(),
            handoff: Histogram::new([0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.1, 1.0, 5.0]),
            stream: Histogram::new([0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0]),
            backend: Histogram::new(LATENCY),
            first_token: Histogram::new(LATENCY),
            answers: Answers::default(),
        }
    }
}

impl Metrics {
    /// For a daemon with `backends`.
    #[must_use]
    pub fn new(backends: &Backends) -> Self {
        let names = backends.all().iter().map(|known| known.name.clone());
        Self { answers: Answers::new(names), ..Self::default() }
    }

    /// What became of a handoff.
    pub fn handoff(&self, event: &Event<'_>) {
        let add = |counter: &AtomicU64| _ = counter.fetch_add(1, Ordering::Relaxed);
        match event {
            Event::Received(protocol, duration) => {
                add(&self.handoffs_received);
                self.handoff.observe(*duration);
                add(&self.protocols[usize::from(*protocol == Protocol::Two)]);
                if *protocol == Protocol::Two {
                    add(&self.replies[0]);
                }
            }
            Event::Failed(failure) => {
                add(&self.handoffs_failed);
                if matches!(failure, Failure::Stranger(_)) {
                    add(&self.strangers);
                }
            }
            Event::Refused(answer) => {
                let index = match answer {
                    Answer::Accepted => 0,
                    Answer::Busy { .. } => 1,
                    Answer::Draining => 2,
                    Answer::Bad { .. } => {
                        add(&self.handoffs_failed);
                        3
                    }
                };
                add(&self.replies[index]);
            }
            Event::SenderGone => add(&self.replies[4]),
        }
    }

    /// A limit was reached before a client was ours.
    pub fn rejected(&self, limit: Limit) {
        self.rejected[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A client's connection is ours, until what is returned is dropped.
    pub fn connected(&self) -> Connected<'_> {
        self.first.get_or_init(|| self.start.elapsed());
        self.connections.fetch_add(1, Ordering::Relaxed);
        let active = self.active.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(active, Ordering::Relaxed);
        Connected(self)
    }

    /// A backend is being asked.
    pub fn backend_asked(&self) {
        self.backend_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// It has begun to answer, `duration` after it was asked.
    pub fn backend_answered(&self, duration: Duration) {
        self.backend.observe(duration);
    }

    /// The first piece of an answer went out.
    pub fn first_token(&self, duration: Duration, request_id: Option<&str>) {
        self.first_token.observe_named(duration, request_id);
    }

    /// An answer has ended, after so many pieces.
    pub fn answered(&self, backend: usize, outcome: Outcome, usage: Usage, pieces: u64) {
        self.answers.finished(backend, outcome, usage, pieces);
    }

    /// One write to a client: `bytes` that hold `chunks` pieces of an answer.
    pub fn sent(&self, bytes: usize, chunks: u32) {
        self.sent.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if chunks > 0 {
            self.sent.chunks.fetch_add(u64::from(chunks), Ordering::Relaxed);
        }
    }

    /// A stream has ended.
    pub fn finished(&self, outcome: Outcome, duration: Duration, request_id: Option<&str>) {
        if outcome == Outcome::Done {
            self.completed.fetch_add(1, Ordering::Relaxed);
        }
        if let Outcome::Rejected(limit) = outcome {
            self.rejected(limit);
        }
        if let Some(reason) = outcome.reason() {
            self.errors[reason as usize].fetch_add(1, Ordering::Relaxed);
        }
        if outcome.is_backend_error() {
            self.backend_errors.fetch_add(1, Ordering::Relaxed);
        }
        self.stream.observe_named(duration, request_id);
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// Streams now.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// What a measurement wants to know in the end. The wall time is that from the first connection to the last end.
    #[must_use]
    pub fn summary(&self) -> String {
        let (started, completed) = (load(&self.connections), load(&self.completed));
        format!(
            "peak {} streams, started {started}, completed {completed}, failed {}, bytes {}, wall {:.3} s",
            self.peak.load(Ordering::Relaxed),
            started.saturating_sub(completed),
            load(&self.sent.bytes),
            self.wall().as_secs_f64(),
        )
    }

    fn wall(&self) -> Duration {
        let first = self.first.get().copied().unwrap_or_default();
        Duration::from_micros(load(&self.last)).saturating_sub(first)
    }

    /// All figures, those of the `backends`' connections included. `lost_lines` is the count of the access log.
    #[must_use]
    pub fn write(&self, format: Format, backends: &Backends, lost_lines: u64) -> String {
        let mut to = Exposition::new(format);
        self.write_connections(&mut to);
        self.write_streams(&mut to);
        self.answers.write(&mut to);
        write_upstream(&mut to, backends);
        let help = "Lines of the access log that were dropped since its file could not take them in time.";
        to.counter("daemon_access_log_dropped_total", help, lost_lines);
        to.family("daemon_build_info", "gauge", "The version that runs.");
        to.sample("daemon_build_info", concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1);
        process::write(&mut to);
        to.finish()
    }

    fn write_connections(&self, to: &mut Exposition) {
        to.gauge("daemon_connections_active", "Clients' connections now.", self.active());
        let peak = self.peak.load(Ordering::Relaxed);
        to.gauge("daemon_connections_peak", "Most connections at the same time so far.", peak);
        to.counter("daemon_connections_total", "Clients' connections taken over.", load(&self.connections));
        to.counter("daemon_handoffs_received", "Handoffs that arrived whole.", load(&self.handoffs_received));
        let help = "Connections on the Unix socket that brought no handoff.";
        to.counter("daemon_handoffs_failed", help, load(&self.handoffs_failed));
        let help = "Handoffs that arrived whole, by the protocol that brought them.";
        let protocols = [("1", load(&self.protocols[0])), ("2", load(&self.protocols[1]))];
        to.counters("daemon_handoffs_by_protocol_total", help, "protocol", &protocols);
        let help = "Answers to handoffs of protocol 2; sender_gone: Apache had given up waiting for it.";
        let replies: Vec<_> = REPLIES.into_iter().zip(self.replies.iter().map(load)).collect();
        to.counters("daemon_handoff_answers_total", help, "answer", &replies);
        let help = "Connections of processes that may not hand off (server.allowed_users).";
        to.counter("daemon_handoff_strangers_total", help, load(&self.strangers));
        let rejected = Limit::ALL.map(|limit| (limit.name(), load(&self.rejected[limit as usize])));
        let help = "Streams refused since a limit was reached.";
        to.counters("daemon_connections_rejected_total", help, "limit", &rejected);
        let help = "From accepting a connection of Apache to its whole handoff.";
        self.handoff.write(to, "daemon_handoff_duration_seconds", help);
    }

    fn write_streams(&self, to: &mut Exposition) {
        to.counter("daemon_stream_bytes_sent", "Bytes sent to clients.", load(&self.sent.bytes));
        let help = "Pieces of answers sent to clients.";
        to.counter("daemon_stream_chunks_sent", help, load(&self.sent.chunks));
        let errors = Reason::ALL.map(|reason| (reason.name(), load(&self.errors[reason as usize])));
        to.counters("daemon_stream_errors_total", "Streams that did not end well.", "reason", &errors);
        let help = "From the handoff to the end of the response.";
        self.stream.write(to, "daemon_stream_duration_seconds", help);
        let help = "From the handoff to the first piece of the answer.";
        self.first_token.write(to, "daemon_stream_ttfb_seconds", help);
        to.counter("daemon_backend_requests", "Requests to backends.", load(&self.backend_requests));
        let help = "Requests that a backend refused, broke off or left without an answer.";
        to.counter("daemon_backend_errors", help, load(&self.backend_errors));
        let help = "From a request to the moment when its backend begins to answer.";
        self.backend.write(to, "daemon_backend_duration_seconds", help);
    }
}

/// The connections to APIs.
fn write_upstream(to: &mut Exposition, backends: &Backends) {
    let figures: Vec<_> = (backends.all().iter())
        .filter_map(|known| Some((&*known.name, known.backend.connections()?)))
        .collect();
    let label = |name: &str| format!("{{backend=\"{name}\"}}");
    to.family("daemon_upstream_connections", "gauge", "Connections to APIs now.");
    for (name, of) in &figures {
        to.sample("daemon_upstream_connections", &label(name), of.connections);
    }
    to.family("daemon_upstream_streams", "gauge", "Requests on these connections now.");
    for (name, of) in &figures {
        to.sample("daemon_upstream_streams", &label(name), of.streams);
    }
    let mut counters = |name, help, figure: fn(&upstream::Figures) -> u64| {
        let values: Vec<_> = figures.iter().map(|(name, of)| (*name, figure(of))).collect();
        to.counters(name, help, "backend", &values);
    };
    counters("daemon_upstream_dials_total", "Connections to APIs that were begun.", |of| of.dials);
    let help = "Connections to APIs that could not be made.";
    counters("daemon_upstream_dial_failures_total", help, |of| of.dial_failures);
    let help = "Requests sent again on another connection, since the API had not processed them.";
    counters("daemon_upstream_retries_total", help, |of| of.retries);
}

/// A connection that counts as active.
#[derive(Debug)]
pub struct Connected<'a>(&'a Metrics);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Failure as BackendFailure;

    /// The names that dashboards know.
    const NAMES: [&str; 7] = [
        "daemon_connections_active",
        "daemon_connections_total",
        "daemon_handoffs_received",
        "daemon_handoffs_failed",
        "daemon_stream_bytes_sent",
        "daemon_backend_requests",
        "daemon_backend_errors",
    ];

    fn backends() -> Backends {
        Backends::new(&crate::config::Backend::default())
    }

    #[test]
    fn the_seven_names_are_there_in_both_formats() {
        for format in [Format::Text, Format::OpenMetrics] {
            let text = Metrics::default().write(format, &backends(), 0);
            for name in NAMES {
                assert!(text.lines().any(|line| line == format!("{name} 0")), "{name} in {text}");
            }
        }
    }

    #[test]
    fn what_happens_is_counted() {
        let metrics = Metrics::default();
        metrics.handoff(&Event::Received(Protocol::One, Duration::from_millis(1)));
        metrics.handoff(&Event::Failed(&Failure::Deadline(Duration::ZERO)));
        let first = metrics.connected();
        drop(metrics.connected());
        metrics.backend_asked();
        metrics.sent(100, 3);
        metrics.sent(10, 0);
        metrics.finished(Outcome::BackendBroken(BackendFailure::Truncated), Duration::ZERO, None);
        metrics.finished(Outcome::Rejected(Limit::User), Duration::ZERO, None);
        metrics.finished(Outcome::ClientGone, Duration::ZERO, None);
        let text = metrics.write(Format::Text, &backends(), 7);
        for line in [
            "daemon_connections_active 1",
            "daemon_connections_peak 2",
            "daemon_connections_total 2",
            "daemon_handoffs_received 1",
            "daemon_handoffs_failed 1",
            "daemon_stream_bytes_sent 110",
            "daemon_stream_chunks_sent 3",
            "daemon_backend_requests 1",
            "daemon_backend_errors 1",
            "daemon_connections_rejected_total{limit=\"user\"} 1",
            "daemon_connections_rejected_total{limit=\"total\"} 0",
            "daemon_stream_errors_total{reason=\"truncated\"} 1",
            "daemon_stream_errors_total{reason=\"client_disconnected\"} 1",
            "daemon_stream_errors_total{reason=\"canceled\"} 0",
            "daemon_stream_duration_seconds_count 3",
            "daemon_access_log_dropped_total 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        drop(first);
        assert_eq!(metrics.active(), 0);
    }
}
