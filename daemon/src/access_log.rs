//! One line for each finished stream, since Apache's access log ends with the handoff.

use std::time::{Duration, Instant};

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer was sent.
    Done,
    /// The client closed before the end.
    ClientGone,
    /// The client took nothing for the whole write deadline.
    WriteTimeout,
    /// The backend's answer ended before its end.
    BackendBroken,
    /// The daemon's shutdown deadline came first.
    Shutdown,
    /// The handoff data was wrong: 400.
    BadRequest,
    /// The backend gave no answer: an error status.
    Refused,
    /// All allowed connections were in use: 503.
    AtCapacity,
}

impl Outcome {
    /// A short constant name for logs and metric labels.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::ClientGone => "client_gone",
            Self::WriteTimeout => "write_timeout",
            Self::BackendBroken => "backend_broken",
            Self::Shutdown => "shutdown",
            Self::BadRequest => "bad_request",
            Self::Refused => "refused",
            Self::AtCapacity => "at_capacity",
        }
    }
}

/// What the line tells.
#[derive(Debug)]
pub struct Finished {
    /// From the handoff data, as is `user_id`; `-` when not given.
    pub request_id: Option<String>,
    /// The application's user.
    pub user_id: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes that the kernel took, head and framing included.
    pub bytes: u64,
    /// When the handoff had arrived whole.
    pub started: Instant,
    /// When the first byte was sent.
    pub first_byte: Option<Instant>,
    /// From the handoff to the end of the response, the closing not included.
    pub duration: Duration,
}

impl Finished {
    /// Writes the line, at info. Times are in milliseconds.
    pub fn log(&self) {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let first_byte_ms = self.first_byte.map(|at| milliseconds(at.duration_since(self.started)));
        tracing::info!(
            // Quoted and escaped by the formatter: these are foreign.
            request_id = or_dash(&self.request_id),
            user_id = or_dash(&self.user_id),
            outcome = self.outcome.reason(),
            bytes = self.bytes,
            duration_ms = milliseconds(self.duration),
            first_byte_ms,
            "stream finished"
        );
    }
}

/// With three digits after the point.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
