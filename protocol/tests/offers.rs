//! Protocol 2 as a daemon receives it: offers that it takes or refuses, and messages that are none.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use common::{Client, LIMIT, client, clients, connection, send_with};
use handoff_protocol::SocketType::{self, SeqPacket, Stream};
use handoff_protocol::incoming::{Incoming, Receiver};
use handoff_protocol::memory;
use handoff_protocol::scm::Wait;
use handoff_protocol::v1::{self, ReceiveError};
use handoff_protocol::v2::message::Header;
use handoff_protocol::v2::offer::{self, Limits};
use handoff_protocol::v2::outgoing::MOST_INLINE;
use handoff_protocol::v2::{Answer, Offer, Outgoing, Rejected};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};

const ENVELOPE: &[u8] = br#"{"method":"GET","target":"/","protocol":"HTTP/1.1"}"#;
const LIMITS: Limits = Limits { envelope: 1000, payload: 1 << 20, pre_read: 1000 };

fn receiver(kind: SocketType) -> Receiver {
    Receiver::new(kind, LIMIT, LIMITS)
}

fn receive(receiver: &mut Receiver, socket: &OwnedFd) -> Result<Option<Incoming>, ReceiveError> {
    receiver.receive(socket, &mut vec![0; 2 * MOST_INLINE])
}

#[track_caller]
fn offer(receiver: &mut Receiver, socket: &OwnedFd) -> Offer {
    match receive(receiver, socket) {
        Ok(Some(Incoming::Offer(offer))) => *offer,
        other => panic!("{other:?}"),
    }
}

/// What a message with these descriptors is rejected for, when they have all been closed.
#[track_caller]
fn rejected(bytes: &[u8], fds: Vec<OwnedFd>) -> Rejected {
    let (module, daemon) = connection(SeqPacket);
    send_with(&module, bytes, fds);
    match receive(&mut receiver(SeqPacket), &daemon) {
        Ok(Some(Incoming::Rejected(rejected))) => rejected,
        other => panic!("{other:?}"),
    }
}

fn answer(module: &OwnedFd) -> Result<Answer, Errno> {
    let mut bytes = [0; 300];
    let (received, _) = recv(module, &mut bytes[..], RecvFlags::DONTWAIT)?;
    Ok(Answer::decode(&bytes[..received]).unwrap())
}

/// A message whose parts are inline.
fn inline(envelope: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = Header::new(false, envelope.len(), payload.len(), 0).unwrap();
    [&header.encode()[..], envelope, payload].concat()
}

#[test]
fn what_is_sent_arrives_whatever_its_size() {
    let (module, daemon) = connection(SeqPacket);
    let mut receiver = receiver(SeqPacket);
    let long = vec![b'x'; 1 << 20];
    for (payload, pre_read) in [
        (&b""[..], &b""[..]),
        (b"{\"prompt\":\"Hi\"}", b"GET /next HTTP/1.1\r\n"),
        (&long[..MOST_INLINE - ENVELOPE.len()], b""),
        (&long[..MOST_INLINE - ENVELOPE.len()], b"x"),
        (&long, b"GET"),
    ] {
        let (client, connection) = client();
        let outgoing = Outgoing::new(ENVELOPE, payload, pre_read).unwrap();
        outgoing.send(&module, connection.as_fd(), Wait::No).unwrap();
        // As often as is necessary.
        outgoing.send(&module, connection.as_fd(), Wait::No).unwrap();
        drop(offer(&mut receiver, &daemon));
        let offer = offer(&mut receiver, &daemon);
        assert_eq!((offer.payload(), &offer.envelope().method), (payload, &"GET".into()));
        let handoff = offer.accept(&daemon).unwrap();
        assert_eq!(answer(&module), Ok(Answer::Accepted));
        assert_eq!((&handoff.payload[..], &handoff.pre_read[..]), (payload, pre_read));
        drop(connection);
        rustix::io::write(&handoff.client, b"x").unwrap();
        assert!(!client.sees_the_end());
    }
    drop(module);
    assert!(matches!(receive(&mut receiver, &daemon), Err(ReceiveError::Empty)));
}

