//! What lasts: nothing leaks over many handoffs, workers and processors are free while streams run, and streams do not
//! notice that Apache restarts or ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{
    Apache, Builder, Client, Daemon, Ending, Mpm, PATIENCE, Received, Receiver, events, on_each_mpm,
    open_files, wait_until,
};
use handoff_protocol::v1::ReceiveError;

on_each_mpm! {
    two_thousand_clients_get_each_their_own_answer_and_nothing_leaks,
    the_worker_is_free_while_the_stream_is_open,
    a_handoff_on_a_kept_alive_connection_leaves_the_child_idle,
    a_graceful_restart_leaves_streams_alone,
    a_restart_leaves_streams_alone,
    a_graceful_stop_leaves_streams_alone,
    a_stop_leaves_streams_alone,
    a_stop_while_a_handoff_waits_for_its_daemon_hands_nothing_off,
    a_stop_amid_handoffs_leaves_each_client_with_one_owner,
}

const HAND_OFF: &str = "<?php
header('X-Socket-Handoff: ' . $_GET['to']);
header('X-Handoff-Data: ' . json_encode(['prompt' => $_GET['prompt'] ?? '']));
echo 'never seen';";

fn php(mpm: Mpm) -> Builder {
    Apache::builder(mpm).php_fpm(4).file("go.php", HAND_OFF).file("hello.txt", "hello\n")
}

fn two_thousand_clients_get_each_their_own_answer_and_nothing_leaks(mpm: Mpm) {
    let apache = php(mpm).workers(16).start();
    let daemon = Daemon::start(apache.socket_path("d.sock"), ["--delay", "0"]);
    let ask = |token: &str| {
        let target = format!("/go.php?to={}&prompt={token}", daemon.socket().display());
        let response = Client::fetch(apache.addr(), &target);
        let answer = events(response.text());
        let (done, words) = answer.split_last().expect("an answer");
        assert_eq!(done.name, "done");
        let text: String = words.iter().map(|event| event.data.as_str()).collect();
        assert!(text.ends_with(&format!(": {token}")), "{text:?} is not the answer to {token}");
    };
    let ask_from_16_clients = |requests: usize| {
        thread::scope(|scope| {
            for client in 0..16 {
                scope.spawn(move || (0..requests).for_each(|n| ask(&format!("token-{client}-{n}"))));
            }
        });
        apache.wait_until_idle(PATIENCE);
    };
    // What is opened once, at the first handoffs, is no leak.
    ask_from_16_clients(8);
    let daemon_files = || open_files(daemon.server().pid());
    let before = (apache.open_files_of_children(), daemon_files());
    ask_from_16_clients(2000 / 16);
    wait_until(PATIENCE, &format!("as many open files as before: {before:?}"), || {
        apache.open_files_of_children() <= before.0 && daemon_files() <= before.1
    });
}

/// A client whose stream has begun, and the daemon's end of it.
struct Stream {
    client: Client,
    daemon: Received,
}

impl Stream {
    fn open(apache: &Apache, daemon: &Receiver) -> Self {
        Self::open_with(Client::connect(apache.addr()), daemon)
    }

    fn open_with(mut client: Client, daemon: &Receiver) -> Self {
        client.get(&format!("/go.php?to={}", daemon.path().display()));
        let mut stream = Self { client, daemon: daemon.receive() };
        stream.daemon.client.set_read_timeout(Some(PATIENCE)).expect("setting a read timeout");
        stream.daemon.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        assert_eq!(stream.client.read_head().status, 200);
        stream.assert_lives();
        stream
    }

    /// Both directions work.
    fn assert_lives(&mut self) {
        self.daemon.send("data: word\n\n");
        assert_eq!(self.client.read_until("\n\n"), "data: word\n\n");
        self.client.send("from the client");
        let mut received = [0; 15];
        self.daemon.client.read_exact(&mut received).expect("reading from the client");
        assert_eq!(&received, b"from the client");
    }

    fn end(mut self) {
        self.assert_lives();
        self.daemon.send("data: last\n\n");
        self.daemon.close();
        assert_eq!(self.client.read_to_end(), (b"data: last\n\n".to_vec(), Ending::Closed));
    }
}

