//! Backends that refuse, break and misbehave, and what the client is told.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use common::Daemon;

#[tokio::test]
async fn a_backends_refusal_is_the_clients_status() {
    let daemon = Daemon::start(|_| {});
    for (status, retry_after) in [(401, None), (429, Some("1")), (500, None), (503, Some("1"))] {
        let response = daemon.ask(&format!("{{\"test_pattern\":\"error:{status}\"}}")).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.field("Retry-After"), retry_after);
        assert_eq!(response.field("Content-Type"), Some("application/json"));
        assert!(response.body.contains("test pattern"), "{}", response.body);
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_never_looks_complete() {
    let daemon = Daemon::start(|_| {});
    for (pattern, expected) in [
        ("break-after:3", "the connection to the backend broke"),
        ("truncate-after:3", "ended before its end"),
        ("fail-after:3", "reports an error"),
    ] {
        let data = format!("{{\"test_pattern\":\"{pattern}\",\"protocol\":\"HTTP/1.1\"}}");
        let response = daemon.ask(&data).await;
        assert_eq!(response.status(), 200);
        let events = response.events();
        assert_eq!(events.len(), 4);
        let (kind, data) = &events[3];
        assert_eq!(kind, "error");
        let error: serde_json::Value = serde_json::from_str(data).unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains(expected), "{data}");
        assert!(!response.is_done());
    }
}

#[tokio::test]
async fn the_request_names_its_backend() {
    let daemon = Daemon::start(|_| {});
    let typed = daemon.ask(r#"{"backend":"typing","prompt":"Hé"}"#).await;
    assert_eq!(typed.text(), "You said: Hé");
    assert_eq!(typed.events().len(), 13, "a character at a time, and the end");
    let unknown = daemon.ask(r#"{"backend":"nobody"}"#).await;
    assert_eq!(unknown.status(), 400);
    assert!(unknown.body.contains(r#"send \"mock\" or \"typing\""#), "{}", unknown.body);
}

#[tokio::test]
async fn the_provider_is_the_backend_of_requests_that_name_none() {
    let daemon = Daemon::start(|config| config.backend.provider = "typing".to_owned());
    assert_eq!(daemon.ask(r#"{"prompt":"ab"}"#).await.events().len(), 13);
    assert_eq!(daemon.ask(r#"{"prompt":"ab","backend":"mock"}"#).await.events().len(), 4);
}

#[tokio::test]
async fn a_conversation_is_answered_by_its_last_message() {
    let daemon = Daemon::start(|_| {});
    let data = r#"{"messages":[{"role":"system","content":"x"},{"role":"user","content":"Hi there"}]}"#;
    assert_eq!(daemon.ask(data).await.text(), "You said: Hi there");
}

#[tokio::test]
async fn a_test_pattern_that_nobody_knows_is_a_400() {
    let daemon = Daemon::start(|_| {});
    let response = daemon.ask(r#"{"test_pattern":"explode"}"#).await;
    assert_eq!(response.status(), 400);
    assert!(response.body.contains("break-after:N"), "{}", response.body);
}
