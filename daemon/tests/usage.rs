//! The command line of the real program.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_streaming-daemon")).args(arguments).output().unwrap()
}

#[test]
fn usage_errors_exit_with_64() {
    for wrong in [&["-b", "nothing"][..], &["--mode", "999"], &["--delay", "-1"], &["--no-such-flag"]] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn help_and_version_are_no_errors() {
    let help = run(&["-h"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    for flag in [
        "[CONFIG]",
        "-s, --socket <",
        "-b, --backend <",
        "-m, --mode <",
        "-d, --debug",
        "-h, --help",
        "-V, --version",
        "--delay <",
        "--benchmark",
        "--max-connections <",
        "--openai-base <",
        "--format <",
        "--check-config",
    ] {
        assert!(text.contains(flag), "{flag}");
    }
    assert_eq!(run(&["-V"]).stdout, format!("streaming-daemon {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
}

#[test]
fn a_socket_that_cannot_be_made_is_one_sentence_and_1() {
    let output = run(&["-s", "/no/such/directory/daemon.sock"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("does not exist; create it"), "{text}");
}
