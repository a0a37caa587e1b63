//! Anthropic Messages: blocks of content within a message.

use super::{CALLS, Event, INPUT_TOKENS, Place, Said, THOUGHTS, quoted};
use crate::faults::{Finish, Kind};

const FRAME: &str =
    r#""id":"msg_01MockX7pYfq3nTzG4kW","type":"message","role":"assistant","model":"claude-sonnet-4-5""#;
const SIGNATURE: &str = "EqQBCgIYAhIMmockmockmockSignatureOfThoughts==";

struct Blocks {
    events: Vec<Event>,
    index: usize,
}

impl Blocks {
    fn add(&mut self, place: Place, kind: &str, members: &str) {
        self.events.push(Event::named(place, kind, format!(r#"{{"type":"{kind}"{members}}}"#)));
    }

    fn start(&mut self, place: Place, block: &str) {
        let members = format!(r#","index":{},"content_block":{block}"#, self.index);
        self.add(place, "content_block_start", &members);
    }

    fn delta(&mut self, place: Place, kind: &str, member: &str, text: &str) {
        let delta = format!(r#"{{"type":"{kind}","{member}":{}}}"#, quoted(text));
        let members = format!(r#","index":{},"delta":{delta}"#, self.index);
        self.add(place, "content_block_delta", &members);
    }

    fn stop(&mut self, place: Place) {
        let members = format!(r#","index":{}"#, self.index);
        self.add(place, "content_block_stop", &members);
        self.index += 1;
    }
}

/// The events of a streamed answer, with a `ping` where the vendor's documentation has one.
pub(crate) fn stream(said: &Said) -> Vec<Event> {
    let mut out = Blocks { events: Vec::with_capacity(said.pieces.len() + 8), index: 0 };
    let message = format!(
        r#","message":{{{FRAME},"content":[],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":{INPUT_TOKENS},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}}"#
    );
    out.add(Place::Lead, "message_start", &message);
    if said.thinking {
        out.start(Place::Lead, r#"{"type":"thinking","thinking":"","signature":""}"#);
        for thought in THOUGHTS {
            out.delta(Place::Lead, "thinking_delta", "thinking", thought);
        }
        out.delta(Place::Lead, "signature_delta", "signature", SIGNATURE);
        out.stop(Place::Lead);
    }
    match said.kind {
        Kind::Text | Kind::Refusal => {
            out.start(Place::Lead, r#"{"type":"text","text":""}"#);
            out.add(Place::Lead, "ping", "");
            for piece in &said.pieces {
                out.delta(Place::Content, "text_delta", "text", piece);
            }
            out.stop(Place::Tail);
        }
        Kind::Tools => {
            for call in &CALLS {
                let block = format!(
                    r#"{{"type":"tool_use","id":"toolu_{}","name":"{}","input":{{}}}}"#,
                    call.id, call.name
                );
                out.start(Place::Tail, &block);
                for part in call.arguments {
                    out.delta(Place::Content, "input_json_delta", "partial_json", part);
                }
                out.stop(Place::Tail);
            }
        }
    }
    let members = format!(
        r#","delta":{{"stop_reason":"{}","stop_sequence":null}},"usage":{{"output_tokens":{}}}"#,
        stop_reason(said),
        said.output_tokens()
    );
    out.add(Place::Tail, "message_delta", &members);
    out.add(Place::End, "message_stop", "");
    out.events
}

/// The answer in one piece.
pub(crate) fn whole(said: &Said) -> String {
    let content = match said.kind {
        Kind::Text | Kind::Refusal => format!(r#"{{"type":"text","text":{}}}"#, quoted(&said.text())),
        Kind::Tools => {
            let block = |call: &super::Call| {
                let input = call.arguments.concat();
                format!(
                    r#"{{"type":"tool_use","id":"toolu_{}","name":"{}","input":{input}}}"#,
                    call.id, call.name
                )
            };
            CALLS.iter().map(block).collect::<Vec<_>>().join(",")
        }
    };
    format!(
        r#"{{{FRAME},"content":[{content}],"stop_reason":"{}","stop_sequence":null,"usage":{{"input_tokens":{INPUT_TOKENS},"output_tokens":{}}}}}"#,
        stop_reason(said),
        said.output_tokens()
    )
}

/// An error in mid-stream.
pub(crate) fn error() -> Event {
    let data = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_011Mock"}"#;
    Event::named(Place::Tail, "error", data)
}

fn stop_reason(said: &Said) -> &'static str {
    match (said.finish, said.kind) {
        (Finish::Length, _) => "max_tokens",
        (Finish::Filter, _) | (_, Kind::Refusal) => "refusal",
        (Finish::Stop, Kind::Tools) => "tool_use",
        (Finish::Stop, Kind::Text) => "end_turn",
    }
}
