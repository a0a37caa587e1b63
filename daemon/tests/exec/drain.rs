//! The end of the command, and what becomes of its programs.

use std::io::Write;

use rustix::process::Signal;

use super::harness::{eventually, is_running, line, script, whole};

#[test]
fn sigterm_lets_programs_finish() {
    let running = script(&[], "echo ready; read -r go; echo end");
    let path = running.path.clone();
    let mut client = running.hand_off("{}");
    assert_eq!(line(&client), "ready");
    running.signal(Signal::TERM);
    eventually("the socket's file is removed", || !path.exists());
    client.write_all(b"\n").unwrap();
    assert_eq!(whole(client), "end\n");
    assert!(running.ended().success());
}

#[test]
fn a_second_signal_kills_the_programs() {
    let running = script(&[], "trap '' TERM; echo $$; while :; do sleep 1000; done");
    let path = running.path.clone();
    let client = running.hand_off("{}");
    let pid = line(&client);
    running.signal(Signal::TERM);
    eventually("the socket's file is removed", || !path.exists());
    running.signal(Signal::TERM);
    assert_eq!(running.ended().code(), Some(1));
    assert!(!is_running(&pid));
}
