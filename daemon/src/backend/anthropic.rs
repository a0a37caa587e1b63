//! Anthropic's Messages.
//!
//! <https://docs.anthropic.com/en/api/messages-streaming>: each event has a type, in the field `event` and in its data; the
//! last one is `message_stop`. Types that are not known have to be tolerated.

use http::{HeaderValue, Method};
use serde_json::Value as Json;
use skim::{Malformed, Value};
use sse::Block;

use super::Usage;
use super::api_error::ApiError;
use super::body::{Object, conversation};
use super::dialect::{Dialect, Question, Reading, kind, secret};
use crate::config::Profile;
use crate::request::{BadRequest, Request};

/// The version of the API that is spoken here.
const VERSION: &str = "2023-06-01";

/// Of a request for which nobody says how long the answer may be; this API wants to know.
const MAX_TOKENS: u64 = 4096;

/// Messages.
#[derive(Clone)]
pub(super) struct Messages;

impl Dialect for Messages {
    fn of(_: &Profile) -> Self {
        Self
    }

    fn ask(&self, request: &Request, profile: &Profile, _: &str) -> Result<Question, BadRequest> {
        let Some(model) = request.model.as_deref().or(profile.model.as_deref()) else {
            let expected = format!("a model's name, or have one set for [backend.{}]", profile.name);
            return Err(BadRequest::wrong("model", "missing", expected));
        };
        let (system, messages) = apart(request)?;
        let mut body = Object::new();
        body.member("model", model);
        body.member("max_tokens", &request.max_tokens.or(profile.max_tokens).unwrap_or(MAX_TOKENS));
        body.optional("system", system.as_deref());
        body.json("messages", &messages);
        body.member("stream", &true);
        body.optional("temperature", request.temperature.as_ref());
        body.others(request, &[])?;
        let mut fields = vec![("anthropic-version", HeaderValue::from_static(VERSION))];
        if !profile.api_key.is_empty() {
            fields.extend(secret(profile.api_key.expose()).map(|key| ("x-api-key", key)));
        }
        Ok(Question { method: Method::POST, path: "/messages", fields, body: body.end() })
    }

    fn read<'a>(&mut self, event: &Block<'a>, data: &'a [u8], scratch: &'a mut String) -> Reading<'a> {
        let reading = match kind(event, data) {
            b"content_block_delta" => delta(data, scratch).map(Reading::text),
            b"message_start" => Value::of(data).pick(["message"]).and_then(|[message]| usage(message)),
            b"message_delta" => usage(Some(Value::of(data))),
            b"message_stop" => Ok(Reading::end()),
            b"error" => Ok(Reading::error(ApiError::of_event(data))),
            _ => Ok(Reading::default()),
        };
        reading.unwrap_or_else(|malformed| Reading::error(ApiError::unreadable(malformed)))
    }
}

/// The text of a delta of type `text_delta`; the others are about tools and thoughts.
fn delta<'a>(data: &'a [u8], scratch: &'a mut String) -> Result<&'a str, Malformed> {
    let [delta] = Value::of(data).pick(["delta"])?;
    let Some(delta) = delta else { return Ok("") };
    let [text] = delta.pick(["text"])?;
    Ok(text.map(|text| text.as_str(scratch)).transpose()?.flatten().unwrap_or_default())
}

/// The member `usage` of an object. What was read from a cache was sent all the same.
fn usage<'a>(of: Option<Value<'_>>) -> Result<Reading<'a>, Malformed> {
    let Some(of) = of else { return Ok(Reading::default()) };
    let [usage] = of.pick(["usage"])?;
    let Some(usage) = usage else { return Ok(Reading::default()) };
    let names = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"];
    let [input, created, read, output] = usage.pick(names)?.map(|value| value.and_then(Value::as_u64));
    let input = input.map(|input| [created, read].into_iter().flatten().fold(input, u64::saturating_add));
    Ok(Reading { usage: Some(Usage { input, output }), ..Reading::default() })
}

