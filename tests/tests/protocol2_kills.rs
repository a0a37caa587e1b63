//! Protocol 2 under load while the daemon is killed or stopped at random moments: every client has an answer, from one
//! owner, unless its owner died after it had accepted.
//!
//! `TEST_FAULTS=200` makes it longer, `TEST_SEED` repeats a run's random moments.

use std::time::Instant;

use e2e::faults::{self, Allowed, InFlight, TARGET, hand_off, judge, pass};
use e2e::{Apache, Daemon, Load, Mpm, PATIENCE, Random, on_each_mpm, wait_until};

on_each_mpm! {
    a_daemon_that_is_killed_with_a_full_queue_loses_nothing,
    a_killed_daemon_costs_a_503_at_most,
    a_killed_daemon_costs_nothing_with_a_fallback,
    a_daemon_that_hangs_and_goes_on_is_no_second_owner,
}

/// Milliseconds between the words. Few: most of the handoffs in flight shall be those that no daemon has accepted.
const PACE: [&str; 2] = ["--delay", "4"];

/// A fallback, for the daemon's declaration.
const FALLBACK: &str = "fallback=${RUN}/f.sock";

/// So many handoffs, per death, a daemon may have accepted that it has not yet said a word to: what it does within one
/// turn of its threads. A module that takes a daemon's end for its word has hundreds.
const MOST_SILENT: usize = 40;

/// Clients at once. Threads are cheap, processes are not.
fn most(mpm: Mpm) -> u16 {
    if mpm == Mpm::Prefork { 128 } else { 1000 }
}

fn start(mpm: Mpm, settings: &str) -> Apache {
    // The fallback has all the time that a busy machine may need: it lives.
    let fallback = "protocol=2 ack_timeout_ms=60000";
    // Of the log, lines about refusals would be most.
    let log = "LogLevel warn socket_handoff:crit";
    hand_off(mpm, settings).daemon("f.sock", fallback).workers(most(mpm) + 8).config(log).start()
}

fn start_daemon(apache: &Apache, socket: &str) -> Daemon {
    // Its own log of every handoff that it has owned.
    Daemon::start_with(apache.socket_path(socket), PACE, [("DAEMON_LOGGING_ACCESS_LOG", "stdout")])
}

fn a_daemon_that_is_killed_with_a_full_queue_loses_nothing(mpm: Mpm) {
    for fallback in [false, true] {
        let begin = Instant::now();
        let settings = "ack_timeout_ms=60000 ".to_owned() + if fallback { FALLBACK } else { "" };
        let apache = start(mpm, &settings);
        let mut daemon = start_daemon(&apache, "d.sock");
        let other = fallback.then(|| start_daemon(&apache, "f.sock"));
        daemon.server().pause();
        let clients = usize::from(most(mpm));
        let load = Load::once(apache.addr(), clients, TARGET);
        wait_until(PATIENCE, "all clients to wait for the daemon", || {
            load.unanswered() == clients && apache.busy_workers() == clients
        });
        let mut in_flight = InFlight::default();
        in_flight.note(&load);
        daemon.kill();
        let logs = || daemon.log() + &other.as_ref().map(Daemon::log).unwrap_or_default();
        let tally = judge(load, &apache, logs, Allowed { refused: !fallback, ..Allowed::NOTHING });
        assert_eq!((tally.refused, tally.by_fallback), if fallback { (0, clients) } else { (clients, 0) });
        faults::report("killed with a full queue", mpm, begin, &in_flight, &tally);
    }
}

fn a_killed_daemon_costs_a_503_at_most(mpm: Mpm) {
    kill_again_and_again(mpm, false);
}

fn a_killed_daemon_costs_nothing_with_a_fallback(mpm: Mpm) {
    kill_again_and_again(mpm, true);
}

fn kill_again_and_again(mpm: Mpm, fallback: bool) {
    let begin = Instant::now();
    let mut random = Random::new();
    let apache = start(mpm, if fallback { FALLBACK } else { "" });
    let other = fallback.then(|| start_daemon(&apache, "f.sock"));
    let mut daemon = start_daemon(&apache, "d.sock");
    let load = Load::start(apache.addr(), usize::from(most(mpm)), TARGET);
    let (mut in_flight, mut logs) = (InFlight::default(), String::new());
    for _ in 0..faults::faults(8) {
        load.wait_for(20);
        pass(random.milliseconds(0..300));
        if random.one_of(&[true, false]) {
            // Its queue fills before it dies.
            daemon.server().pause();
            pass(random.milliseconds(0..400));
        }
        in_flight.note(&load);
        daemon.kill();
        logs += &daemon.log();
        pass(random.milliseconds(0..100));
        daemon = start_daemon(&apache, "d.sock");
    }
    load.wait_for(20);
    let allowed = Allowed { refused: !fallback, owner_died: true, child_died: false };
    let logs = || format!("{logs}{}{}", daemon.log(), other.as_ref().map(Daemon::log).unwrap_or_default());
    let tally = judge(load, &apache, logs, allowed);
    assert!(tally.silent <= MOST_SILENT * in_flight.moments(), "{tally}");
    faults::report(if fallback { "killed, fallback" } else { "killed" }, mpm, begin, &in_flight, &tally);
}

/// The module waits for less long than the daemon hangs.
fn a_daemon_that_hangs_and_goes_on_is_no_second_owner(mpm: Mpm) {
    for fallback in [false, true] {
        let begin = Instant::now();
        let mut random = Random::new();
        let settings = "ack_timeout_ms=100 ".to_owned() + if fallback { FALLBACK } else { "" };
        let apache = start(mpm, &settings);
        let other = fallback.then(|| start_daemon(&apache, "f.sock"));
        let daemon = start_daemon(&apache, "d.sock");
        let load = Load::start(apache.addr(), usize::from(most(mpm)) / 2, TARGET);
        let mut in_flight = InFlight::default();
        for _ in 0..faults::faults(4) {
            load.wait_for(20);
            pass(random.milliseconds(0..200));
            daemon.server().pause();
            pass(random.milliseconds(0..400));
            in_flight.note(&load);
            daemon.server().resume();
        }
        load.wait_for(20);
        let allowed = Allowed { refused: !fallback, ..Allowed::NOTHING };
        let logs = || daemon.log() + &other.as_ref().map(Daemon::log).unwrap_or_default();
        let tally = judge(load, &apache, logs, allowed);
        faults::report("stopped and continued", mpm, begin, &in_flight, &tally);
    }
}
