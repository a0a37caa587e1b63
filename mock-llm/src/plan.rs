//! From a request to its answer.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use serde_json::Value;

use crate::answer::{Answer, Head, Step};
use crate::dialect::{Dialect, Said, errors, models, prompt, words};
use crate::faults::{BeforeHead, Content, Faults, UnknownPattern};
use crate::gzip::gzip;
use crate::settings::Settings;
use crate::state::{RecordedRequest, lock};
use crate::stream;

/// Letters of two, three and four bytes, and a sign of two code points.
const UNICODE: &str = "wörd→🙂é ";

/// Decides what requests get. Answers that do not depend on the request are made once.
pub(crate) struct Planner {
    made: Mutex<HashMap<(Dialect, bool), Answer>>,
    /// How often each pattern with `times` was asked for.
    asked: Mutex<HashMap<String, usize>>,
}

impl Planner {
    pub(crate) fn new() -> Self {
        Self { made: Mutex::default(), asked: Mutex::default() }
    }

    pub(crate) fn answer(&self, settings: &Settings, request: &RecordedRequest) -> Answer {
        let path = request.path.split('?').next().unwrap_or_default();
        if path.ends_with("/models") {
            return Answer::whole(Head::json(200), models::LIST);
        }
        let Some(dialect) = Dialect::of(path) else {
            return Answer::whole(Head::json(404), errors::body(Dialect::Chat, Default::default(), 404));
        };
        let body = request.json();
        if dialect != Dialect::Events && !body.is_object() {
            let message = "We could not parse the JSON body of your request.";
            return Answer::whole(Head::json(400), errors::bad_request(dialect, message));
        }
        match self.asked_for(settings, dialect, request, &body) {
            Ok(answer) => answer,
            Err(error) => Answer::whole(Head::json(400), errors::bad_request(dialect, &error.to_string())),
        }
    }

    fn asked_for(
        &self,
        settings: &Settings,
        dialect: Dialect,
        request: &RecordedRequest,
        body: &Value,
    ) -> Result<Answer, UnknownPattern> {
        let prompt = match dialect {
            Dialect::Events => Some(String::from_utf8_lossy(&request.body).into_owned()),
            _ => prompt::last(dialect, body),
        }
        .unwrap_or_default();
        let in_prompt = prompt::pattern(&prompt);
        let text = in_prompt.map_or(prompt.as_str(), |(_, text)| text);
        let in_header = request.headers.get("x-test-pattern").map(|value| value.to_str().unwrap_or("?"));
        let faults = match in_header.or(in_prompt.map(|(pattern, _)| pattern)) {
            Some(pattern) => self.in_time(pattern.parse()?),
            None => self.in_time(settings.faults.clone()),
        };
        let usage = body["stream_options"]["include_usage"] == true;
        let streams = body["stream"] == true || dialect == Dialect::Events;
        let plain = streams && in_header.or(in_prompt.map(|(pattern, _)| pattern)).is_none();
        let echo = settings.echo || faults.content.echo;
        if !plain || echo || faults.times.is_some() {
            return Ok(make(settings, dialect, &faults, text, usage, streams));
        }
        let make = || make(settings, dialect, &faults, text, usage, streams);
        Ok(lock(&self.made).entry((dialect, usage)).or_insert_with(make).clone())
    }

    /// Faults that hold for the first few requests only are none for those that come later.
    fn in_time(&self, faults: Faults) -> Faults {
        let Some(times) = faults.times else { return faults };
        let mut asked = lock(&self.asked);
        let count = asked.entry(faults.pattern.clone()).or_default();
        *count += 1;
        if *count > times { Faults::default() } else { faults }
    }
}

