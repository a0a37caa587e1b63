//! The module's side of a connection, step by step.

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use handoff_protocol::scm::Wait;
use handoff_protocol::v2::answer::MOST_ANSWER;
use handoff_protocol::v2::envelope::Writer;
use handoff_protocol::v2::{Answer, Outgoing};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::common::response::{self, Response};
use crate::common::{SOON, connect, tcp_pair};

/// A connection of the module.
pub(crate) struct Module {
    pub(crate) socket: OwnedFd,
}

impl Module {
    pub(crate) fn connect(path: &Path) -> Self {
        let socket = connect(path);
        set_socket_timeout(&socket, Timeout::Recv, Some(SOON)).unwrap();
        Self { socket }
    }

    /// Sends a handoff, and does not look for the answer.
    pub(crate) fn send(&self, envelope: &[u8], payload: &[u8], connection: &OwnedFd) {
        let message = Outgoing::new(envelope, payload, b"").unwrap();
        message.send(&self.socket, connection.as_fd(), Wait::Yes).unwrap();
    }

    /// The next answer; none at the end of the connection.
    pub(crate) fn answer(&self) -> Option<Answer> {
        let mut bytes = [0; MOST_ANSWER];
        match rustix::net::recv(&self.socket, &mut bytes, RecvFlags::empty()) {
            Ok((0, _)) | Err(Errno::CONNRESET) => None,
            Ok((length, _)) => Some(Answer::decode(&bytes[..length]).unwrap()),
            Err(errno) => panic!("no answer: {errno}"),
        }
    }

    /// Hands a new client off, and returns its end with what the daemon answered.
    pub(crate) fn hand_off(&self, envelope: &[u8], payload: &[u8]) -> (TcpStream, Option<Answer>) {
        let (client, connection) = tcp_pair();
        self.send(envelope, payload, &connection);
        (client, self.answer())
    }

    /// Hands a new client off, and reads what it gets.
    pub(crate) fn ask(&self, envelope: &[u8], payload: &[u8]) -> Response {
        let (client, answer) = self.hand_off(envelope, payload);
        assert_eq!(answer, Some(Answer::Accepted));
        read(client)
    }
}

/// The whole response.
pub(crate) fn read(mut client: TcpStream) -> Response {
    client.set_read_timeout(Some(SOON)).unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    response::parse(&bytes)
}

/// The envelope of a usual request.
pub(crate) fn envelope() -> Vec<u8> {
    envelope_of(b"POST", b"HTTP/1.1", |_| {})
}

/// One with more in it.
pub(crate) fn envelope_of(method: &[u8], protocol: &[u8], more: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut memory = Vec::new();
    let mut writer = Writer::new(&mut memory, method, b"/chat.php", protocol);
    more(&mut writer);
    writer.finish().to_vec()
}
