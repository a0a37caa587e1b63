//! Chat Completions: OpenAI, and everybody who speaks as it does (Ollama, vLLM, SGLang, llama.cpp, Groq, OpenRouter …).
//!
//! <https://platform.openai.com/docs/api-reference/chat-streaming>: events without a type, each a chunk, and `[DONE]` at
//! the end.

use http::Method;
use skim::{Malformed, Value};
use sse::Block;

use super::Usage;
use super::api_error::ApiError;
use super::body::{Object, conversation};
use super::dialect::{Dialect, Question, Reading, bearer};
use super::template::Template;
use crate::config::Profile;
use crate::request::{BadRequest, Request};

/// What comes last.
const DONE: &[u8] = b"[DONE]";

/// Chat Completions.
#[derive(Clone, Default)]
pub(super) struct ChatCompletions {
    /// The last chunk: most are alike.
    template: Template,
}

impl Dialect for ChatCompletions {
    fn of(_: &Profile) -> Self {
        Self::default()
    }

    fn ask(&self, request: &Request, profile: &Profile, default_model: &str) -> Result<Question, BadRequest> {
        let mut body = Object::new();
        let model = request.model.as_deref().or(profile.model.as_deref()).unwrap_or(default_model);
        body.member("model", model);
        body.json("messages", &conversation(request.system.as_deref(), request)?);
        body.member("stream", &true);
        let options = request.others.iter().any(|(name, _)| name == "stream_options");
        if profile.stream_usage && !options {
            body.json("stream_options", br#"{"include_usage":true}"#);
        }
        body.optional("max_tokens", request.max_tokens.or(profile.max_tokens).as_ref());
        body.optional("temperature", request.temperature.as_ref());
        body.others(request, &[])?;
        Ok(Question {
            method: Method::POST,
            path: "/chat/completions",
            fields: bearer(&profile.api_key).into_iter().collect(),
            body: body.end(),
        })
    }

    fn read<'a>(&mut self, _: &Block<'a>, data: &'a [u8], scratch: &'a mut String) -> Reading<'a> {
        if data.trim_ascii() == DONE {
            return Reading::end();
        }
        if let Some(text) = self.template.read(data) {
            self.template.fitted();
            return Reading::text(text);
        }
        // Some write their errors as they stand; some keep the connection open with nothing.
        if !data.is_empty() && !data.trim_ascii_start().starts_with(b"{") {
            return Reading::error(ApiError::of_event(data));
        }
        let reading = chunk(data, scratch);
        let reading = reading.unwrap_or_else(|malformed| Reading::error(ApiError::unreadable(malformed)));
        if reading.error.is_none() && reading.usage.is_none() && !reading.text.is_empty() {
            self.template.learn(data, reading.text);
        }
        reading
    }
}

