//! Daemons that are not there, hang, start late, change, or get more than they can take.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::{
    Apache, Builder, Client, Ending, HungReceiver, Mpm, PATIENCE, Receiver, Response, SocketType,
    on_each_mpm, wait_until,
};

on_each_mpm! {
    a_missing_socket_is_503,
    retries_end_with_the_connect_timeout,
    a_socket_where_nobody_listens_is_503,
    a_hung_daemon_is_504_after_the_connect_timeout,
    a_daemon_that_creates_its_socket_late_is_waited_for,
    a_daemon_that_listens_late_is_waited_for,
    daemons_of_both_socket_types_are_handed_off_to,
    a_path_may_change_its_socket_type,
    a_socket_without_permission_is_503_and_the_log_names_the_cure,
    a_daemon_that_accepts_and_closes_at_once_leaves_nobody_waiting,
}

/// Hands off to the path in the query, with as many bytes of data as the query says.
const HAND_OFF: &str = "<?php
header('X-Socket-Handoff: ' . $_GET['to']);
header('X-Handoff-Data: ' . str_pad('', (int) ($_GET['size'] ?? 4), '0123456789abcdef'));
if (isset($_GET['ended'])) touch($_GET['ended']);";

fn php(mpm: Mpm) -> Builder {
    Apache::builder(mpm).php_fpm(2).file("go.php", HAND_OFF)
}

fn target(daemon: &Path) -> String {
    format!("/go.php?to={}", daemon.display())
}

/// Asks for a handoff to `daemon`, which must be refused with what is given here, and frees the worker.
#[track_caller]
fn assert_refused(apache: &Apache, daemon: &Path, status: u16, note: &str) -> Response {
    let response = Client::fetch(apache.addr(), &target(daemon));
    assert_eq!((response.status(), response.ending), (status, Ending::Framed));
    assert!(!response.text().contains(".sock"), "{}", response.text());
    let line = apache.wait_for_access_log(&target(daemon), PATIENCE);
    assert!(line.ends_with(&format!("handoff=refused:{note}")), "{line}");
    apache.wait_until_idle(PATIENCE);
    response
}

#[track_caller]
fn assert_handed_off(apache: &Apache, daemon: &Receiver) {
    let mut client = Client::connect(apache.addr());
    client.get(&target(daemon.path()));
    let handoff = daemon.receive();
    assert_eq!(handoff.text(), "0123");
    handoff.respond("data: hi\n\n");
    let response = client.read_response();
    assert_eq!((response.text(), response.ending), ("data: hi\n\n", Ending::Closed));
}

/// A socket file as a daemon leaves it that was killed.
fn bind_and_die(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
}

fn a_missing_socket_is_503(mpm: Mpm) {
    let apache = php(mpm).config("SocketHandoffMaxRetries 3").start();
    let path = apache.socket_path("missing.sock");
    let response = assert_refused(&apache, &path, 503, "daemon-missing");
    assert_eq!(response.head.all("retry-after"), ["1"]);
    let log = apache.error_log();
    assert!(log.contains(&format!("{path:?} does not exist, after 4 attempt(s)")), "{log}");
}

