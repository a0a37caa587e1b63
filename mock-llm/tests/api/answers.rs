use mock_llm::Settings;
use serde_json::Value;

use crate::{ask, events, over_http1, over_http2, prompt, receive, short, start, text};

const DIALECTS: [&str; 3] = ["/chat/completions", "/responses", "/messages"];

#[tokio::test]
async fn each_dialect_says_the_words_over_both_versions_of_http() {
    let mock = start(short()).await;
    for client in [over_http1(), over_http2()] {
        for path in DIALECTS {
            let (body, complete) = receive(ask(&client, &mock, path, "").await.unwrap()).await;
            assert!(complete);
            assert_eq!(text(&body), "word001 word002 word003 ", "{body}");
        }
    }
    assert!(mock.until(|mock| mock.completed() == 6 && mock.streams() == 0).await);
    assert_eq!((mock.connections_total(), mock.cancelled()), (2, 0));
    let versions: Vec<String> =
        mock.requests().iter().map(|request| format!("{:?}", request.version)).collect();
    assert_eq!(versions, ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/2.0", "HTTP/2.0", "HTTP/2.0"]);
    assert_eq!(mock.requests()[3].json()["messages"][0]["content"], "hello");
}

/// Names of events, or what a Chat Completions chunk brings; the same ones after each other are one.
fn outline(body: &str) -> Vec<String> {
    let mut names: Vec<String> = events(body)
        .into_iter()
        .map(|(name, data)| {
            let Ok(json) = serde_json::from_str::<Value>(&data) else { return data };
            if !name.is_empty() {
                assert_eq!(json["type"], name);
                let kind = json["delta"]["type"].as_str().or(json["content_block"]["type"].as_str());
                return kind.map_or(name.clone(), |kind| format!("{name} {kind}"));
            }
            let choice = &json["choices"][0];
            match (choice["finish_reason"].as_str(), choice["delta"].as_object()) {
                (Some(reason), _) => reason.into(),
                (None, Some(delta)) => delta.keys().cloned().collect::<Vec<_>>().join(" "),
                (None, None) => json.as_object().unwrap().keys().next_back().unwrap().clone(),
            }
        })
        .collect();
    names.dedup();
    names
}

#[tokio::test]
async fn the_sequences_are_those_of_the_vendors() {
    let mock = start(short()).await;
    let client = over_http1();
    let expected: [(&str, &str, &[&str]); 13] = [
        ("/chat/completions", "", &["content refusal role", "content", "stop", "[DONE]"]),
        (
            "/chat/completions",
            "usage,length",
            &["content refusal role", "content", "length", "usage", "[DONE]"],
        ),
        ("/chat/completions", "tools", &["content refusal role", "tool_calls", "tool_calls", "[DONE]"]),
        ("/chat/completions", "refusal", &["content refusal role", "refusal", "stop", "[DONE]"]),
        (
            "/chat/completions",
            "thinking",
            &["content refusal role", "content reasoning_content", "content", "stop", "[DONE]"],
        ),
        (
            "/chat/completions",
            "azure",
            &["prompt_filter_results", "content refusal role", "content", "stop", "[DONE]"],
        ),
        ("/chat/completions", "vllm,error:1", &["content refusal role", "content", "type", "[DONE]"]),
        (
            "/responses",
            "thinking",
            &[
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.completed",
            ],
        ),
        (
            "/responses",
            "refusal,length",
            &[
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
                "response.refusal.delta",
                "response.refusal.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.incomplete",
            ],
        ),
        ("/responses", "error-first", &["error"]),
        ("/responses", "error-first,failed", &["response.failed"]),
        (
            "/messages",
            "thinking",
            &[
                "message_start",
                "content_block_start thinking",
                "content_block_delta thinking_delta",
                "content_block_delta signature_delta",
                "content_block_stop",
                "content_block_start text",
                "ping",
                "content_block_delta text_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ],
        ),
        (
            "/messages",
            "tools,error:1",
            &[
                "message_start",
                "content_block_start tool_use",
                "content_block_delta input_json_delta",
                "error",
            ],
        ),
    ];
    for (path, pattern, names) in expected {
        let (body, _) = receive(ask(&client, &mock, path, pattern).await.unwrap()).await;
        let outline = outline(&body);
        if pattern == "tools" {
            assert_eq!(outline, ["content refusal role", "tool_calls", "[DONE]"]);
        } else {
            assert_eq!(outline, names, "{path} {pattern}");
        }
    }
}

#[tokio::test]
async fn responses_are_numbered_without_a_gap() {
    let mock = start(short()).await;
    for pattern in ["", "tools", "thinking", "error:2", "error:2,failed"] {
        let (body, _) = receive(ask(&over_http1(), &mock, "/responses", pattern).await.unwrap()).await;
        let numbers: Vec<u64> = events(&body)
            .iter()
            .map(|(_, data)| {
                serde_json::from_str::<Value>(data).unwrap()["sequence_number"].as_u64().unwrap()
            })
            .collect();
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{pattern}");
    }
}

#[tokio::test]
async fn the_prompt_comes_back_as_it_was() {
    let mock = start(Settings { echo: true, ..short() }).await;
    let said = "Grüße, \"Welt\"\\\n\ttab \u{1f642}\u{200d}\u{2028} ende";
    for path in DIALECTS {
        for prefix in ["", "[[split:1]]", "[[json-escapes,multi-line]]"] {
            let body = prompt(&format!("{prefix}{said}")).to_string();
            let response =
                over_http1().post(format!("{}{path}", mock.base_url())).body(body).send().await.unwrap();
            assert_eq!(text(&receive(response).await.0), said, "{path} {prefix}");
        }
    }
}

#[tokio::test]
async fn every_way_of_writing_says_the_same() {
    let mock = start(short()).await;
    let client = over_http2();
    let styles = [
        "cr",
        "crlf",
        "no-space",
        "comments",
        "bom",
        "multi-line",
        "json-spaces",
        "json-order",
        "json-escapes",
        "split:1",
        "split:7",
        "cr,comments,no-space,bom,multi-line,json-escapes,split:3",
        "openrouter",
        "unknown-event",
    ];
    for path in DIALECTS {
        for unicode in ["", ",unicode"] {
            let plain = receive(ask(&client, &mock, path, unicode).await.unwrap()).await.0;
            for style in styles {
                let (body, _) =
                    receive(ask(&client, &mock, path, &format!("{style}{unicode}")).await.unwrap()).await;
                assert_eq!(text(&body), text(&plain), "{path} {style}");
                let differs =
                    !(style.starts_with("split") || style == "openrouter" && path != "/chat/completions");
                // Keys in the alphabet's order, escapes and the like must show.
                assert_eq!(body != plain, differs, "{path} {style}");
            }
        }
    }
}

#[tokio::test]
async fn long_answers_are_as_long_as_was_asked_for() {
    let mock = start(short()).await;
    for (pattern, length) in [
        ("delta:10000", 30_000),
        ("delta:200000,chunks:2", 400_000),
        ("delta:1000,total:3000000", 3_000_000),
        ("chunks:1002", 8_016),
    ] {
        let (body, complete) =
            receive(ask(&over_http2(), &mock, "/chat/completions", pattern).await.unwrap()).await;
        assert!(complete);
        assert_eq!(text(&body).len(), length);
    }
}

#[tokio::test]
async fn an_event_is_as_long_as_the_settings_say() {
    for chunk_bytes in [250, 400] {
        let mock = start(Settings { chunk_bytes, ..short() }).await;
        let (body, _) = receive(ask(&over_http1(), &mock, "/chat/completions", "").await.unwrap()).await;
        let event = body.split_inclusive("\n\n").find(|event| event.contains("word002")).unwrap();
        assert_eq!(event.len(), chunk_bytes);
    }
}

#[tokio::test]
async fn usage_is_told_to_those_who_ask() {
    let mock = start(short()).await;
    let mut request = prompt("x");
    request["stream_options"] = serde_json::json!({"include_usage": true});
    let url = format!("{}/chat/completions", mock.base_url());
    for (body, usage) in [(prompt("x"), false), (request, true), (prompt("x"), false)] {
        let response = over_http1().post(&url).body(body.to_string()).send().await.unwrap();
        let body = receive(response).await.0;
        assert_eq!(body.contains(r#""usage":{"prompt_tokens":9,"completion_tokens":3,"#), usage, "{body}");
    }
}

#[tokio::test]
async fn without_stream_the_answer_is_json() {
    let mock = start(short()).await;
    let mut request = prompt("x");
    request["stream"] = false.into();
    for path in DIALECTS {
        for pattern in ["", "tools"] {
            let request = over_http1().post(format!("{}{path}", mock.base_url())).body(request.to_string());
            let response = request.header("x-test-pattern", pattern).send().await.unwrap();
            assert_eq!(response.headers()["content-type"], "application/json");
            let json: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
            assert!(json["id"].is_string(), "{json}");
            assert_eq!(json.to_string().contains("word001 word002"), pattern.is_empty());
        }
    }
    let models = over_http2().get(format!("{}/models", mock.base_url())).send().await.unwrap();
    assert!(models.text().await.unwrap().contains("gpt-5-mini"));
}

#[tokio::test]
async fn plain_events_have_all_that_the_format_has() {
    let mock = start(short()).await;
    let response = over_http1().get(format!("http://{}/events", mock.address())).send().await.unwrap();
    let expected = ": welcome\n\nretry: 3000\n\nid: 1\ndata: word001 \n\nid: 2\ndata: word002 \n\n\
                    event: note\nid: 3\ndata: word003 \ndata: second line\n\nevent: end\ndata: {}\n\n";
    assert_eq!(response.text().await.unwrap(), expected);
}
