//! The section of /server-status: what has become of handoffs, over all child processes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use e2e::{Answer, Apache, Builder, Client, Mpm, Offers, PATIENCE, Receiver, on_each_mpm, wait_until};
use rustix::process::{Pid, Signal, kill_process};

on_each_mpm! {
    handoffs_and_refusals_are_counted_over_all_children,
    counts_outlast_a_graceful_restart,
    a_killed_child_leaves_nothing_in_flight,
    people_get_a_table_with_escaped_paths,
    requests_that_hand_nothing_off_are_not_counted,
}

fn php(mpm: Mpm) -> Builder {
    Apache::builder(mpm)
        .php_fpm(4)
        .workers(4)
        .file("go.php", "<?php header('X-Socket-Handoff: ' . $_GET['to']);")
        .file("hello.txt", "hello\n")
        .daemon("two.sock", "protocol=2 ack_timeout_ms=60000")
}

/// What mod_status tells programs of one daemon.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    handed_off: u64,
    in_flight: u64,
    refused: u64,
    reasons: BTreeMap<String, u64>,
}

/// By path, those without anything left out.
fn status(apache: &Apache) -> BTreeMap<String, Counts> {
    let response = Client::fetch(apache.addr(), "/server-status?auto");
    let lines: Vec<(&str, &str)> = response
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("SocketHandoffDaemon[")?.split_once("]"))
        .collect();
    assert!(!lines.is_empty(), "{}", response.text());
    let mut daemons: BTreeMap<&str, (String, Counts)> = BTreeMap::new();
    for (number, rest) in lines {
        let (name, value) = rest.split_once(": ").unwrap();
        let (path, counts) = daemons.entry(number).or_default();
        let count = || value.parse().unwrap_or_else(|_| panic!("{rest}"));
        match name {
            "Path" => *path = value.to_owned(),
            "HandedOff" => counts.handed_off = count(),
            "InFlight" => counts.in_flight = count(),
            "Refused" => counts.refused = count(),
            _ => {
                let reason = name.strip_prefix("Refused[").and_then(|name| name.strip_suffix("]"));
                counts.reasons.insert(reason.unwrap_or_else(|| panic!("{rest}")).to_owned(), count());
            }
        }
    }
    let used = daemons.into_values().filter(|(_, counts)| *counts != Counts::default());
    used.collect()
}

fn counts(handed_off: u64, reasons: &[(&str, u64)]) -> Counts {
    Counts {
        handed_off,
        in_flight: 0,
        refused: reasons.iter().map(|(_, count)| count).sum(),
        reasons: reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
    }
}

fn expect<const N: usize>(apache: &Apache, expected: [(&Path, Counts); N]) {
    let expected = expected.map(|(path, counts)| (path.display().to_string(), counts)).into();
    let mut last = BTreeMap::new();
    // The client has its answer a moment before the handoff is counted.
    wait_until(PATIENCE, &format!("the counts {expected:?}"), || {
        last = status(apache);
        last == expected
    });
}

fn get(apache: &Apache, path: &Path) -> Client {
    let mut client = Client::connect(apache.addr());
    client.get(&format!("/go.php?to={}", path.display()));
    client
}

/// One handoff each by protocol 1 and 2 in each of eight threads, and refusals.
fn use_daemons(apache: &Apache) {
    let two = Offers::bind(apache.socket_path("two.sock"));
    let one = Receiver::bind(apache.socket_path("one.sock"));
    let one = one.serve(|handoff| handoff.respond("data: 1\n\n"));
    let two = two.serve(|offered| offered.accept().unwrap().respond("data: 2\n\n"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert_eq!(get(apache, one.path()).read_response().text(), "data: 1\n\n");
                assert_eq!(get(apache, two.path()).read_response().text(), "data: 2\n\n");
            });
        }
    });
}

fn refuse(apache: &Apache) {
    let two = Offers::bind(apache.socket_path("two.sock"));
    for (answer, status) in [
        (Answer::Busy { retry_after: Duration::from_secs(1), reason: String::new() }, 503),
        (Answer::Busy { retry_after: Duration::from_secs(2), reason: String::new() }, 503),
        (Answer::Bad { reason: String::new() }, 502),
    ] {
        let mut client = get(apache, two.path());
        two.receive().refuse(&answer);
        assert_eq!(client.read_response().status(), status);
    }
    // Anybody can ask for these: they get no row of their own.
    for path in ["", "relative", "/outside", "/elsewhere"] {
        assert_eq!(get(apache, Path::new(path)).read_response().status(), 403);
    }
}

