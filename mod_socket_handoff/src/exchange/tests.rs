use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use handoff_protocol::scm::receive;
use handoff_protocol::v2::offer::{self, Limits};
use handoff_protocol::v2::{Handoff, Offer};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, send,
    socket_with,
};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::*;
use crate::pool::Pool;

mod fallbacks;
mod unwilling;

const ENVELOPE: &[u8] = br#"{"method":"GET","target":"/","protocol":"HTTP/1.1"}"#;
const LIMITS: Limits = Limits { envelope: 1 << 20, payload: 1 << 20, pre_read: 1 << 20 };
/// Longer than any test takes that succeeds.
const PATIENT: &str = "protocol=2 ack_timeout_ms=60000";

/// A directory for sockets, and the configuration that declares daemons there.
struct Scene {
    directory: tempfile::TempDir,
    config: ServerConfig,
}

impl Scene {
    /// `declared`: a socket's name in the directory and the settings after it, in which `$D/` is the directory.
    fn new(declared: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().to_str().unwrap();
        let mut lines = vec![
            ("SocketHandoffAllowedPrefix", name.to_owned()),
            ("SocketHandoffMaxRetries", "0".to_owned()),
        ];
        for (socket, settings) in declared {
            lines.push(("SocketHandoffDaemon", format!("$D/{socket} {settings}").replace("$D", name)));
        }
        let config = ServerConfig::of(&lines);
        Self { directory, config }
    }

    fn path(&self, socket: &str) -> PathBuf {
        self.directory.path().join(socket)
    }

    fn listener(&self, socket: &str) -> Listener {
        Listener::bind(&self.path(socket))
    }

    fn pool(&self, socket: &str) -> &Pool {
        &self.config.daemon(&self.path(socket)).unwrap().endpoint().pool
    }

    fn idle(&self, socket: &str) -> bool {
        let pool = self.pool(socket);
        pool.take(Instant::now()).map(|connection| pool.put(connection, Instant::now())).is_some()
    }

    /// Offers a client to the daemon at `socket`.
    fn offer(&self, socket: &str) -> Outcome<'_> {
        self.offer_with(socket, b"data")
    }

    fn offer_with(&self, socket: &str, payload: &[u8]) -> Outcome<'_> {
        let (far, near) = UnixStream::pair().unwrap();
        let daemon = self.config.daemon(&self.path(socket)).unwrap();
        let message = Outgoing::new(ENVELOPE, payload, b"").unwrap();
        let (mut warnings, mut sentences) = (Vec::new(), Vec::new());
        let result = offer(
            Targets { config: &self.config, daemon },
            &message,
            || Some(near.as_fd()),
            |refusal, fallback| {
                let fallback = fallback.file_name().unwrap().to_str().unwrap();
                sentences.push(refusal.to_string());
                warnings.push(format!("{} -> {fallback}", refusal.note().to_str().unwrap()));
            },
        );
        Outcome { result, warnings, sentences, far }
    }
}

struct Outcome<'c> {
    result: Result<TakenBy<'c>, Refusal>,
    warnings: Vec<String>,
    /// The same in words.
    sentences: Vec<String>,
    /// The client's end.
    far: UnixStream,
}

impl Outcome<'_> {
    #[track_caller]
    fn refusal(self) -> Refusal {
        self.result.unwrap_err()
    }

    /// The text that whoever has taken the client has sent.
    fn text(mut self) -> String {
        let mut text = String::new();
        self.far.read_to_string(&mut text).unwrap();
        text
    }
}

struct Listener(OwnedFd);

impl Listener {
    fn bind(path: &Path) -> Self {
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        listen(&socket, 64).unwrap();
        Self(socket)
    }

    fn accept(&self) -> Peer {
        Peer(accept_with(&self.0, SocketFlags::CLOEXEC).unwrap())
    }

    /// Whether somebody has connected who was not accepted yet.
    fn has_visitor(&self) -> bool {
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&Timespec::default())).unwrap() > 0
    }
}

/// The daemon's end of a connection.
struct Peer(OwnedFd);

impl Peer {
    /// The next offer; `None` at the end of the connection.
    fn offer(&self) -> Option<Offer> {
        let mut scratch = vec![0; 1 << 18];
        let received = receive(&self.0, &mut scratch).ok().filter(|received| received.bytes > 0)?;
        Some(Offer::read(received, &scratch, LIMITS).unwrap())
    }

