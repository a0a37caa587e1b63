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
        let mut warnings = Vec::new();
        let result = offer(
            Targets { config: &self.config, daemon },
            &message,
            || Some(near.as_fd()),
            |refusal, fallback| {
                let fallback = fallback.file_name().unwrap().to_str().unwrap();
                warnings.push(format!("{} -> {fallback}", refusal.note().to_str().unwrap()));
            },
        );
        Outcome { result, warnings, far }
    }
}

struct Outcome<'c> {
    result: Result<TakenBy<'c>, Refusal>,
    warnings: Vec<String>,
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
fn a_kept_connection_that_has_ended_is_replaced_and_so_are_all_others() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    let old: Vec<_> = (0..3).map(|_| keep_connection(&scene, &listener)).collect();
    let gone = old.into_iter().last();
    drop(gone);
    thread::scope(|scope| {
        scope.spawn(|| write(&listener.accept().accept(), b"from the new one"));
        let outcome = scene.offer("d");
        assert_eq!((&outcome.result, outcome.warnings.len()), (&Ok(TakenBy::Named), 0));
        assert_eq!(outcome.text(), "from the new one");
    });
    let pool = scene.pool("d");
    assert!(pool.take(Instant::now()).is_some(), "the new one");
    assert!(pool.take(Instant::now()).is_none(), "no other");
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
fn a_daemon_that_ends_without_reading_is_asked_anew_where_it_was_kept() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    let old = keep_connection(&scene, &listener);
    thread::scope(|scope| {
        scope.spawn(|| {
            // ECONNRESET at the other end, since the message is unread.
            old.wait_for_message();
            drop(old);
            write(&listener.accept().accept(), b"from its successor");
        });
        assert_eq!(scene.offer("d").text(), "from its successor");
    });
}

#[test]
fn a_daemon_that_ends_without_an_answer_on_a_new_connection_has_not_taken_the_client() {
    for reads in [false, true] {
        let scene = Scene::new(&[("d", PATIENT)]);
        let listener = scene.listener("d");
        thread::scope(|scope| {
            scope.spawn(|| {
                let peer = listener.accept();
                peer.wait_for_message();
                drop(reads.then(|| peer.offer()));
            });
            assert_eq!(scene.offer("d").refusal(), Refusal::DaemonClosed(scene.path("d")));
        });
        assert!(!scene.idle("d"));
    }
}

#[test]
fn an_answer_behind_a_reset_counts() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    thread::scope(|scope| {
        scope.spawn(|| {
            let peer = listener.accept();
            peer.wait_for_message();
            // The message stays unread: the other end gets ECONNRESET before the answer.
            offer::send(&peer.0, &Answer::Accepted).unwrap();
        });
        assert_eq!(scene.offer("d").result, Ok(TakenBy::Named));
    });
}

#[test]
fn a_daemon_that_hangs_finds_the_client_gone_when_it_wakes() {
    let scene = Scene::new(&[("d", "protocol=2 ack_timeout_ms=30 fallback=$D/f"), ("f", PATIENT)]);
    let (hung, fallback) = (scene.listener("d"), scene.listener("f"));
    thread::scope(|scope| {
        scope.spawn(|| write(&fallback.accept().accept(), b"from f"));
        let start = Instant::now();
        let outcome = scene.offer("d");
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert_eq!(outcome.warnings, ["refused:no-answer -> f"]);
        assert_eq!(outcome.result, Ok(TakenBy::Fallback(&scene.path("f"))));
        let wakes = hung.accept();
        assert_eq!(wakes.offer().unwrap().accept(&wakes.0).map(|handoff| handoff.payload), Err(Errno::PIPE));
        assert_eq!(outcome.text(), "from f");
    });
}

#[test]
fn without_a_fallback_a_hung_daemon_is_a_refusal() {
    let scene = Scene::new(&[("d", "protocol=2 ack_timeout_ms=30")]);
    let hung = scene.listener("d");
    let timeout = Duration::from_millis(30);
    assert_eq!(scene.offer("d").refusal(), Refusal::NoAnswer { path: scene.path("d"), timeout });
    assert!(!scene.idle("d"));
    drop(hung.accept());
    // A connection that was kept hangs no less: not tried twice.
    let _old = keep_connection(&scene, &hung);
    let connection = scene.pool("d").take(Instant::now()).unwrap();
    set_socket_timeout(&connection, Timeout::Recv, Some(timeout)).unwrap();
    scene.pool("d").put(connection, Instant::now());
    assert!(matches!(scene.offer("d").refusal(), Refusal::NoAnswer { .. }));
    assert!(!hung.has_visitor());
}

