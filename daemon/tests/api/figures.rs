//! What an operator sees of the answers: tokens, and what those who leave save; connections.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mock_llm::Settings;
use streaming_daemon::config::{AccessLog, AccessLogFormat};

use crate::harness::{Relayed, data, figure, read_until, relayed_by_all, serve_metrics, until, until_figure};

struct Watched {
    relayed: Relayed,
    metrics: SocketAddr,
    access_log: PathBuf,
    _directory: tempfile::TempDir,
}

async fn watched() -> Watched {
    let directory = tempfile::tempdir().unwrap();
    let access_log = directory.path().join("access.log");
    let mut metrics = None;
    let relayed = relayed_by_all(Settings::default(), |config| {
        metrics = Some(serve_metrics(config));
        config.logging.access_log = AccessLog::File(access_log.clone());
        config.logging.access_log_format = AccessLogFormat::Json;
    })
    .await;
    Watched { relayed, metrics: metrics.unwrap(), access_log, _directory: directory }
}

async fn lines(path: &Path, count: usize) -> Vec<serde_json::Value> {
    let mut text = String::new();
    until(&format!("{count} lines in the access log"), async || {
        text = std::fs::read_to_string(path).unwrap();
        text.lines().count() == count && text.ends_with('\n')
    })
    .await;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn tokens_are_in_the_access_log_and_in_the_metrics() {
    let Watched { relayed, metrics, access_log, _directory } = watched().await;
    // Raw answers are counted as well.
    for (backend, format) in
        [("chat", "text"), ("responses1", "raw"), ("messages", "json"), ("events", "raw")]
    {
        relayed.misled(backend, "chunks:12", format).await;
    }
    relayed.misled("chat", "status:500", "text").await;
    relayed.misled("chat", "eof:3", "text").await;
    let lines = lines(&access_log, 6).await;
    for (line, (backend, tokens)) in
        lines.iter().zip([("chat", true), ("responses1", true), ("messages", true), ("events", false)])
    {
        assert_eq!(
            (&line["backend"], &line["status"], &line["outcome"]),
            (&backend.into(), &200.into(), &"done".into())
        );
        let expected =
            if tokens { (9.into(), 12.into()) } else { (serde_json::Value::Null, serde_json::Value::Null) };
        assert_eq!((line["tokens_in"].clone(), line["tokens_out"].clone()), expected, "{line}");
        assert!(line["first_token_ms"].as_f64().unwrap() <= line["duration_ms"].as_f64().unwrap(), "{line}");
    }
    assert_eq!((&lines[4]["status"], &lines[4]["outcome"]), (&502.into(), &"refused".into()));
    assert_eq!((&lines[5]["outcome"], &lines[5]["reason"]), (&"backend_broken".into(), &"truncated".into()));
    for backend in ["chat", "responses1", "messages"] {
        assert_eq!(figure(metrics, &format!("daemon_tokens_input_total{{backend=\"{backend}\"}}")).await, 9);
        assert_eq!(
            figure(metrics, &format!("daemon_tokens_output_total{{backend=\"{backend}\"}}")).await,
            12
        );
    }
    assert_eq!(figure(metrics, "daemon_backend_requests").await, 6);
    assert_eq!(figure(metrics, "daemon_backend_errors").await, 2);
    assert_eq!(figure(metrics, "daemon_stream_errors_total{reason=\"truncated\"}").await, 1);
}

#[tokio::test]
async fn what_a_client_who_leaves_saves_is_estimated() {
    let Watched { relayed, metrics, access_log, _directory } = watched().await;
    assert!(relayed.misled("messages", "chunks:100", "text").await.is_done());
    let mut client = relayed.daemon.hand_off(&data("messages", "chunks:100,stall:10", "text"));
    read_until(&mut client, "word010").await;
    drop(client);
    let lines = lines(&access_log, 2).await;
    assert_eq!(lines[1]["outcome"], "client_gone");
    let name = "daemon_tokens_saved_total{backend=\"messages\"}";
    let saved = figure(metrics, name).await;
    // The API told of one token at the beginning, and of all at the end only.
    assert!((90..=99).contains(&saved), "{saved}");
    assert_eq!(figure(metrics, "daemon_tokens_saved_total{backend=\"chat\"}").await, 0);
}

#[tokio::test]
async fn connections_and_streams_of_apis_are_counted() {
    let Watched { relayed, metrics, _directory, .. } = watched().await;
    let name = |of: &str, backend: &str| format!("daemon_upstream_{of}{{backend=\"{backend}\"}}");
    // Who was never asked has no figures.
    assert!(!crate::harness::metrics(metrics).await.contains("daemon_upstream_connections{"));
    let clients: Vec<_> = ["chat", "chat", "chat", "chat1", "chat1"]
        .map(|backend| relayed.daemon.hand_off(&data(backend, "stall:1", "text")))
        .into();
    until_figure(metrics, "daemon_backend_requests", 5).await;
    assert!(relayed.api.until(|api| api.streams() == 5).await);
    assert_eq!(figure(metrics, &name("connections", "chat")).await, 1);
    assert_eq!(figure(metrics, &name("streams", "chat")).await, 3);
    assert_eq!(figure(metrics, &name("connections", "chat1")).await, 2);
    assert_eq!(figure(metrics, &name("streams", "chat1")).await, 2);
    assert_eq!(figure(metrics, &name("dials_total", "chat1")).await, 2);
    drop(clients);
    until_figure(metrics, &name("streams", "chat"), 0).await;
    until_figure(metrics, &name("streams", "chat1"), 0).await;
    // HTTP/1.1 has no other way to say that an answer is not wanted.
    until_figure(metrics, &name("connections", "chat1"), 0).await;
    assert_eq!(figure(metrics, &name("connections", "chat")).await, 1);
    assert_eq!(figure(metrics, &name("dial_failures_total", "chat")).await, 0);
}
