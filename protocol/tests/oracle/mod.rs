//! Bytes for everything that reads messages of protocol 2: nothing panics, nothing stays open, and what was understood
//! is written as it was read. The fuzzer shares this.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]
#![allow(dead_code, reason = "a module of tests, each of which uses some of it")]

use std::io::Read;
use std::os::unix::net::UnixStream;

use handoff_protocol::memory;
use handoff_protocol::scm::Received;
use handoff_protocol::v2::answer::MOST_ANSWER;
use handoff_protocol::v2::envelope::{Fields, Writer};
use handoff_protocol::v2::message::{HEADER, Header};
use handoff_protocol::v2::offer::{Limits, Offer};
use handoff_protocol::v2::{Answer, Envelope};

const LIMITS: Limits = Limits { envelope: 1 << 16, payload: 1 << 16, pre_read: 1 << 16 };

pub(crate) fn check(bytes: &[u8]) {
    header(bytes);
    answer(bytes);
    envelope(bytes);
    offer(bytes);
}

fn header(bytes: &[u8]) {
    let Ok(header) = Header::decode(bytes) else { return };
    assert_eq!(header.encode(), bytes[..HEADER]);
    let [envelope, payload, pre_read] = header.ranges();
    assert!(envelope.start == 0 && envelope.end == payload.start && payload.end == pre_read.start);
    if !header.in_file {
        assert_eq!(pre_read.end, bytes.len() - HEADER);
    }
}

fn answer(bytes: &[u8]) {
    let Ok(answer) = Answer::decode(bytes) else { return };
    let again = answer.encode();
    assert!(again.len() <= MOST_ANSWER);
    // A reason that is no UTF-8 is longer when it has been read, and so may be cut.
    assert_eq!(Answer::decode(&again).unwrap().encode(), again);
}

fn envelope(bytes: &[u8]) {
    let Ok(envelope) = Envelope::decode(bytes) else { return };
    let again = write(&envelope);
    assert!(again.is_ascii());
    assert_eq!(Envelope::decode(&again).unwrap(), envelope);
}

/// The message with a client, and with a file that holds what follows the header if the header says so.
fn offer(bytes: &[u8]) {
    let (mut client, connection) = UnixStream::pair().unwrap();
    let (head, rest) = bytes.split_at(bytes.len().min(HEADER));
    let in_file = Header::decode(head).is_ok_and(|header| header.in_file);
    let mut fds = vec![connection.into()];
    if in_file {
        fds.push(memory::sealed(&[rest]).unwrap());
    }
    let message = if in_file { head } else { bytes };
    let received = Received { bytes: message.len(), fds, truncated: false, control_truncated: false };
    if let Ok(offer) = Offer::read(received, message, LIMITS) {
        let header = Header::decode(message).unwrap();
        let [envelope, payload, _] = header.ranges();
        assert_eq!(offer.payload(), &rest[payload]);
        assert_eq!(offer.envelope(), &Envelope::decode(&rest[envelope]).unwrap());
    }
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "a copy of the connection is left");
}

/// An envelope as the module writes it.
pub(crate) fn write(envelope: &Envelope) -> Vec<u8> {
    let mut memory = Vec::new();
    let mut writer = Writer::new(
        &mut memory,
        envelope.method.as_bytes(),
        envelope.target.as_bytes(),
        envelope.protocol.as_bytes(),
    );
    let useragent = envelope.useragent.map(|address| address.to_string());
    for (name, value) in [
        ("id", envelope.id.as_ref().map(|octets| octets.as_bytes())),
        ("scheme", envelope.scheme.as_ref().map(|octets| octets.as_bytes())),
        ("server_name", envelope.server_name.as_ref().map(|octets| octets.as_bytes())),
        ("useragent", useragent.as_ref().map(String::as_bytes)),
        ("user", envelope.user.as_ref().map(|octets| octets.as_bytes())),
    ] {
        if let Some(value) = value {
            writer.text(name, value);
        }
    }
    for (name, address) in [("client", envelope.client), ("local", envelope.local)] {
        if let Some(address) = address {
            writer.address(name, address.ip().to_string().as_bytes(), address.port());
        }
    }
    writer.fields("request_headers", pairs(&envelope.request_headers));
    if let Some(status) = envelope.status {
        writer.number("status", status);
    }
    writer.fields("response_headers", pairs(&envelope.response_headers));
    writer.finish().to_vec()
}

fn pairs(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}
