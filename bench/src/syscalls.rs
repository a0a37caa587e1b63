//! System calls per request, recorded by strace on the one child of a prefork httpd.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use e2e::{Mpm, wait_until};

use crate::case::Case;
use crate::daemon::Daemon;
use crate::request::fetch;
use crate::strace::{PATIENCE, Strace};

/// Requests before the recording, so that what happens once per child is over.
const BEFORE: u32 = 20;
/// Requests that are recorded.
const RECORDED: u32 = 200;

/// System calls of one request, each with its average count.
#[derive(Clone, Debug, Default)]
pub struct Syscalls {
    /// By name.
    pub by_name: BTreeMap<String, f64>,
}

impl Syscalls {
    /// All together.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.by_name.values().sum()
    }
}

/// Records the system calls of requests of `case`. The recording stays in `directory`.
///
/// # Errors
/// When httpd or strace fails.
pub fn per_request(case: Case, handler: &Path, directory: &Path) -> Result<Syscalls> {
    let apache = case.apache(Mpm::Prefork, handler).workers(1).start();
    let _daemon = case.hands_off().then(|| Daemon::start(apache.socket_path("daemon.sock")));
    for _ in 0..BEFORE {
        fetch(apache.addr(), case.target())?;
    }
    let children = apache.children();
    ensure!(children.len() == 1, "prefork with one worker has {} children", children.len());

    let recording = directory.join(format!("strace.{}.txt", case.name()));
    let strace = Strace::attach(children[0], &[], &recording)?;
    for _ in 0..RECORDED {
        fetch(apache.addr(), case.target())?;
    }
    // The child answers first and cleans up after that; it is done when it waits for the next connection.
    wait_until(PATIENCE, "the end of the last request", || {
        fs::read_to_string(&recording).is_ok_and(|lines| is_waiting(&lines))
    });
    strace.end()?;
    Ok(count(&fs::read_to_string(&recording)?))
}

/// Whether every request has been accepted, and the last line is the wait for one more.
fn is_waiting(lines: &str) -> bool {
    let accepts = |line: &&str| name_of(line).is_some_and(|name| name.starts_with("accept"));
    lines.lines().filter(accepts).count() > RECORDED as usize
        && lines.lines().last().filter(accepts).is_some_and(|line| !line.contains(" = "))
}

fn count(lines: &str) -> Syscalls {
    let mut by_name = BTreeMap::new();
    for name in lines.lines().filter_map(name_of) {
        *by_name.entry(name.to_owned()).or_insert(0.0) += 1.0 / f64::from(RECORDED);
    }
    Syscalls { by_name }
}

/// `openat` of `openat(AT_FDCWD, "/x", O_RDONLY) = 3`.
fn name_of(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('(')?;
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_waiting_when_the_last_accept_has_not_returned() {
        let request = "accept4(3, {sa_family=AF_INET}, [16], SOCK_CLOEXEC) = 9\nread(9, \"\", 8) = 0\n";
        let requests = request.repeat(RECORDED as usize);
        assert!(!is_waiting(&requests));
        assert!(!is_waiting(&(requests.clone() + "read(9, ")));
        assert!(is_waiting(&(requests + "accept4(3, ")));
    }

    #[test]
    fn calls_are_counted_by_name() {
        let lines = "accept4(3, {sa_family=AF_INET}, [16], SOCK_CLOEXEC) = 9\nread(9, \"a(b\", 8) = 3\n\
                     --- SIGTERM {si_signo=SIGTERM} ---\nread(9, \"\", 8) = 0\n";
        let counted = count(lines);
        assert_eq!(counted.by_name.keys().collect::<Vec<_>>(), ["accept4", "read"]);
        assert!((counted.total() * f64::from(RECORDED) - 3.0).abs() < 1e-9);
    }
}
