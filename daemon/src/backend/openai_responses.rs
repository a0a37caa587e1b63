//! OpenAI's Responses.
//!
//! <https://platform.openai.com/docs/api-reference/responses-streaming>: each event has a type, in the field `event` and in
//! its data, and the last one is `response.completed`, `.incomplete` or `.failed`.

use http::Method;
use serde_json::Value as Json;
use serde_json::json;
use skim::{Malformed, Value};
use sse::Block;

use super::Usage;
use super::api_error::ApiError;
use super::body::{Object, conversation};
use super::dialect::{Dialect, Question, Reading, bearer, kind};
use crate::config::Profile;
use crate::request::{BadRequest, Request};

/// Responses.
#[derive(Clone)]
pub(super) struct Responses;

impl Dialect for Responses {
    fn of(_: &Profile) -> Self {
        Self
    }

    fn ask(&self, request: &Request, profile: &Profile, default_model: &str) -> Result<Question, BadRequest> {
        let mut body = Object::new();
        let model = request.model.as_deref().or(profile.model.as_deref()).unwrap_or(default_model);
        body.member("model", model);
        body.optional("instructions", request.system.as_deref());
        body.json("input", &input(conversation(None, request)?));
        body.member("stream", &true);
        body.optional("max_output_tokens", request.max_tokens.or(profile.max_tokens).as_ref());
        body.optional("temperature", request.temperature.as_ref());
        body.others(request, &["input", "instructions", "max_output_tokens"])?;
        Ok(Question {
            method: Method::POST,
            path: "/responses",
            fields: bearer(&profile.api_key).into_iter().collect(),
            body: body.end(),
        })
    }

    fn read<'a>(&mut self, event: &Block<'a>, data: &'a [u8], scratch: &'a mut String) -> Reading<'a> {
        let reading = match kind(event, data) {
            b"response.output_text.delta" | b"response.refusal.delta" => {
                delta(data, scratch).map(Reading::text)
            }
            b"response.completed" | b"response.incomplete" => {
                usage(data).map(|usage| Reading { end: true, usage, ..Reading::default() })
            }
            b"response.failed" | b"error" => Ok(Reading::error(ApiError::of_event(data))),
            // There are many, and more to come.
            _ => Ok(Reading::default()),
        };
        reading.unwrap_or_else(|malformed| Reading::error(ApiError::unreadable(malformed)))
    }
}

fn delta<'a>(data: &'a [u8], scratch: &'a mut String) -> Result<&'a str, Malformed> {
    let [delta] = Value::of(data).pick(["delta"])?;
    Ok(delta.map(|delta| delta.as_str(scratch)).transpose()?.flatten().unwrap_or_default())
}

fn usage(data: &[u8]) -> Result<Option<Usage>, Malformed> {
    let [response] = Value::of(data).pick(["response"])?;
    let Some(response) = response else { return Ok(None) };
    let [usage] = response.pick(["usage"])?;
    let Some(usage) = usage else { return Ok(None) };
    let [input, output] = usage.pick(["input_tokens", "output_tokens"])?;
    Ok(Some(Usage { input: input.and_then(Value::as_u64), output: output.and_then(Value::as_u64) }))
}

/// Parts of messages as this API names them. What is text only stays as it was written.
fn input(conversation: Vec<u8>) -> Vec<u8> {
    let Ok(Json::Array(mut messages)) = serde_json::from_slice(&conversation) else { return conversation };
    let mut changed = false;
    for message in &mut messages {
        let kind = if message["role"] == "assistant" { "output_text" } else { "input_text" };
        let Some(parts) = message.get_mut("content").and_then(Json::as_array_mut) else { continue };
        for part in parts {
            if part["type"] == "text" {
                part["type"] = kind.into();
                changed = true;
            } else if part["type"] == "image_url" {
                let image = &part["image_url"];
                let url = if image.is_string() { image } else { &image["url"] };
                *part = json!({ "type": "input_image", "image_url": url });
                changed = true;
            }
        }
    }
    if changed { Json::Array(messages).to_string().into_bytes() } else { conversation }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, Heard, hear};
    use super::*;
    use crate::config::DialectName;

    fn body(data: &str) -> Json {
        fixtures::body::<Responses>(&fixtures::profile(DialectName::OpenAiResponses), data)
    }

    #[test]
    fn a_prompt_becomes_input() {
        let data = r#"{"prompt":"Hi","system":"brief","max_tokens":5,"tools":[1]}"#;
        let expected = json!({
            "model": "m", "instructions": "brief", "input": [{"role": "user", "content": "Hi"}], "stream": true,
            "max_output_tokens": 5, "tools": [1],
        });
        assert_eq!(body(data), expected);
    }

    #[test]
    fn parts_get_the_names_that_this_api_has_for_them() {
        let data = r#"{"messages":[
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://x/y"}},{"type":"input_file"}]},
            {"role":"assistant","content":[{"type":"text","text":"b"}]}]}"#;
        let expected = json!([
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "https://x/y"}, {"type": "input_file"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        ]);
        assert_eq!(body(data)["input"], expected);
    }

    #[test]
    fn a_whole_answer_is_read() {
        let stream = concat!(
            "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"usage\":null}}\n\n",
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"Hel\"}\n\n",
            "event: response.function_call_arguments.delta\ndata: {\"delta\":\"{}\"}\n\n",
            "event: response.refusal.delta\ndata: {\"delta\":\"lo\"}\n\n",
            "event: response.completed\ndata: {\"response\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":3}}}\n\n",
        );
        let usage = Usage { input: Some(7), output: Some(3) };
        assert_eq!(hear(Responses, stream), Heard { text: "Hello".into(), usage, ended: true, error: None });
    }

    #[test]
    fn an_answer_that_is_cut_at_its_longest_has_ended() {
        let stream = "event: response.incomplete\ndata: {\"response\":{\"usage\":null}}\n\n";
        assert_eq!(hear(Responses, stream), Heard { ended: true, ..Heard::default() });
    }

    #[test]
    fn failures_are_errors() {
        let failed = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}}\n\n";
        assert_eq!(hear(Responses, failed).error.as_deref(), Some("server_error: m"));
        let error =
            "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}\n\n";
        assert_eq!(hear(Responses, error).error.as_deref(), Some("rate_limit_exceeded: m"));
    }
}
