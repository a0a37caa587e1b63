//! What a program gets and what a client gets from it.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::Command;

use handoff_protocol::scm::{self, Wait};
use rustix::net::sockopt;

use super::harness::{BINARY, exec, fdrecv, line, script, tcp_pair, whole};

#[test]
fn standard_input_and_output_are_the_client() {
    let running = script(&[], "read -r word && echo \"you said $word\"");
    let mut client = running.hand_off("{}");
    client.write_all(b"hello\n").unwrap();
    assert_eq!(whole(client), "you said hello\n");
}

#[test]
fn a_program_that_knows_nothing_of_non_blocking_sockets_can_write_much() {
    // Far more than fits into the socket's buffers, by a program that takes EAGAIN for the end.
    let running = script(&[], "head -c 3000000 /dev/zero | tr '\\0' x");
    let (mut client, connection) = tcp_pair();
    sockopt::set_socket_send_buffer_size(&connection, 4096).unwrap();
    let path = rustix::net::SocketAddrUnix::new(&running.path).unwrap();
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::SEQPACKET, None)
            .unwrap();
    rustix::net::connect(&socket, &path).unwrap();
    scm::send(socket, b"{}", connection.as_fd(), Wait::Yes).unwrap();
    drop(connection);
    let mut received = 0;
    let mut piece = [0; 3000];
    loop {
        match client.read(&mut piece).unwrap() {
            0 => break,
            read => received += read,
        }
    }
    assert_eq!(received, 3_000_000);
}

#[test]
fn a_client_whose_input_nobody_read_gets_the_whole_answer() {
    let running = script(&[], "read -r go; head -c 100000 /dev/zero | tr '\\0' x");
    let mut client = running.hand_off("{}");
    client.write_all(format!("go\n{}", "unread".repeat(1000)).as_bytes()).unwrap();
    assert_eq!(whole(client).len(), 100_000);
}

#[test]
fn standard_error_goes_to_the_log_with_the_pid() {
    let running = script(&[], "echo \"pid $$\"; printf 'oh \\033[31mno\\nlast words' >&2");
    let pid = running.ask("{}").trim().replace("pid ", "pid=");
    let log = running.log_line("oh ");
    assert!(log.contains(&pid) && !log.contains('\u{1b}'), "{log}");
    assert!(running.log_line("last words").contains(&pid));
}

#[test]
fn the_log_tells_how_each_program_ended() {
    let running = script(&[], "exit 3");
    assert_eq!(running.ask(r#"{"request_id":"req_1"}"#), "");
    let log = running.log_line("client finished");
    for expected in ["request_id=\"req_1\"", "outcome=\"failed\"", "exit status: 3", "pid="] {
        assert!(log.contains(expected), "{expected} is missing: {log}");
    }
}

#[test]
fn the_second_name_takes_socket_and_program() {
    let running = fdrecv(&["printf", "%s|", "-r", "--", "x"]);
    assert_eq!(running.ask("{}"), "-r|--|x|");
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    let running = exec(&[], &["printf", "%s|", "a b", "--max", "", "$HOME"]);
    assert_eq!(running.ask("{}"), "a b|--max||$HOME|");
}

#[test]
fn programs_of_several_clients_run_at_once() {
    let running = script(&[], "echo ready; read -r go; echo end");
    let mut clients: Vec<_> = (0..10).map(|_| running.hand_off("{}")).collect();
    for client in &clients {
        assert_eq!(line(client), "ready");
    }
    for client in &mut clients {
        client.write_all(b"\n").unwrap();
    }
    for client in clients {
        assert_eq!(whole(client), "end\n");
    }
}

#[test]
fn a_program_that_does_not_exist_is_said_at_the_start() {
    for program in ["no-such-program", "/no/such/program", "/etc/passwd", "/"] {
        let output = Command::new(BINARY)
            .args(["exec", "-s", "/no/such/directory/x.sock", "--", program])
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{program}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(&format!("{program:?} is no program that may be run")), "{text}");
    }
}

#[test]
fn usage_errors_exit_with_64() {
    for wrong in [&["exec"][..], &["exec", "--max", "0", "--", "true"], &["exec", "true"], &["send", "-x"]] {
        let output = Command::new(BINARY).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
    }
}
