//! Limits whose clocks are too long for a test, in this process with shorter ones.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use streaming_daemon::exec::{self, Options};
use tokio::sync::oneshot;

use super::harness::{eventually, hand_off, is_running, line, script, whole};

/// Serves in this process until dropped.
struct Serving {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Serving {
    fn start(script: &str, change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exec.sock");
        let mut options =
            Options::new(path.clone(), 0o660, ["sh", "-c", script].map(OsString::from).to_vec());
        change(&mut options);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let slot = exec::Slot::new().unwrap();
            runtime.block_on(exec::serve(options, slot, async { drop(stopped.await) })).unwrap();
        });
        // The file is there a moment before it listens.
        let probe = || rustix::net::SocketAddrUnix::new(&path).is_ok() && path.exists();
        eventually("the socket is there", probe);
        Self { path, stop: Some(stop), thread: Some(thread), _directory: directory }
    }

    /// What the first signal does.
    fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop();
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn above_the_limit_a_client_waits_for_a_place() {
    let running = script(&["--max", "1"], "echo ready; read -r go; echo end");
    let mut first = running.hand_off("{}");
    assert_eq!(line(&first), "ready");
    let mut second = running.hand_off("{}");
    // In its socket before its program is there.
    second.write_all(b"\n").unwrap();
    first.write_all(b"\n").unwrap();
    assert_eq!(whole(first), "end\n");
    assert_eq!(whole(second), "ready\nend\n");
}

#[test]
fn a_client_for_whom_no_place_becomes_free_is_told_to_come_back() {
    let serving = Serving::start("echo ready; read -r go", |options| {
        options.max = 1;
        options.wait_for_place = Duration::from_millis(20);
    });
    let mut first = hand_off(&serving.path, b"{}");
    assert_eq!(line(&first), "ready");
    let answer = whole(hand_off(&serving.path, b"{}"));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    // Its neighbour has not noticed.
    first.write_all(b"\n").unwrap();
    assert_eq!(whole(first), "");
}

#[test]
fn a_client_that_leaves_while_it_waits_starts_no_program() {
    let serving = Serving::start("echo \"$HANDOFF_DATA\" >>\"$(dirname \"$0\")/started\"", |_| {});
    drop(serving);
    let directory = tempfile::tempdir().unwrap();
    let started = directory.path().join("started");
    let script_text = format!("echo started >>{}; echo ready; read -r go", started.display());
    let running = script(&["--max", "1"], &script_text);
    let mut first = running.hand_off("{}");
    assert_eq!(line(&first), "ready");
    drop(running.hand_off("{}"));
    assert!(running.log_line("client finished").contains("client_gone"));
    first.write_all(b"\n").unwrap();
    assert_eq!(whole(first), "");
    assert_eq!(std::fs::read_to_string(started).unwrap(), "started\n");
}

#[test]
fn a_group_that_ignores_sigterm_is_killed() {
    let stubborn = "trap '' TERM; sleep 1000 & echo $! $$; wait; wait";
    let serving = Serving::start(stubborn, |options| options.grace = Duration::from_millis(50));
    let client = hand_off(&serving.path, b"{}");
    let pids = line(&client);
    drop(client);
    eventually("both processes end", || !pids.split(' ').any(is_running));
}

#[test]
fn at_the_shutdown_deadline_programs_are_ended() {
    let mut serving = Serving::start("echo $$; sleep 1000", |options| {
        options.shutdown = Duration::from_millis(50);
    });
    let client = hand_off(&serving.path, b"{}");
    let pid = line(&client);
    serving.stop();
    assert_eq!(whole(client), "");
    eventually("the program ends", || !is_running(&pid));
}

#[test]
fn a_program_that_prints_nothing_in_time_is_a_504_with_http() {
    let serving = Serving::start("sleep 1000", |options| {
        options.http = Some(exec::Http::default());
        options.time = Some(Duration::from_millis(50));
    });
    let answer = whole(hand_off(&serving.path, b"{}"));
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}