fn others() -> Counts {
    counts(0, &[("path-empty", 1), ("path-outside-prefix", 2), ("path-relative", 1)])
}

fn handoffs_and_refusals_are_counted_over_all_children(mpm: Mpm) {
    let apache = php(mpm).start();
    let (one, two) = (apache.socket_path("one.sock"), apache.socket_path("two.sock"));
    use_daemons(&apache);
    expect(&apache, [(&one, counts(8, &[])), (&two, counts(8, &[]))]);
    refuse(&apache);
    let refusals = [("bad-message", 1), ("busy", 2)];
    expect(&apache, [(&one, counts(8, &[])), (&two, counts(8, &refusals)), (Path::new("other"), others())]);
}

fn counts_outlast_a_graceful_restart(mpm: Mpm) {
    let apache = php(mpm).start();
    let (one, two) = (apache.socket_path("one.sock"), apache.socket_path("two.sock"));
    for generation in 1..=3 {
        use_daemons(&apache);
        expect(&apache, [(&one, counts(8 * generation, &[])), (&two, counts(8 * generation, &[]))]);
        apache.graceful_restart();
    }
    expect(&apache, [(&one, counts(24, &[])), (&two, counts(24, &[]))]);
}

fn a_killed_child_leaves_nothing_in_flight(mpm: Mpm) {
    let apache = php(mpm).start();
    let two = Offers::bind(apache.socket_path("two.sock"));
    let in_flight = |expected| {
        let key = two.path().display().to_string();
        wait_until(PATIENCE, &format!("{expected} in flight"), || {
            status(&apache).get(&key).map_or(0, |counts| counts.in_flight) == expected
        });
    };
    let _clients = [get(&apache, two.path()), get(&apache, two.path())];
    let offered = [two.receive(), two.receive()];
    in_flight(2);
    let killed = apache.children();
    for child in &killed {
        kill_process(Pid::from_raw(*child).unwrap(), Signal::KILL).unwrap();
    }
    // Until then a thread of theirs may still take the next connection along.
    wait_until(PATIENCE, "the end of the children", || {
        !apache.children().iter().any(|child| killed.contains(child))
    });
    in_flight(0);
    drop(offered);
    use_daemons_after(&apache, two);
}

/// The children that came after count again.
fn use_daemons_after(apache: &Apache, two: Offers) {
    let mut client = get(apache, two.path());
    let offered = two.receive();
    assert_eq!(status(apache)[&two.path().display().to_string()].in_flight, 1);
    offered.accept().unwrap().respond("data: 2\n\n");
    assert_eq!(client.read_response().text(), "data: 2\n\n");
    expect(apache, [(two.path(), counts(1, &[]))]);
}

fn people_get_a_table_with_escaped_paths(mpm: Mpm) {
    let apache = php(mpm).start();
    let one = Receiver::bind(apache.socket_path("a<b>&.sock"));
    let mut client = Client::connect(apache.addr());
    client.get(&format!("/go.php?to={}/a%3Cb%3E%26.sock", one.path().parent().unwrap().display()));
    one.receive().respond("data: 1\n\n");
    assert_eq!(client.read_response().text(), "data: 1\n\n");
    let expected = "a&lt;b&gt;&amp;.sock</td><td>1</td><td>0</td><td>0</td>";
    let page = |target| String::from_utf8(Client::fetch(apache.addr(), target).body).unwrap();
    wait_until(PATIENCE, "the handoff in the table", || page("/server-status").contains(expected));
    assert!(page("/server-status?notable").contains("a&lt;b&gt;&amp;.sock: 1 handed off, 0 in flight"));
}

fn requests_that_hand_nothing_off_are_not_counted(mpm: Mpm) {
    let apache = php(mpm).start();
    for target in ["/hello.txt", "/missing", "/server-status"] {
        let _ = Client::fetch(apache.addr(), target);
    }
    assert_eq!(status(&apache), BTreeMap::new());
}
