//! A daemon in front of a mock API.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mock_llm::{MockLlm, Settings};
use streaming_daemon::Config;
use streaming_daemon::config::{DialectName, Profile, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::response::{self, Response};
use crate::common::{Daemon, SOON};

/// The key that the daemon has for the API.
pub const KEY: &str = "sk-test-0123456789";

/// The profiles of [`relayed_by_all`], over HTTP/2; those over HTTP/1.1 have a `1` behind the name.
pub const ALL: [&str; 4] = ["chat", "responses", "messages", "events"];

/// Those whose answers are understood.
pub const LLM: [&str; 3] = ["chat", "responses", "messages"];

/// A daemon whose backend `api` is a mock API.
pub struct Relayed {
    pub daemon: Daemon,
    pub api: MockLlm,
}

/// Chat Completions, from an API with these settings.
pub async fn relayed(settings: Settings) -> Relayed {
    relayed_with(DialectName::OpenAi, settings, |_| {}).await
}

/// An API with these settings that is asked in `dialect`; `change` the daemon's configuration.
pub async fn relayed_with(
    dialect: DialectName,
    settings: Settings,
    change: impl FnOnce(&mut Config),
) -> Relayed {
    let api = MockLlm::start(settings).await.unwrap();
    let base = base(&api, dialect);
    let daemon = daemon(profile("api", dialect, &base), change);
    Relayed { daemon, api }
}

/// A daemon with this backend.
pub fn daemon(profile: Profile, change: impl FnOnce(&mut Config)) -> Daemon {
    Daemon::start(|config| {
        config.backend.provider.clone_from(&profile.name);
        config.backend.profiles.push(profile);
        change(config);
    })
}

/// An API with these settings, behind a profile for each dialect and version of HTTP: [`ALL`].
pub async fn relayed_by_all(settings: Settings, change: impl FnOnce(&mut Config)) -> Relayed {
    let api = MockLlm::start(settings).await.unwrap();
    let daemon = Daemon::start(|config| {
        for (name, dialect) in ALL.into_iter().zip(DIALECTS) {
            let base = base(&api, dialect);
            config.backend.profiles.push(profile(name, dialect, &base));
            let http2_enabled = false;
            let old = Profile { http2_enabled, ..profile(&format!("{name}1"), dialect, &base) };
            config.backend.profiles.push(old);
        }
        change(config);
    });
    Relayed { daemon, api }
}

const DIALECTS: [DialectName; 4] =
    [DialectName::OpenAi, DialectName::OpenAiResponses, DialectName::Anthropic, DialectName::Sse];

fn base(api: &MockLlm, dialect: DialectName) -> String {
    match dialect {
        DialectName::Sse => api.base_url().replace("/v1", "/events"),
        _ => api.base_url(),
    }
}

/// A profile with a key.
pub fn profile(name: &str, dialect: DialectName, base: &str) -> Profile {
    let model = Some("test-model".to_owned());
    let api_key = Secret::new(KEY.to_owned());
    Profile { api_base: base.to_owned(), model, api_key, ..Profile::new(name, dialect) }
}

/// Handoff data of a client that speaks HTTP/1.1, and has the API misbehave by `pattern`.
pub fn data(backend: &str, pattern: &str, format: &str) -> String {
    let mut data = serde_json::json!({
        "backend": backend, "prompt": "Hi", "format": format, "protocol": "HTTP/1.1",
    });
    if !pattern.is_empty() {
        data["test_pattern"] = pattern.into();
    }
    data.to_string()
}

impl Relayed {
    /// The whole response to `data`.
    pub async fn ask(&self, data: &str) -> Response {
        self.daemon.ask(data).await
    }

    /// The response when the API behind `backend` misbehaves by `pattern`.
    pub async fn misled(&self, backend: &str, pattern: &str, format: &str) -> Response {
        self.ask(&data(backend, pattern, format)).await
    }
}

/// Has metrics served, and says where.
pub fn serve_metrics(config: &mut Config) -> SocketAddr {
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    config.metrics.enabled = true;
    config.metrics.listen_addr = free.local_addr().unwrap();
    config.metrics.listen_addr
}

/// All metrics.
pub async fn metrics(address: SocketAddr) -> String {
    let mut connection = None;
    until("the metrics are served", async || {
        connection = TcpStream::connect(address).await.ok();
        connection.is_some()
    })
    .await;
    let mut connection = connection.unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).await.unwrap();
    text
}

