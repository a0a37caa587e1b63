//! `streaming-daemon status`.

use std::process::{Command, Output};

use super::harness::{BINARY, Running, eventually, line, mock};

fn status(running: &Running, arguments: &[&str]) -> Output {
    let socket = running.path.with_file_name("admin.sock");
    let output =
        Command::new(BINARY).args(["status", "--interval", "0", "-s"]).arg(socket).args(arguments).output();
    output.unwrap()
}

fn figures(running: &Running) -> serde_json::Value {
    let output = status(running, &["--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_streams_of_the_moment_are_counted() {
    let running = mock("3600000");
    assert_eq!(figures(&running)["daemon_connections_active"], 0.0);
    let clients: Vec<_> = (0..3).map(|_| running.hand_off("{}")).collect();
    for client in &clients {
        assert_eq!(line(client), "HTTP/1.1 200 OK");
    }
    eventually("all are counted", || figures(&running)["daemon_connections_active"] == 3.0);
    let now = figures(&running);
    assert_eq!(now["daemon_connections_total"], 3.0);
    assert!(now["daemon_uptime_seconds"].as_f64().unwrap() >= 0.0);
    drop(clients);
    eventually("the streams end", || figures(&running)["daemon_connections_active"] == 0.0);
    let now = figures(&running);
    assert_eq!(now["daemon_connections_peak"], 3.0);
    assert_eq!(now["daemon_stream_errors_total{reason=\"client_disconnected\"}"], 3.0);
}

#[test]
fn the_table_is_for_people() {
    let running = mock("3600000");
    let output = status(&running, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with(concat!("streaming-daemon ", env!("CARGO_PKG_VERSION"), ", running, up ")),
        "{text}"
    );
    assert!(text.contains("\nbackend           mock\n"), "{text}");
}

#[test]
fn a_drain_shows() {
    let running = mock("3600000");
    let client = running.hand_off("{}");
    assert_eq!(line(&client), "HTTP/1.1 200 OK");
    assert_eq!(figures(&running)["daemon_draining"], 0.0);
    running.signal(rustix::process::Signal::TERM);
    eventually("it drains", || figures(&running)["daemon_draining"] == 1.0);
}

#[test]
fn only_its_own_user_may_ask() {
    use std::os::unix::fs::PermissionsExt;
    let running = mock("3600000");
    let file = std::fs::metadata(running.path.with_file_name("admin.sock")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn nobody_there_is_one_sentence() {
    let output = Command::new(BINARY).args(["status", "-s", "/no/such.sock"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no daemon answers on \"/no/such.sock\""));
}
