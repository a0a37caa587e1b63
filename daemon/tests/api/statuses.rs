//! Rules 4 and 5: the client's status waits for the API's answer, up to its first event.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use mock_llm::Settings;
use streaming_daemon::Config;
use streaming_daemon::config::{DialectName, Profile};

use crate::harness::{
    LLM, Rigid, daemon, error_event, profile, refusal, relayed_by_all, serve_metrics, until_figure,
};

fn everybody() -> impl Iterator<Item = String> {
    LLM.into_iter().flat_map(|name| [name.to_owned(), format!("{name}1")])
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_told_in_the_apis_words() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in everybody() {
        for status in [400, 404, 413, 422] {
            let response = relayed.misled(&backend, &format!("status:{status}"), "text").await;
            assert_eq!(response.status(), status, "{backend}");
            let words = match (backend.starts_with("messages"), status) {
                (true, 404) => "model: claude-0",
                (true, 413) => "Request exceeds the maximum size",
                (true, _) => "max_tokens: Field required",
                (false, 400) => "maximum context length",
                (false, 404) => "The model `gpt-0` does not exist",
                (false, _) => "The request cannot be processed.",
            };
            assert!(refusal(&response).contains(words), "{backend}: {}", response.body);
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_server_is_a_bad_gateway_without_the_apis_words() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in everybody().chain(["events".to_owned()]) {
        for status in [401, 402, 403, 500, 502, 503, 529] {
            let response = relayed.misled(&backend, &format!("status:{status}"), "text").await;
            assert_eq!(response.status(), 502, "{backend} {status}");
            let said = refusal(&response);
            let credentials = said == "the backend does not accept the server's credentials";
            assert_eq!(credentials, matches!(status, 401 | 403), "{said}");
            assert!(credentials || said.starts_with("the backend failed"), "{said}");
        }
        assert_eq!(relayed.misled(&backend, "status:504", "text").await.status(), 504);
    }
}

#[tokio::test]
async fn too_many_requests_pass_on_with_the_time_to_wait() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in everybody() {
        let response = relayed.misled(&backend, "status:429,retry-after:7", "text").await;
        assert_eq!((response.status(), response.field("Retry-After")), (429, Some("7")), "{backend}");
        let response = relayed.misled(&backend, "status:429", "text").await;
        assert_eq!((response.status(), response.field("Retry-After")), (429, None), "{backend}");
        let response = relayed.misled(&backend, "status:503,retry-after:7", "text").await;
        assert_eq!((response.status(), response.field("Retry-After")), (502, Some("7")), "{backend}");
    }
}

#[tokio::test]
async fn what_is_no_stream_of_events_is_a_bad_gateway() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in everybody() {
        for pattern in ["html", "redirect", "gzip", "html,status:500", "eof:0,chunks:0"] {
            let response = relayed.misled(&backend, pattern, "text").await;
            if pattern.starts_with("eof") && response.status() == 200 {
                // What leads in is an event.
                assert!(error_event(&response).contains("ended before its end"));
                continue;
            }
            assert_eq!(response.status(), 502, "{backend} {pattern}");
            assert!(!response.body.contains('<'), "{}", response.body);
            refusal(&response);
        }
    }
}

