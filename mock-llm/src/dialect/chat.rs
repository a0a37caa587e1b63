//! OpenAI Chat Completions, and the many APIs that are compatible with it.

use super::{CALLS, Event, INPUT_TOKENS, Place, Said, THOUGHTS, quoted};
use crate::faults::{Finish, Flavour, Kind};

const ID: &str = "chatcmpl-CeXmockW0qZ8TqyZ0nVJH1";
const MODEL: &str = "gpt-5-mini";

const AZURE_FIRST: &str = r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"},"jailbreak":{"filtered":false,"detected":false},"self_harm":{"filtered":false,"severity":"safe"},"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}}]}"#;

/// The events of a streamed answer. Those with content are filled up with the `obfuscation` field, as the vendor does.
pub(crate) fn stream(said: &Said) -> Vec<Event> {
    let chunk = |place, delta: &str, finish: &str| Event::data(place, chunk(delta, finish, said.usage));
    let mut events = Vec::with_capacity(said.pieces.len() + 4);
    match said.flavour {
        Flavour::Azure => events.push(Event::data(Place::Lead, AZURE_FIRST)),
        Flavour::OpenRouter => events.push(Event::comment(Place::Lead, "OPENROUTER PROCESSING")),
        Flavour::OpenAi | Flavour::Vllm => {}
    }
    events.push(chunk(Place::Lead, r#""role":"assistant","content":"","refusal":null"#, "null"));
    if said.thinking {
        let think = |text: &&str| format!(r#""content":null,"reasoning_content":{}"#, quoted(text));
        events.extend(THOUGHTS.iter().map(|text| chunk(Place::Lead, &think(text), "null")));
    }
    match said.kind {
        Kind::Tools => events.extend(calls(said.usage)),
        Kind::Text | Kind::Refusal => {
            let field = if said.kind == Kind::Refusal { "refusal" } else { "content" };
            for (index, piece) in said.pieces.iter().enumerate() {
                if said.flavour == Flavour::OpenRouter && index % 4 == 1 {
                    events.push(Event::comment(Place::Tail, "OPENROUTER PROCESSING"));
                }
                let mut json = self::chunk(&format!(r#""{field}":{}"#, quoted(piece)), "null", said.usage);
                fill(&mut json, said.chunk_bytes);
                events.push(Event::data(Place::Content, json));
            }
        }
    }
    events.push(chunk(Place::Tail, "", &format!("\"{}\"", finish(said))));
    if said.usage {
        events.push(Event::data(
            Place::Tail,
            format!(r#"{{{},"choices":[],{}}}"#, frame("chat.completion.chunk"), usage(said)),
        ));
    }
    events.push(Event::data(Place::End, "[DONE]"));
    events
}

/// The answer in one piece.
pub(crate) fn whole(said: &Said) -> String {
    let text = quoted(&said.text());
    let message = match said.kind {
        Kind::Text => format!(r#""content":{text},"refusal":null"#),
        Kind::Refusal => format!(r#""content":null,"refusal":{text}"#),
        Kind::Tools => {
            let calls: Vec<String> = CALLS
                .iter()
                .map(|call| {
                    let arguments = quoted(&call.arguments.concat());
                    format!(
                        r#"{{"id":"call_{}","type":"function","function":{{"name":"{}","arguments":{arguments}}}}}"#,
                        call.id, call.name
                    )
                })
                .collect();
            format!(r#""content":null,"tool_calls":[{}],"refusal":null"#, calls.join(","))
        }
    };
    format!(
        r#"{{{},"choices":[{{"index":0,"message":{{"role":"assistant",{message}}},"logprobs":null,"finish_reason":"{}"}}],{}}}"#,
        frame("chat.completion"),
        finish(said),
        usage(said)
    )
}

/// An error in mid-stream. vLLM goes on to say `[DONE]`; OpenRouter's is a chunk with a finish reason.
pub(crate) fn error(said: &Said) -> Vec<Event> {
    let data = |json: &str| Event::data(Place::Tail, json);
    match said.flavour {
        Flavour::Vllm => vec![
            data(
                r#"{"object":"error","message":"EngineCore encountered an issue.","type":"InternalServerError","param":null,"code":500}"#,
            ),
            Event::data(Place::End, "[DONE]"),
        ],
        Flavour::OpenRouter => vec![
            data(&format!(
                r#"{{{},"provider":"Mock","error":{{"code":"server_error","message":"Provider disconnected unexpectedly"}},"choices":[{{"index":0,"delta":{{"content":""}},"finish_reason":"error"}}]}}"#,
                frame("chat.completion.chunk")
            )),
            Event::data(Place::End, "[DONE]"),
        ],
        Flavour::OpenAi | Flavour::Azure => vec![data(
            r#"{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}"#,
        )],
    }
}

fn calls(usage: bool) -> Vec<Event> {
    let mut events = Vec::new();
    for (index, call) in CALLS.iter().enumerate() {
        let first = format!(
            r#""tool_calls":[{{"index":{index},"id":"call_{}","type":"function","function":{{"name":"{}","arguments":""}}}}]"#,
            call.id, call.name
        );
        events.push(Event::data(Place::Tail, chunk(&first, "null", usage)));
        for part in call.arguments {
            let part =
                format!(r#""tool_calls":[{{"index":{index},"function":{{"arguments":{}}}}}]"#, quoted(part));
            events.push(Event::data(Place::Content, chunk(&part, "null", usage)));
        }
    }
    events
}

fn frame(object: &str) -> String {
    format!(
        r#""id":"{ID}","object":"{object}","created":1763700000,"model":"{MODEL}","system_fingerprint":null"#
    )
}

fn chunk(delta: &str, finish: &str, usage: bool) -> String {
    let usage = if usage { r#","usage":null"# } else { "" };
    format!(
        r#"{{{},"choices":[{{"index":0,"delta":{{{delta}}},"finish_reason":{finish}}}]{usage}}}"#,
        frame("chat.completion.chunk")
    )
}

fn finish(said: &Said) -> &'static str {
    match (said.finish, said.kind) {
        (Finish::Length, _) => "length",
        (Finish::Filter, _) => "content_filter",
        (Finish::Stop, Kind::Tools) => "tool_calls",
        (Finish::Stop, _) => "stop",
    }
}

fn usage(said: &Said) -> String {
    let output = said.output_tokens();
    let total = INPUT_TOKENS + output;
    format!(
        r#""usage":{{"prompt_tokens":{INPUT_TOKENS},"completion_tokens":{output},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
    )
}

/// Fills a chunk up, so that its event has this length, with the field that hides the length of tokens.
fn fill(json: &mut String, length: usize) {
    const FIELD: &str = r#","obfuscation":"""#;
    const AROUND: &str = "data: \n\n";
    if let Some(filling) = length.checked_sub(json.len() + FIELD.len() + AROUND.len()) {
        let noise: String = "aB3xY7kQz9LmN2pR5tUw".chars().cycle().take(filling).collect();
        json.insert_str(json.len() - 1, &format!(r#","obfuscation":"{noise}""#));
    }
}