    fn accept(&self) -> Handoff {
        self.offer().unwrap().accept(&self.0).unwrap()
    }

    fn answer(&self, answer: &Answer) {
        self.offer().unwrap().refuse(&self.0, answer).unwrap();
    }

    fn wait_for_message(&self) {
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None).unwrap();
    }

    /// Whether the module has closed its end.
    fn is_closed(&self) -> bool {
        self.offer().is_none()
    }
}

fn write(handoff: &Handoff, text: &[u8]) {
    send(&handoff.client, text, SendFlags::NOSIGNAL).unwrap();
}

fn busy(seconds: u64) -> Answer {
    Answer::Busy { retry_after: Duration::from_secs(seconds), reason: "full".into() }
}

/// Puts a fresh connection into the pool of "d".
fn keep_connection(scene: &Scene, listener: &Listener) -> Peer {
    let path = scene.path("d");
    let connect_limits = connect::Limits { timeout: Duration::from_secs(60), retries: 0 };
    let connection = connect_below(scene.directory.path(), &path, Protocol::Two, connect_limits).unwrap();
    block_for(&connection.socket, Duration::from_secs(60)).unwrap();
    scene.pool("d").put(connection.socket, Instant::now());
    listener.accept()
}

#[test]
fn one_connection_carries_one_handoff_after_another() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    thread::scope(|scope| {
        scope.spawn(|| {
            let peer = listener.accept();
            for _ in 0..2 {
                let handoff = peer.accept();
                assert_eq!(handoff.payload, b"data");
                write(&handoff, b"from d");
            }
            peer.answer(&busy(1));
            write(&peer.accept(), b"again");
        });
        for text in ["from d", "from d"] {
            let outcome = scene.offer("d");
            assert_eq!(outcome.result, Ok(TakenBy::Named));
            assert_eq!(outcome.text(), text);
        }
        assert!(matches!(scene.offer("d").refusal(), Refusal::Busy { .. }));
        assert_eq!(scene.offer("d").text(), "again");
    });
    assert!(scene.idle("d") && !listener.has_visitor());
}

#[test]
fn a_pool_of_none_keeps_none() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} pool=0"))]);
    let listener = scene.listener("d");
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2 {
                let peer = listener.accept();
                write(&peer.accept(), b"from d");
                assert!(peer.is_closed());
            }
        });
        for _ in 0..2 {
            assert_eq!(scene.offer("d").text(), "from d");
        }
    });
}

#[test]
fn a_client_that_apache_has_closed_is_not_offered() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    let daemon = scene.config.daemon(&scene.path("d")).unwrap();
    let message = Outgoing::new(ENVELOPE, b"", b"").unwrap();
    let targets = Targets { config: &scene.config, daemon };
    let result = offer(targets, &message, || None::<BorrowedFd<'_>>, |_, _| {});
    assert_eq!(result, Err(Refusal::ConnectionEnding));
    assert!(listener.accept().is_closed());
}

#[test]
fn threads_never_have_the_same_connection() {
    const THREADS: usize = 8;
    const EACH: usize = 50;
    let scene = Scene::new(&[("d", &format!("{PATIENT} pool=3"))]);
    let listener = scene.listener("d");
    let (connections, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let serve = |peer: Peer| {
        while let Some(offer) = peer.offer() {
            thread::yield_now();
            let more = rustix::io::ioctl_fionread(&peer.0).unwrap();
            assert_eq!(more, 0, "a second message before the first has its answer");
            let handoff = offer.accept(&peer.0).unwrap();
            write(&handoff, &handoff.payload);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let ready = poll(
                    &mut [PollFd::new(&listener.0, PollFlags::IN)],
                    Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 }),
                );
                if ready == Ok(1) {
                    let peer = listener.accept();
                    connections.fetch_add(1, Ordering::Relaxed);
                    scope.spawn(move || serve(peer));
                }
                if answered.load(Ordering::Relaxed) == THREADS * EACH {
                    break;
                }
            }
        });
        let clients: Vec<_> = (0..THREADS)
            .map(|thread| {
                let scene = &scene;
                scope.spawn(move || {
                    for round in 0..EACH {
                        let payload = format!("{thread}.{round}");
                        assert_eq!(scene.offer_with("d", payload.as_bytes()).text(), payload);
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        scene.pool("d").clear();
    });
    assert!(connections.load(Ordering::Relaxed) < THREADS * EACH, "connections are used again");
}
