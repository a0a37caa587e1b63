//! The daemon of protocol 2 that tests play themselves, without Apache between.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use e2e::{Answer, Client, Ending, Offers, PATIENCE, Sandbox, SocketType, wait_until};
use handoff_protocol::scm::Wait;
use handoff_protocol::v2::Outgoing;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, connect, recv, send, socket_with,
};

const ENVELOPE: &[u8] = br#"{"method":"GET","target":"/","protocol":"HTTP/1.1"}"#;

/// A daemon, a connection to it, and a client with the server's end of its connection.
struct Scene {
    daemon: Offers,
    module: OwnedFd,
    client: Client,
    server_side: TcpStream,
    _sandbox: Sandbox,
}

impl Scene {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let daemon = Offers::bind(sandbox.socket_path("d.sock"));
        let module =
            socket_with(AddressFamily::UNIX, SocketType::SeqPacket.into(), SocketFlags::CLOEXEC, None)
                .unwrap();
        connect(&module, &SocketAddrUnix::new(daemon.path()).unwrap()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = Client::connect(listener.local_addr().unwrap());
        let server_side = listener.accept().unwrap().0;
        Self { daemon, module, client, server_side, _sandbox: sandbox }
    }

    fn offer(&self, payload: &[u8]) {
        let message = Outgoing::new(ENVELOPE, payload, b"next").unwrap();
        message.send(&self.module, self.server_side.as_fd(), Wait::Yes).unwrap();
    }

    fn answer(&self) -> Result<Answer, Errno> {
        let mut bytes = [0; 300];
        let (count, _) = recv(&self.module, &mut bytes, RecvFlags::empty())?;
        Ok(Answer::decode(&bytes[..count]).unwrap_or_else(|wrong| panic!("{wrong}")))
    }
}

#[test]
fn one_connection_carries_what_is_accepted_and_what_is_refused() {
    let mut scene = Scene::new();
    let busy = Answer::Busy { retry_after: Duration::from_secs(7), reason: "full".into() };
    scene.offer(b"first");
    scene.daemon.receive().refuse(&busy);
    assert_eq!(scene.answer(), Ok(busy));

    scene.offer(&[b'x'; 100_000]);
    let taken = scene.daemon.take();
    assert_eq!(scene.answer(), Ok(Answer::Accepted));
    assert_eq!((taken.handoff.data.len(), &taken.pre_read[..]), (100_000, &b"next"[..]));
    assert_eq!(taken.envelope.method, "GET".into());
    drop(scene.server_side);
    taken.respond("data: x\n\n");
    let response = scene.client.read_response();
    assert_eq!((response.text(), response.ending), ("data: x\n\n", Ending::Closed));
    assert_eq!((scene.daemon.accepted(), scene.daemon.open()), (1, 1));
}

#[test]
fn a_daemon_that_dies_has_answered_or_has_not() {
    let scene = Scene::new();
    scene.offer(b"");
    scene.daemon.close_unread();
    assert_eq!(recv(&scene.module, &mut [0; 8], RecvFlags::empty()), Err(Errno::CONNRESET));

    let scene = Scene::new();
    scene.offer(b"");
    drop(scene.daemon.receive());
    assert_eq!(recv(&scene.module, &mut [0; 8], RecvFlags::empty()).map(|(count, _)| count), Ok(0));

    let scene = Scene::new();
    scene.offer(b"");
    drop(scene.daemon.receive().accept_and_close().unwrap());
    assert_eq!(scene.answer(), Ok(Answer::Accepted));
    wait_until(PATIENCE, "the connection to end", || {
        send(&scene.module, b"x", SendFlags::NOSIGNAL) == Err(Errno::PIPE)
    });
}

#[test]
fn a_module_that_gives_up_keeps_the_client() {
    let scene = Scene::new();
    scene.offer(b"");
    let offered = scene.daemon.receive();
    rustix::net::shutdown(&scene.module, rustix::net::Shutdown::Read).unwrap();
    assert_eq!(offered.accept().map(|taken| taken.handoff.data), Err(Errno::PIPE));
}
