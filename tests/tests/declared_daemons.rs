//! Daemons that `SocketHandoffDaemon` declares: which protocol, which connections, which fallback.

use std::os::unix::fs::symlink;
use std::time::Duration;

use e2e::{
    Answer, Apache, Builder, Client, Mpm, Offers, PATIENCE, Receiver, SocketType, on_each_mpm, wait_until,
};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

on_each_mpm! {
    a_declared_daemon_is_offered_the_client_on_a_connection_that_is_kept,
    a_daemon_that_restarts_under_its_connections_loses_nobody,
    a_daemon_that_dies_with_a_message_unread_loses_nobody,
    a_daemon_that_hangs_is_replaced_by_its_fallback_and_finds_the_client_gone,
    a_signal_does_not_end_the_wait_for_an_answer,
    whoever_is_not_taken_gets_a_complete_answer,
    a_daemon_of_another_user_gets_nobody,
    the_directory_of_a_declared_daemon_may_have_another_name,
    a_graceful_restart_waits_for_the_answer_and_closes_what_was_kept,
}

/// For daemons that answer, however slow the machine is just then.
const PATIENT: &str = "protocol=2 ack_timeout_ms=60000";

/// Hands off to the daemon named in the query, with what else is there as data.
const HAND_OFF: &str = "<?php
header('X-Socket-Handoff: ' . $_GET['to']);
header('X-Handoff-Data: ' . ($_GET['data'] ?? ''));";

fn php(mpm: Mpm) -> Builder {
    Apache::builder(mpm).php_fpm(2).file("go.php", HAND_OFF)
}

fn target(apache: &Apache, socket: &str) -> String {
    format!("/go.php?to={}", apache.socket_path(socket).display())
}

/// A client that has asked for `target`.
fn ask(apache: &Apache, target: &str) -> Client {
    let mut client = Client::connect(apache.addr());
    client.get(target);
    client
}

#[track_caller]
fn assert_taken(daemon: &Offers, mut client: Client) {
    daemon.take().respond("data: hi\n\n");
    assert_eq!(client.read_response().text(), "data: hi\n\n");
}

#[track_caller]
fn assert_noted(apache: &Apache, target: &str, note: &str) {
    let line = apache.wait_for_access_log(target, PATIENCE);
    assert!(line.ends_with(&format!("handoff={note}")), "{line}");
}

fn a_declared_daemon_is_offered_the_client_on_a_connection_that_is_kept(mpm: Mpm) {
    let apache = php(mpm).workers(1).daemon("d.sock", PATIENT).start();
    let daemon = Offers::bind(apache.socket_path("d.sock"));
    for round in 1..=3 {
        let target = format!("{}&data={round}", target(&apache, "d.sock"));
        let mut client = ask(&apache, &target);
        let taken = daemon.take();
        assert_eq!(taken.handoff.data, round.to_string().into_bytes());
        assert_eq!(taken.envelope.target, target.as_str().into());
        taken.respond("data: hi\n\n");
        assert_eq!(client.read_response().text(), "data: hi\n\n");
        assert_noted(&apache, &target, "handed-off");
        let line = apache.wait_for_access_log(&target, PATIENCE);
        assert!(line.contains(" 200 0 - handoff="), "not as aborted (X): {line}");
    }
    assert_eq!(daemon.accepted(), 1, "one connection for all of them");
}

fn a_daemon_that_restarts_under_its_connections_loses_nobody(mpm: Mpm) {
    let apache = php(mpm).daemon("d.sock", PATIENT).start();
    let target = target(&apache, "d.sock");
    for round in 0..3 {
        let daemon = Offers::bind(apache.socket_path("d.sock"));
        // As many at once as there are workers of PHP, so that several connections are kept.
        let clients = [ask(&apache, &target), ask(&apache, &target)];
        let offers = [daemon.receive(), daemon.receive()];
        for offered in offers {
            offered.accept().unwrap().respond("data: hi\n\n");
        }
        for mut client in clients {
            assert_eq!(client.read_response().text(), "data: hi\n\n", "round {round}");
        }
    }
}

fn a_daemon_that_dies_with_a_message_unread_loses_nobody(mpm: Mpm) {
    let apache = php(mpm).workers(1).daemon("d.sock", PATIENT).start();
    let daemon = Offers::bind(apache.socket_path("d.sock"));
    let target = target(&apache, "d.sock");
    let mut open = Vec::new();
    for _ in 0..10 {
        assert_taken(&daemon, ask(&apache, &target));
        // By now the connection is kept.
        apache.wait_until_idle(PATIENCE);
        let client = ask(&apache, &target);
        daemon.close_unread();
        assert_taken(&daemon, client);
        apache.wait_until_idle(PATIENCE);
        open.push(apache.open_files_of_children());
    }
    // Connections of Apache's own come and go.
    assert!(open.iter().all(|open_then| *open_then < open[0] + 5), "descriptors pile up: {open:?}");
}

fn a_daemon_that_hangs_is_replaced_by_its_fallback_and_finds_the_client_gone(mpm: Mpm) {
    let apache = php(mpm).daemon("d.sock", "protocol=2 ack_timeout_ms=50 \"fallback=${RUN}/f.sock\"").start();
    let (hung, fallback) =
        (Offers::bind(apache.socket_path("d.sock")), Offers::bind(apache.socket_path("f.sock")));
    let target = target(&apache, "d.sock");
    let client = ask(&apache, &target);
    assert_taken(&fallback, client);
    assert_eq!(hung.receive().accept().map(|_| ()), Err(Errno::PIPE));
    assert_noted(&apache, &target, "handed-off:fallback");
    apache.wait_for_error_log(
        "d.sock\" did not answer within ack_timeout_ms 50ms; it is overloaded or hangs; the client is offered to the fallback",
        PATIENCE,
    );
    assert!(apache.error_log().contains("f.sock\" with 0 bytes"), "{}", apache.error_log());
}

