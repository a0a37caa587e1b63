//! What is counted of handoffs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use handoff_protocol::v2::Answer;
use rustix::net::{SendFlags, Shutdown};

use crate::common::process::Process;
use crate::common::{SOON, eventually, hand_off, tcp_pair};
use crate::module::{Module, envelope, read};

/// Waits until all of `lines` are told.
pub(crate) fn wait_for(address: SocketAddr, lines: &[&str]) {
    let mut text = String::new();
    eventually(SOON, "the figures are as they should be", || {
        let Ok(mut connection) = TcpStream::connect(address) else { return false };
        connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        text.clear();
        connection.read_to_string(&mut text).unwrap();
        lines.iter().all(|line| text.lines().any(|found| found == *line))
    });
}

#[test]
fn handoffs_and_answers_are_counted() {
    let (daemon, address) = Process::start_with_metrics(&["--delay", "0", "--max-connections", "1"]);
    let module = Module::connect(&daemon.path);
    read(hand_off(&daemon.path, b"{}"));
    for _ in 0..2 {
        // The place of the one before is given back when its client has closed.
        eventually(SOON, "a place is free", || {
            let (client, answer) = module.hand_off(&envelope(), b"{}");
            drop(client);
            answer == Some(Answer::Accepted)
        });
    }
    wait_for(address, &["daemon_connections_active 0"]);
    rustix::net::send(&module.socket, b"\0HO3", SendFlags::empty()).unwrap();
    assert!(matches!(module.answer(), Some(Answer::Bad { .. })));
    let gone = Module::connect(&daemon.path);
    rustix::net::shutdown(&gone.socket, Shutdown::Read).unwrap();
    gone.send(&envelope(), b"{}", &tcp_pair().1);
    wait_for(
        address,
        &[
            "daemon_handoffs_by_protocol_total{protocol=\"1\"} 1",
            "daemon_handoffs_by_protocol_total{protocol=\"2\"} 2",
            "daemon_handoffs_received 3",
            "daemon_handoffs_failed 1",
            "daemon_handoff_answers_total{answer=\"accepted\"} 2",
            "daemon_handoff_answers_total{answer=\"bad\"} 1",
            "daemon_handoff_answers_total{answer=\"draining\"} 0",
            "daemon_handoff_answers_total{answer=\"sender_gone\"} 1",
            "daemon_handoff_strangers_total 0",
        ],
    );
}

#[test]
fn busy_counts_as_a_limit_that_was_reached() {
    let (daemon, address) = Process::start_with_metrics(&["--delay", "3600000", "--max-connections", "1"]);
    let module = Module::connect(&daemon.path);
    let (_first, _) = module.hand_off(&envelope(), b"{}");
    assert!(matches!(module.hand_off(&envelope(), b"{}").1, Some(Answer::Busy { .. })));
    let busy = "daemon_handoff_answers_total{answer=\"busy\"} 1";
    wait_for(address, &[busy, "daemon_connections_rejected_total{limit=\"total\"} 1"]);
}
