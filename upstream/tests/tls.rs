//! TLS, and the proxies before it.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use common::{read, send, settings};
use http::Version;
use mock_llm::frames::{Peer, Script};
use mock_llm::{MockLlm, Settings as MockSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use upstream::{Proxy, SendError, Settings, SetupError, Upstream};

struct Api {
    mock: MockLlm,
    ca_file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Api {
    async fn start(http1: bool, http2: bool) -> Self {
        let mock = MockSettings { tls: true, http1, http2, ..Default::default() };
        let mock = MockLlm::start(mock).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, mock.certificate_pem().unwrap()).unwrap();
        Self { mock, ca_file, _directory: directory }
    }

    /// Trusts the mock's certificate.
    fn settings(&self) -> Settings {
        Settings { ca_file: Some(self.ca_file.clone()), ..settings(&self.mock.base_url()) }
    }
}

async fn version_of(api: &Api, settings: Settings) -> Version {
    let upstream = Upstream::new(settings).unwrap();
    read(send(&upstream, "").await.unwrap()).await.unwrap();
    api.mock.requests().last().unwrap().version
}

#[tokio::test]
async fn the_peer_chooses_the_version() {
    let both = Api::start(true, true).await;
    assert_eq!(version_of(&both, both.settings()).await, Version::HTTP_2);
    assert_eq!(version_of(&both, Settings { http2: false, ..both.settings() }).await, Version::HTTP_11);
    let old = Api::start(true, false).await;
    assert_eq!(version_of(&old, old.settings()).await, Version::HTTP_11);
}

#[tokio::test]
async fn each_waiting_request_is_served_when_the_peer_turns_out_to_be_an_old_one() {
    let api = Api::start(true, false).await;
    let upstream = Upstream::new(api.settings()).unwrap();
    let answers = common::send_all(&upstream, "stall:1", 20).await;
    assert_eq!(api.mock.connections_total(), 20);
    drop(answers);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused() {
    let api = Api::start(true, true).await;
    // Trusts another one.
    let other = Api::start(true, true).await;
    let untrusting = Settings { ca_file: Some(other.ca_file.clone()), ..api.settings() };
    let upstream = Upstream::new(untrusting.clone()).unwrap();
    let error = send(&upstream, "").await.unwrap_err();
    assert!(matches!(error, SendError::Tls { .. }), "{error}");
    for words in ["certificate", "insecure_ssl", "SSL_CERT_FILE", &api.mock.address().to_string()] {
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(api.mock.requests().len(), 0);
    let insecure = Settings { insecure_ssl: true, ca_file: None, ..untrusting };
    assert_eq!(version_of(&api, insecure).await, Version::HTTP_2);
}

#[tokio::test]
async fn a_file_without_certificates_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("empty.pem");
    std::fs::write(&path, "").unwrap();
    for ca_file in [path, directory.path().join("missing.pem")] {
        let settings = Settings { ca_file: Some(ca_file.clone()), ..settings("https://localhost") };
        let error = Upstream::new(settings).unwrap_err();
        assert!(matches!(error, SetupError::CaFile { .. }), "{error}");
        assert!(error.to_string().contains(ca_file.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn a_peer_without_tls_is_an_error() {
    // Says something that is no ServerHello.
    let peer = Peer::start([Script::new()]).await.unwrap();
    let base = format!("https://{}", peer.address());
    let upstream = Upstream::new(Settings { insecure_ssl: true, ..settings(&base) }).unwrap();
    let error = send(&upstream, "").await.unwrap_err();
    assert!(matches!(error, SendError::Tls { .. }), "{error}");
    assert!(!error.to_string().contains("insecure_ssl"), "it would not change anything: {error}");
}

/// A proxy, and the heads of what it was asked for.
struct TestProxy {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    /// Answers CONNECT by a tunnel, or by `refusal`; forwards anything else to `target`.
    async fn start(target: &MockLlm, refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (target, seen) = (target.address(), Arc::clone(&heads));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let mut read = Vec::new();
                    while !read.windows(4).any(|window| window == b"\r\n\r\n") {
                        stream.read_buf(&mut read).await.unwrap();
                    }
                    let head = String::from_utf8_lossy(&read).into_owned();
                    let is_connect = head.starts_with("CONNECT ");
                    seen.lock().unwrap().push(head);
                    if let Some(refusal) = refusal {
                        stream.write_all(refusal.as_bytes()).await.unwrap();
                        return;
                    }
                    let mut through = TcpStream::connect(target).await.unwrap();
                    if is_connect {
                        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                    } else {
                        // The target takes a path only.
                        let text = String::from_utf8(read).unwrap();
                        let text = text.replacen(&format!("http://{target}"), "", 1);
                        through.write_all(text.as_bytes()).await.unwrap();
                    }
                    let _ = copy_bidirectional(&mut stream, &mut through).await;
                });
            }
        });
        Self { address, heads }
    }

    fn setting(&self) -> Proxy {
        let proxy = format!("http://user:secret@{}", self.address);
        Proxy::Given { http: proxy.clone(), https: proxy, no: String::new() }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

const CREDENTIALS: &str = "dXNlcjpzZWNyZXQ=";

#[tokio::test]
async fn a_proxy_tunnels_tls() {
    let api = Api::start(true, true).await;
    let proxy = TestProxy::start(&api.mock, None).await;
    let settings = Settings { proxy: proxy.setting(), ..api.settings() };
    assert_eq!(version_of(&api, settings).await, Version::HTTP_2);
    let heads = proxy.heads();
    assert!(heads[0].starts_with(&format!("CONNECT {} HTTP/1.1\r\n", api.mock.address())), "{heads:?}");
    assert!(heads[0].contains(&format!("Proxy-Authorization: Basic {CREDENTIALS}\r\n")), "{heads:?}");
    let request = &api.mock.requests()[0];
    assert!(!request.headers.contains_key("proxy-authorization"), "the API learns nothing");
}

#[tokio::test]
async fn a_proxy_forwards_what_is_not_encrypted() {
    let mock = MockLlm::start(MockSettings::default()).await.unwrap();
    let proxy = TestProxy::start(&mock, None).await;
    let upstream = Upstream::new(Settings { proxy: proxy.setting(), ..settings(&mock.base_url()) }).unwrap();
    read(send(&upstream, "").await.unwrap()).await.unwrap();
    let head = proxy.heads().remove(0).to_lowercase();
    let line = format!("post {}/chat/completions http/1.1\r\n", mock.base_url());
    assert!(head.starts_with(&line), "{head}");
    assert!(head.contains("proxy-authorization: basic"), "{head}");
    assert_eq!(mock.requests()[0].version, Version::HTTP_11);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_an_error_without_credentials_in_it() {
    let api = Api::start(true, true).await;
    for (refusal, words) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
        ("HTTP/1.1 503 Busy\r\n\r\n", "503"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
        ("HTTP/1.1 200", "closed"),
    ] {
        let proxy = TestProxy::start(&api.mock, Some(refusal)).await;
        let settings = Settings { proxy: proxy.setting(), ..api.settings() };
        let error = send(&Upstream::new(settings).unwrap(), "").await.unwrap_err();
        assert!(matches!(error, SendError::Proxy { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains(&proxy.address), "{text}");
        assert!(!text.contains("secret") && !text.contains(CREDENTIALS), "{text}");
    }
}

#[tokio::test]
async fn a_unix_socket_needs_no_proxy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let mock =
        MockLlm::start(MockSettings { socket: Some(path.clone()), ..Default::default() }).await.unwrap();
    let proxy = TestProxy::start(&mock, None).await;
    let settings = Settings { socket: Some(path), proxy: proxy.setting(), ..settings("http://localhost/v1") };
    read(send(&Upstream::new(settings).unwrap(), "").await.unwrap()).await.unwrap();
    assert!(proxy.heads().is_empty());
}
