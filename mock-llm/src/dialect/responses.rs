//! OpenAI Responses: each event has a type and a number.

use super::{CALLS, Call, Event, INPUT_TOKENS, Place, Said, THOUGHTS, quoted};
use crate::faults::{Finish, Kind};

const ITEM: &str = "msg_68f0mock2b3c81a0";
const REASONING: &str = "rs_68f0mock1a2b81a0";

/// Writes events with rising numbers.
#[derive(Default)]
struct Numbered {
    events: Vec<Event>,
    /// Items that are complete, as JSON.
    items: Vec<String>,
}

impl Numbered {
    fn add(&mut self, place: Place, kind: &str, members: &str) {
        let number = self.events.len();
        let data = format!(r#"{{"type":"{kind}","sequence_number":{number},{members}}}"#);
        self.events.push(Event::named(place, kind, data));
    }

    /// Where the next item stands in the output.
    fn index(&self) -> usize {
        self.items.len()
    }

    fn item_added(&mut self, place: Place, item: &str) {
        let index = self.index();
        self.add(place, "response.output_item.added", &format!(r#""output_index":{index},"item":{item}"#));
    }

    fn item_done(&mut self, place: Place, item: String) {
        let index = self.index();
        self.add(place, "response.output_item.done", &format!(r#""output_index":{index},"item":{item}"#));
        self.items.push(item);
    }

    fn reasoning(&mut self) {
        let text = quoted(&THOUGHTS.concat());
        let at = format!(r#""item_id":"{REASONING}","output_index":{},"summary_index":0"#, self.index());
        self.item_added(Place::Lead, &format!(r#"{{"id":"{REASONING}","type":"reasoning","summary":[]}}"#));
        let part = |text: &str| format!(r#""part":{{"type":"summary_text","text":{text}}}"#);
        self.add(Place::Lead, "response.reasoning_summary_part.added", &format!("{at},{}", part("\"\"")));
        for thought in THOUGHTS {
            let delta = format!(r#"{at},"delta":{}"#, quoted(thought));
            self.add(Place::Lead, "response.reasoning_summary_text.delta", &delta);
        }
        self.add(Place::Lead, "response.reasoning_summary_text.done", &format!(r#"{at},"text":{text}"#));
        self.add(Place::Lead, "response.reasoning_summary_part.done", &format!("{at},{}", part(&text)));
        let summary = format!(r#"[{{"type":"summary_text","text":{text}}}]"#);
        self.item_done(
            Place::Lead,
            format!(r#"{{"id":"{REASONING}","type":"reasoning","summary":{summary}}}"#),
        );
    }

    fn message(&mut self, said: &Said) {
        let at = format!(r#""item_id":"{ITEM}","output_index":{},"content_index":0"#, self.index());
        self.item_added(Place::Lead, &message("in_progress", ""));
        self.add(
            Place::Lead,
            "response.content_part.added",
            &format!(r#"{at},"part":{}"#, part(said.kind, "\"\"")),
        );
        let (kind, member, logprobs) = match said.kind {
            Kind::Refusal => ("response.refusal", "refusal", ""),
            _ => ("response.output_text", "text", r#","logprobs":[]"#),
        };
        for piece in &said.pieces {
            self.add(
                Place::Content,
                &format!("{kind}.delta"),
                &format!(r#"{at},"delta":{}{logprobs}"#, quoted(piece)),
            );
        }
        let text = quoted(&said.text());
        self.add(Place::Tail, &format!("{kind}.done"), &format!(r#"{at},"{member}":{text}{logprobs}"#));
        let part = part(said.kind, &text);
        self.add(Place::Tail, "response.content_part.done", &format!(r#"{at},"part":{part}"#));
        let status = if said.finish == Finish::Stop { "completed" } else { "incomplete" };
        self.item_done(Place::Tail, message(status, &part));
    }

    fn call(&mut self, call: &Call) {
        let at = format!(r#""item_id":"fc_{}","output_index":{}"#, call.id, self.index());
        self.item_added(Place::Tail, &function_call("in_progress", call, "\"\""));
        for part in call.arguments {
            let delta = format!(r#"{at},"delta":{}"#, quoted(part));
            self.add(Place::Content, "response.function_call_arguments.delta", &delta);
        }
        let arguments = quoted(&call.arguments.concat());
        self.add(
            Place::Tail,
            "response.function_call_arguments.done",
            &format!(r#"{at},"arguments":{arguments}"#),
        );
        self.item_done(Place::Tail, function_call("completed", call, &arguments));
    }
}

/// The events of a streamed answer.
pub(crate) fn stream(said: &Said) -> Vec<Event> {
    let mut out = Numbered::default();
    let begun = format!(r#""response":{}"#, response("in_progress", "null", "[]", "null", "null"));
    out.add(Place::Lead, "response.created", &begun);
    out.add(Place::Lead, "response.in_progress", &begun);
    if said.thinking {
        out.reasoning();
    }
    match said.kind {
        Kind::Tools => CALLS.iter().for_each(|call| out.call(call)),
        Kind::Text | Kind::Refusal => out.message(said),
    }
    let (status, response) = finished(said, &out.items);
    out.add(Place::End, &format!("response.{status}"), &format!(r#""response":{response}"#));
    out.events
}

/// The answer in one piece.
pub(crate) fn whole(said: &Said) -> String {
    let mut out = Numbered::default();
    match said.kind {
        Kind::Tools => CALLS.iter().for_each(|call| out.call(call)),
        Kind::Text | Kind::Refusal => out.message(said),
    }
    finished(said, &out.items).1
}

/// An error in mid-stream: either of the two forms.
pub(crate) fn error(said: &Said, number: usize) -> Event {
    let message = "The server had an error while processing your request. Sorry about that!";
    let (kind, members) = if said.failed {
        let error = format!(r#"{{"code":"server_error","message":"{message}"}}"#);
        ("response.failed", format!(r#""response":{}"#, response("failed", &error, "[]", "null", "null")))
    } else {
        ("error", format!(r#""code":"server_error","message":"{message}","param":null"#))
    };
    Event::named(Place::Tail, kind, format!(r#"{{"type":"{kind}","sequence_number":{number},{members}}}"#))
}

fn finished(said: &Said, items: &[String]) -> (&'static str, String) {
    let (status, details) = match said.finish {
        Finish::Stop => ("completed", "null"),
        Finish::Length => ("incomplete", r#"{"reason":"max_output_tokens"}"#),
        Finish::Filter => ("incomplete", r#"{"reason":"content_filter"}"#),
    };
    let output = said.output_tokens();
    let usage = format!(
        r#"{{"input_tokens":{INPUT_TOKENS},"input_tokens_details":{{"cached_tokens":0}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":{}}}"#,
        INPUT_TOKENS + output
    );
    (status, response(status, "null", &format!("[{}]", items.join(",")), &usage, details))
}

fn response(status: &str, error: &str, output: &str, usage: &str, details: &str) -> String {
    format!(
        r#"{{"id":"resp_68f0mock9d8c81a0","object":"response","created_at":1763700000,"status":"{status}","background":false,"error":{error},"incomplete_details":{details},"instructions":null,"max_output_tokens":null,"model":"gpt-5-mini","output":{output},"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{{"effort":"medium","summary":null}},"store":true,"temperature":1.0,"text":{{"format":{{"type":"text"}}}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":{usage},"user":null,"metadata":{{}}}}"#
    )
}

fn message(status: &str, content: &str) -> String {
    format!(
        r#"{{"id":"{ITEM}","type":"message","status":"{status}","content":[{content}],"role":"assistant"}}"#
    )
}

fn part(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Refusal => format!(r#"{{"type":"refusal","refusal":{text}}}"#),
        _ => format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":{text}}}"#),
    }
}

fn function_call(status: &str, call: &Call, arguments: &str) -> String {
    let Call { id, name, .. } = call;
    format!(
        r#"{{"id":"fc_{id}","type":"function_call","status":"{status}","arguments":{arguments},"call_id":"call_{id}","name":"{name}"}}"#
    )
}
