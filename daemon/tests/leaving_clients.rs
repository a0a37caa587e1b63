//! A client that leaves is noticed at once, and nothing of its stream stays open.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use common::process::Process;
use common::{eventually, hand_off};
use rustix::net::sockopt;

/// A backend that stays silent after its first word.
const SILENT: &[&str] = &["--delay", "3600000"];

/// Clients that have read the first word.
fn clients(process: &Process, count: usize) -> Vec<TcpStream> {
    let hand_off = |_| {
        let mut client = hand_off(&process.path, b"{\"prompt\":\"Hi\"}");
        let mut received = Vec::new();
        while !received.ends_with(b"data: You\n\n") {
            let mut piece = [0; 1000];
            let read = client.read(&mut piece).unwrap();
            received.extend_from_slice(&piece[..read]);
        }
        client
    };
    (0..count).map(hand_off).collect()
}

fn all_noticed_within_a_second(leave: impl Fn(TcpStream) -> Option<TcpStream>) {
    let process = Process::start(SILENT);
    let before = process.open_files();
    let clients = clients(&process, 50);
    assert_eq!(process.open_files(), before + 50);
    let kept: Vec<_> = clients.into_iter().filter_map(leave).collect();
    eventually(Duration::from_secs(1), "every descriptor is closed", || process.open_files() == before);
    drop(kept);
}

#[test]
fn a_client_that_closes_in_silence() {
    all_noticed_within_a_second(|client| {
        drop(client);
        None
    });
}

#[test]
fn a_client_that_resets_in_silence() {
    all_noticed_within_a_second(|client| {
        sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        None
    });
}

#[test]
fn a_client_that_closes_only_its_sending_side() {
    all_noticed_within_a_second(|client| {
        client.shutdown(Shutdown::Write).unwrap();
        Some(client)
    });
}

#[test]
fn a_client_that_leaves_after_input_nobody_asked_for() {
    all_noticed_within_a_second(|mut client| {
        client.write_all(&[b'x'; 100_000]).unwrap();
        None
    });
}

#[test]
fn the_log_tells_that_the_client_has_gone() {
    let mut process = Process::start(SILENT);
    let client = hand_off(&process.path, br#"{"prompt":"secret words","request_id":"req_1","user_id":7}"#);
    drop(client);
    let line = process.log_line("stream finished");
    for expected in
        ["INFO", "request_id=\"req_1\"", "user_id=\"7\"", "outcome=\"client_gone\"", "duration_ms="]
    {
        assert!(line.contains(expected), "{line:?} lacks {expected}");
    }
    assert!(!line.contains("secret"));
}
