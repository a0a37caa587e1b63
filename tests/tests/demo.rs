//! `make demo`: what it prints works as printed, and its end leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use e2e::{PATIENCE, events, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The demo program on a free port, with a temporary directory in which only it makes things.
struct Running {
    child: Child,
    port: u16,
    temporary: TempDir,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start() -> Self {
        let port = free_port();
        // Apache's user walks through it.
        let temporary =
            tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let mut child = demo(&port.to_string())
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting the demo");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped"));
        Self { child, port, temporary, lines }
    }

    /// Waits for the printed line that contains `text`.
    fn line_with(&mut self, text: &str) -> String {
        let lines = self.lines.by_ref().lines().map(|line| line.expect("reading what the demo prints"));
        let mut before = Vec::new();
        for line in lines {
            if line.contains(text) {
                return line;
            }
            before.push(line);
        }
        panic!("the demo did not print {text:?} but {before:?}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        wait_until(PATIENCE, "the end of the demo", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap()
    }

    /// Ends it with `signal`, and checks that it ends well and leaves nothing.
    fn ends_cleanly_on(mut self, signal: Signal) {
        let processes = descendants(self.child.id());
        let names: Vec<String> = processes.iter().map(|pid| name(*pid)).collect();
        for server in ["apache2", "php-fpm", "streaming-daemon"] {
            // The kernel cuts names at 15 characters.
            let name = &server[..server.len().min(15)];
            assert!(names.iter().any(|found| found.starts_with(name)), "{server} is not among {names:?}");
        }
        self.signal(signal);
        assert!(self.wait().success());
        for pid in processes {
            wait_until(PATIENCE, &format!("the end of process {pid} ({})", name(pid)), || has_ended(pid));
        }
        let left: Vec<_> = fs::read_dir(self.temporary.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).expect("the port is free again");
    }
}

impl Drop for Running {
    /// A failed test: by a signal that lets the demo stop its servers.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

#[test]
fn the_printed_curl_command_streams_an_answer() {
    let mut demo = Running::start();
    let page = demo.line_with("http://").rsplit(' ').next().unwrap().to_owned();
    let command = demo.line_with("curl -N ");

    let output =
        Command::new("sh").args(["-c", command.trim()]).output().expect("running the printed command");
    let text = String::from_utf8(output.stdout).unwrap();
    let events = events(&text);
    assert!(events.len() > 3, "{text}");
    assert_eq!(
        (events[events.len() - 1].name.as_str(), events[events.len() - 1].data.as_str()),
        ("done", "[DONE]")
    );

    let output = Command::new("curl").args(["-sf", &page]).output().expect("running curl");
    assert!(String::from_utf8_lossy(&output.stdout).contains("<!DOCTYPE html>"), "{page}");
    demo.ends_cleanly_on(Signal::TERM);
}

#[test]
fn ctrl_c_ends_it_and_leaves_nothing() {
    let mut demo = Running::start();
    demo.line_with("curl -N ");
    demo.ends_cleanly_on(Signal::INT);
}

#[test]
fn a_signal_during_the_start_ends_it_too() {
    let mut demo = Running::start();
    wait_until(PATIENCE, "its directory", || fs::read_dir(demo.temporary.path()).unwrap().next().is_some());
    demo.signal(Signal::TERM);
    assert!(demo.wait().success());
    assert!(fs::read_dir(demo.temporary.path()).unwrap().next().is_none());
}

#[test]
fn a_taken_port_gets_a_sentence_that_names_it() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let message = failure(&port);
    assert!(message.contains(&format!("Port {port} of 127.0.0.1 is taken")), "{message}");
    assert!(message.contains("DEMO_PORT="), "{message}");
}

#[test]
fn a_port_that_is_none_gets_a_sentence() {
    for port in ["http", "0", "65536"] {
        let message = failure(port);
        assert!(message.contains(&format!("DEMO_PORT={port} is not a port")), "{message}");
    }
}

fn demo(port: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.env("DEMO_PORT", port);
    command
}

/// What the demo says on standard error when it does not start.
fn failure(port: &str) -> String {
    let output = demo(port).output().expect("running the demo");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// All processes below `pid`, from /proc/PID/stat (name in parentheses, then state and parent).
fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let child = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((child, stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    found.split_off(1)
}

fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// A zombie has ended: reaping it is up to init, when its parent is gone.
fn has_ended(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}
