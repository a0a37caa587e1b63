//! Keys are sent to the API, and are nowhere else: not in logs at any level, not in metrics, not in responses.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use mock_llm::{MockLlm, Settings};

use crate::common::process::Process;
use crate::common::{SOON, eventually, hand_off};
use crate::harness::{Rigid, data};

const KEY: &str = "sk-live-4f9a8b7c6d5e";
const TOKEN: &str = "field-token-1a2b3c";

/// A refusal whose words repeat the key, as some proxies do in front of APIs.
fn telling(status: &str) -> String {
    let body = format!(
        r#"{{"error":{{"message":"Incorrect API key provided: {KEY} (header {TOKEN}).","code":"invalid_api_key"}}}}"#
    );
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn whole(mut client: TcpStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_key_appears_nowhere() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(MockLlm::start(Settings::default())).unwrap();
    let streaming = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
         data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\n\n\
         data: {{\"error\":{{\"message\":\"{KEY} and {TOKEN}\",\"type\":\"{TOKEN}\"}}}}\n\n"
    );
    let streaming = runtime.block_on(Rigid::start(streaming));
    let peers = ["401 Unauthorized", "400 Bad Request", "500 Internal Server Error", "200 OK"]
        .map(|status| runtime.block_on(Rigid::start(telling(status))));
    let directory = tempfile::tempdir().unwrap();
    let access_log = directory.path().join("access.log");
    let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut file = format!(
        "[backend]\nprovider = \"chat\"\n[metrics]\nenabled = true\nlisten_addr = \"{metrics}\"\n\
         [logging]\nlevel = \"trace\"\naccess_log = \"{}\"\n",
        access_log.display()
    );
    let mut section = |name: &str, kind: &str, base: &str, more: &str| {
        file += &format!(
            "[backend.{name}]\ntype = \"{kind}\"\napi_base = \"{base}\"\napi_key = \"{KEY}\"\n\
             headers = {{ X-Token = \"{TOKEN}\" }}\n{more}\n"
        );
    };
    section("chat", "openai", &api.base_url(), "");
    section("chat1", "openai", &api.base_url(), "http2_enabled = false");
    section("messages", "anthropic", &api.base_url(), "model = \"m\"");
    section("events", "sse", &api.base_url().replace("/v1", "/events"), "");
    section("down", "openai", "http://127.0.0.1:1/v1", "");
    for (name, peer) in ["unauthorized", "bad", "failing", "told"].into_iter().zip(&peers) {
        section(name, "openai", &peer.base, "http2_enabled = false");
    }
    section("streaming", "openai", &streaming.base, "http2_enabled = false");
    let path = directory.path().join("daemon.toml");
    std::fs::write(&path, file).unwrap();
    let process = Process::start_with_environment(&[path.to_str().unwrap()], &[]);

    let mut responses = String::new();
    let patterns = [
        "",
        "status:401",
        "status:500",
        "error-first",
        "error:2",
        "abort:1",
        "abort-before-head",
        "eof:1",
        "refused,times:1",
    ];
    for backend in ["chat", "chat1", "messages", "events"] {
        for pattern in patterns {
            responses += &whole(hand_off(&process.path, data(backend, pattern, "text").as_bytes()));
        }
    }
    for backend in ["down", "unauthorized", "bad", "failing", "told", "nobody"] {
        let response = whole(hand_off(&process.path, data(backend, "", "text").as_bytes()));
        assert!(!response.starts_with("HTTP/1.1 200"), "{backend}: {response}");
        responses += &response;
    }
    for format in ["text", "raw"] {
        let response = whole(hand_off(&process.path, data("streaming", "", format).as_bytes()));
        assert!(response.contains("event: error\n"), "{response}");
        responses += &response;
    }
    let sent = api.requests();
    assert!(sent.iter().any(|request| request.headers["x-token"] == TOKEN));
    assert!(sent.iter().any(|request| request.headers.get("x-api-key").is_some_and(|key| key == KEY)));

    let mut served = TcpStream::connect(metrics).unwrap();
    served.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let metrics = whole(served);
    assert!(metrics.contains("daemon_upstream_connections{backend=\"chat\"}"), "{metrics}");
    let mut logged = String::new();
    eventually(SOON, "the access log is written", || {
        logged = std::fs::read_to_string(&access_log).unwrap();
        logged.lines().count() == 4 * patterns.len() + 8
    });
    let log = process.whole_log();
    assert!(log.contains("TRACE") && log.contains("stream finished"), "{}", log.len());
    // Parts of it are as good as all of it.
    for (name, text) in
        [("responses", &responses), ("metrics", &metrics), ("access log", &logged), ("log", &log)]
    {
        for secret in [KEY, TOKEN, &KEY[..12], &TOKEN[..12]] {
            if let Some(line) = text.lines().find(|line| line.contains(secret)) {
                panic!("{secret} is in the {name}: {line}");
            }
        }
    }
}
