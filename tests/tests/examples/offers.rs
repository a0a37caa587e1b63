//! The receivers, by protocol 2: the one in Python speaks it, the others leave it alone.

use std::fs;
use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use e2e::{Client, PATIENCE, Sandbox, open_files, wait_until};
use handoff_protocol::memory;
use handoff_protocol::scm::{self, Wait};
use handoff_protocol::v2::envelope::Writer;
use handoff_protocol::v2::message::Header;
use handoff_protocol::v2::{Answer, Outgoing};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};

use crate::receivers::{RunningReceiver, c, go, python, tcp_pair};
use crate::text_of;

fn leaves_offers_alone(command: fn(&Sandbox) -> Option<Command>) {
    let Some(receiver) = RunningReceiver::start(command) else { return };
    let connection = receiver.connect();
    let (mut client, mut server_side) = tcp_pair();
    let get = envelope("GET", &[]);
    Outgoing::new(&get, b"hello", b"").unwrap().send(&connection, server_side.as_fd(), Wait::Yes).unwrap();
    assert_eq!(answer_on(&connection), None);
    server_side.write_all(b"ours").unwrap();
    drop(server_side);
    assert_eq!(client.read_to_end().0, b"ours");
}

#[test]
fn receivers_of_protocol_1_leave_offers_alone() {
    leaves_offers_alone(c);
    leaves_offers_alone(go);
}

/// The envelope of a request with this method, and with fields of the application.
fn envelope(method: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut memory = Vec::new();
    let mut writer = Writer::new(&mut memory, method.as_bytes(), b"/", b"HTTP/1.1");
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    writer.fields("response_headers", fields);
    writer.finish().to_vec()
}

/// The receiver's answer. A connection without one for long is closed by it.
fn answer_on(connection: &OwnedFd) -> Option<Answer> {
    let mut bytes = [0; 300];
    let (length, _) = recv(connection, &mut bytes[..], RecvFlags::empty()).unwrap();
    (length > 0).then(|| Answer::decode(&bytes[..length]).unwrap())
}

/// Offers a client on this connection, as the module does it.
fn offer(connection: &OwnedFd, envelope: &[u8], data: &[u8]) -> Client {
    let (client, server_side) = tcp_pair();
    Outgoing::new(envelope, data, b"").unwrap().send(connection, server_side.as_fd(), Wait::Yes).unwrap();
    client
}

#[test]
fn python_takes_offers_one_after_another_on_one_connection() {
    let receiver = RunningReceiver::start(python).unwrap();
    let connection = receiver.connect();
    let get =
        envelope("GET", &[("Set-Cookie", "a=Größe"), ("Set-Cookie", "b=2"), ("Connection", "keep-alive")]);
    // The second one comes in a file.
    let long = "x".repeat(200_000);
    let mut clients: Vec<Client> = Vec::new();
    for data in ["one two", &long, ""] {
        clients.push(offer(&connection, &get, data.as_bytes()));
        assert_eq!(answer_on(&connection), Some(Answer::Accepted));
    }
    for (mut client, text) in clients.into_iter().zip(["one two ", &format!("{long} "), ""]) {
        let response = client.read_response();
        assert_eq!(text_of(&response), text);
        assert_eq!(response.head.all("set-cookie"), ["a=Größe", "b=2"]);
        assert_eq!(response.head.header("connection"), Some("close"));
    }
    let mut head = offer(&connection, &envelope("HEAD", &[("X-Bad", "a\r\nb")]), b"one two");
    assert_eq!(answer_on(&connection), Some(Answer::Accepted));
    let (bytes, _) = head.read_to_end();
    let bytes = String::from_utf8(bytes).unwrap();
    assert!(bytes.starts_with("HTTP/1.1 200 OK\r\n") && bytes.ends_with("\r\n\r\n"), "{bytes}");
    assert!(!bytes.contains("X-Bad") && !bytes.contains("data:"), "{bytes}");
}

#[test]
fn python_leaves_a_client_alone_whose_sender_has_given_up() {
    let receiver = RunningReceiver::start(python).unwrap();
    let files = open_files(receiver.server.pid());
    let connection = receiver.connect();
    // Its answer comes too late, whenever that is.
    shutdown(&connection, Shutdown::Read).unwrap();
    let (mut client, mut server_side) = tcp_pair();
    let get = envelope("GET", &[]);
    Outgoing::new(&get, b"hello", b"").unwrap().send(&connection, server_side.as_fd(), Wait::Yes).unwrap();
    wait_until(PATIENCE, "the receiver to let go", || open_files(receiver.server.pid()) <= files);
    server_side.write_all(b"ours").unwrap();
    drop(server_side);
    assert_eq!(client.read_to_end().0, b"ours");
}

#[test]
fn python_refuses_bad_offers_and_goes_on() {
    let receiver = RunningReceiver::start(python).unwrap();
    let files = || open_files(receiver.server.pid());
    let before = files();
    let connection = receiver.connect();

    let get = envelope("GET", &[]);
    let header = |in_file, envelope: &[u8]| Header::new(in_file, envelope.len(), 0, 0).unwrap().encode();
    let inline = |envelope: &[u8]| [&header(false, envelope)[..], envelope].concat();
    let null = || OwnedFd::from(fs::File::open("/dev/null").unwrap());
    let client = || OwnedFd::from(tcp_pair().1);
    let mut later = inline(&get);
    later[3] = b'3';
    let mut flagged = inline(&get);
    flagged[6] = 1;
    let bad = [
        (later, vec![client()]),
        (flagged, vec![client()]),
        (inline(&get)[..30].to_vec(), vec![client()]),
        (b"\0HO2".to_vec(), vec![client()]),
        (inline(b"[]"), vec![client()]),
        (inline(b"{}"), vec![client()]),
        (inline(br#"{"method":"GET","response_headers":[["a"]]}"#), vec![client()]),
        (inline(br#"{"method":"GET","response_headers":[[1,2]]}"#), vec![client()]),
        (inline(&get), vec![]),
        (inline(&get), vec![null()]),
        (inline(&get), vec![client(), client()]),
        (header(true, &get).to_vec(), vec![client()]),
        (header(true, &get).to_vec(), vec![client(), null()]),
        (header(true, &get).to_vec(), vec![client(), memory::sealed(&[&get, b"x"]).unwrap()]),
    ];
    for (message, fds) in bad {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        scm::send_parts(&connection, &[IoSlice::new(&message)], &fds, Wait::Yes).unwrap();
        let answer = answer_on(&connection);
        assert!(matches!(answer, Some(Answer::Bad { .. })), "{answer:?}: {}", message.escape_ascii());
    }
    wait_until(PATIENCE, "every descriptor to be closed", || files() <= before + 1);

    let mut good = offer(&connection, &get, b"still here");
    assert_eq!(answer_on(&connection), Some(Answer::Accepted));
    assert_eq!(text_of(&good.read_response()), "still here ");

    // Protocol 1 after protocol 2: neither.
    let (mut stray, server_side) = tcp_pair();
    scm::send(&connection, b"hello", server_side.as_fd(), Wait::Yes).unwrap();
    drop(server_side);
    assert_eq!(stray.read_to_end().0, b"");
    assert_eq!(answer_on(&connection), None);
}
