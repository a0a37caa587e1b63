//! What it costs to find the words in a chunk of a Chat Completions answer, in nanoseconds.

use std::{hint::black_box, time::Instant};

use skim::{Malformed, Value};

const CHUNK: &[u8] = br#"{"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" morning"},"logprobs":null,"finish_reason":null}]}"#;

fn skimmed<'s>(chunk: &'s [u8], scratch: &'s mut String) -> Result<Option<&'s str>, Malformed> {
    let [choices, usage, error] = Value::of(chunk).pick(["choices", "usage", "error"])?;
    black_box((usage, error));
    let Some(choice) = choices.and_then(Value::as_array).and_then(|mut choices| choices.next()) else {
        return Ok(None);
    };
    let [delta, finish_reason] = choice?.pick(["delta", "finish_reason"])?;
    black_box(finish_reason);
    let Some(delta) = delta else { return Ok(None) };
    let [content] = delta.pick(["content"])?;
    content.map_or(Ok(None), |content| content.as_str(scratch))
}

#[derive(serde::Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(serde::Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Delta<'a>,
    finish_reason: Option<&'a str>,
}

#[derive(serde::Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<std::borrow::Cow<'a, str>>,
}

fn measure(what: &str, mut work: impl FnMut(&[u8])) {
    const ROUNDS: u32 = 200_000;
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            work(black_box(CHUNK));
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
    }
    println!("{what:<40} {best:>7.0} ns");
}

fn main() {
    println!("a chunk of {} bytes", CHUNK.len());
    let mut scratch = String::new();
    measure("skim: content, finish_reason, error", |chunk| {
        assert_eq!(skimmed(chunk, &mut scratch), Ok(Some(" morning")));
    });
    measure("serde_json, into a struct that borrows", |chunk| {
        let chunk: Chunk<'_> = serde_json::from_slice(chunk).expect("the chunk is JSON");
        black_box(chunk.choices[0].finish_reason);
        assert_eq!(chunk.choices[0].delta.content.as_deref(), Some(" morning"));
    });
    measure("serde_json, into a Value", |chunk| {
        let chunk: serde_json::Value = serde_json::from_slice(chunk).expect("the chunk is JSON");
        assert_eq!(chunk["choices"][0]["delta"]["content"], " morning");
    });
}
