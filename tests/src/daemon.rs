//! The streaming daemon, as it was built.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::process::Server;
use crate::sandbox::{built, open_to_all, service_user};
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
        let socket = socket.into();
        let log = socket.with_extension("log");
        let mut command = Command::new(program(&socket));
        command.arg("-s").arg(&socket).args(arguments);
        if let Some(user) = service_user() {
            command.uid(user.uid).gid(user.gid);
        }
        let mut server = Server::spawn("streaming-daemon", &mut command, &log);
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
            eprintln!("--- the daemon's log\n{}", self.log());
        }
    }
}
