//! The log of the real program.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::io::Read;
use std::process::{Child, Command, Stdio};

use common::process::Process;
use common::{eventually, hand_off, try_connect};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streaming-daemon"));
    command.args(arguments);
    command
}

#[test]
fn as_json_each_line_is_an_object() {
    let mut command = command(&["--delay", "0"]);
    command.env("DAEMON_LOGGING_FORMAT", "json");
    let mut process = Process::spawn(command);
    let data = br#"{"request_id":"r1","test_pattern":"break-after:1"}"#;
    hand_off(&process.path, data).read_to_string(&mut String::new()).unwrap();
    let line = process.log_line("stream finished");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["request_id"], "r1");
    assert_eq!(line["message"], "stream finished");
}

#[test]
fn a_warning_of_the_settings_is_in_the_log() {
    let mut command = command(&[]);
    command.env("DAEMON_SOCKET_PTH", "/x");
    // The line comes before the one that `spawn` waits for.
    let process = Process::spawn(command);
    assert!(process.said("did you mean DAEMON_SOCKET_PATH?"));
}

struct KilledWhenDropped(Child);

impl Drop for KilledWhenDropped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_full_pipe_holds_no_stream_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.sock");
    let (_nobody_reads, stderr) = rustix::pipe::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&stderr, 4096).unwrap();
    let mut daemon = command(&["--delay", "0", "--debug", "--socket"]);
    let mut daemon = KilledWhenDropped(daemon.arg(&path).stderr(Stdio::from(stderr)).spawn().unwrap());
    eventually(common::SOON, "it listens", || try_connect(&path).is_ok());
    // Some 200 bytes each: the pipe is full after 20.
    for _ in 0..200 {
        let mut answer = String::new();
        hand_off(&path, b"{}").read_to_string(&mut answer).unwrap();
        assert!(answer.contains("[DONE]"));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&daemon.0), rustix::process::Signal::TERM)
        .unwrap();
    eventually(common::SOON, "it ends all the same", || daemon.0.try_wait().unwrap().is_some());
}
