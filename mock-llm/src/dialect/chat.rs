//! OpenAI Chat Completions, and the many APIs that are compatible with it.

use super::{Event, Place, quoted};

const FRAME: &str = r#""id":"chatcmpl-CeXmockW0qZ8TqyZ0nVJH1Kp2sT","object":"chat.completion.chunk","created":1763700000,"model":"gpt-5-mini-2025-08-07","service_tier":"default","system_fingerprint":null"#;

/// The events of a streamed answer. `chunk_bytes`: about how long one with content is, filled up with the `obfuscation`
/// field, as the vendor does.
pub(crate) fn stream(pieces: &[String], chunk_bytes: usize, usage: bool) -> Vec<Event> {
    let mut events = Vec::with_capacity(pieces.len() + 4);
    events.push(chunk(Place::Lead, r#""role":"assistant","content":"","refusal":null"#, "null", usage));
    for piece in pieces {
        let mut event = chunk(Place::Content, &format!(r#""content":{}"#, quoted(piece)), "null", usage);
        fill(&mut event.text, chunk_bytes);
        events.push(event);
    }
    events.push(chunk(Place::Tail, "", r#""stop""#, usage));
    if usage {
        let output = pieces.len();
        events.push(event(Place::Tail, &format!(
            r#"{{{FRAME},"choices":[],"usage":{{"prompt_tokens":9,"completion_tokens":{output},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}}}"#,
            output + 9,
        )));
    }
    events.push(event(Place::End, "[DONE]"));
    events
}

fn chunk(place: Place, delta: &str, finish: &str, usage: bool) -> Event {
    let usage = if usage { r#","usage":null"# } else { "" };
    event(
        place,
        &format!(
            r#"{{{FRAME},"choices":[{{"index":0,"delta":{{{delta}}},"logprobs":null,"finish_reason":{finish}}}]{usage}}}"#
        ),
    )
}

fn event(place: Place, data: &str) -> Event {
    Event { place, text: format!("data: {data}\n\n") }
}

/// Fills an event up to `length` with the field that hides the length of tokens.
fn fill(text: &mut String, length: usize) {
    const FIELD: &str = r#","obfuscation":"""#;
    if let Some(filling) = length.checked_sub(text.len() + FIELD.len()) {
        let end = text.len() - "}\n\n".len();
        let noise: String = "aB3xY7kQz9LmN2pR5tUw".chars().cycle().take(filling).collect();
        text.insert_str(end, &format!(r#","obfuscation":"{noise}""#));
    }
}
