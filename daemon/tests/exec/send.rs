//! `streaming-daemon send`.

use std::process::{Command, Output, Stdio};

use super::harness::{BINARY, Running, mock, script};

fn send(running: &Running, data: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("send").arg("-s").arg(&running.path).args(data).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_answer_is_printed_and_done_is_success() {
    let daemon = mock("0");
    for data in [r#"{"prompt":"Hi"}"#, r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#] {
        let output = send(&daemon, &[data]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
        let printed = text(&output.stdout);
        assert!(printed.starts_with("HTTP/1.1 200 OK\r\n"), "{printed}");
        assert!(printed.ends_with("data:  Hi\n\nevent: done\ndata: [DONE]\n\n"), "{printed:?}");
    }
}

#[test]
fn without_data_none_is_sent() {
    assert_eq!(send(&mock("0"), &[]).status.code(), Some(0));
}

#[test]
fn data_can_come_from_standard_input() {
    let daemon = mock("0");
    let mut command = Command::new("sh");
    command.args(["-c", "echo '{\"prompt\":\"piped\"}' | \"$0\" send -s \"$1\" -", BINARY]).arg(&daemon.path);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("data:  piped\n"));
}

#[test]
fn a_refusal_is_printed_and_a_failure() {
    let output = send(&mock("0"), &["no JSON"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).starts_with("HTTP/1.1 400 "));
    assert!(text(&output.stderr).contains("refused"));
}

#[test]
fn an_answer_without_done_is_a_failure() {
    let running = script(&["--http"], "echo some text");
    let output = send(&running, &["{}"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).ends_with("some text\n"));
    assert!(text(&output.stderr).contains("no \"done\" event"));
}

#[test]
fn nobody_there_is_one_sentence() {
    let output = Command::new(BINARY).args(["send", "-s", "/no/such.sock", "{}"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr).lines().count(), 1);
    assert!(text(&output.stderr).contains("no daemon listens on \"/no/such.sock\""));
}
