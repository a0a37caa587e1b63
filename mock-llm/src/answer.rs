//! An answer as a list of steps: made of plain data, carried out by a connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::dialect::{self, Event, Place};
use crate::settings::Settings;
use crate::state::RecordedRequest;

/// Pieces that are ready together are sent together, up to about this many bytes.
const TOGETHER: usize = 16 * 1024;

/// One thing that a connection does for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sends a piece of the body.
    Send(Bytes),
    /// Waits; counted from the end of the wait before, so that the pace stays.
    Wait(Duration),
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

    fn stream() -> Self {
        let mut head = Self::new(200, "text/event-stream; charset=utf-8");
        head.fields.push(("cache-control", "no-cache".into()));
        head
    }
}

/// What a request gets.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) head: Arc<Head>,
    pub(crate) steps: Arc<[Step]>,
    /// The body is one piece, whose length the head tells.
    pub(crate) sized: bool,
}

impl Answer {
    pub(crate) fn whole(head: Head, body: impl Into<Bytes>) -> Self {
        Self { head: Arc::new(head), steps: [Step::Send(body.into())].into(), sized: true }
    }

    /// How long the body is, when that is told before it.
    pub(crate) fn length(&self) -> Option<usize> {
        self.sized.then(|| {
            self.steps.iter().map(|step| if let Step::Send(piece) = step { piece.len() } else { 0 }).sum()
        })
    }
}

/// Answers that do not depend on the request, made once.
pub(crate) struct Prepared {
    head: Arc<Head>,
    chat: Arc<[Step]>,
    chat_with_usage: Arc<[Step]>,
}

impl Prepared {
    pub(crate) fn new(settings: &Settings) -> Self {
        let words = dialect::words(settings.chunk_count);
        let chat = |usage| {
            steps(&dialect::chat::stream(&words, settings.chunk_bytes, usage), settings.chunk_delay).into()
        };
        Self { head: Arc::new(Head::stream()), chat: chat(false), chat_with_usage: chat(true) }
    }

    /// Decides what a request gets.
    pub(crate) fn answer(&self, request: &RecordedRequest) -> Answer {
        let path = request.path.split('?').next().unwrap_or_default();
        if path.ends_with("/chat/completions") {
            let json = request.json();
            let usage = json["stream_options"]["include_usage"] == true;
            let steps = if usage { &self.chat_with_usage } else { &self.chat };
            return Answer { head: Arc::clone(&self.head), steps: Arc::clone(steps), sized: false };
        }
        Answer::whole(
            Head::new(404, "application/json"),
            r#"{"error":{"message":"Unknown request URL.","type":"invalid_request_error","param":null,"code":"unknown_url"}}"#,
        )
    }
}

/// Events become steps: a wait before each content event but the first, and what is ready together is sent together.
fn steps(events: &[Event], delay: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut ready = BytesMut::new();
    let mut first = true;
    for event in events {
        let waits = event.place == Place::Content && !first && !delay.is_zero();
        if !ready.is_empty() && (waits || ready.len() + event.text.len() > TOGETHER) {
            steps.push(Step::Send(ready.split().freeze()));
        }
        if waits {
            steps.push(Step::Wait(delay));
        }
        first &= event.place != Place::Content;
        ready.extend_from_slice(event.text.as_bytes());
    }
    if !ready.is_empty() {
        steps.push(Step::Send(ready.freeze()));
    }
    steps
}
