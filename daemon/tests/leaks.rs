//! Messages that are no handoffs leave nothing behind, however many there are.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use common::process::Process;
use common::{connect, eventually, hand_off, tcp_pair};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

fn send(path: &Path, bytes: &[u8], fds: &[OwnedFd]) {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    }
    sendmsg(connect(path), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

fn whole_answer(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_thousand_bad_messages_leak_nothing() {
    let process = Process::start(&["--delay", "0"]);
    let before = process.open_files();
    for _ in 0..1000 {
        let (first, first_far) = tcp_pair();
        let (second, second_far) = tcp_pair();
        send(&process.path, b"{}", &[first_far, second_far]);
        // Closed without a byte, by the daemon too: our own ends were closed when the message was sent.
        assert_eq!(whole_answer(first) + &whole_answer(second), "");
        send(&process.path, b"{}", &[]);
        drop(connect(&process.path));
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send(&process.path, b"{}", &[writer]);
        assert_eq!(rustix::io::read(&reader, &mut [0_u8; 1][..]), Ok(0));
    }
    eventually(common::SOON, "every descriptor is closed", || process.open_files() == before);
    assert!(whole_answer(hand_off(&process.path, b"")).contains("[DONE]"));
}

#[test]
fn at_the_limit_of_open_files_handoffs_wait_and_none_is_lost() {
    let mut process = Process::start_with_open_files(100, &["--delay", "20"]);
    let clients: Vec<_> = (0..100).map(|_| hand_off(&process.path, br#"{"prompt":"x"}"#)).collect();
    // It raised the soft limit to the hard one and told what that is enough for.
    assert!(process.said("leaves room for "));
    assert!(process.said("server.max_connections is 100000, but the limit of open files leaves room for"));
    process.log_line("at the limit of open files");
    for client in clients {
        assert!(whole_answer(client).ends_with("data: [DONE]\n\n"));
    }
}

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let mut command = std::process::Command::new("sh");
    let script = "ulimit -Sn 70 && ulimit -Hn 1000 && exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_streaming-daemon"), "--max-connections", "900"]);
    let process = Process::spawn(command);
    assert!(process.said("leaves room for 9"), "64 in reserve, and a few that are open");
    assert!(!process.said("raise it"));
}