fn chunk<'a>(data: &'a [u8], scratch: &'a mut String) -> Result<Reading<'a>, Malformed> {
    let [choices, usage, error, object] = Value::of(data).pick(["choices", "usage", "error", "object"])?;
    // vLLM's errors are objects of the type error.
    let is_error = choices.is_none() && object.is_some_and(|object| object.raw() == br#""error""#);
    if is_error || error.is_some_and(|error| !error.is_null()) {
        return Ok(Reading::error(ApiError::of_event(data)));
    }
    let usage = usage.filter(|usage| !usage.is_null()).map(self::usage).transpose()?;
    let text = match choices.and_then(Value::as_array).and_then(|mut choices| choices.next()) {
        Some(choice) => text(choice?, scratch)?,
        // The last chunk, with the usage, has none, nor has Azure's first.
        None => "",
    };
    Ok(Reading { text, usage, ..Reading::default() })
}

/// The text of the first choice: an answer, or why there is none.
fn text<'a>(choice: Value<'a>, scratch: &'a mut String) -> Result<&'a str, Malformed> {
    let [index, delta] = choice.pick(["index", "delta"])?;
    let is_first = index.is_none_or(|index| index.as_u64() == Some(0));
    let Some(delta) = delta.filter(|_| is_first) else { return Ok("") };
    let [content, refusal] = delta.pick(["content", "refusal"])?;
    let said = |value: &Value<'a>| !value.is_null();
    match content.filter(said).or(refusal.filter(said)) {
        Some(text) => Ok(text.as_str(scratch)?.unwrap_or_default()),
        None => Ok(""),
    }
}

fn usage(usage: Value<'_>) -> Result<Usage, Malformed> {
    let [input, output] = usage.pick(["prompt_tokens", "completion_tokens"])?;
    Ok(Usage { input: input.and_then(Value::as_u64), output: output.and_then(Value::as_u64) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{self, Heard, hear};
    use super::*;
    use crate::config::DialectName;

    fn heard(stream: &str) -> Heard {
        hear(ChatCompletions::default(), stream)
    }

    fn profile() -> Profile {
        fixtures::profile(DialectName::OpenAi)
    }

    fn body(profile: &Profile, data: &str) -> serde_json::Value {
        fixtures::body::<ChatCompletions>(profile, data)
    }

    #[test]
    fn a_prompt_becomes_a_conversation() {
        let data = r#"{"prompt":"Hi","system":"brief","max_tokens":5,"temperature":0.5,"user_id":1,"request_id":"r",
                       "format":"json","tools":[{"type":"function"}],"seed":7}"#;
        let question = fixtures::ask::<ChatCompletions>(&profile(), data).unwrap();
        assert_eq!((question.method, question.path), (Method::POST, "/chat/completions"));
        assert_eq!(question.fields[0].0, "authorization");
        assert_eq!(question.fields[0].1, "Bearer sk-1");
        assert!(question.fields[0].1.is_sensitive());
        let expected = json!({
            "model": "m", "messages": [{"role": "system", "content": "brief"}, {"role": "user", "content": "Hi"}],
            "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 5, "temperature": 0.5,
            "tools": [{"type": "function"}], "seed": 7,
        });
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&question.body).unwrap(), expected);
    }

    #[test]
    fn the_request_wins_over_the_profile_and_the_profile_over_the_default() {
        let own = Profile { model: Some("p".into()), max_tokens: Some(9), stream_usage: false, ..profile() };
        assert_eq!(body(&own, r#"{"prompt":"x","model":"r","max_tokens":1}"#)["model"], "r");
        let asked = body(&own, r#"{"prompt":"x"}"#);
        assert_eq!((&asked["model"], &asked["max_tokens"]), (&json!("p"), &json!(9)));
        assert_eq!(asked.get("stream_options"), None);
        let options = r#"{"prompt":"x","stream_options":{"include_usage":false}}"#;
        assert_eq!(body(&profile(), options)["stream_options"], json!({ "include_usage": false }));
    }

    #[test]
    fn without_a_key_none_is_sent() {
        let profile = Profile::new("ollama", DialectName::OpenAi);
        assert!(fixtures::ask::<ChatCompletions>(&profile, r#"{"prompt":"x"}"#).unwrap().fields.is_empty());
    }

    #[test]
    fn a_whole_answer_is_read() {
        let stream = concat!(
            "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"finish_reason\":null}],\"usage\":null}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"},\"finish_reason\":null}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"lo \\\"\\u00fc\\ud83d\\ude00\\n\"},\"index\":0}]}\n\n",
            "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"another choice\"}}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n",
            "data: [DONE]\n\n",
        );
        let usage = Usage { input: Some(7), output: Some(3) };
        assert_eq!(heard(stream), Heard { text: "Hello \"ü😀\n".into(), usage, ended: true, error: None });
    }

    #[test]
    fn chunks_that_differ_in_their_text_only_are_not_parsed_again() {
        let mut dialect = ChatCompletions::default();
        let chunk = |text: &str| {
            format!("{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}],\"usage\":null}}")
        };
        let mut read = |text: &str| {
            let event = format!("data: {}\n\n", chunk(text));
            let mut scanner = sse::Scanner::new(1024);
            let block = scanner.next(&mut event.as_bytes()).unwrap().unwrap();
            let (fits, mut scratch) =
                (dialect.template.read(chunk(text).as_bytes()).is_some(), String::new());
            (dialect.read(&block, chunk(text).as_bytes(), &mut scratch).text.to_owned(), fits)
        };
        let said = ["one", "two", "a\\nb", "three"].map(&mut read);
        let expected = [("one", false), ("two", true), ("a\nb", false), ("three", true)];
        assert_eq!(said, expected.map(|(text, fits)| (text.to_owned(), fits)));
    }

    #[test]
    fn the_mark_of_the_end_may_have_spaces_around_it() {
        assert!(heard("data:  [DONE] \n\n").ended);
    }

    #[test]
    fn a_refusal_is_what_the_user_reads() {
        let stream =
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":null,\"refusal\":\"I can't\"}}]}\n\n";
        assert_eq!(heard(stream).text, "I can't");
    }

    #[test]
    fn chunks_without_text_are_no_text() {
        for chunk in [
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"content\":\"x\"}"}}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm","content":null}}]}"#,
            r#"{"choices":[],"prompt_filter_results":[{"content_filter_results":{"hate":{"filtered":false}}}]}"#,
            r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#,
            r#"{"choices":null}"#,
        ] {
            assert_eq!(heard(&format!("data: {chunk}\n\n")), Heard::default(), "{chunk}");
        }
    }

    #[test]
    fn errors_in_mid_stream_are_errors() {
        for (chunk, expected) in [
            (r#"{"error":{"message":"m","type":"server_error"}}"#, "server_error: m"),
            (r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#, "BadRequestError: m"),
            (r#"{"error":"m"}"#, "m"),
            (
                r#"{"choices":[{"finish_reason":"error","delta":{"content":""}}],"error":{"code":502,"message":"m"}}"#,
                "m",
            ),
        ] {
            assert_eq!(heard(&format!("data: {chunk}\n\n")).error.as_deref(), Some(expected), "{chunk}");
        }
        assert!(heard("data: {\"choices\":[{\"del\n\n").error.unwrap().starts_with("unreadable: "));
        assert_eq!(heard("data: Internal Server Error\n\n").error.as_deref(), Some("Internal Server Error"));
        assert_eq!(heard("data:\n\n"), Heard::default());
    }
}
