//! The ways to an API: HTTP/2 and HTTP/1.1, with and without TLS, over a Unix socket.

use http::Version;
use mock_llm::{MockLlm, Settings};
use streaming_daemon::config::{DialectName, Profile};

use crate::harness::{LLM, daemon, data, profile, refusal, relayed_by_all};

#[tokio::test]
async fn an_api_that_speaks_http_1_1_only_is_understood() {
    let relayed = relayed_by_all(Settings { http2: false, ..Settings::default() }, |_| {}).await;
    for backend in LLM.into_iter().flat_map(|name| [name.to_owned(), format!("{name}1")]) {
        for _ in 0..2 {
            let response = relayed.misled(&backend, "", "text").await;
            assert!(response.is_done() && response.complete, "{backend}: {}", response.body);
        }
    }
    let requests = relayed.api.requests();
    assert_eq!(requests.len(), 12, "each was asked once");
    assert!(requests.iter().all(|request| request.version == Version::HTTP_11));
}

#[tokio::test]
async fn an_api_that_speaks_http_2_only_is_understood() {
    let relayed = relayed_by_all(Settings { http1: false, ..Settings::default() }, |_| {}).await;
    for backend in LLM {
        assert!(relayed.misled(backend, "", "text").await.is_done(), "{backend}");
    }
    let refused = relayed.misled("chat1", "", "text").await;
    assert_eq!(refused.status(), 502);
    refusal(&refused);
}

#[tokio::test]
async fn connections_are_used_again() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for _ in 0..20 {
        assert!(relayed.misled("chat", "", "text").await.is_done());
        assert!(relayed.misled("chat1", "", "text").await.is_done());
    }
    assert_eq!(relayed.api.connections_total(), 2);
}

#[tokio::test]
async fn tls_is_spoken_and_checked() {
    for (http2, version) in [(true, Version::HTTP_2), (false, Version::HTTP_11)] {
        let api = MockLlm::start(Settings { tls: true, ..Settings::default() }).await.unwrap();
        let with = |insecure_ssl| Profile {
            insecure_ssl,
            http2_enabled: http2,
            ..profile("api", DialectName::OpenAi, &api.base_url())
        };
        let trusting = daemon(with(true), |_| {});
        let response = trusting.ask(&data("api", "chunks:500,delay:0", "text")).await;
        assert!(response.is_done() && response.complete, "{}", response.body);
        assert_eq!(api.requests()[0].version, version);

        let careful = daemon(with(false), |_| {});
        let response = careful.ask(&data("api", "", "text")).await;
        assert_eq!(response.status(), 502, "{}", response.body);
        refusal(&response);
        assert_eq!(api.requests().len(), 1, "nobody gets the key whose certificate is not trusted");
    }
}

#[tokio::test]
async fn a_unix_socket_leads_to_the_api() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let api = MockLlm::start(Settings { socket: Some(socket.clone()), ..Settings::default() }).await.unwrap();
    for (dialect, base, path) in [
        (DialectName::OpenAi, "http://llm.example/v1", "/v1/chat/completions"),
        (DialectName::Anthropic, "http://llm.example/v1", "/v1/messages"),
        (DialectName::Sse, "http://llm.example/feed/events", "/feed/events"),
    ] {
        let api_socket = Some(socket.clone());
        let daemon = daemon(Profile { api_socket, ..profile("api", dialect, base) }, |_| {});
        let response = daemon.ask(&data("api", "", "text")).await;
        assert!(response.status() == 200 && response.complete && !response.body.contains("event: error"));
        let request = api.requests().pop().unwrap();
        assert_eq!((request.path.as_str(), request.version), (path, Version::HTTP_11));
        assert_eq!(request.headers["host"], "llm.example");
    }
}