fn make(
    settings: &Settings,
    dialect: Dialect,
    faults: &Faults,
    prompt: &str,
    usage: bool,
    streams: bool,
) -> Answer {
    let said = Said {
        pieces: pieces(settings, &faults.content, prompt),
        kind: faults.content.kind,
        thinking: faults.content.thinking,
        finish: faults.content.finish,
        usage: usage || faults.content.usage,
        flavour: faults.flavour,
        failed: faults.failed,
        chunk_bytes: settings.chunk_bytes,
    };
    let mut answer = match instead(dialect, faults) {
        Some(answer) => answer,
        None => match dialect.whole(&said).filter(|_| !streams) {
            Some(body) => Answer::whole(Head::json(200), body),
            None => {
                let delay = faults.content.delay.unwrap_or(settings.chunk_delay);
                Answer::stream(Head::stream(), stream::steps(dialect, &said, faults, delay))
            }
        },
    };
    if faults.gzip {
        let mut head = (*answer.head).clone();
        head = head.with("content-encoding", "gzip");
        answer = Answer::whole(head, gzip(&sent(&answer.steps)));
    }
    if let Some(length) = faults.split {
        answer.steps = answer.steps.iter().flat_map(|step| split(step, length)).collect();
    }
    answer.before = before(faults).into();
    answer.framing = faults.framing;
    answer
}

fn pieces(settings: &Settings, content: &Content, prompt: &str) -> Vec<String> {
    if settings.echo || content.echo {
        let characters: Vec<char> = prompt.chars().collect();
        return characters.chunks(8).map(|piece| piece.iter().collect()).collect();
    }
    let count = content.chunks.unwrap_or(settings.chunk_count);
    if !content.unicode && content.delta.is_none() && content.total.is_none() {
        return words(count);
    }
    let piece = |word: &str| {
        let text = if content.unicode { UNICODE } else { word };
        let length = content.delta.unwrap_or(text.len());
        let mut piece = String::with_capacity(length);
        for character in text.chars().cycle().take_while(|_| length > 0) {
            if piece.len() + character.len_utf8() > length {
                break;
            }
            piece.push(character);
        }
        piece.extend(std::iter::repeat_n(' ', length - piece.len()));
        piece
    };
    let count = match content.total {
        Some(total) => total.div_ceil(piece("word001 ").len().max(1)),
        None => count,
    };
    words(count).iter().map(|word| piece(word)).collect()
}

fn before(faults: &Faults) -> Vec<Step> {
    let mut steps = Vec::new();
    if !faults.slow_head.is_zero() {
        steps.push(Step::Wait(faults.slow_head));
    }
    match faults.before_head {
        BeforeHead::Nothing => {}
        BeforeHead::Stall => steps.push(Step::Stall),
        BeforeHead::Abort => steps.push(Step::Cut { reset: false }),
        BeforeHead::Refuse => steps.push(Step::Reset(crate::frames::REFUSED_STREAM)),
        BeforeHead::GoAwayBelow => steps.extend([Step::GoAwayBelow, Step::Stall]),
        BeforeHead::MaxStreams(limit) => steps.push(Step::MaxStreams(limit)),
    }
    steps
}

/// What comes in place of the answer.
fn instead(dialect: Dialect, faults: &Faults) -> Option<Answer> {
    let instead = &faults.instead;
    if instead.redirect {
        return Some(Answer::whole(Head::new(302, "text/html").with("location", "/v1/elsewhere"), ""));
    }
    let implied = match (instead.retry_after, instead.html) {
        (Some(_), _) => Some(429),
        (None, true) => Some(502),
        (None, false) => None,
    };
    let status = instead.status.or(implied)?;
    let mut head =
        Head::new(status, if instead.html { "text/html; charset=UTF-8" } else { "application/json" });
    if let Some(seconds) = instead.retry_after {
        head = head.with("retry-after", seconds.to_string());
    }
    let body = if instead.html { errors::HTML.into() } else { errors::body(dialect, faults.flavour, status) };
    Some(Answer::whole(head, body))
}

/// All that the steps send.
fn sent(steps: &[Step]) -> Vec<u8> {
    let mut all = Vec::new();
    for step in steps {
        if let Step::Send(piece) = step {
            all.extend_from_slice(piece);
        }
    }
    all
}

fn split(step: &Step, length: usize) -> Vec<Step> {
    match step {
        Step::Send(bytes) => {
            let starts = (0..bytes.len()).step_by(length);
            starts
                .map(|start| Step::Send(Bytes::slice(bytes, start..bytes.len().min(start + length))))
                .collect()
        }
        other => vec![other.clone()],
    }
}
