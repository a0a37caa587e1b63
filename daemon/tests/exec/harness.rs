//! A `streaming-daemon` under test, and what the module and a client do to it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use handoff_protocol::scm::{self, Wait};
use handoff_protocol::v1;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that should happen at once, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_streaming-daemon");

/// A running process; killed when dropped.
pub(crate) struct Running {
    pub(crate) path: PathBuf,
    child: Child,
    log: mpsc::Receiver<String>,
    _directory: tempfile::TempDir,
}

/// `streaming-daemon exec` with these arguments.
pub(crate) fn exec(options: &[&str], program: &[&str]) -> Running {
    start(|path| {
        let mut command = Command::new(BINARY);
        command.arg("exec").arg("-s").arg(path).args(options).arg("--").args(program);
        command
    })
}

/// The same with a shell script as program.
pub(crate) fn script(options: &[&str], script: &str) -> Running {
    exec(options, &["sh", "-c", script])
}

/// The daemon itself, whose mock says a word each `delay` milliseconds; `admin.sock` beside its socket tells its figures.
pub(crate) fn mock(delay: &str) -> Running {
    start(|path| {
        let mut command = Command::new(BINARY);
        command
            .arg("-s")
            .arg(path)
            .args(["-b", "mock", "--delay", delay])
            .env("DAEMON_METRICS_ENABLED", "false")
            .env("DAEMON_SERVER_ADMIN_SOCKET_PATH", path.with_file_name("admin.sock"));
        command
    })
}

/// The program under its second name.
pub(crate) fn fdrecv(program: &[&str]) -> Running {
    start(|path| {
        let mut command = Command::new(BINARY);
        command.arg0("/usr/local/bin/fdrecv").arg(path).args(program);
        command
    })
}

/// Starts what `command` says for a socket path; it listens when this returns.
pub(crate) fn start(command: impl FnOnce(&Path) -> Command) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exec.sock");
    let mut child =
        command(&path).env_remove("RUST_LOG").stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Read all the time: a program blocks when nobody empties its pipe.
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (lines, log) = mpsc::channel();
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    let running = Running { path, child, log, _directory: directory };
    running.log_line("listening on ");
    running
}

impl Running {
    /// Hands a new client over.
    pub(crate) fn hand_off(&self, data: &str) -> TcpStream {
        hand_off(&self.path, data.as_bytes())
    }

    /// Hands a new client over and reads its whole answer.
    pub(crate) fn ask(&self, data: &str) -> String {
        whole(self.hand_off(data))
    }

    /// Reads the log up to a line that contains `text`, and returns that line.
    pub(crate) fn log_line(&self, text: &str) -> String {
        loop {
            let line =
                self.log.recv_timeout(SOON).unwrap_or_else(|_| panic!("nothing in the log has {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Processes that it has started and not reaped, zombies included.
    pub(crate) fn children(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children"));
        tasks.map(|task| children(task.unwrap()).unwrap_or_default().split_ascii_whitespace().count()).sum()
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already. SIGTERM twice: at once, but its programs with it.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal(Signal::TERM);
            self.signal(Signal::INT);
        }
        let end = Instant::now() + SOON;
        while self.child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < end {
            std::thread::yield_now();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both ends of a TCP connection: the client's, and the one that Apache would have, non-blocking as Apache's are.
pub(crate) fn tcp_pair() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    let connection = listener.accept().unwrap().0;
    connection.set_nonblocking(true).unwrap();
    (client, connection.into())
}

/// A connection of the module.
pub(crate) fn connect(path: &Path) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

/// Does the module's part with a new client.
pub(crate) fn hand_off(path: &Path, data: &[u8]) -> TcpStream {
    let (client, connection) = tcp_pair();
    scm::send(connect(path), v1::encode(data), connection.as_fd(), Wait::Yes).unwrap();
    client
}

/// Everything up to the end of the connection. A reset is a failure.
pub(crate) fn whole(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// The next line that comes.
pub(crate) fn line(client: &TcpStream) -> String {
    let mut line = Vec::new();
    let mut client = client;
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

/// Whether a process with this id is still running; a zombie is not.
pub(crate) fn is_running(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

/// Asks again and again, with a deadline, until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        std::thread::yield_now();
    }
}
