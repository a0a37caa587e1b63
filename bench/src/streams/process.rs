//! A process that is measured, seen from outside.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::cpu_ticks;

/// Of /proc/PID/stat (proc(5)); the same on every Linux that Rust runs on.
const SECONDS_PER_TICK: f64 = 0.01;

/// How long a process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        Ok(Self { child })
    }

    /// Seconds of processor time so far, user and system.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.pid())
    }

    /// Memory that is in use: resident pages, in KiB.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn resident_kib(&self) -> Result<f64> {
        self.status_kib("VmRSS:")
    }

    /// The most that was in use, in KiB.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn peak_kib(&self) -> Result<f64> {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")).context("no such line")?;
        Ok(kib.trim().parse()?)
    }

    /// Its standard output, once, when it is a pipe.
    pub fn output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }
}

/// Seconds of processor time of a process so far, user and system.
#[must_use]
pub fn cpu_seconds(pid: i32) -> f64 {
    // The scheduler counts nanoseconds, but of each thread alone; threads that have ended are in the other count only.
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    let exact = tasks.filter_map(of_task).sum::<u64>() as f64 * 1e-9;
    let ticks = cpu_ticks(pid) as f64 * SECONDS_PER_TICK;
    if ticks > exact + 2.0 * SECONDS_PER_TICK { ticks } else { exact }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `streaming-daemon` with its default settings, but for what is said.
#[derive(Debug)]
pub struct Daemon {
    /// The process.
    pub process: Process,
    /// Where it receives handoffs.
    pub socket: PathBuf,
}

impl Daemon {
    /// Starts one with the mock backend that waits `delay_ms` between two words, with its socket in `directory`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(directory: &Path, delay_ms: u64) -> Result<Self> {
        let mut command = Command::new(sibling("streaming-daemon")?);
        command.args(["--backend", "mock", "--delay", &delay_ms.to_string()]);
        Self::start_as(directory, command)
    }

    /// Starts one by `command`, a daemon and its arguments, with its socket in `directory`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_as(directory: &Path, mut command: Command) -> Result<Self> {
        let socket = directory.join("daemon.sock");
        command
            .args([OsStr::new("--socket"), socket.as_os_str()])
            .env("DAEMON_METRICS_ADDR", "127.0.0.1:0")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.join("daemon.log"))?);
        let mut process = Process::start(&mut command)?;
        let end = Instant::now() + PATIENCE;
        while !listens(&socket) {
            if let Some(status) = process.child.try_wait()? {
                bail!(
                    "the daemon has ended with {status}: {}",
                    fs::read_to_string(directory.join("daemon.log"))?
                );
            }
            ensure!(Instant::now() < end, "the daemon does not come up");
            std::thread::yield_now();
        }
        Ok(Self { process, socket })
    }
}

/// A program that was built together with this one.
///
/// # Errors
/// When it is not there.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{} is missing; run this by make", path.display());
    Ok(path)
}

fn listens(socket: &Path) -> bool {
    let name = socket.to_string_lossy();
    // Flag 00010000 is SO_ACCEPTCON: the socket is bound a moment before it listens.
    let listening = |line: &str| line.contains(" 00010000 ") && line.ends_with(&*name);
    fs::read_to_string("/proc/net/unix").is_ok_and(|sockets| sockets.lines().any(listening))
}