#[tokio::test]
async fn under_200_it_is_looked_at_what_came() {
    let html = "<html><body>Please log in</body></html>";
    for (head, body, expected) in [
        ("Content-Type: text/html; charset=utf-8", html, 502),
        ("Content-Type: application/json", r#"{"choices":[{"message":{"content":"whole"}}]}"#, 502),
        (
            "Content-Type: application/json",
            r#"{"error":{"type":"rate_limit_error","message":"slow down"}}"#,
            429,
        ),
        (
            "Content-Type: application/json",
            r#"{"error":{"code":"context_length_exceeded","message":"too long"}}"#,
            400,
        ),
        (
            "Content-Type: application/json",
            r#"{"error":{"type":"authentication_error","message":"sk-1"}}"#,
            502,
        ),
        ("Content-Type: text/event-stream\r\nContent-Encoding: br", "\u{1}\u{2}", 502),
        ("Content-Type: text/event-stream", "", 502),
        ("Content-Type: text/event-stream", ": only a comment\n\n", 502),
        ("X-Nothing: known", html, 502),
        (
            "Content-Type: text/event-stream",
            "data: {\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}\n\n",
            429,
        ),
        (
            "Content-Type: text/event-stream",
            "data: {\"object\":\"error\",\"message\":\"too long\",\"code\":400}\n\n",
            400,
        ),
        (
            "Content-Type: TEXT/Event-Stream ; charset=UTF-8\r\nContent-Encoding: identity",
            "data: [DONE]\n\n",
            200,
        ),
        ("X-Nothing: known", "data: [DONE]\n\n", 200),
    ] {
        let length = body.len();
        let peer =
            Rigid::start(format!("HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}"))
                .await;
        let daemon = peer.behind(DialectName::OpenAi, |_| {});
        let response = daemon.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#).await;
        assert_eq!(response.status(), expected, "{head} {body} {}", response.body);
        assert!(!response.body.contains("sk-1") && !response.body.contains('<'), "{}", response.body);
        assert_eq!(response.body.contains("too long"), expected == 400, "{}", response.body);
    }
}

#[tokio::test]
async fn an_error_as_the_first_event_is_a_status() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in everybody() {
        for pattern in
            ["error-first", "error-first,failed", "error-first,vllm", "error-first,comments,split:1"]
        {
            for format in ["text", "raw"] {
                let response = relayed.misled(&backend, pattern, format).await;
                assert_eq!(response.status(), 502, "{backend} {pattern} {format}");
                let said = refusal(&response);
                assert!(said.contains("the backend failed"), "{backend} {pattern} {format}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn an_error_in_the_middle_is_an_event_and_the_end() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in everybody() {
        for pattern in ["error:2", "error:2,failed", "error:2,vllm", "error:2,openrouter"] {
            let response = relayed.misled(&backend, pattern, "text").await;
            let said = error_event(&response);
            assert!(said.contains("the backend reports an error"), "{backend} {pattern}: {said}");
            assert_eq!(response.text(), "word001 word002 ", "{backend} {pattern}");
            let raw = relayed.misled(&backend, pattern, "raw").await.body;
            assert_eq!(raw.matches("\"error\"").count().min(1), 1, "{backend} {pattern}: {raw}");
            assert!(!raw.contains("the backend reports"), "the API's own words are enough: {raw}");
        }
    }
}

const SHORT: Duration = Duration::from_millis(150);

fn impatient(config: &mut Config) {
    config.backend.timeout = SHORT;
}

#[tokio::test]
async fn a_silent_api_is_a_gateway_timeout() {
    let relayed = relayed_by_all(Settings::default(), impatient).await;
    for backend in ["chat", "chat1", "messages", "responses1", "events"] {
        for pattern in ["stall-before-head", "stall-after-head"] {
            let response = relayed.misled(backend, pattern, "text").await;
            assert_eq!(response.status(), 504, "{backend} {pattern}");
            assert!(refusal(&response).contains("silent for too long"), "{}", response.body);
        }
        let response = relayed.misled(backend, "stall:2", "raw").await;
        assert_eq!(response.status(), 200);
        assert!(response.body.contains("silent for too long"), "{backend}: {}", response.body);
    }
    // What nobody waits for is cancelled.
    assert!(relayed.api.until(|api| (api.streams(), api.cancelled()) == (0, 15)).await);
}

#[tokio::test]
async fn an_api_that_is_down_is_a_bad_gateway_at_once() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let base = format!("http://{}/v1", taken.local_addr().unwrap());
    drop(taken);
    for dialect in
        [DialectName::OpenAi, DialectName::Anthropic, DialectName::OpenAiResponses, DialectName::Sse]
    {
        let daemon = daemon(profile("api", dialect, &base), |_| {});
        let begin = std::time::Instant::now();
        let response = daemon.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#).await;
        assert_eq!(response.status(), 502);
        assert!(refusal(&response).contains("cannot be reached"), "{}", response.body);
        assert!(
            !response.body.contains("127.0.0.1"),
            "where the API is, is nobody's business: {}",
            response.body
        );
        assert!(begin.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn an_api_that_does_not_take_the_connection_is_a_gateway_timeout() {
    // It listens, and nobody accepts: HTTP/2 begins with SETTINGS, which never come.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let base = format!("http://{}/v1", silent.local_addr().unwrap());
    let daemon =
        daemon(profile("api", DialectName::OpenAi, &base), |config| config.backend.connect_timeout = SHORT);
    let response = daemon.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#).await;
    assert_eq!(response.status(), 504, "{}", response.body);
}

#[tokio::test]
async fn a_base_that_cannot_be_is_a_bad_gateway() {
    let broken = Profile {
        api_socket: Some("/no/such/socket".into()),
        ..profile("api", DialectName::OpenAi, "http://x/v1")
    };
    let response = daemon(broken, |_| {}).ask(r#"{"prompt":"Hi"}"#).await;
    assert_eq!(response.status(), 502, "{}", response.body);
    assert!(!response.body.contains("/no/such"), "{}", response.body);
}

#[tokio::test]
async fn after_a_heartbeat_an_error_is_an_event_under_200() {
    let mut address = None;
    let relayed = relayed_by_all(Settings::default(), |config| {
        config.server.heartbeat = Some(Duration::from_millis(40));
        address = Some(serve_metrics(config));
    })
    .await;
    for (backend, pattern, expected) in [
        ("chat", "slow-head:120,status:500", "the backend failed"),
        ("chat1", "slow-head:120,status:401", "does not accept the server's credentials"),
        ("messages", "slow-head:120,status:429,retry-after:3", "too many requests"),
        ("responses", "slow-head:120,status:400", "maximum context length"),
        ("messages1", "slow-head:120,error-first", "the backend failed"),
        ("chat", "slow-head:120,html", "the backend failed"),
        ("responses1", "slow-head:120,abort-before-head", "cannot be reached"),
    ] {
        let response = relayed.misled(backend, pattern, "text").await;
        let expected = if pattern.contains("abort") { "" } else { expected };
        if expected.is_empty() {
            // The connection ends before the delay does.
            assert_eq!(response.status(), if response.body.contains("keep-alive") { 200 } else { 502 });
            continue;
        }
        assert!(error_event(&response).contains(expected), "{backend} {pattern}: {}", response.body);
        assert!(response.body.starts_with(": keep-alive\n\n"), "{}", response.body);
        assert_eq!(response.field("Content-Type"), Some("text/event-stream; charset=utf-8"));
    }
    until_figure(address.unwrap(), "daemon_backend_errors", 7).await;
}