#[test]
fn a_client_that_is_refused_stays_the_senders_and_the_connection_serves_on() {
    let (module, daemon) = connection(SeqPacket);
    let mut receiver = receiver(SeqPacket);
    let (client, connection) = client();
    for said in [
        Answer::Busy { retry_after: std::time::Duration::from_secs(2), reason: "full".into() },
        Answer::Draining,
        Answer::Bad { reason: "the data".into() },
    ] {
        Outgoing::new(ENVELOPE, b"", b"").unwrap().send(&module, connection.as_fd(), Wait::No).unwrap();
        offer(&mut receiver, &daemon).refuse(&daemon, &said).unwrap();
        assert_eq!(answer(&module), Ok(said));
        assert!(!client.sees_the_end());
    }
    drop(connection);
    assert!(client.sees_the_end(), "no copy is left with the daemon");
}

#[test]
fn nobody_takes_a_client_whose_sender_has_given_up() {
    let gave_up: [fn(OwnedFd) -> Option<OwnedFd>; 2] = [
        |module| {
            shutdown(&module, Shutdown::Read).unwrap();
            Some(module)
        },
        |module| {
            drop(module);
            None
        },
    ];
    for give_up in gave_up {
        let (module, daemon) = connection(SeqPacket);
        let (client, connection) = client();
        Outgoing::new(ENVELOPE, b"", b"").unwrap().send(&module, connection.as_fd(), Wait::No).unwrap();
        let late = offer(&mut receiver(SeqPacket), &daemon);
        let module = give_up(module);
        assert_eq!(late.accept(&daemon).unwrap_err(), Errno::PIPE);
        if let Some(module) = module {
            assert_eq!(recv(&module, &mut [0_u8; 9][..], RecvFlags::DONTWAIT).unwrap().1, 0);
        }
        assert!(!client.sees_the_end());
        drop(connection);
        assert!(client.sees_the_end());
    }
}

#[test]
fn a_message_that_is_wrong_is_rejected_and_leaves_nothing_open() {
    let header = |in_file| Header::new(in_file, ENVELOPE.len(), 0, 0).unwrap().encode();
    let good = inline(ENVELOPE, b"");
    let mut flagged = good.clone();
    flagged[4] = 0x80;
    let version = [b"\0HO3", &good[4..]].concat();
    let too_long = inline(&[b' '; 1001], b"");
    let truncated = inline(ENVELOPE, &[b'x'; 2 * MOST_INLINE]);
    for (bytes, count, reason) in [
        (&version[..], 1, "version"),
        (b"\0HO", 1, "header"),
        (&good[..19], 1, "header"),
        (&good[..good.len() - 1], 1, "header"),
        (&flagged, 1, "header"),
        (&too_long, 1, "too_large"),
        (&truncated, 1, "too_large"),
        (&good, 0, "descriptors"),
        (&good, 2, "descriptors"),
        (&good, 253, "descriptors"),
        (&header(true), 1, "descriptors"),
        (&header(true), 3, "descriptors"),
        (&header(true), 2, "memory"),
        (&inline(b"[]", b""), 1, "envelope"),
        (&inline(b"", b""), 1, "envelope"),
    ] {
        let (clients, fds) = clients(count);
        let rejected = rejected(bytes, fds);
        assert_eq!(rejected.reason(), reason, "{rejected}");
        assert_eq!(rejected.answer(), Answer::Bad { reason: rejected.to_string() });
        assert!(clients.iter().all(Client::sees_the_end), "{rejected}");
    }
}

#[test]
fn a_first_descriptor_that_is_no_connection_is_rejected() {
    let unix = rustix::net::AddressFamily::UNIX;
    let datagram = rustix::net::socket(unix, rustix::net::SocketType::DGRAM, None).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for fd in [File::open("/dev/null").unwrap().into(), datagram, listener.into()] {
        assert_eq!(rejected(&inline(ENVELOPE, b""), vec![fd]).reason(), "not_a_stream_socket");
    }
}

