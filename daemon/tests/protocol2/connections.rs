//! Connections of the module: kept, shared by both protocols, ended.

use std::time::Duration;

use handoff_protocol::scm;
use handoff_protocol::v2::Answer;

use crate::common::process::Process;
use crate::common::{Daemon, SOON, eventually, hand_off, mock, tcp_pair};
use crate::module::{Module, envelope, envelope_of, read};

#[test]
fn one_connection_carries_many_handoffs() {
    let daemon = Process::start(&["--delay", "0"]);
    let module = Module::connect(&daemon.path);
    for number in 0..1000 {
        let answer = module.ask(&envelope(), format!("{{\"prompt\":\"{number}\"}}").as_bytes());
        assert!(answer.is_done() && answer.complete);
        assert_eq!(answer.text(), format!("You said: {number}"));
    }
}

#[test]
fn both_protocols_share_a_socket() {
    let daemon = Process::start(&["--delay", "0"]);
    let module = Module::connect(&daemon.path);
    for _ in 0..10 {
        let first = read(hand_off(&daemon.path, br#"{"prompt":"one"}"#));
        assert_eq!(first.text(), "You said: one");
        assert_eq!(first.field("Transfer-Encoding"), None, "protocol 1 does not tell the version");
        let second = module.ask(&envelope(), br#"{"prompt":"two"}"#);
        assert_eq!(second.text(), "You said: two");
        assert_eq!(second.field("Transfer-Encoding"), Some("chunked"));
    }
}

#[test]
fn data_of_any_size_arrives() {
    let daemon = Process::start(&["--delay", "0"]);
    let module = Module::connect(&daemon.path);
    for size in [0, 1, 60_000, 70_000, 1 << 20, 16 << 20] {
        let data = format!("{{\"prompt\":\"Hi\",\"more\":\"{}\"}}", "x".repeat(size));
        assert_eq!(module.ask(&envelope(), data.as_bytes()).text(), "You said: Hi", "{size}");
    }
    assert!(module.ask(&envelope(), b"").is_done(), "no data at all");
}

/// Each octet of a field that is not ASCII takes six bytes there, and clients choose their fields.
#[test]
fn an_envelope_is_as_long_as_a_request_can_make_it() {
    let daemon = Process::start(&["--delay", "0"]);
    let module = Module::connect(&daemon.path);
    let value = [0xfc; 8_000];
    let fields = std::iter::repeat_n((&b"X-Long"[..], &value[..]), 100);
    let long = envelope_of(b"POST", b"HTTP/1.1", |writer| writer.fields("request_headers", fields));
    assert!(long.len() > 4_800_000);
    assert!(module.ask(&long, b"{}").is_done());
}

#[test]
fn more_data_than_allowed_is_refused_with_the_limit() {
    let environment = [("DAEMON_SERVER_MAX_PAYLOAD_BYTES", "100".to_owned())];
    let daemon = Process::start_with_environment(&["--delay", "0"], &environment);
    let module = Module::connect(&daemon.path);
    let (_client, answer) = module.hand_off(&envelope(), &[b' '; 101]);
    let Some(Answer::Bad { reason }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("101") && reason.contains("100"), "{reason}");
    assert!(module.ask(&envelope(), &[b"{}", &[b' '; 98][..]].concat()).is_done());
}

/// What is wrong with the data is for the application's developer, who looks at the response.
#[test]
fn data_that_is_wrong_is_the_daemons_own_400() {
    let daemon = Process::start(&[]);
    let response = Module::connect(&daemon.path).ask(&envelope(), b"{\"prompt\":5}");
    assert_eq!(response.status(), 400);
    assert!(response.body.contains("prompt"), "{}", response.body);
}

#[test]
fn a_message_that_is_not_understood_is_answered_and_the_connection_goes_on() {
    let daemon = Process::start(&["--delay", "0"]);
    let module = Module::connect(&daemon.path);
    assert!(module.ask(&envelope(), b"{}").is_done());
    let (client, connection) = tcp_pair();
    let length = |envelope: u8| [&b"\0HO2\0\0\0\0\0\0\0"[..], &[envelope], &[0; 8]].concat();
    for (message, what) in [
        (&b"\0HO3 whatever comes later"[..], "version"),
        (b"\0HO2", "header"),
        (&[&length(9)[..], b"{}"].concat(), "header says"),
        (&[&length(2)[..], b"[]"].concat(), "envelope"),
        (&[&length(2)[..], b"{}"].concat(), "method"),
        (&[&b"\0HO2\0\0\0\x08"[..], &[0; 12]].concat(), "flags"),
    ] {
        use std::os::fd::AsFd;
        scm::send(&module.socket, message, connection.as_fd(), scm::Wait::Yes).unwrap();
        let answer = module.answer();
        let Some(Answer::Bad { reason }) = answer else { panic!("{what}: {answer:?}") };
        assert!(reason.contains(what), "{what}: {reason}");
    }
    rustix::net::send(&module.socket, &length(0), rustix::net::SendFlags::empty()).unwrap();
    assert!(matches!(module.answer(), Some(Answer::Bad { reason }) if reason.contains("0 file descriptors")));
    drop((client, connection));
    assert!(module.ask(&envelope(), b"{}").is_done());
}

#[test]
fn the_first_message_may_be_one_that_is_not_understood() {
    let daemon = Process::start(&["--delay", "0"]);
    let module = Module::connect(&daemon.path);
    rustix::net::send(&module.socket, b"\0HO9", rustix::net::SendFlags::empty()).unwrap();
    assert!(matches!(module.answer(), Some(Answer::Bad { .. })));
    assert!(module.ask(&envelope(), b"{}").is_done());
}

#[test]
fn without_a_place_the_daemon_is_busy_and_says_when_to_come_back() {
    let daemon = Process::start(&["--delay", "3600000", "--max-connections", "1"]);
    let module = Module::connect(&daemon.path);
    let (first, answer) = module.hand_off(&envelope(), b"{}");
    assert_eq!(answer, Some(Answer::Accepted));
    let (second, answer) = module.hand_off(&envelope(), b"{}");
    let Some(Answer::Busy { retry_after, reason }) = answer else { panic!("{answer:?}") };
    assert_eq!(retry_after, Duration::from_secs(1));
    assert!(reason.contains("in use"), "{reason}");
    drop((first, second));
    eventually(SOON, "the place is free again", || {
        module.hand_off(&envelope(), b"{}").1 == Some(Answer::Accepted)
    });
}

#[test]
fn at_the_limit_of_open_files_the_daemon_is_busy_and_loses_nobody() {
    let mut daemon = Process::start_with_open_files(100, &["--delay", "3600000"]);
    let module = Module::connect(&daemon.path);
    let mut clients = Vec::new();
    let (last, reason) = loop {
        let (client, answer) = module.hand_off(&envelope(), b"{}");
        match answer {
            Some(Answer::Accepted) => clients.push(client),
            Some(Answer::Busy { reason, .. }) => break (client, reason),
            other => panic!("{other:?}"),
        }
        assert!(clients.len() < 100);
    };
    assert!(reason.contains("open files") && clients.len() > 5, "{} clients, {reason}", clients.len());
    assert!(daemon.log_line("open files: handoffs are refused").contains("WARN"));
    drop((last, clients));
    eventually(SOON, "there is room again", || {
        module.hand_off(&envelope(), b"{}").1 == Some(Answer::Accepted)
    });
}

/// A connection that is kept counts, and gives its descriptor back.
#[test]
fn kept_connections_leave_no_descriptor_behind() {
    let daemon = Process::start(&["--delay", "0"]);
    let before = daemon.open_files();
    let modules: Vec<_> = (0..20).map(|_| Module::connect(&daemon.path)).collect();
    for module in &modules {
        assert!(module.ask(&envelope(), &[b' '; 100_000]).status() == 400);
        assert!(module.ask(&envelope(), b"{}").is_done());
    }
    eventually(SOON, "only the connections are open", || daemon.open_files() == before + modules.len());
    drop(modules);
    eventually(SOON, "they are closed", || daemon.open_files() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connections_do_not_hold_up_the_end() {
    let mut daemon = Daemon::start(|config| config.server.shutdown_timeout = Duration::from_secs(3600));
    let modules: Vec<_> = (0..10).map(|_| Module::connect(&daemon.path)).collect();
    for module in &modules {
        assert!(module.ask(&envelope(), b"{}").is_done());
    }
    daemon.stop();
    daemon.ended().await;
    for module in &modules {
        assert_eq!(module.answer(), None, "closed");
    }
}

/// On one thread, so that the daemon cannot see the messages before the signal.
#[tokio::test(flavor = "current_thread")]
async fn what_comes_while_the_daemon_ends_is_for_its_successor() {
    let mut daemon = Daemon::start(|config| config.backend = mock(Duration::ZERO));
    let kept = Module::connect(&daemon.path);
    let (mut client, connection) = tcp_pair();
    kept.send(&envelope(), b"{}", &connection);
    drop(connection);
    client.set_nonblocking(true).unwrap();
    let first = tokio::net::TcpStream::from_std(client).unwrap();
    assert!(crate::common::response::read(first).await.is_done());
    assert_eq!(kept.answer(), Some(Answer::Accepted));

    let queued = Module::connect(&daemon.path);
    let connection;
    (client, connection) = tcp_pair();
    let (second, connection_of_queued) = tcp_pair();
    kept.send(&envelope(), b"{}", &connection);
    queued.send(&envelope(), b"{}", &connection_of_queued);
    drop((connection, connection_of_queued));
    daemon.stop();
    daemon.ended().await;
    assert_eq!(kept.answer(), Some(Answer::Draining), "this one can ask elsewhere");
    assert_eq!(kept.answer(), None);
    assert_eq!(queued.answer(), Some(Answer::Accepted), "this one had no other way");
    assert!(read(second).is_done());
    drop(client);
}

#[test]
fn a_kept_connection_cannot_go_back_to_protocol_1() {
    use std::os::fd::AsFd;
    let daemon = Process::start(&["--delay", "0"]);
    let module = Module::connect(&daemon.path);
    assert!(module.ask(&envelope(), b"{}").is_done());
    let (_client, connection) = tcp_pair();
    scm::send(&module.socket, b"{}", connection.as_fd(), scm::Wait::Yes).unwrap();
    assert_eq!(module.answer(), None, "closed");
}

#[test]
fn a_successor_at_the_same_path_gets_what_comes_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shared.sock");
    let start = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_streaming-daemon"));
        command.args(["--delay", "0"]).env("DAEMON_SOCKET_PATH", "unused");
        Process::spawn(command)
    };
    // Each has its own path; what both share is a link, as an operator's switch from one to the other.
    let (first, second) = (start(), start());
    std::os::unix::fs::symlink(&first.path, &path).unwrap();
    let module = Module::connect(&path);
    assert!(module.ask(&envelope(), b"{}").is_done());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&second.path, &path).unwrap();
    first.signal(rustix::process::Signal::TERM);
    assert_eq!(module.answer(), None, "its kept connection ends");
    assert!(first.ended().success());
    assert!(Module::connect(&path).ask(&envelope(), b"{}").is_done());
}
