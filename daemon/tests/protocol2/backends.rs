//! What backends get of the client's request.

use handoff_protocol::v2::envelope::Writer;
use mock_llm::{MockLlm, Settings};
use streaming_daemon::config::{DialectName, Profile};

use crate::common::Daemon;
use crate::module::{Module, envelope_of};

const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn daemon() -> (Daemon, MockLlm) {
    let api = MockLlm::start(Settings::default()).await.unwrap();
    let base = api.base_url();
    let daemon = Daemon::start(|config| {
        for (name, dialect) in [
            ("chat", DialectName::OpenAi),
            ("responses", DialectName::OpenAiResponses),
            ("messages", DialectName::Anthropic),
            ("events", DialectName::Sse),
        ] {
            let base = if name == "events" { base.replace("/v1", "/events") } else { base.clone() };
            let model = Some("test-model".to_owned());
            config.backend.profiles.push(Profile { api_base: base, model, ..Profile::new(name, dialect) });
        }
    });
    (daemon, api)
}

fn envelope(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let write = |writer: &mut Writer<'_>| writer.fields("request_headers", fields.iter().copied());
    envelope_of(b"GET", b"HTTP/1.1", write)
}

#[tokio::test(flavor = "multi_thread")]
async fn last_event_and_trace_reach_every_api_and_nothing_else_does() {
    let (daemon, api) = daemon().await;
    let module = Module::connect(&daemon.path);
    let fields: [(&[u8], &[u8]); 4] = [
        (b"Last-Event-ID", b"42"),
        (b"Traceparent", PARENT),
        (b"tracestate", b"vendor=1"),
        (b"Cookie", b"session=secret"),
    ];
    for backend in ["chat", "responses", "messages", "events"] {
        let data = format!("{{\"prompt\":\"Hi\",\"backend\":\"{backend}\"}}");
        assert_eq!(module.ask(&envelope(&fields), data.as_bytes()).status(), 200, "{backend}");
        let asked = api.requests().pop().unwrap().headers;
        assert_eq!(asked["last-event-id"], "42", "{backend}");
        assert_eq!(asked["traceparent"].as_bytes(), PARENT, "{backend}");
        assert_eq!(asked["tracestate"], "vendor=1", "{backend}");
        assert!(!asked.contains_key("cookie"), "{backend}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_it_has_to_be_stays_here() {
    let (daemon, api) = daemon().await;
    let module = Module::connect(&daemon.path);
    let fields: [(&[u8], &[u8]); 3] =
        [(b"Last-Event-ID", b"1\x0bX"), (b"traceparent", b"00-1-2-3"), (b"tracestate", b"vendor=1")];
    assert_eq!(module.ask(&envelope(&fields), br#"{"prompt":"Hi","backend":"chat"}"#).status(), 200);
    let asked = api.requests().pop().unwrap().headers;
    for name in ["last-event-id", "traceparent", "tracestate"] {
        assert!(!asked.contains_key(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_asks_nobody() {
    let (daemon, api) = daemon().await;
    let module = Module::connect(&daemon.path);
    let status = |data: &[u8]| {
        let (client, _) = module.hand_off(&envelope_of(b"HEAD", b"HTTP/1.1", |_| {}), data);
        crate::module::read(client).status()
    };
    assert_eq!(status(br#"{"prompt":"Hi","backend":"chat"}"#), 200);
    assert_eq!(status(br#"{"backend":"chat"}"#), 400, "as GET");
    assert_eq!(api.requests().len(), 0);
}

/// With the response's body as data there is none: PHP prints no body for HEAD.
#[tokio::test(flavor = "multi_thread")]
async fn head_without_data_gets_the_head_of_a_stream() {
    let daemon = Daemon::start(|config| config.backend.provider = "openai".into());
    let module = Module::connect(&daemon.path);
    for (method, expected) in [(&b"HEAD"[..], 200), (b"GET", 400)] {
        let (client, _) = module.hand_off(&envelope_of(method, b"HTTP/1.1", |_| {}), b"");
        assert_eq!(crate::module::read(client).status(), expected);
    }
}
