//! Protocol 2 under load while the daemon is replaced and while Apache loses children or begins anew, at random moments.
//! Longer with `TEST_FAULTS`, the same again with `TEST_SEED`.

use std::os::fd::OwnedFd;
use std::time::Instant;

use e2e::faults::{self, Allowed, InFlight, TARGET, Tally, hand_off, judge, pass};
use e2e::{Apache, Daemon, Load, Mpm, PATIENCE, Random, kill, on_each_mpm, wait_until};
use rustix::process::Signal;

on_each_mpm! {
    a_daemon_that_is_replaced_loses_nothing,
    a_daemon_that_is_replaced_below_its_socket_loses_nothing,
    apache_children_that_are_killed_leave_no_client_with_two_owners_and_no_stream_cut,
    a_graceful_restart_of_apache_loses_nothing,
}

/// Clients at once: more than there are workers, so that none is ever idle.
const CLIENTS: usize = 64;

/// In daemons' environment: their own log of every handoff that they have owned.
const LOG: [(&str, &str); 1] = [("DAEMON_LOGGING_ACCESS_LOG", "stdout")];

const PACE: [&str; 2] = ["--delay", "2"];

fn start(mpm: Mpm, settings: &str) -> Apache {
    // Until the successor listens, connecting is refused: the retries are for that.
    let patient = "LogLevel warn\nSocketHandoffMaxRetries 10\nSocketHandoffConnectTimeoutMs 20000";
    hand_off(mpm, settings).workers(32).config(patient).start()
}

#[track_caller]
fn assert_all_answered(tally: &Tally) {
    assert_eq!(tally.answered, tally.requests, "{tally}");
}

/// SIGTERM to the old one, and a new one at the same path as soon as that is free. The old one still has its streams.
fn a_daemon_that_is_replaced_loses_nothing(mpm: Mpm) {
    let begin = Instant::now();
    let mut random = Random::new();
    let apache = start(mpm, "");
    let next = || Daemon::start_with(apache.socket_path("d.sock"), PACE, LOG);
    let mut daemon = next();
    let load = Load::start(apache.addr(), CLIENTS, TARGET);
    let (mut in_flight, mut logs) = (InFlight::default(), String::new());
    for number in 1..=faults::faults(5) {
        load.wait_for(50);
        pass(random.milliseconds(0..150));
        in_flight.note(&load);
        daemon.server().signal(Signal::TERM);
        wait_until(PATIENCE, "the old daemon to give up its socket", || {
            !daemon.server().listens_on_unix_socket()
        });
        daemon.rename_log(&format!("old-{number}.log"));
        let mut old = std::mem::replace(&mut daemon, next());
        assert!(old.wait(PATIENCE).success(), "it drains and ends");
        logs += &old.log();
    }
    load.wait_for(50);
    let logs = || format!("{logs}{}", daemon.log());
    let tally = judge(load, &apache, logs, Allowed::NOTHING);
    assert_all_answered(&tally);
    faults::report("replaced", mpm, begin, &in_flight, &tally);
}

/// As with systemd's sockets: the queue outlives the daemons. They are told to end, or killed.
fn a_daemon_that_is_replaced_below_its_socket_loses_nothing(mpm: Mpm) {
    let begin = Instant::now();
    let mut random = Random::new();
    let apache = start(mpm, "");
    let socket = Daemon::socket_at(apache.socket_path("d.sock"));
    let start = |socket: &OwnedFd| Daemon::start_on(socket, apache.socket_path("d.sock"), PACE, LOG);
    let mut daemon = start(&socket);
    let load = Load::start(apache.addr(), CLIENTS, TARGET);
    let (mut in_flight, mut logs) = (InFlight::default(), String::new());
    for _ in 0..faults::faults(5) {
        load.wait_for(50);
        pass(random.milliseconds(0..150));
        in_flight.note(&load);
        assert!(daemon.stop().success());
        logs += &daemon.log();
        daemon = start(&socket);
    }
    load.wait_for(50);
    let logs = || format!("{logs}{}", daemon.log());
    let tally = judge(load, &apache, logs, Allowed::NOTHING);
    assert_all_answered(&tally);
    faults::report("replaced below its socket", mpm, begin, &in_flight, &tally);
}

fn apache_children_that_are_killed_leave_no_client_with_two_owners_and_no_stream_cut(mpm: Mpm) {
    let begin = Instant::now();
    let mut random = Random::new();
    // Several children on the threaded MPMs as well.
    let children = match mpm {
        Mpm::Prefork => "",
        Mpm::Event | Mpm::Worker => {
            "ServerLimit 16\nStartServers 4\nThreadsPerChild 16\nMaxRequestWorkers 64\nMinSpareThreads 64\nMaxSpareThreads 80"
        }
    };
    let apache = hand_off(mpm, "").workers(32).config("LogLevel warn").config(children).start();
    let daemon = Daemon::start_with(apache.socket_path("d.sock"), PACE, LOG);
    let load = Load::start(apache.addr(), CLIENTS, TARGET);
    let mut in_flight = InFlight::default();
    for _ in 0..faults::faults(20) {
        load.wait_for(20);
        pass(random.milliseconds(0..60));
        in_flight.note(&load);
        let children = apache.children();
        if !children.is_empty() {
            kill(random.one_of(&children), random.one_of(&[Signal::KILL, Signal::TERM]));
        }
    }
    load.wait_for(20);
    let allowed = Allowed { child_died: true, ..Allowed::NOTHING };
    let tally = judge(load, &apache, || daemon.log(), allowed);
    faults::report("children killed", mpm, begin, &in_flight, &tally);
}

fn a_graceful_restart_of_apache_loses_nothing(mpm: Mpm) {
    let begin = Instant::now();
    let mut random = Random::new();
    let apache = start(mpm, "");
    let daemon = Daemon::start_with(apache.socket_path("d.sock"), PACE, LOG);
    let load = Load::start(apache.addr(), CLIENTS, TARGET);
    let mut in_flight = InFlight::default();
    for _ in 0..faults::faults(4) {
        load.wait_for(50);
        pass(random.milliseconds(0..200));
        in_flight.note(&load);
        apache.graceful_restart();
    }
    load.wait_for(50);
    let tally = judge(load, &apache, || daemon.log(), Allowed::NOTHING);
    assert_all_answered(&tally);
    faults::report("graceful restart", mpm, begin, &in_flight, &tally);
}
