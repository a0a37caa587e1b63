//! What an operator sees: metrics, health, the access log, the summary of a measurement.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use common::process::Process;
use common::{Daemon, SOON, eventually, hand_off, mock};
use rustix::process::Signal;
use streaming_daemon::config::{AccessLog, AccessLogFormat};
use tokio::io::AsyncReadExt;

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Sends `request` as it is and returns the whole response.
fn http(address: SocketAddr, request: &str) -> String {
    let mut connection = None;
    eventually(SOON, "the endpoint listens", || {
        connection = TcpStream::connect(address).ok();
        connection.is_some()
    });
    let mut connection = connection.unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).unwrap();
    response
}

fn get(address: SocketAddr, target: &str) -> String {
    http(address, &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

fn whole(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_metrics_tell_what_happened() {
    let (process, address) = Process::start_with_metrics(&["--delay", "0"]);
    let answer = whole(hand_off(&process.path, br#"{"prompt":"a b","request_id":"r1"}"#));
    whole(hand_off(&process.path, br#"{"test_pattern":"truncate-after:1"}"#));
    whole(hand_off(&process.path, br#"{"test_pattern":"error:500"}"#));
    whole(hand_off(&process.path, b"no JSON"));
    drop(common::connect(&process.path));
    let mut text = String::new();
    eventually(SOON, "everything is counted", || {
        text = get(address, "/metrics");
        text.contains("\ndaemon_connections_active 0\n") && text.contains("\ndaemon_handoffs_failed 1\n")
    });
    assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{text}");
    for line in [
        "daemon_connections_total 4",
        "daemon_handoffs_received 4",
        "daemon_backend_requests 3",
        "daemon_backend_errors 2",
        "daemon_stream_chunks_sent 5",
        "daemon_stream_errors_total{reason=\"truncated\"} 1",
        "daemon_stream_errors_total{reason=\"bad_request\"} 1",
        "daemon_stream_errors_total{reason=\"other\"} 1",
        "daemon_stream_duration_seconds_count 4",
        "daemon_handoff_duration_seconds_count 4",
        "daemon_backend_duration_seconds_count 2",
        "daemon_stream_ttfb_seconds_count 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    let sent = text.lines().find_map(|line| line.strip_prefix("daemon_stream_bytes_sent ")).unwrap();
    assert!(sent.parse::<usize>().unwrap() > answer.len());

    let accept = "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n";
    let text = http(address, accept);
    assert!(text.contains("# {request_id=\"r1\"} "), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_endpoint_answers_what_it_knows_and_survives_the_rest() {
    let (_process, address) = Process::start_with_metrics(&[]);
    for (request, expected) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
        ("GET /readyz?x=1 HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK"),
        ("HEAD /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        ("\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("\0\u{ff}\r\n\r\n", "HTTP/1.1 400 Bad Request"),
    ] {
        let response = http(address, request);
        assert!(response.starts_with(expected), "{request:?}: {response}");
    }
    let head = http(address, "HEAD /healthz HTTP/1.1\r\n\r\n");
    assert!(head.contains("\r\nContent-Length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    // More of them than places, saying nothing: the deadline ends them.
    let idle: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    drop(idle);
    assert!(get(address, "/healthz").ends_with("\r\n\r\nok\n"));
}

#[test]
fn a_draining_daemon_is_healthy_and_not_ready() {
    let (process, address) = Process::start_with_metrics(&["--delay", "3600000"]);
    let mut client = hand_off(&process.path, b"{}");
    client.read_exact(&mut [0]).unwrap();
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    process.signal(Signal::TERM);
    eventually(SOON, "it says that it drains", || get(address, "/readyz").starts_with("HTTP/1.1 503 "));
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn an_address_that_is_taken_is_a_sentence_and_tried_again() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let environment =
        [("DAEMON_METRICS_ENABLED", "true".to_owned()), ("DAEMON_METRICS_ADDR", address.to_string())];
    let mut process = Process::start_with_environment(&["--delay", "0"], &environment);
    let line = process.log_line("metrics are not served yet");
    assert!(line.contains(&address.to_string()) && line.contains("set [metrics] listen_addr"), "{line}");
    assert!(whole(hand_off(&process.path, b"{}")).contains("[DONE]"), "streams don't depend on it");
    drop(taken);
    process.log_line("metrics at http://");
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
}

fn access_log(path: PathBuf, format: AccessLogFormat) -> impl FnOnce(&mut streaming_daemon::Config) {
    move |config| {
        config.logging.access_log = AccessLog::File(path);
        config.logging.access_log_format = format;
    }
}

#[tokio::test]
async fn each_stream_is_a_line_of_the_access_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let mut daemon = Daemon::start(access_log(path.clone(), AccessLogFormat::Json));
    let response = daemon.ask(r#"{"prompt":"Hi","user_id":7,"request_id":"r\"1"}"#).await;
    assert!(response.is_done());
    daemon.ask(r#"{"test_pattern":"error:429"}"#).await;
    daemon.ask("no JSON").await;
    daemon.stop();
    daemon.ended().await;
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    let [done, refused, wrong] = &lines[..] else { unreachable!() };
    assert_eq!((&done["status"], &done["outcome"]), (&200.into(), &"done".into()));
    assert_eq!((&done["user_id"], &done["request_id"]), (&"7".into(), &"r\"1".into()));
    assert_eq!(done["client"], "127.0.0.1");
    let bytes = response.head.len() + 4 + response.body.len();
    assert_eq!(done["bytes"], bytes);
    assert!(done["duration_ms"].as_f64().unwrap() >= done["first_token_ms"].as_f64().unwrap());
    assert_eq!((&refused["status"], &refused["outcome"]), (&429.into(), &"refused".into()));
    assert_eq!((&wrong["status"], &wrong["reason"]), (&400.into(), &"bad_request".into()));
}

#[tokio::test]
async fn a_client_that_leaves_is_in_the_access_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let open = access_log(path.clone(), AccessLogFormat::Combined);
    let daemon = Daemon::start(|config| {
        open(config);
        config.backend = mock(Duration::from_secs(3600));
    });
    let mut client = daemon.hand_off(r#"{"request_id":"r1"}"#);
    client.read_u8().await.unwrap();
    drop(client);
    let written = async {
        while !std::fs::read_to_string(&path).unwrap().ends_with('\n') {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, written).await.unwrap();
    let line = std::fs::read_to_string(path).unwrap();
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.contains("outcome=client_gone") && line.contains(" request_id=\"r1\" "), "{line}");
}

#[test]
fn an_access_log_that_cannot_be_opened_is_a_sentence() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_streaming-daemon"))
        .args(["-s", tempfile::tempdir().unwrap().path().join("d.sock").to_str().unwrap()])
        .env("DAEMON_LOGGING_ACCESS_LOG", "/no/such/directory/access.log")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("the access log /no/such/directory/access.log cannot be opened"), "{text}");
}

#[test]
fn a_failed_stream_is_one_line_that_says_what_and_where() {
    let mut process = Process::start(&["--delay", "0"]);
    whole(hand_off(&process.path, br#"{"test_pattern":"break-after:1","request_id":"r1"}"#));
    let line = process.log_line("stream finished");
    for expected in
        ["WARN", "request_id=\"r1\"", "outcome=\"backend_broken\"", "at=\"backend\"", "the connection to the"]
    {
        assert!(line.contains(expected), "{line:?} lacks {expected}");
    }
}

#[test]
fn a_measurement_ends_with_a_summary_and_has_no_metrics() {
    let address = free_address();
    let environment =
        [("DAEMON_METRICS_ENABLED", "true".to_owned()), ("DAEMON_METRICS_ADDR", address.to_string())];
    let process = Process::start_with_environment(&["--delay", "0", "--benchmark"], &environment);
    for _ in 0..3 {
        whole(hand_off(&process.path, b"{}"));
    }
    whole(hand_off(&process.path, b"no JSON"));
    assert!(TcpStream::connect(address).is_err());
    process.signal(Signal::TERM);
    let printed = process.printed();
    assert!(printed.starts_with("peak "), "{printed}");
    assert!(printed.contains("started 4, completed 3, failed 1, bytes "), "{printed}");
    assert!(printed.contains(", wall 0."), "{printed}");
}