#[test]
fn an_answer_that_is_found_late_counts_and_its_connection_is_not_kept() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    let peer = keep_connection(&scene, &listener);
    // What is not understood ends the wait for an answer; but there is one behind it.
    send(&peer.0, b"what is no answer", SendFlags::NOSIGNAL).unwrap();
    offer::send(&peer.0, &Answer::Accepted).unwrap();
    assert_eq!(scene.offer("d").result, Ok(TakenBy::Named));
    assert!(!scene.idle("d"));
    assert!(peer.offer().is_some() && peer.is_closed());
}

#[test]
fn a_busy_daemon_says_when_to_come_again_if_nobody_else_takes_the_client() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/missing"))]);
    let listener = scene.listener("d");
    thread::scope(|scope| {
        scope.spawn(|| listener.accept().answer(&busy(30)));
        let outcome = scene.offer("d");
        assert_eq!(outcome.warnings, ["refused:busy -> missing"]);
        let refusal = outcome.refusal();
        assert_eq!((refusal.note(), refusal.status()), (c"refused:busy", 503));
        assert_eq!(refusal.retry_after().as_deref(), Some(c"30"));
    });
}

#[test]
fn a_daemon_that_is_ending_may_have_a_successor_at_the_same_path() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    thread::scope(|scope| {
        scope.spawn(|| {
            let ending = listener.accept();
            ending.answer(&Answer::Draining);
            write(&listener.accept().accept(), b"from its successor");
            assert!(ending.is_closed());
        });
        assert_eq!(scene.offer("d").text(), "from its successor");
    });
}

#[test]
fn a_daemon_that_is_ending_and_has_no_successor_leaves_it_to_the_fallbacks() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/f"))]);
    let (listener, fallback) = (scene.listener("d"), scene.listener("f"));
    for last in ["from f", "nobody"] {
        thread::scope(|scope| {
            scope.spawn(|| {
                listener.accept().answer(&Answer::Draining);
                listener.accept().answer(&Answer::Draining);
                let peer = fallback.accept();
                match last {
                    "nobody" => {
                        peer.answer(&Answer::Draining);
                        fallback.accept().answer(&Answer::Draining);
                    }
                    text => write(&peer.accept(), text.as_bytes()),
                }
            });
            let outcome = scene.offer("d");
            assert_eq!(outcome.warnings, ["refused:draining -> f"]);
            match last {
                "nobody" => assert_eq!(outcome.refusal(), Refusal::Draining(scene.path("f"))),
                text => assert_eq!(outcome.text(), text),
            }
        });
        // The other round begins without a connection.
        scene.config.daemon(&scene.path("d")).unwrap().fallbacks()[0].pool.clear();
    }
}

#[test]
fn what_one_daemon_does_not_understand_no_other_is_asked() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/f"))]);
    let (listener, fallback) = (scene.listener("d"), scene.listener("f"));
    thread::scope(|scope| {
        scope.spawn(|| listener.accept().answer(&Answer::Bad { reason: "what?".into() }));
        let refusal = scene.offer("d").refusal();
        assert_eq!((refusal.status(), refusal.retry_after()), (502, None));
        assert_eq!(refusal, Refusal::BadMessage { path: scene.path("d"), reason: "what?".into() });
    });
    assert!(!fallback.has_visitor() && !scene.idle("d"));
}

#[test]
fn what_is_no_answer_is_none() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    let too_long = [&Answer::Accepted.encode()[..], &[b'x'; MOST_ANSWER]].concat();
    for wrong in [&b"HTTP/1.1 200 OK"[..], &too_long] {
        thread::scope(|scope| {
            scope.spawn(|| {
                let peer = listener.accept();
                peer.wait_for_message();
                send(&peer.0, wrong, SendFlags::NOSIGNAL).unwrap();
                let _ = peer.offer();
                assert!(peer.is_closed());
            });
            assert_eq!(scene.offer("d").refusal(), Refusal::NotAnAnswer(scene.path("d")));
        });
    }
}

