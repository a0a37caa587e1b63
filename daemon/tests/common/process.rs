//! The real program.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};

use super::{SOON, eventually};

/// A running `streaming-daemon`; killed when dropped.
pub struct Process {
    pub path: PathBuf,
    child: Child,
    log: mpsc::Receiver<String>,
    /// The lines that [`Process::log_line`] has read.
    read: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Process {
    /// Starts one with these arguments beside `--socket`; it listens when this returns.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streaming-daemon"));
        command.args(arguments);
        Self::spawn(command)
    }

    /// Starts one that may have so many files open.
    pub fn start_with_open_files(limit: u32, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_streaming-daemon")]).args(arguments);
        Self::spawn(command)
    }

    /// Starts one with these variables; what it prints can be read.
    pub fn start_with_environment(arguments: &[&str], environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streaming-daemon"));
        command.args(arguments).stdout(Stdio::piped());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Self::spawn(command)
    }

    /// Starts one with metrics, at an address that nobody else can get in between, and says where they are.
    pub fn start_with_metrics(arguments: &[&str]) -> (Self, SocketAddr) {
        let environment = [("DAEMON_METRICS_ENABLED", "true"), ("DAEMON_METRICS_ADDR", "127.0.0.1:0")];
        let environment = environment.map(|(name, value)| (name, value.to_owned()));
        let mut process = Self::start_with_environment(arguments, &environment);
        let line = process.log_line("metrics at http://");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
        (process, address.parse().unwrap())
    }

    /// Waits for its end and returns what it has printed.
    pub fn printed(mut self) -> String {
        let mut printed = String::new();
        std::io::Read::read_to_string(&mut self.child.stdout.take().unwrap(), &mut printed).unwrap();
        printed
    }

    /// Starts the program as `command` says, with `--socket` behind it; it listens when this returns.
    pub fn spawn(command: Command) -> Self {
        let mut process = Self::spawn_quietly(command);
        process.log_line("listening on ");
        process
    }

    /// The same without waiting.
    pub fn spawn_quietly(mut command: Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.sock");
        let mut child =
            command.arg("--socket").arg(&path).env_remove("RUST_LOG").stderr(Stdio::piped()).spawn().unwrap();
        // Read all the time: a program blocks when nobody empties its pipe.
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = mpsc::channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        Self { path, child, log, read: Vec::new(), _directory: directory }
    }

    /// Reads the log up to a line that contains `text`, and returns that line.
    pub fn log_line(&mut self, text: &str) -> String {
        loop {
            let line =
                self.log.recv_timeout(SOON).unwrap_or_else(|_| panic!("nothing in the log has {text:?}"));
            self.read.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Whether a line that was read so far contains `text`.
    pub fn said(&self, text: &str) -> bool {
        self.read.iter().any(|line| line.contains(text))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Descriptors that the kernel has made room for.
    pub fn room_for_open_files(&self) -> usize {
        self.status("FDSize").parse().unwrap()
    }

    /// Memory that it has in use, in bytes.
    pub fn resident(&self) -> usize {
        self.status("VmRSS").trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// Threads that it has.
    pub fn threads(&self) -> usize {
        self.status("Threads").parse().unwrap()
    }

    /// A figure of the kernel (proc_pid_status(5)).
    fn status(&self, name: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().trim().to_owned()
    }

    /// Ends it at once, and returns all that it has logged.
    pub fn whole_log(mut self) -> String {
        self.child.kill().unwrap();
        let rest = self.log.iter();
        self.read.iter().cloned().chain(rest).map(|line| line + "\n").collect()
    }

    /// Waits for its end.
    pub fn ended(mut self) -> ExitStatus {
        let mut status = None;
        eventually(SOON, "the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
