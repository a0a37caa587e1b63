//! SIGHUP: tells the counts, and reads the configuration again.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use common::process::Process;
use common::{eventually, hand_off};
use rustix::process::Signal;
use tempfile::TempDir;

/// A daemon with this configuration file.
fn start(text: &str) -> (Process, PathBuf, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("daemon.toml");
    fs::write(&file, text).unwrap();
    (Process::start(&[file.to_str().unwrap()]), file, directory)
}

fn answer(process: &Process, data: &str) -> String {
    let mut answer = String::new();
    hand_off(&process.path, data.as_bytes()).read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_counts_come_first_then_what_changed_then_what_needs_a_restart() {
    let (mut process, file, _directory) = start("[backend]\ntoken_delay_ms = 3600000\n");
    let mut slow = hand_off(&process.path, b"{}");
    slow.read_exact(&mut [0]).unwrap();
    fs::write(
        &file,
        "[backend]\ntoken_delay_ms = 0\n[server]\nmax_connections = 7\nsocket_mode = \"0600\"\n",
    )
    .unwrap();
    process.signal(Signal::HUP);
    assert!(process.log_line("SIGHUP").contains("1 streams"));
    let changed = process.log_line("in effect from now on");
    assert!(changed.ends_with(": server.max_connections, backend.token_delay_ms"), "{changed}");
    assert!(process.log_line("only after a restart").ends_with(": server.socket_mode"));
    // New streams have the new settings; the old one goes on.
    assert!(answer(&process, r#"{"prompt":"a b c"}"#).ends_with("event: done\ndata: [DONE]\n\n"));
    drop(slow);
}

#[test]
fn a_limit_holds_from_the_reload_on() {
    let (mut process, file, _directory) = start("[backend]\ntoken_delay_ms = 3600000\n");
    let mut first = hand_off(&process.path, b"{}");
    first.read_exact(&mut [0]).unwrap();
    fs::write(&file, "[server]\nmax_connections = 1\n").unwrap();
    process.signal(Signal::HUP);
    process.log_line("in effect from now on");
    assert!(answer(&process, "{}").starts_with("HTTP/1.1 503 "));
    drop(first);
    eventually(common::SOON, "the place is free again", || {
        answer(&process, "{}").starts_with("HTTP/1.1 200 ")
    });
}

#[test]
fn a_mistake_in_the_file_changes_nothing() {
    let (mut process, file, _directory) = start("[backend]\ntoken_delay_ms = 0\n");
    fs::write(&file, "[backend]\ntoken_delay_ms = 3600000\ntoken_dely_ms = 1\n").unwrap();
    process.signal(Signal::HUP);
    let line = process.log_line("the configuration stays as it is");
    assert!(line.contains("did you mean token_delay_ms?"), "{line}");
    assert!(answer(&process, "{}").contains("[DONE]"));
}

#[test]
fn flags_win_at_the_reload_too_and_the_log_level_changes() {
    let (mut process, file, _directory) =
        start("[logging]\nlevel = \"info\"\n[backend]\ntoken_delay_ms = 0\n");
    fs::write(&file, "[logging]\nlevel = \"debug\"\n[server]\nsocket_path = \"/elsewhere.sock\"\n").unwrap();
    process.signal(Signal::HUP);
    let changed = process.log_line("in effect from now on");
    assert!(changed.ends_with(": backend.token_delay_ms, logging.level"), "{changed}");
    // Told at level debug only.
    drop(common::connect(&process.path));
    process.log_line("DEBUG");
}

#[test]
fn a_new_key_is_taken_from_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, "sk-first\n").unwrap();
    let (mut process, _file, _directory) =
        start(&format!("[backend.own]\ntype = \"openai\"\napi_key_file = {key:?}\n"));
    fs::write(&key, "sk-second\n").unwrap();
    process.signal(Signal::HUP);
    let changed = process.log_line("in effect from now on");
    assert!(changed.ends_with(": backend.own.api_key"), "{changed}");
    // A key that has gone takes nothing away from the running daemon.
    fs::remove_file(&key).unwrap();
    process.signal(Signal::HUP);
    let refused = process.log_line("the configuration stays as it is");
    assert!(refused.contains("backend.own.api_key_file") && !refused.contains("sk-"), "{refused}");
}

#[test]
fn an_api_that_comes_or_goes_waits_for_a_restart() {
    let (mut process, file, _directory) = start("[backend.goes]\ntype = \"openai\"\napi_key = \"k\"\n");
    fs::write(
        &file,
        "[backend.comes]\ntype = \"openai\"\napi_key = \"k\"\n[backend.openai]\nmodel = \"m\"\n",
    )
    .unwrap();
    process.signal(Signal::HUP);
    let changed = process.log_line("in effect from now on");
    assert!(changed.ends_with(": backend.openai.model"), "{changed}");
    let restart = process.log_line("only after a restart");
    assert!(restart.ends_with(": [backend.comes], [backend.goes]"), "{restart}");
}