fn a_signal_does_not_end_the_wait_for_an_answer(mpm: Mpm) {
    let apache = php(mpm).workers(1).daemon("d.sock", PATIENT).start();
    let daemon = Offers::bind(apache.socket_path("d.sock"));
    let mut client = ask(&apache, &target(&apache, "d.sock"));
    let offered = daemon.receive();
    for _ in 0..3 {
        for child in apache.children() {
            let pid = Pid::from_raw(child).unwrap();
            // A recv with a timeout fails with EINTR when its process goes on (signal(7)).
            for signal in [Signal::STOP, Signal::CONT] {
                kill_process(pid, signal).unwrap();
            }
        }
    }
    offered.accept().unwrap().respond("data: hi\n\n");
    assert_eq!(client.read_response().text(), "data: hi\n\n");
    assert_noted(&apache, "/go.php", "handed-off");
}

fn whoever_is_not_taken_gets_a_complete_answer(mpm: Mpm) {
    let apache = php(mpm)
        .workers(1)
        .config("SocketHandoffMaxRetries 0")
        .daemon("d.sock", "protocol=2 ack_timeout_ms=1000")
        .start();
    let path = apache.socket_path("d.sock");
    let target = |note: &str| format!("{}&data={note}", target(&apache, "d.sock"));
    let refused = |note: &str, status: u16, retry_after: Option<&str>, daemon: &dyn Fn()| {
        let target = target(note);
        let mut client = ask(&apache, &target);
        daemon();
        let response = client.read_response();
        assert_eq!((response.status(), response.head.header("retry-after")), (status, retry_after), "{note}");
        assert!(response.text().ends_with("</html>\n"), "{note}: {}", response.text());
        assert_noted(&apache, &target, &format!("refused:{note}"));
    };
    refused("daemon-missing", 503, Some("1"), &|| ());
    let daemon = Offers::bind(&path);
    let busy = Answer::Busy { retry_after: Duration::from_secs(7), reason: "full".into() };
    refused("busy", 503, Some("7"), &|| daemon.receive().refuse(&busy));
    refused("draining", 503, Some("1"), &|| {
        for _ in 0..2 {
            daemon.receive().refuse(&Answer::Draining);
        }
    });
    let bad = Answer::Bad { reason: "a message from the future".into() };
    refused("bad-message", 502, None, &|| daemon.receive().refuse(&bad));
    apache.wait_for_error_log("does not understand the message: a message from the future", PATIENCE);
    refused("not-an-answer", 503, Some("1"), &|| daemon.receive().say(b"220 smtp.example.com"));
    refused("daemon-closed", 503, Some("1"), &|| drop(daemon.receive()));
    refused("no-answer", 503, Some("1"), &|| ());
    assert_eq!(daemon.receive().accept().map(|_| ()), Err(Errno::PIPE), "it wakes too late");
    drop(daemon);
    let _stream = Receiver::bind_as(&path, SocketType::Stream);
    refused("not-seqpacket", 503, None, &|| ());
}

fn a_daemon_of_another_user_gets_nobody(mpm: Mpm) {
    let (me, other) = (rustix::process::geteuid().as_raw(), 64_999);
    let apache = php(mpm)
        .daemon("mine.sock", &format!("protocol=2 user=#{me}"))
        .daemon("two.sock", &format!("protocol=2 user=#{other}"))
        .daemon("one.sock", &format!("user=#{other}"))
        .start();
    let (two, one) =
        (Offers::bind(apache.socket_path("two.sock")), Receiver::bind(apache.socket_path("one.sock")));
    for socket in ["two.sock", "one.sock"] {
        let target = target(&apache, socket);
        assert_eq!(Client::fetch(apache.addr(), &target).status(), 503);
        assert_noted(&apache, &target, "refused:wrong-user");
        let path = apache.socket_path(socket);
        apache.wait_for_error_log(
            &format!("{path:?} is the socket of user id {me}, and SocketHandoffDaemon demands user=#{other}"),
            PATIENCE,
        );
    }
    assert!(two.try_receive(Duration::ZERO).is_none());
    drop(one);
    let mine = Offers::bind(apache.socket_path("mine.sock"));
    assert_taken(&mine, ask(&apache, &target(&apache, "mine.sock")));
}

fn the_directory_of_a_declared_daemon_may_have_another_name(mpm: Mpm) {
    let apache = php(mpm).daemon("d.sock", PATIENT).start();
    let daemon = Offers::bind(apache.socket_path("d.sock"));
    let link = apache.socket_path("link");
    symlink(apache.socket_path("d.sock").parent().unwrap(), &link).unwrap();
    let client = ask(&apache, &target(&apache, "link/d.sock"));
    assert_taken(&daemon, client);
}

fn a_graceful_restart_waits_for_the_answer_and_closes_what_was_kept(mpm: Mpm) {
    let apache = php(mpm).daemon("d.sock", PATIENT).start();
    let daemon = Offers::bind(apache.socket_path("d.sock"));
    let target = target(&apache, "d.sock");
    assert_taken(&daemon, ask(&apache, &target));
    let mut waits = ask(&apache, &target);
    let offered = daemon.receive();
    apache.graceful_restart();
    offered.accept().unwrap().respond("data: hi\n\n");
    assert_eq!(waits.read_response().text(), "data: hi\n\n");
    // The children of before have gone, and their connections with them.
    wait_until(PATIENCE, "the connections of the old children to end", || {
        daemon.try_receive(Duration::from_millis(10));
        daemon.open() == 0
    });
    assert_taken(&daemon, ask(&apache, &target));
}
