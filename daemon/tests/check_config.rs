//! What the program tells about its settings: `--check-config`, `config example`, and mistakes.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use streaming_daemon::config::example;
use tempfile::TempDir;

fn write(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.toml");
    fs::write(&path, text).unwrap();
    (directory, path)
}

/// The real program, in an empty environment.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streaming-daemon"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap()
}

fn checked(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = run(&[arguments, &["--check-config"]].concat(), environment);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_flag_sets_its_key() {
    for (arguments, line) in [
        (&["-s", "/x.sock"][..], "socket_path = \"/x.sock\""),
        (&["--socket", "/x.sock"], "socket_path = \"/x.sock\""),
        (&["-m", "0o640"], "socket_mode = \"0640\""),
        (&["--mode", "640"], "socket_mode = \"0640\""),
        (&["-b", "typing"], "provider = \"typing\""),
        (&["--backend", "typing"], "provider = \"typing\""),
        (&["-d"], "level = \"debug\""),
        (&["--debug"], "level = \"debug\""),
        (&["--delay", "7"], "token_delay_ms = 7"),
        (&["--max-connections", "7"], "max_connections = 7"),
        (&["--openai-base", "http://x/v1"], "api_base = \"http://x/v1\""),
        (&["--format", "json"], "format = \"json\""),
        (&["--benchmark"], "enabled = false"),
    ] {
        let report = checked(arguments, &[("RUST_LOG", "warn"), ("DAEMON_METRICS_ENABLED", "true")]);
        let line = report.lines().find(|found| found.starts_with(line)).unwrap_or_else(|| panic!("{report}"));
        assert!(line.contains("  # --"), "{line}");
    }
}

#[test]
fn the_report_tells_each_origin_and_no_secret() {
    let (_directory, path) =
        write("[backend.openai]\napi_key = \"sk-secret\"\n[server]\nheartbeat_secs = 0.5\n");
    let path = path.to_str().unwrap();
    let report = checked(&[path, "--delay", "9"], &[("MAX_CONNECTIONS", "5")]);
    let line = |key: &str| {
        let found = report.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("max_connections"), "max_connections = 5 # environment MAX_CONNECTIONS");
    assert_eq!(line("token_delay_ms"), "token_delay_ms = 9 # --delay");
    assert_eq!(line("heartbeat_secs"), format!("heartbeat_secs = 0.5 # {path}:4"));
    assert_eq!(line("socket_mode"), "socket_mode = \"0660\" # default");
    assert_eq!(line("api_key"), format!("api_key = \"(hidden)\" # {path}:2"));
    assert!(!report.contains("sk-secret"));
}

#[test]
fn the_flag_for_the_backend_takes_any_name_that_there_is() {
    let (_directory, path) = write(
        "[backend.groq]\ntype = \"openai\"\napi_key_file = \"groq\"\nheaders = { X-Token = \"sk-1\" }\n",
    );
    let path = path.to_str().unwrap();
    for name in ["openai", "openai-responses", "anthropic", "mock", "typing"] {
        assert!(checked(&["--backend", name], &[]).contains(&format!("provider = \"{name}\"")), "{name}");
    }
    // The credential is the unit's: here nobody can look at it.
    let output = run(&[path, "--backend", "groq", "--check-config"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let (report, warnings) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(report.contains("provider = \"groq\"") && !report.contains("sk-1"), "{report}");
    assert!(warnings.contains("not checked here: backend.groq.api_key_file ("), "{warnings}");

    let output = run(&["--backend", "groq", "--check-config"], &[]);
    assert_eq!(output.status.code(), Some(64));
    let output = run(&["--check-config"], &[("DAEMON_BACKEND_PROVIDER", "groq")]);
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn the_config_file_is_the_argument_without_a_name() {
    let (_directory, path) = write("[server]\nsocket_mode = \"0o666\"\n");
    assert!(checked(&[path.to_str().unwrap()], &[]).contains("socket_mode = \"0666\""));
    let output = run(&["/no/such/file.toml"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot read the configuration file"));
}

#[test]
fn a_mistake_in_the_environment_is_no_usage_error() {
    let output = run(&["--check-config"], &[("DAEMON_MAX_CONNECTIONS", "many")]);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("server.max_connections (environment DAEMON_MAX_CONNECTIONS) has to be"), "{text}");
}

#[test]
fn the_program_prints_the_example() {
    let output = run(&["config", "example"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), example::example());
}