#[test]
fn a_file_must_be_sealed_and_as_long_as_the_header_says() {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let header = Header::new(true, ENVELOPE.len(), 0, 0).unwrap().encode();
    let partly = memfd_create("partly", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&partly, ENVELOPE).unwrap();
    fcntl_add_seals(&partly, SealFlags::GROW | SealFlags::SHRINK).unwrap();
    for (file, why) in [
        (partly, "sealed"),
        (File::open("/proc/self/status").unwrap().into(), "sealed"),
        (memory::sealed(&[ENVELOPE, b"x"]).unwrap(), "52 bytes and should have 51"),
        (memory::sealed(&[]).unwrap(), "0 bytes and should have 51"),
    ] {
        let (client, connection) = client();
        let rejected = rejected(&header, vec![connection, file]);
        assert!(rejected.to_string().contains(why), "{rejected}");
        assert!(matches!(rejected.answer(), Answer::Bad { .. }));
        assert!(client.sees_the_end());
    }
}

#[test]
fn parts_over_the_limits_are_rejected_before_the_file_is_read() {
    for (lengths, part) in [([1001, 0, 0], "envelope"), ([1, 1 << 21, 0], "payload"), ([1, 0, 1001], "rest")]
    {
        let [envelope, payload, pre_read] = lengths;
        let header = Header::new(true, envelope, payload, pre_read).unwrap().encode();
        // Nor is it asked for: it is not even sealed.
        let (client, connection) = client();
        let rejected = rejected(&header, vec![connection, File::open("/dev/null").unwrap().into()]);
        assert!(rejected.to_string().contains(part), "{rejected}");
        assert!(client.sees_the_end());
    }
}

#[test]
fn after_a_message_that_is_rejected_the_next_one_is_received() {
    let (module, daemon) = connection(SeqPacket);
    let mut receiver = receiver(SeqPacket);
    send_with(&module, b"\0HO9 from the future", clients(1).1);
    let Ok(Some(Incoming::Rejected(rejected))) = receive(&mut receiver, &daemon) else { panic!() };
    offer::send(&daemon, &rejected.answer()).unwrap();
    assert_eq!(answer(&module), Ok(Answer::Bad { reason: rejected.to_string() }));
    send_with(&module, &inline(ENVELOPE, b"next"), clients(1).1);
    assert_eq!(offer(&mut receiver, &daemon).payload(), b"next");
}

#[test]
fn both_protocols_arrive_on_one_listener() {
    let path = std::env::temp_dir().join(format!("handoff-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let unix = rustix::net::AddressFamily::UNIX;
    let socket = || rustix::net::socket(unix, SeqPacket.into(), None).unwrap();
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    let listener = socket();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 2).unwrap();
    for protocol in [1, 2, 1] {
        let module = socket();
        rustix::net::connect(&module, &address).unwrap();
        let daemon = rustix::net::accept(&listener).unwrap();
        let (_client, connection) = client();
        if protocol == 2 {
            Outgoing::new(ENVELOPE, b"{}", b"").unwrap().send(&module, connection.as_fd(), Wait::No).unwrap();
            assert_eq!(offer(&mut receiver(SeqPacket), &daemon).payload(), b"{}");
        } else {
            send_with(&module, v1::encode(b"{}"), vec![connection]);
            let received = receive(&mut receiver(SeqPacket), &daemon);
            assert!(matches!(received, Ok(Some(Incoming::Handoff(handoff))) if handoff.data == b"{}"));
        }
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_message_of_protocol_1_after_one_of_protocol_2_is_none() {
    let (module, daemon) = connection(SeqPacket);
    let mut receiver = receiver(SeqPacket);
    send_with(&module, &inline(ENVELOPE, b""), clients(1).1);
    drop(offer(&mut receiver, &daemon));
    let (clients, fds) = clients(1);
    send_with(&module, b"{}", fds);
    assert!(matches!(receive(&mut receiver, &daemon), Err(ReceiveError::WrongProtocol)));
    assert!(clients[0].sees_the_end());
}

#[test]
fn a_stream_socket_has_no_place_for_answers_and_so_none_for_protocol_2() {
    let (module, daemon) = connection(Stream);
    let mut receiver = receiver(Stream);
    let (clients, fds) = clients(1);
    send_with(&module, &inline(ENVELOPE, b""), fds);
    shutdown(&module, Shutdown::Write).unwrap();
    assert!(receive(&mut receiver, &daemon).unwrap().is_none());
    assert!(matches!(receive(&mut receiver, &daemon), Err(ReceiveError::WrongProtocol)));
    assert!(clients[0].sees_the_end());
}