/// What the model is told, apart from the conversation: this API has no role `system`.
fn apart(request: &Request) -> Result<(Option<String>, Vec<u8>), BadRequest> {
    let written = conversation(None, request)?;
    let Ok(Json::Array(messages)) = serde_json::from_slice::<Json>(&written) else {
        return Ok((None, written));
    };
    let is_system = |message: &Json| message["role"] == "system" || message["role"] == "developer";
    if !messages.iter().any(is_system) {
        return Ok((request.system.clone(), written));
    }
    let (told, said): (Vec<_>, Vec<_>) = messages.into_iter().partition(is_system);
    let told = told.iter().map(|message| text(&message["content"]));
    let system: Vec<String> = request.system.iter().cloned().chain(told).collect();
    Ok((Some(system.join("\n\n")), Json::Array(said).to_string().into_bytes()))
}

/// The text of a content, in one piece or in parts.
fn text(content: &Json) -> String {
    match content {
        Json::String(text) => text.clone(),
        Json::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{self, Heard, hear};
    use super::*;
    use crate::config::DialectName;

    fn profile() -> Profile {
        fixtures::profile(DialectName::Anthropic)
    }

    fn body(data: &str) -> Json {
        fixtures::body::<Messages>(&Profile { model: Some("claude".into()), ..profile() }, data)
    }

    fn heard(stream: &str) -> Heard {
        hear(Messages, stream)
    }

    #[test]
    fn a_prompt_becomes_a_message_and_says_how_long_the_answer_may_be() {
        let expected = json!({
            "model": "claude", "max_tokens": 4096, "system": "brief",
            "messages": [{"role": "user", "content": "Hi"}], "stream": true, "temperature": 1.0,
        });
        assert_eq!(body(r#"{"prompt":"Hi","system":"brief","temperature":1.0}"#), expected);
    }

    #[test]
    fn what_the_model_is_told_stands_apart() {
        let data = r#"{"system":"a","messages":[{"role":"system","content":"b"},{"role":"user","content":"Hi"},
                       {"role":"developer","content":[{"type":"text","text":"c"}]}]}"#;
        let body = body(data);
        assert_eq!(body["system"], "a\n\nb\n\nc");
        assert_eq!(body["messages"], json!([{"role": "user", "content": "Hi"}]));
    }

    #[test]
    fn nobody_guesses_a_model() {
        let wrong = fixtures::ask::<Messages>(&profile(), r#"{"prompt":"x"}"#).unwrap_err().to_string();
        assert!(wrong.contains("\"model\"") && wrong.contains("[backend.api]"), "{wrong}");
    }

    #[test]
    fn key_and_version_have_fields_of_their_own() {
        let question = fixtures::ask::<Messages>(&profile(), r#"{"prompt":"x","model":"claude"}"#).unwrap();
        let fields: Vec<_> =
            question.fields.iter().map(|(name, value)| (*name, value.to_str().unwrap())).collect();
        assert_eq!(fields, [("anthropic-version", "2023-06-01"), ("x-api-key", "sk-1")]);
        assert_eq!(question.path, "/messages");
    }

    #[test]
    fn a_whole_answer_is_read() {
        let stream = concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":2,\"output_tokens\":1}}}\n\n",
            "event: content_block_start\ndata: {\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "event: ping\ndata: {\"type\":\"ping\"}\n\n",
            "event: content_block_delta\ndata: {\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n",
            "event: content_block_delta\ndata: {\"delta\":{\"type\":\"signature_delta\",\"signature\":\"x\"}}\n\n",
            "event: content_block_delta\ndata: {\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\n\n",
            "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
            "event: something_new\ndata: {\"delta\":{\"text\":\"no\"}}\n\n",
            "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":3}}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        );
        let usage = Usage { input: Some(7), output: Some(3) };
        assert_eq!(heard(stream), Heard { text: "Hello".into(), usage, ended: true, error: None });
    }

    #[test]
    fn no_number_is_too_large() {
        let usage =
            format!("{{\"usage\":{{\"input_tokens\":{0},\"cache_read_input_tokens\":{0}}}}}", u64::MAX);
        let stream = format!("event: message_start\ndata: {{\"message\":{usage}}}\n\n");
        assert_eq!(heard(&stream).usage.input, Some(u64::MAX));
    }

    #[test]
    fn the_type_may_stand_in_the_data_only() {
        let stream = concat!(
            "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
            "data: {\"type\":\"message_stop\"}\n\n",
        );
        assert_eq!(heard(stream), Heard { text: "Hello".into(), ended: true, ..Heard::default() });
    }

    #[test]
    fn an_error_event_is_an_error() {
        let stream = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
        assert_eq!(heard(stream).error.as_deref(), Some("overloaded_error: Overloaded"));
    }
}