#[test]
fn a_daemon_of_another_user_is_sent_nothing() {
    let uid = rustix::process::geteuid().as_raw();
    let scene = Scene::new(&[
        ("d", &format!("{PATIENT} user=#{} fallback=$D/f", uid + 1)),
        ("f", &format!("{PATIENT} user=#{uid}")),
    ]);
    let (listener, fallback) = (scene.listener("d"), scene.listener("f"));
    thread::scope(|scope| {
        scope.spawn(|| write(&fallback.accept().accept(), b"from f"));
        let outcome = scene.offer("d");
        assert_eq!(outcome.warnings, ["refused:wrong-user -> f"]);
        assert_eq!(outcome.text(), "from f");
    });
    assert!(listener.accept().is_closed());
}

#[test]
fn fallbacks_are_asked_in_their_order() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/c fallback=$D/missing fallback=$D/a"))]);
    let (last, first) = (scene.listener("a"), scene.listener("c"));
    thread::scope(|scope| {
        scope.spawn(|| {
            first.accept().answer(&busy(1));
            write(&last.accept().accept(), b"from a");
        });
        let outcome = scene.offer("d");
        let expected =
            ["refused:daemon-missing -> c", "refused:busy -> missing", "refused:daemon-missing -> a"];
        assert_eq!(outcome.warnings, expected);
        assert_eq!(outcome.result.as_ref().map(|taken_by| taken_by.note()), Ok(c"handed-off:fallback"));
        assert_eq!(outcome.text(), "from a");
    });
}

#[test]
fn a_fallback_keeps_connections_of_its_own() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/f"))]);
    let fallback = scene.listener("f");
    thread::scope(|scope| {
        scope.spawn(|| {
            let peer = fallback.accept();
            for _ in 0..2 {
                write(&peer.accept(), b"from f");
            }
        });
        for _ in 0..2 {
            assert_eq!(scene.offer("d").text(), "from f");
        }
    });
    assert!(!fallback.has_visitor());
}

#[test]
fn a_fallback_is_below_the_prefix_and_speaks_protocol_2() {
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path().join("outside");
    let listener = Listener::bind(&outside);
    let scene = Scene::new(&[
        ("d", &format!("{PATIENT} fallback={} fallback=$D/one", outside.display())),
        ("one", "protocol=1"),
    ]);
    let silent = scene.listener("one");
    let outcome = scene.offer("d");
    assert_eq!(outcome.warnings, ["refused:daemon-missing -> outside", "refused:path-outside-prefix -> one"]);
    assert_eq!(outcome.refusal(), Refusal::FallbackWithoutAnswer(scene.path("one")));
    assert!(!listener.has_visitor() && !silent.has_visitor());
}

#[test]
fn only_the_last_target_is_waited_for() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/f"))]);
    let retries = ServerConfig::of(&[("SocketHandoffMaxRetries", "3".to_owned())]);
    let config = crate::config::Inherit::inherit(&scene.config, &retries);
    let scene = Scene { config, ..scene };
    let outcome = scene.offer("d");
    assert_eq!(outcome.warnings, ["refused:daemon-missing -> f"]);
    assert_eq!(outcome.refusal(), Refusal::DaemonMissing { path: scene.path("f"), attempts: 4 });
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

/// The kernel counts the descriptors on their way, of all processes of a user, and asks no privileged process.
#[test]
fn too_many_clients_on_their_way_are_a_refusal_of_their_own() {
    const ROLE: &str = "TOO_MANY_IN_FLIGHT";
    const LIMIT: u64 = 40;
    if std::env::var_os(ROLE).is_none() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("test");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        for path in [directory.path(), &program] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut child = Command::new(program);
        let name = "exchange::tests::too_many_clients_on_their_way_are_a_refusal_of_their_own";
        child.args(["--exact", "--test-threads=1", name]);
        child.env(ROLE, "1").env_remove("TMPDIR");
        if rustix::process::geteuid().is_root() {
            // A user who has nothing else on its way.
            child.uid(64_999);
        }
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let scene = Scene::new(&[("d", "protocol=2 ack_timeout_ms=1")]);
    let hung = scene.listener("d");
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum: Some(LIMIT) }).unwrap();
    // Nobody accepts: what was sent stays on its way in the connections of the backlog.
    let mut sent = 0;
    let refusal = loop {
        match scene.offer("d").refusal() {
            Refusal::NoAnswer { .. } => sent += 1,
            refusal => break refusal,
        }
    };
    assert_eq!(refusal, Refusal::TooManyInFlight(scene.path("d")));
    assert!((1..=LIMIT + 1).contains(&sent), "{sent}");
    drop(hung);
}
