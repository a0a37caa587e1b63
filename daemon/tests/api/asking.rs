//! What APIs are asked: which one, where, and how.

use http::{HeaderName, HeaderValue, Method, Version};
use mock_llm::{MockLlm, Settings};
use serde_json::json;
use streaming_daemon::config::{self, DialectName, Headers, Profile, Secret};

use crate::common::Daemon;
use crate::harness::{KEY, Relayed, daemon, profile, refusal, relayed_by_all, relayed_with};

#[tokio::test]
async fn the_request_names_its_backend_and_the_configuration_the_one_of_all_others() {
    let Relayed { daemon, api } = relayed_by_all(Settings::default(), |config| {
        config.backend.provider = "messages".to_owned();
    })
    .await;
    for (data, path) in [
        (r#"{"prompt":"Hi"}"#, "/v1/messages"),
        (r#"{"prompt":"Hi","backend":"chat"}"#, "/v1/chat/completions"),
        (r#"{"prompt":"Hi","backend":"responses"}"#, "/v1/responses"),
        (r#"{"prompt":"Hi","backend":"events"}"#, "/events"),
    ] {
        assert_eq!(daemon.ask(data).await.status(), 200);
        assert_eq!(api.requests().last().unwrap().path, path);
    }
    let requests = api.requests().len();
    assert_eq!(daemon.ask(r#"{"prompt":"Hi","backend":"mock"}"#).await.text(), "You said: Hi");
    let unknown = daemon.ask(r#"{"prompt":"Hi","backend":"nobody"}"#).await;
    assert_eq!(unknown.status(), 400);
    let said = refusal(&unknown);
    for name in ["mock", "typing", "openai", "anthropic", "chat", "events1"] {
        assert!(said.contains(&format!("\"{name}\"")), "{said}");
    }
    assert_eq!(api.requests().len(), requests, "nobody else was asked");
}

/// To many servers `/events/` is another thing than `/events`.
#[tokio::test]
async fn the_url_of_events_is_asked_as_it_stands() {
    let api = MockLlm::start(Settings::default()).await.unwrap();
    let origin = api.base_url().replace("/v1", "");
    for path in ["/events/", "/events", "/"] {
        let daemon = daemon(profile("api", DialectName::Sse, &format!("{origin}{path}")), |_| {});
        daemon.ask(r#"{"protocol":"HTTP/1.1"}"#).await;
        assert_eq!(api.requests().last().unwrap().path, path);
    }
}

#[tokio::test]
async fn each_profile_has_its_own_base_key_model_and_fields() {
    let first = MockLlm::start(Settings::default()).await.unwrap();
    let second = MockLlm::start(Settings::default()).await.unwrap();
    let fields = |name: &'static str, value| {
        Headers::new(vec![(HeaderName::from_static(name), HeaderValue::from_static(value))])
    };
    let daemon = Daemon::start(|config| {
        config.backend.profiles.push(Profile {
            api_key: Secret::new("sk-first".into()),
            model: Some("small".into()),
            headers: fields("x-team", "chat"),
            ..profile("first", DialectName::OpenAi, &first.base_url())
        });
        config.backend.profiles.push(Profile {
            api_key: Secret::new("sk-second".into()),
            model: None,
            headers: fields("openai-organization", "org-2"),
            max_tokens: Some(77),
            stream_usage: false,
            ..profile("second", DialectName::OpenAi, &format!("{}/deep/er", second.base_url()))
        });
        config.backend.profiles.push(Profile {
            api_key: Secret::default(),
            ..profile("third", DialectName::OpenAi, &second.base_url())
        });
        config.backend.default_model = "usual".into();
    });
    for backend in ["first", "second", "third"] {
        let data = format!(r#"{{"prompt":"Hi","backend":"{backend}","protocol":"HTTP/1.1"}}"#);
        assert!(daemon.ask(&data).await.is_done(), "{backend}");
    }
    let (one, two) = (first.requests(), second.requests());
    assert_eq!((one.len(), two.len()), (1, 2));
    let field = |request: &mock_llm::RecordedRequest, name: &str| {
        request.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(one[0].path, "/v1/chat/completions");
    assert_eq!(field(&one[0], "authorization").unwrap(), "Bearer sk-first");
    assert_eq!(field(&one[0], "x-team").unwrap(), "chat");
    assert_eq!(
        (one[0].json()["model"].clone(), one[0].json()["max_tokens"].clone()),
        (json!("small"), json!(null))
    );
    assert_eq!(one[0].json()["stream_options"], json!({"include_usage": true}));
    assert_eq!(two[0].path, "/v1/deep/er/chat/completions");
    assert_eq!(field(&two[0], "authorization").unwrap(), "Bearer sk-second");
    assert_eq!(
        (field(&two[0], "x-team"), field(&two[0], "openai-organization").unwrap()),
        (None, "org-2".into())
    );
    assert_eq!(
        (two[0].json()["model"].clone(), two[0].json()["max_tokens"].clone()),
        (json!("usual"), json!(77))
    );
    assert_eq!(two[0].json()["stream_options"], json!(null));
    assert_eq!(field(&two[1], "authorization"), None);
}

#[tokio::test]
async fn what_each_api_receives() {
    let Relayed { daemon, api } = relayed_by_all(Settings::default(), |_| {}).await;
    for (backend, path, key, body) in [
        (
            "chat",
            "/v1/chat/completions",
            ("authorization", format!("Bearer {KEY}")),
            json!({
                "model": "m", "messages": [{"role": "system", "content": "brief"}, {"role": "user", "content": "Grüße\n"}],
                "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 5, "temperature": 0.5, "seed": 7,
            }),
        ),
        (
            "responses",
            "/v1/responses",
            ("authorization", format!("Bearer {KEY}")),
            json!({
                "model": "m", "instructions": "brief", "input": [{"role": "user", "content": "Grüße\n"}],
                "stream": true, "max_output_tokens": 5, "temperature": 0.5, "seed": 7,
            }),
        ),
        (
            "messages",
            "/v1/messages",
            ("x-api-key", KEY.to_owned()),
            json!({
                "model": "m", "system": "brief", "messages": [{"role": "user", "content": "Grüße\n"}],
                "stream": true, "max_tokens": 5, "temperature": 0.5, "seed": 7,
            }),
        ),
    ] {
        for version in ["", "1"] {
            let data = json!({
                "backend": format!("{backend}{version}"), "prompt": "Grüße\n", "system": "brief", "model": "m",
                "max_tokens": 5, "temperature": 0.5, "seed": 7,
                "user_id": 1, "request_id": "r", "format": "json", "protocol": "HTTP/1.1", "response_headers": {"X-A": "b"},
            });
            let response = daemon.ask(&data.to_string()).await;
            assert!(response.is_done(), "{backend}: {response:?}");
            let request = api.requests().pop().unwrap();
            assert_eq!((request.method.clone(), request.path.as_str()), (Method::POST, path));
            assert_eq!(request.json(), body, "{backend}");
            let field = |name| request.headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap());
            assert_eq!(field(key.0), Some(key.1.as_str()));
            let other = if key.0 == "x-api-key" { "authorization" } else { "x-api-key" };
            assert_eq!(field(other), None);
            assert_eq!(field("anthropic-version").is_some(), backend == "messages");
            assert_eq!(field("accept"), Some("text/event-stream"));
            assert_eq!(field("content-type"), Some("application/json"));
            assert_eq!(field("accept-encoding"), Some("identity"));
            assert_eq!(field("host"), Some(api.address().to_string().as_str()));
            assert_eq!(request.version, if version == "1" { Version::HTTP_11 } else { Version::HTTP_2 });
        }
    }
}

#[tokio::test]
async fn a_prompt_reaches_the_api_whole_whatever_is_in_it_and_however_long_it_is() {
    let Relayed { daemon, api } =
        relayed_by_all(Settings { echo: true, ..Settings::default() }, |_| {}).await;
    for prompt in ["\u{0}\u{7f}\"\\/ü→🙂 \r\n\t end", &"0123456789ü→🙂 ".repeat(8_000)] {
        for backend in ["chat", "responses1", "messages"] {
            let data = json!({ "backend": backend, "prompt": prompt, "protocol": "HTTP/1.1" });
            let response = daemon.ask(&data.to_string()).await;
            assert!(response.is_done(), "{backend}: {}", response.head);
            // The echo comes in pieces, and a line end within one is a line of its own.
            assert_eq!(response.text(), prompt.replace("\r\n", "\n"), "{backend}");
            let body = api.requests().pop().unwrap().json();
            let list = if backend == "responses1" { &body["input"] } else { &body["messages"] };
            assert_eq!(list[0]["content"], prompt, "{backend}");
        }
    }
}

#[tokio::test]
async fn a_source_of_events_is_asked_by_get_or_by_post_with_the_body_of_the_data() {
    let got = relayed_with(DialectName::Sse, Settings::default(), |_| {}).await;
    let response = got.ask(r#"{"prompt":"Hi","body":{"x":1},"protocol":"HTTP/1.1"}"#).await;
    assert!(response.body.ends_with("event: end\ndata: {}\n\n") && response.complete);
    let request = got.api.requests().pop().unwrap();
    assert_eq!((request.method, request.path.as_str(), request.body.len()), (Method::GET, "/events", 0));
    assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(request.headers.get("content-type"), None);

    for end_event in [None, Some("end".to_owned())] {
        let posted = relayed_with(DialectName::Sse, Settings::default(), |config| {
            let profile = config.backend.profiles.last_mut().unwrap();
            profile.method = config::Method::Post;
            profile.end_event = end_event;
        })
        .await;
        for (data, body) in [
            (
                r#"{"body": {"input": {"messages":[ ]}, "n": 1.50} ,"protocol":"HTTP/1.1"}"#,
                r#"{"input": {"messages":[ ]}, "n": 1.50}"#,
            ),
            (r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#, "{}"),
        ] {
            let response = posted.ask(data).await;
            assert!(
                response.body.starts_with(": welcome\n\nretry: 3000\n\nid: 1\ndata: word001 \n\n"),
                "{}",
                response.body
            );
            assert!(response.body.ends_with("event: end\ndata: {}\n\n") && response.complete);
            let request = posted.api.requests().pop().unwrap();
            assert_eq!((request.method, request.body.as_ref()), (Method::POST, body.as_bytes()));
            assert_eq!(request.headers["content-type"], "application/json");
        }
    }
}

#[tokio::test]
async fn wrong_data_asks_no_api() {
    let Relayed { daemon, api } = relayed_by_all(Settings::default(), |_| {}).await;
    for data in [
        r#"{"backend":"chat","prompt":"Hi","temperature":"0.5"}"#,
        r#"{"backend":"chat","prompt":7}"#,
        r#"{"backend":"chat","prompt":"Hi","user_id":{}}"#,
        r#"{"backend":"chat","prompt":"Hi"#,
        "no JSON",
    ] {
        let response = daemon.ask(data).await;
        assert_eq!(response.status(), 400, "{data}");
        refusal(&response);
    }
    assert_eq!(api.requests().len(), 0);
}