fn the_worker_is_free_while_the_stream_is_open(mpm: Mpm) {
    let apache = php(mpm).workers(2).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    // Many more than there are workers.
    let mut streams = Vec::new();
    for _ in 0..12 {
        streams.push(Stream::open(&apache, &daemon));
        apache.wait_until_idle(PATIENCE);
    }
    assert_eq!(Client::fetch(apache.addr(), "/hello.txt").text(), "hello\n");
    streams.into_iter().for_each(Stream::end);
}

/// The event MPM has such a connection in its pollset between the two requests. Were it still there after the handoff,
/// the listener would turn in circles.
fn a_handoff_on_a_kept_alive_connection_leaves_the_child_idle(mpm: Mpm) {
    const WINDOW: Duration = Duration::from_secs(1);
    let apache = php(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    client.get("/hello.txt");
    assert_eq!(client.read_response().ending, Ending::Framed);
    if mpm == Mpm::Event {
        // The worker has put the connection into the pollset; on the other MPMs it goes on waiting for the client.
        apache.wait_until_idle(PATIENCE);
    }
    let mut stream = Stream::open_with(client, &daemon);
    apache.wait_until_idle(PATIENCE);
    // Bytes that nobody reads for now: they would wake whoever still waits for the client's.
    stream.client.send("unread");
    let (start, ticks) = (Instant::now(), apache.cpu_ticks_of_children());
    wait_until(PATIENCE, "the window to pass", || start.elapsed() >= WINDOW);
    let spent = apache.cpu_ticks_of_children() - ticks;
    // A thread that turns in circles has about 100 in a second, and some 20 on a machine that is very busy.
    assert!(spent < 10, "the children have spent {spent} ticks in {:?}", start.elapsed());
    stream.daemon.close();
    let line = apache.wait_for_access_log("/go.php", PATIENCE);
    assert!(line.ends_with("handoff=handed-off"), "{line}");
}

/// Opens streams, does `what` to Apache, and then the old children must be gone and the streams live.
fn streams_outlive(apache: &mut Apache, daemon: &Receiver, what: impl FnOnce(&mut Apache)) {
    let mut streams: Vec<_> = (0..4).map(|_| Stream::open(apache, daemon)).collect();
    let old = apache.children();
    what(apache);
    wait_until(PATIENCE, "the old children to end while streams run", || {
        old.iter().all(|child| !apache.children().contains(child))
    });
    streams.iter_mut().for_each(Stream::assert_lives);
    streams.into_iter().for_each(Stream::end);
}

fn a_graceful_restart_leaves_streams_alone(mpm: Mpm) {
    let mut apache = php(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    streams_outlive(&mut apache, &daemon, |apache| {
        apache.graceful_restart();
        Stream::open(apache, &daemon).end();
    });
    assert_eq!(apache.error_log().matches("[error]").count(), 0);
}

fn a_restart_leaves_streams_alone(mpm: Mpm) {
    let mut apache = php(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    streams_outlive(&mut apache, &daemon, |apache| {
        let old = apache.children();
        apache.server().signal(rustix::process::Signal::HUP);
        wait_until(PATIENCE, "new children", || {
            let new = apache.children();
            !new.is_empty() && old.iter().all(|child| !new.contains(child))
        });
        Stream::open(apache, &daemon).end();
    });
}

fn a_graceful_stop_leaves_streams_alone(mpm: Mpm) {
    let mut apache = php(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    streams_outlive(&mut apache, &daemon, |apache| assert!(apache.graceful_stop(PATIENCE).success()));
}

fn a_stop_leaves_streams_alone(mpm: Mpm) {
    let mut apache = php(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    streams_outlive(&mut apache, &daemon, |apache| assert!(apache.stop().success()));
}

/// An ungraceful stop closes the client's socket under the worker that is about to hand it off.
fn a_stop_while_a_handoff_waits_for_its_daemon_hands_nothing_off(mpm: Mpm) {
    let patient = "SocketHandoffMaxRetries 10\nSocketHandoffConnectTimeoutMs 20000";
    let mut apache = php(mpm).config(patient).start();
    let path = apache.socket_path("late.sock");
    let mut client = Client::connect(apache.addr());
    client.get(&format!("/go.php?to={}", path.display()));
    wait_until(PATIENCE, "the worker to wait", || apache.busy_workers() == 1);
    thread::scope(|scope| {
        let stopping = scope.spawn(|| apache.stop());
        let (received, ending) = client.read_to_end();
        assert!(received.is_empty() && ending != Ending::TimedOut, "{ending:?}, {received:?}");
        // Too late: the client has been told that there is nothing.
        let daemon = Receiver::bind(&path);
        assert!(stopping.join().expect("Apache to end").success());
        assert!(!matches!(daemon.try_receive(Duration::ZERO), Some(Ok(_))), "a client that has gone");
    });
}

fn a_stop_amid_handoffs_leaves_each_client_with_one_owner(mpm: Mpm) {
    // Handed off by the operator's header: many more handoffs a second than by a script.
    let hand_off = "<Location /hello.txt>\nHeader set X-Socket-Handoff ${RUN}/d.sock\n\
        Header set X-Handoff-Data expr=%{QUERY_STRING}\n</Location>";
    for round in 1..=6 {
        let mut apache = Apache::builder(mpm).file("hello.txt", "hello\n").vhost(hand_off).start();
        let receiver = Receiver::bind(apache.socket_path("d.sock"));
        let (addr, stopping, answered) = (apache.addr(), AtomicBool::new(false), AtomicUsize::new(0));
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let _ended = SetOnDrop(&ended);
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    match receiver.try_receive(Duration::from_millis(20)) {
                        // A usable client: a write that fails is a panic.
                        Some(Ok(mut handoff)) => {
                            handoff.send(answer_to(handoff.text()));
                            handoff.close();
                        }
                        // The child ended after it had connected and before it sent anything.
                        Some(Err(ReceiveError::Empty)) | None => {}
                        Some(Err(error)) => panic!("not a handoff: {error}"),
                    }
                }
            });
            let clients: Vec<_> = (0..8)
                .map(|client| {
                    let (stopping, answered, ended) = (&stopping, &answered, &ended);
                    scope.spawn(move || {
                        for request in 0.. {
                            let token = format!("token-{round}-{client}-{request}");
                            let received = exchange(addr, &format!("/hello.txt?{token}"));
                            let stopped = stopping.load(Ordering::Relaxed);
                            match received {
                                Some(received) if received == answer_to(&token) => {
                                    answered.fetch_add(1, Ordering::Relaxed);
                                }
                                None if stopped => break,
                                Some(received) if stopped && is_from_apache(&received) => {}
                                other => panic!("{token}, stopped: {stopped}, got {other:?}"),
                            }
                            if ended.load(Ordering::Relaxed) {
                                break;
                            }
                        }
                    })
                })
                .collect();
            wait_until(PATIENCE, "handoffs", || answered.load(Ordering::Relaxed) > 50 * round);
            stopping.store(true, Ordering::Relaxed);
            apache.stop();
            clients.into_iter().for_each(|client| client.join().expect("a client"));
        });
    }
}

/// Ends the threads of a scope, also when a test fails in its midst.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn answer_to(token: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: {token}\n\n")
}

/// Nothing, or a refusal: whole, or cut off by the end of the child, but with nothing of the daemon's in it.
fn is_from_apache(received: &str) -> bool {
    received.is_empty() || (received.starts_with("HTTP/1.1 503 ") && !received.contains("data: "))
}

/// All that comes back on a connection for one request; `None` when Apache does not listen any more. A reset ends what
/// comes like a close does.
fn exchange(addr: SocketAddr, target: &str) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("setting a read timeout");
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut received = Vec::new();
    if stream.write_all(request.as_bytes()).is_ok()
        && let Err(error) = stream.read_to_end(&mut received)
    {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{target}");
    }
    Some(String::from_utf8(received).expect("text"))
}
