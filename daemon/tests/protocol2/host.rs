//! Receiving, with a host of the test's own: its clocks are short, and its clients are looked at as they come.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use handoff_protocol::SocketType;
use handoff_protocol::v2::Answer;
use rustix::net::{AddressFamily, SocketFlags, socketpair};
use streaming_daemon::listener::Peer;
use streaming_daemon::open_files::{OpenFiles, Room};
use streaming_daemon::receive::{self, Event, Handoff, Host, Rules};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::common::{SOON, tcp_pair};
use crate::module::{Module, envelope, envelope_of};

struct Desk {
    rules: Rules,
    draining: CancellationToken,
    tasks: TaskTracker,
    clients: UnboundedSender<Handoff>,
}

impl Host for Desk {
    type Place = ();

    fn rules(&self) -> Rules {
        self.rules
    }

    fn allows(&self, _uid: u32) -> bool {
        true
    }

    fn place(&self) -> Result<(), Answer> {
        Ok(())
    }

    fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn count(&self, _event: Event<'_>) {}

    async fn answer(self: Arc<Self>, handoff: Handoff, _place: Option<()>, _room: Room) {
        self.clients.send(handoff).unwrap();
    }
}

/// A connection to a desk.
async fn connection(idle: Duration) -> (Module, Arc<Desk>, UnboundedReceiver<Handoff>) {
    let flags = SocketFlags::CLOEXEC;
    let kind = rustix::net::SocketType::SEQPACKET;
    let (module, connection) = socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
    rustix::io::ioctl_fionbio(&connection, true).unwrap();
    let (clients, received) = unbounded_channel();
    let rules = Rules { handoff_timeout: SOON, idle, payload: 1000 };
    let draining = CancellationToken::new();
    let desk = Arc::new(Desk { rules, draining, tasks: TaskTracker::new(), clients });
    let room = OpenFiles::new().unwrap().room().await;
    let peer = Peer { connection, socket_type: SocketType::SeqPacket };
    desk.tasks.spawn(receive::serve(peer, room, desk.clone()));
    desk.tasks.close();
    (Module { socket: module }, desk, received)
}

async fn next(clients: &mut UnboundedReceiver<Handoff>) -> Handoff {
    tokio::time::timeout(SOON, clients.recv()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_another_handoff_is_closed_after_a_while() {
    let idle = Duration::from_millis(300);
    let (module, desk, mut clients) = connection(idle).await;
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(module.hand_off(&envelope(), b"{}").1, Some(Answer::Accepted));
        next(&mut clients).await;
        assert!(start.elapsed() < SOON);
    }
    let start = Instant::now();
    tokio::time::timeout(SOON, desk.tasks.wait()).await.unwrap();
    assert!(start.elapsed() >= idle / 2, "too early");
    assert_eq!(module.answer(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_at_once_when_handoffs_do() {
    let (module, desk, mut clients) = connection(Duration::from_secs(3600)).await;
    assert_eq!(module.hand_off(&envelope(), b"{}").1, Some(Answer::Accepted));
    next(&mut clients).await;
    desk.draining.cancel();
    tokio::time::timeout(SOON, desk.tasks.wait()).await.unwrap();
    assert_eq!(module.answer(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_comes_with_all_that_was_said_and_as_it_was() {
    let (module, _desk, mut clients) = connection(SOON).await;
    let (client, connection) = tcp_pair();
    let sent = envelope_of(b"GET", b"HTTP/1.0", |writer| writer.text("id", b"Z1"));
    module.send(&sent, b"data", &connection);
    assert_eq!(module.answer(), Some(Answer::Accepted));
    drop(connection);
    let handoff = next(&mut clients).await;
    assert_eq!(handoff.data, b"data");
    let told = handoff.envelope.unwrap();
    assert_eq!((told.method, told.id), ("GET".into(), Some("Z1".into())));
    let flags = rustix::fs::fcntl_getfl(&handoff.client).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "whoever answers it decides");
    client.shutdown(Shutdown::Both).unwrap();
    let _: OwnedFd = handoff.client;
}
