//! What the handoff data changes in the response.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use common::Daemon;
use streaming_daemon::config::Format;

#[tokio::test]
async fn json_events_hold_the_same_text() {
    let daemon = Daemon::start(|_| {});
    let response = daemon.ask(r#"{"prompt":"a\n\"b\"","format":"json"}"#).await;
    let expected = "data: {\"content\":\"You\"}\n\ndata: {\"content\":\" said:\"}\n\ndata: {\"content\":\" a\"}\n\n\
                    data: {\"content\":\"\\n\\\"b\\\"\"}\n\nevent: done\ndata: [DONE]\n\n";
    assert_eq!(response.body, expected);
}

#[tokio::test]
async fn the_configured_format_is_that_of_requests_that_name_none() {
    let daemon = Daemon::start(|config| config.sse.format = Format::Json);
    assert!(daemon.ask("{}").await.body.starts_with("data: {\"content\":"));
    assert!(daemon.ask(r#"{"format":"text"}"#).await.body.starts_with("data: Hello!\n"));
}

#[tokio::test]
async fn fields_of_the_application_and_the_request_id_are_in_the_head() {
    let daemon = Daemon::start(|_| {});
    let headers = r#""request_id":7,"response_headers":{"X-Model":"m","cache-control":"private",
                     "Set-Cookie":["a=1"]}"#;
    let response = daemon.ask(&format!("{{{headers}}}")).await;
    assert_eq!(response.field("X-Request-Id"), Some("7"));
    assert_eq!(response.field("X-Model"), Some("m"));
    assert_eq!(response.field("Cache-Control"), Some("private"));
    assert_eq!(response.field("Set-Cookie"), Some("a=1"));
    assert!(response.is_done());
    // An error is for the same page, but not for its cache.
    let refused = daemon.ask(&format!("{{\"test_pattern\":\"error:429\",{headers}}}")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.field("X-Model"), Some("m"));
    assert_eq!(refused.field("X-Request-Id"), Some("7"));
    assert_eq!(refused.field("Cache-Control"), Some("no-store"));
}

#[tokio::test]
async fn what_php_would_inject_is_refused() {
    let daemon = Daemon::start(|_| {});
    for headers in [
        r#"{"X-User":"a\r\nSet-Cookie: session=evil"}"#,
        r#"{"X-User":"a\n\n<script>alert(1)</script>"}"#,
        r#"{"X-User\r\nSet-Cookie":"evil"}"#,
        r#"{"X-User: x\r\nX":"evil"}"#,
        r#"{"X User":"a"}"#,
        r#"{"":"a"}"#,
        r#"{"X-User":"a\u0000b"}"#,
        r#"{"X-User":["a","b\rc"]}"#,
        r#"{"Content-Length":"5"}"#,
        r#"{"transfer-encoding":"identity"}"#,
        r#"{"Content-Type":"text/html"}"#,
        r#"{"X-User":"a","x-user":"b"}"#,
        r#""X-User: a""#,
    ] {
        let response = daemon.ask(&format!("{{\"response_headers\":{headers}}}")).await;
        assert_eq!(response.status(), 400, "{headers}");
        assert_eq!(response.field("Set-Cookie"), None);
        assert!(response.body.contains("response_headers"), "{}", response.body);
        assert!(!response.body.contains("evil") || headers.contains("evil\":"), "{}", response.body);
    }
}