/// The value of the metric `name`, with its labels.
pub async fn figure(address: SocketAddr, name: &str) -> u64 {
    let text = metrics(address).await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
}

/// Waits until the metric `name` has this value.
pub async fn until_figure(address: SocketAddr, name: &str, expected: u64) {
    until(&format!("{name} {expected}"), async || figure(address, name).await == expected).await;
}

/// Asks again and again, with a deadline, until `condition` holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Reads until `text` has come.
pub async fn read_until(client: &mut TcpStream, text: &str) -> String {
    let mut received = Vec::new();
    let read = async {
        loop {
            assert_ne!(client.read_buf(&mut received).await.unwrap(), 0, "ended before {text:?}");
            if String::from_utf8_lossy(&received).contains(text) {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, read).await.unwrap_or_else(|_| panic!("nothing like {text:?} came"));
    String::from_utf8(received).unwrap()
}

/// The message of the error event with which a response ends that began well.
#[track_caller]
pub fn error_event(response: &Response) -> String {
    assert_eq!(response.status(), 200, "{response:?}");
    let events = response.events();
    let errors = events.iter().filter(|(kind, _)| kind == "error").count();
    let (kind, data) = events.last().unwrap_or_else(|| panic!("no events: {response:?}"));
    assert_eq!((kind.as_str(), errors), ("error", 1), "{response:?}");
    let error: serde_json::Value = serde_json::from_str(data).unwrap();
    error["error"]["message"].as_str().unwrap().to_owned()
}

/// The message of a response that is no stream.
#[track_caller]
pub fn refusal(response: &Response) -> String {
    assert_eq!(response.field("Content-Type"), Some("application/json"), "{response:?}");
    let error: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    error["error"]["message"].as_str().unwrap_or_else(|| panic!("{response:?}")).to_owned()
}

/// A peer that answers each request, whatever it is, with these bytes, and closes the connection. HTTP/1.1.
pub struct Rigid {
    pub base: String,
    ended: tokio::task::JoinHandle<()>,
}

impl Rigid {
    pub async fn start(response: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let response = response.into();
        let ended = tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let response = response.clone();
                tokio::spawn(async move {
                    read_request(&mut connection).await;
                    connection.write_all(&response).await.unwrap();
                    connection.shutdown().await.unwrap();
                    // Closing with unread input would be a reset.
                    let _ = connection.read_to_end(&mut Vec::new()).await;
                });
            }
        });
        Self { base, ended }
    }

    /// A daemon that asks it in `dialect`.
    pub fn behind(&self, dialect: DialectName, change: impl FnOnce(&mut Config)) -> Daemon {
        let http2_enabled = false;
        daemon(Profile { http2_enabled, ..profile("api", dialect, &self.base) }, change)
    }
}

impl Drop for Rigid {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

async fn read_request(connection: &mut TcpStream) {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return;
            }
        }
        assert_ne!(connection.read_buf(&mut request).await.unwrap(), 0, "{text}");
    }
}

/// What the API itself sends as the body of a response to this, without HTTP around it.
pub async fn said_by(api: &MockLlm, backend: &str, pattern: &str) -> Vec<u8> {
    let path = match backend {
        "chat" => "/v1/chat/completions",
        "responses" => "/v1/responses",
        "messages" => "/v1/messages",
        _ => "/events",
    };
    let body = r#"{"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Hi"}],"input":"Hi"}"#;
    let length = body.len();
    let pattern = format!("{pattern},close-delimited");
    let pattern = pattern.trim_start_matches(',');
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nX-Test-Pattern: {pattern}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut connection = TcpStream::connect(api.address()).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    connection.read_to_end(&mut response).await.unwrap();
    let end = response.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    response.split_off(end + 4)
}

/// A response as it came.
pub async fn read(client: TcpStream) -> Response {
    response::read(client).await
}
