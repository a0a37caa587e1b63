//! An answer as plain data: decided by [`crate::plan`], carried out by a connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::faults::Framing;

/// One thing that a connection does for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sends a piece of the body.
    Send(Bytes),
    /// Waits; counted from the end of the wait before, so that the pace stays.
    Wait(Duration),
    /// Does nothing more, until the client leaves.
    Stall,
    /// Closes the connection, with RST or FIN.
    Cut { reset: bool },
    /// RST_STREAM; HTTP/1.1, which has no such thing, closes the connection.
    Reset(u32),
    /// GOAWAY with grace. Nothing with HTTP/1.1, as those that follow.
    GoAway,
    /// GOAWAY whose last stream is below this one.
    GoAwayBelow,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    MaxStreams(u32),
}

/// Status and header fields.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl Head {
    pub(crate) fn new(status: u16, content_type: &str) -> Self {
        Self { status, fields: vec![("content-type", content_type.into())] }
    }

    pub(crate) fn json(status: u16) -> Self {
        Self::new(status, "application/json")
    }

    pub(crate) fn stream() -> Self {
        Self::new(200, "text/event-stream; charset=utf-8").with("cache-control", "no-cache")
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

/// What a request gets. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// What happens before the head.
    pub(crate) before: Arc<[Step]>,
    pub(crate) head: Arc<Head>,
    /// What happens after it. The body ends after the last step.
    pub(crate) steps: Arc<[Step]>,
    /// The body is one piece, whose length the head tells.
    pub(crate) sized: bool,
    pub(crate) framing: Framing,
}

impl Answer {
    pub(crate) fn stream(head: Head, steps: Vec<Step>) -> Self {
        let (head, steps) = (Arc::new(head), steps.into());
        Self { before: [].into(), head, steps, sized: false, framing: Framing::Kept }
    }

    pub(crate) fn whole(head: Head, body: impl Into<Bytes>) -> Self {
        Self { sized: true, ..Self::stream(head, vec![Step::Send(body.into())]) }
    }

    /// How long the body is, when that is told before it.
    pub(crate) fn length(&self) -> Option<usize> {
        let length = |step: &Step| if let Step::Send(piece) = step { piece.len() } else { 0 };
        self.sized.then(|| self.steps.iter().map(length).sum())
    }
}
