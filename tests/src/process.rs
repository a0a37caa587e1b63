//! A server process with all its children: started as a group, ended as a group.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

use crate::wait::{PATIENCE, holds_within, wait_until};

/// How long a server may take to end on request before its group is killed.
const GRACE: Duration = Duration::from_secs(2);

/// A running server. Dropping it ends the whole process group.
#[derive(Debug)]
pub struct Server {
    name: String,
    output: PathBuf,
    child: Child,
    guardian: Child,
}

impl Server {
    /// Starts `command` in a process group of its own, with its output in the file `output`.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn spawn(name: &str, command: &mut Command, output: &Path) -> Self {
        Self::spawn_with(name, command, Stdio::null(), output)
    }

    /// As [`Server::spawn`], with `input` as its standard input.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn spawn_with(name: &str, command: &mut Command, input: Stdio, output: &Path) -> Self {
        let log = fs::File::create(output).expect("making a log file");
        let errors = log.try_clone().expect("sharing a log file");
        let child = command
            .process_group(0)
            .stdin(input)
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("starting {command:?}: {error}; run: make setup"));
        let guardian = guard(&child);
        Self { name: name.to_owned(), output: output.to_owned(), child, guardian }
    }

    /// What it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has written to standard output and standard error.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Process id, which is that of the group as well.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.group().as_raw_nonzero().get()
    }

    /// Sends a signal to the server process, not to its children.
    ///
    /// # Panics
    /// When the process has already been waited for.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.group(), signal)
            .unwrap_or_else(|error| panic!("signalling {}: {error}", self.name));
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the system can't tell.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("waiting for a child")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on for longer than `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {} ({})", self.name, self.pid());
        wait_until(limit, &what, || self.exit_status().is_some());
        self.exit_status().expect("it has just ended")
    }

    /// SIGSTOP, and waits until no thread of the server runs any more.
    ///
    /// # Panics
    /// When one does.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        wait_until(PATIENCE, &format!("{} to stop", self.name), || {
            let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("reading /proc");
            let is_stopped =
                |stat: String| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
            threads
                .flatten()
                .all(|thread| fs::read_to_string(thread.path().join("stat")).is_ok_and(is_stopped))
        });
    }

    /// SIGCONT, after [`Server::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(PATIENCE)
    }

    /// SIGKILL to the server and its children, at once.
    #[track_caller]
    pub fn kill(&mut self) {
        let _ = kill_process_group(self.group(), Signal::KILL);
        self.wait(PATIENCE);
    }

    /// Whether a process of the group is still there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        test_kill_process_group(self.group()).is_ok()
    }

    /// The processes whose parent is the server.
    #[must_use]
    pub fn children(&self) -> Vec<i32> {
        let parent = self.pid();
        processes().into_iter().filter(|pid| stat_field(*pid, 4) == Some(parent as u64)).collect()
    }

    /// Whether the server process listens on some Unix socket. Asks the kernel, so that no connection is made which
    /// the server would count.
    #[must_use]
    pub fn listens_on_unix_socket(&self) -> bool {
        const ACCEPTS_CONNECTIONS: &str = "00010000";
        let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let listening = |inode: &str| {
            table.lines().any(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                fields.get(3) == Some(&ACCEPTS_CONNECTIONS) && fields.get(6) == Some(&inode)
            })
        };
        open_file_names(self.pid())
            .iter()
            .filter_map(|name| name.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
            .any(|inode| listening(&inode))
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.guardian.kill();
        let _ = self.guardian.wait();
        // First by request, since a server that ends so also waits for its children.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(self.group(), Signal::TERM);
            holds_within(GRACE, || !matches!(self.child.try_wait(), Ok(None)));
        }
        let _ = kill_process_group(self.group(), Signal::KILL);
        let _ = self.child.wait();
        holds_within(GRACE, || !self.is_running());
    }
}

/// Starts a process that kills the server's group when we are gone without having ended it: Ctrl-C on `cargo test`,
/// for example, reaches neither the server, which is in another group, nor our destructors.
fn guard(child: &Child) -> Child {
    Command::new("sh")
        .args(["-c", "read -r _; kill -s KILL -- \"-$1\"", "guardian", &child.id().to_string()])
        // Nothing is ever written: it becomes readable when the other end, which only we hold, is closed.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("starting the guardian of a server")
}

/// Sends a signal to a process, of a server's children for example. That it has ended is no failure.
pub fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Number of open files of a process; 0 when it has ended.
#[must_use]
pub fn open_files(pid: i32) -> usize {
    open_file_names(pid).len()
}

/// Processor time of a process so far, user and system, in clock ticks (hundredths of a second); 0 when it has ended.
#[must_use]
pub fn cpu_ticks(pid: i32) -> u64 {
    stat_field(pid, 14).unwrap_or(0) + stat_field(pid, 15).unwrap_or(0)
}

fn open_file_names(pid: i32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("reading /proc");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Field `number` of /proc/PID/stat, counted from 1 as in proc(5); from the fourth on, where they are all numbers.
fn stat_field(pid: i32, number: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(number - 3)?.parse().ok()
}
