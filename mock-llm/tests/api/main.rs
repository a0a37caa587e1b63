//! The mock API, seen by clients that are not ours.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod answers;
mod http1;
mod http2;
mod misbehaviour;
mod transports;

use std::time::Duration;

use mock_llm::{MockLlm, Settings};
use serde_json::{Value, json};

/// Three words, at once.
fn short() -> Settings {
    Settings { chunk_count: 3, ..Settings::default() }
}

/// Whatever a test waits for comes in this time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("nothing comes")
}

async fn start(settings: Settings) -> MockLlm {
    MockLlm::start(settings).await.unwrap()
}

fn over_http1() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).http1_only().build().unwrap()
}

fn over_http2() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).http2_prior_knowledge().build().unwrap()
}

fn prompt(text: &str) -> Value {
    json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": text}], "input": text})
}

async fn ask(
    client: &reqwest::Client,
    mock: &MockLlm,
    path: &str,
    pattern: &str,
) -> reqwest::Result<reqwest::Response> {
    let request = client.post(format!("{}{path}", mock.base_url())).body(prompt("hello").to_string());
    request.header("x-test-pattern", pattern).send().await
}

/// All that comes of an answer, and whether it ended well.
async fn receive(response: reqwest::Response) -> (String, bool) {
    let mut response = response;
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return (String::from_utf8(bytes).unwrap(), true),
            Err(_) => return (String::from_utf8(bytes).unwrap(), false),
        }
    }
}

/// Names and data of events: WHATWG HTML, section 9.2.6, in short.
fn events(text: &str) -> Vec<(String, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    for block in text.split_terminator("\n\n") {
        let (mut name, mut data) = (String::new(), Vec::new());
        for line in block.split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = value.into(),
                "data" => data.push(value),
                _ => {}
            }
        }
        if !data.is_empty() {
            events.push((name, data.join("\n")));
        }
    }
    events
}

/// The text of an answer, in any dialect.
fn text(body: &str) -> String {
    let pieces = events(body).into_iter().filter_map(|(_, data)| {
        let json: Value = serde_json::from_str(&data).ok()?;
        let places = [&json["choices"][0]["delta"]["content"], &json["delta"]["text"]];
        let delta = (json["type"] == "response.output_text.delta").then(|| json["delta"].clone());
        places.into_iter().cloned().chain(delta).find_map(|found| found.as_str().map(str::to_owned))
    });
    pieces.collect()
}