fn retries_end_with_the_connect_timeout(mpm: Mpm) {
    let apache = php(mpm).config("SocketHandoffMaxRetries 10\nSocketHandoffConnectTimeoutMs 100").start();
    let start = Instant::now();
    assert_refused(&apache, &apache.socket_path("missing.sock"), 503, "daemon-missing");
    // Ten retries alone would take ten seconds.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

fn a_socket_where_nobody_listens_is_503(mpm: Mpm) {
    let apache = php(mpm).start();
    let path = apache.socket_path("dead.sock");
    bind_and_die(&path);
    let response = assert_refused(&apache, &path, 503, "daemon-refused");
    assert_eq!(response.head.all("retry-after"), ["1"]);
    assert!(apache.error_log().contains(&format!("nobody listens on {path:?}")));
}

fn a_hung_daemon_is_504_after_the_connect_timeout(mpm: Mpm) {
    const TIMEOUT: Duration = Duration::from_millis(400);
    let apache = php(mpm).config("SocketHandoffConnectTimeoutMs 400").start();
    let daemon = HungReceiver::bind(apache.socket_path("hung.sock"));
    let start = Instant::now();
    let response = assert_refused(&apache, daemon.path(), 504, "connect-timeout");
    let elapsed = start.elapsed();
    assert!((TIMEOUT..TIMEOUT + Duration::from_secs(5)).contains(&elapsed), "{elapsed:?}");
    assert_eq!(response.head.all("retry-after"), ["1"]);
    assert!(apache.error_log().contains(&format!("{:?} did not accept within 400ms", daemon.path())));
}

/// A client of a daemon that is not there yet, and whose script has ended: it is Apache that waits now.
fn waiting_client(apache: &Apache, daemon: &Path) -> Client {
    apache.wait_until_idle(PATIENCE);
    let ended = apache.socket_path("ended");
    let mut client = Client::connect(apache.addr());
    client.get(&format!("{}&ended={}", target(daemon), ended.display()));
    wait_until(PATIENCE, "the script to end", || ended.exists());
    assert_eq!(apache.busy_workers(), 1, "the worker waits for the daemon");
    client
}

fn patient(mpm: Mpm) -> Builder {
    php(mpm).config("SocketHandoffMaxRetries 10\nSocketHandoffConnectTimeoutMs 20000")
}

fn a_daemon_that_creates_its_socket_late_is_waited_for(mpm: Mpm) {
    let apache = patient(mpm).start();
    let path = apache.socket_path("late.sock");
    let mut client = waiting_client(&apache, &path);
    Receiver::bind(&path).receive().respond("data: late\n\n");
    assert_eq!(client.read_response().text(), "data: late\n\n");
}

fn a_daemon_that_listens_late_is_waited_for(mpm: Mpm) {
    let apache = patient(mpm).start();
    let path = apache.socket_path("late.sock");
    bind_and_die(&path);
    let mut client = waiting_client(&apache, &path);
    Receiver::bind(&path).receive().respond("data: late\n\n");
    assert_eq!(client.read_response().text(), "data: late\n\n");
}

fn daemons_of_both_socket_types_are_handed_off_to(mpm: Mpm) {
    let apache = php(mpm).start();
    let packets = Receiver::bind_as(apache.socket_path("packets.sock"), SocketType::SeqPacket);
    let stream = Receiver::bind_as(apache.socket_path("stream.sock"), SocketType::Stream);
    for _ in 0..3 {
        assert_handed_off(&apache, &packets);
        assert_handed_off(&apache, &stream);
    }
}

fn a_path_may_change_its_socket_type(mpm: Mpm) {
    // One child, so that it is the same one that has to learn anew.
    let apache = php(mpm).workers(1).start();
    let path = apache.socket_path("d.sock");
    for kind in [SocketType::SeqPacket, SocketType::Stream, SocketType::SeqPacket, SocketType::Stream] {
        let daemon = Receiver::bind_as(&path, kind);
        assert_handed_off(&apache, &daemon);
        assert_handed_off(&apache, &daemon);
    }
}

fn a_socket_without_permission_is_503_and_the_log_names_the_cure(mpm: Mpm) {
    let apache = php(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("private.sock"));
    // Nobody's, not the owner's only: without root the tests and Apache are the same user.
    fs::set_permissions(daemon.path(), fs::Permissions::from_mode(0o000)).unwrap();
    assert_refused(&apache, daemon.path(), 503, "permission-denied");
    let log = apache.error_log();
    let line = log.lines().find(|line| line.contains("no permission to connect to")).expect("a log line");
    assert!(line.contains(&format!("{:?}", daemon.path())), "{line}");
    assert!(line.contains("give Apache's user access to the socket"), "{line}");
    assert!(daemon.accept(Duration::ZERO).is_none());
}

/// Whether the message was already on its way then is a matter of luck: without an acknowledgement there is no telling.
/// But the client learns that there is nothing to wait for.
fn a_daemon_that_accepts_and_closes_at_once_leaves_nobody_waiting(mpm: Mpm) {
    let apache = php(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    for _ in 0..20 {
        let mut client = Client::connect(apache.addr());
        client.send(format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            target(daemon.path())
        ));
        drop(daemon.accept(PATIENCE).expect("the module to connect"));
        let (received, ending) = client.read_to_end();
        assert!(received.is_empty() || received.starts_with(b"HTTP/1.1 503 "), "{received:?}");
        assert_ne!(ending, Ending::TimedOut);
    }
    apache.wait_until_idle(PATIENCE);
    assert_handed_off(&apache, &daemon);
}

// Only mod_php takes response headers of this size: mod_proxy_fcgi and CGI end at 8 KB a line.
fn mod_php() -> Apache {
    Apache::builder(Mpm::Prefork).mod_php().file("go.php", HAND_OFF).start()
}

#[test]
fn data_of_200_kb_arrives_whole() {
    let apache = mod_php();
    for kind in [SocketType::SeqPacket, SocketType::Stream] {
        let daemon = Receiver::bind_as(apache.socket_path("d.sock"), kind);
        let mut client = Client::connect(apache.addr());
        client.get(&format!("{}&size=204800", target(daemon.path())));
        let handoff = daemon.receive();
        assert_eq!(handoff.text(), "0123456789abcdef".repeat(204_800 / 16), "{kind:?}");
        handoff.respond("data: whole\n\n");
        assert_eq!(client.read_response().text(), "data: whole\n\n", "{kind:?}");
    }
}

#[test]
fn data_that_is_too_large_for_a_message_is_413_and_nothing_is_handed_off() {
    let apache = mod_php();
    for kind in [SocketType::SeqPacket, SocketType::Stream] {
        let daemon = Receiver::bind_as(apache.socket_path("d.sock"), kind);
        let mut client = Client::connect(apache.addr());
        let target = format!("{}&size=300000&{kind:?}", target(daemon.path()));
        client.get(&target);
        let response = client.read_response();
        assert_eq!((response.status(), response.ending), (413, Ending::Framed), "{kind:?}");
        let line = apache.wait_for_access_log(&target, PATIENCE);
        assert!(line.ends_with("handoff=refused:data-too-large"), "{line}");
        let received = daemon.try_receive(Duration::ZERO);
        assert!(!matches!(received, Some(Ok(_))), "{kind:?}: handed off");
    }
    let log = apache.error_log();
    assert!(log.contains("X-Handoff-Data of 300000 bytes is more than one message"), "{log}");
}

/// The kernel's own limit differs between versions and socket types; there must be no size at which a part arrives.
#[test]
fn around_the_limit_of_a_message_data_arrives_whole_or_not_at_all() {
    let apache = mod_php();
    let limit: usize = fs::read_to_string("/proc/sys/net/core/wmem_default").unwrap().trim().parse().unwrap();
    for kind in [SocketType::SeqPacket, SocketType::Stream] {
        let daemon = Receiver::bind_as(apache.socket_path("d.sock"), kind);
        for size in
            [limit - 64, limit - 32, limit - 31, limit - 1, limit, limit + 1, limit + 6272, limit + 6273]
        {
            let mut client = Client::connect(apache.addr());
            client.get(&format!("{}&size={size}", target(daemon.path())));
            match daemon.try_receive(PATIENCE) {
                Some(Ok(handoff)) => {
                    assert_eq!(handoff.data.len(), size, "{kind:?}");
                    handoff.respond("data: whole\n\n");
                    assert_eq!(client.read_response().text(), "data: whole\n\n");
                }
                _ => assert_eq!(client.read_response().status(), 413, "{kind:?}, {size} bytes"),
            }
        }
    }
}
