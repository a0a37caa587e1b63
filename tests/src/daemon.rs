//! The streaming daemon, as it was built.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use handoff_protocol::SocketType;

use crate::process::Server;
use crate::receiver::listener;
use crate::sandbox::{built, last_lines, open_to_all, service_user};
use crate::wait::{PATIENCE, wait_until};

/// A running `streaming-daemon`.
#[derive(Debug)]
pub struct Daemon {
    socket: PathBuf,
    log: PathBuf,
    server: Server,
}

impl Daemon {
    /// Starts the daemon with `--socket` (`-s`) at `socket` and `arguments` after it, as Apache's user, and waits until
    /// it listens. Its log goes beside the socket.
    ///
    /// # Panics
    /// When it is not built or does not come up.
    #[must_use]
    pub fn start<A: AsRef<OsStr>>(
        socket: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self::start_with(socket, arguments, [])
    }

    /// As [`Daemon::start`], with `settings` in its environment, such as `("DAEMON_LOGGING_ACCESS_LOG", "stdout")`.
    ///
    /// # Panics
    /// As [`Daemon::start`].
    #[must_use]
    pub fn start_with<'e, A: AsRef<OsStr>>(
        socket: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
        settings: impl IntoIterator<Item = (&'e str, &'e str)>,
    ) -> Self {
        let socket = socket.into();
        let mut command = Command::new(program(&socket));
        command.arg("-s").arg(&socket).args(arguments).envs(settings);
        Self::run(socket, command, Stdio::null())
    }

    /// As [`Daemon::start_with`], on a socket that listens already and goes on doing so when the daemon ends, as with
    /// systemd. It is bound to `path`.
    ///
    /// # Panics
    /// As [`Daemon::start`].
    #[must_use]
    pub fn start_on<'e, A: AsRef<OsStr>>(
        socket: &OwnedFd,
        path: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
        settings: impl IntoIterator<Item = (&'e str, &'e str)>,
    ) -> Self {
        let path = path.into();
        let mut command = Command::new("sh");
        // sd_listen_fds(3): the first descriptor is 3, and the variables name the process.
        command.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null"]);
        command.arg(program(&path)).args(arguments).envs(settings);
        Self::run(path, command, socket.try_clone().expect("duplicating a socket").into())
    }

    /// A listening socket for [`Daemon::start_on`].
    #[must_use]
    pub fn socket_at(path: impl AsRef<Path>) -> OwnedFd {
        listener(path.as_ref(), SocketType::SeqPacket, 4096)
    }

    fn run(socket: PathBuf, mut command: Command, input: Stdio) -> Self {
        let log = socket.with_extension("log");
        if let Some(user) = service_user() {
            command.uid(user.uid).gid(user.gid);
        }
        let mut server = Server::spawn_with("streaming-daemon", &mut command, input, &log);
        wait_until(PATIENCE, "the daemon to listen", || {
            if let Some(status) = server.exit_status() {
                panic!(
                    "streaming-daemon ended with {status}: {}",
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
            }
            socket.exists() && server.listens_on_unix_socket()
        });
        Self { socket, log, server }
    }

    /// Where it receives handoffs.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Gives its log another name in the same directory: for a successor at the same path.
    ///
    /// # Panics
    /// When the file is not there.
    pub fn rename_log(&mut self, name: &str) {
        let renamed = self.log.with_file_name(name);
        std::fs::rename(&self.log, &renamed).expect("renaming a log");
        self.log = renamed;
    }

    /// Waits for `text` in its log.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str, limit: Duration) {
        wait_until(limit, &format!("{text:?} in the daemon's log"), || self.log().contains(text));
    }

    /// The process.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn server_mut(&mut self) -> &mut Server {
        &mut self.server
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.server.stop()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.server.wait(limit)
    }

    /// kill -9.
    #[track_caller]
    pub fn kill(&mut self) {
        self.server.kill();
    }
}

/// The daemon's program: what was built, or where Apache's user could not reach that (a clone in the home directory of
/// root), a copy beside the socket.
fn program(socket: &Path) -> PathBuf {
    let built = built("streaming-daemon");
    if service_user().is_none() || open_to_all(&built) {
        return built;
    }
    let copy = socket.with_file_name("streaming-daemon");
    if !copy.exists() {
        // Not by this process: a file that it has open for writing, and so a child that it starts meanwhile, cannot be
        // executed (ETXTBSY).
        let status = Command::new("cp").arg(&built).arg(&copy).status().expect("running cp");
        assert!(status.success(), "copying {} to {}: {status}", built.display(), copy.display());
    }
    copy
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", last_lines(&self.log()));
        }
    }
}
