//! A private Apache httpd: configured by [`Builder`], running as [`Apache`].

mod builder;
mod install;
mod status;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

pub use builder::Builder;

use crate::mpm::Mpm;
use crate::php::PhpFpm;
use crate::process::{Server, cpu_ticks, open_files};
use crate::sandbox::{Sandbox, last_lines};
use crate::wait::{PATIENCE, wait_until};

/// What Apache logs when a start or restart is complete.
const STARTED: &str = "resuming normal operations";

/// A running Apache with a sandbox of its own. Dropping it ends all its processes and removes the sandbox; after a
/// failed test it prints the error log first.
#[derive(Debug)]
pub struct Apache {
    mpm: Mpm,
    addr: SocketAddr,
    tls_addr: Option<SocketAddr>,
    // Dropped in this order: Apache before the PHP that it calls, the directory last.
    server: Server,
    php: Option<PhpFpm>,
    sandbox: Sandbox,
}

impl Apache {
    /// A configuration to fill.
    #[must_use]
    pub fn builder(mpm: Mpm) -> Builder {
        Builder::new(mpm)
    }

    /// Which MPM it runs.
    #[must_use]
    pub fn mpm(&self) -> Mpm {
        self.mpm
    }

    /// Where it answers HTTP.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it answers HTTPS.
    ///
    /// # Panics
    /// Without [`Builder::tls`].
    #[must_use]
    pub fn tls_addr(&self) -> SocketAddr {
        self.tls_addr.expect("built with tls()")
    }

    /// The address of a page: `http://127.0.0.1:PORT` and `path`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Its files.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The directory that holds everything of this server.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.sandbox.path()
    }

    /// A path for a socket below the allowed prefix.
    #[must_use]
    pub fn socket_path(&self, name: &str) -> PathBuf {
        self.sandbox.socket_path(name)
    }

    /// Writes a file into the document root of the running server.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.sandbox.write(name, content)
    }

    /// The error log so far.
    #[must_use]
    pub fn error_log(&self) -> String {
        self.sandbox.log("error.log")
    }

    /// The access log so far, one line a request: address, request, status, bytes, state, `handoff=` and the note.
    #[must_use]
    pub fn access_log(&self) -> String {
        self.sandbox.log("access.log")
    }

    /// Waits for `text` in the error log.
    ///
    /// # Panics
    /// When it does not come within `limit`.
    #[track_caller]
    pub fn wait_for_error_log(&self, text: &str, limit: Duration) {
        wait_until(limit, &format!("{text:?} in the error log"), || self.error_log().contains(text));
    }

    /// Waits for a line of the access log with `text`, and returns it. Apache writes it when the request has been
    /// answered, so it can come after the client has everything.
    ///
    /// # Panics
    /// When it does not come within `limit`.
    #[track_caller]
    pub fn wait_for_access_log(&self, text: &str, limit: Duration) -> String {
        let mut line = None;
        wait_until(limit, &format!("{text:?} in the access log"), || {
            line = self.access_log().lines().find(|line| line.contains(text)).map(str::to_owned);
            line.is_some()
        });
        line.expect("it was found")
    }

    /// The server process.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn server_mut(&mut self) -> &mut Server {
        &mut self.server
    }

    /// The php-fpm that it calls.
    ///
    /// # Panics
    /// Without [`Builder::php_fpm`].
    #[must_use]
    pub fn php(&self) -> &PhpFpm {
        self.php.as_ref().expect("built with php_fpm()")
    }

    /// The processes of its workers (and the one of mod_cgid, where CGI is on).
    #[must_use]
    pub fn children(&self) -> Vec<i32> {
        self.server.children()
    }

    /// Open files of all children together.
    #[must_use]
    pub fn open_files_of_children(&self) -> usize {
        self.children().into_iter().map(open_files).sum()
    }

    /// Processor time of all children together, in clock ticks (hundredths of a second).
    #[must_use]
    pub fn cpu_ticks_of_children(&self) -> u64 {
        self.children().into_iter().map(cpu_ticks).sum()
    }

    /// Workers that are busy with something else than this question.
    #[must_use]
    pub fn busy_workers(&self) -> usize {
        status::read(self.addr).map_or(0, |status| status.busy.saturating_sub(1))
    }

    /// Waits until every worker is free.
    ///
    /// # Panics
    /// When one is not within `limit`.
    #[track_caller]
    pub fn wait_until_idle(&self, limit: Duration) {
        wait_until(limit, "all workers to be free", || {
            status::read(self.addr).is_some_and(|status| status.busy <= 1)
        });
    }

    /// SIGUSR1, and waits until new children serve with the configuration as it is now.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn graceful_restart(&self) {
        let starts = self.starts();
        let old = self.children();
        self.server.signal(Signal::USR1);
        wait_until(PATIENCE, "the graceful restart", || {
            self.starts() > starts
                && self.children().iter().any(|child| !old.contains(child))
                && status::read(self.addr).is_some()
        });
    }

    /// SIGWINCH: no new connections, those that are open are served; waits for the end.
    ///
    /// # Panics
    /// When it goes on for longer than `limit`.
    #[track_caller]
    pub fn graceful_stop(&mut self, limit: Duration) -> ExitStatus {
        self.server.signal(Signal::WINCH);
        self.server.wait(limit)
    }

    /// SIGTERM: children end at once; waits for the end.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.server.stop()
    }

    fn starts(&self) -> usize {
        self.error_log().matches(STARTED).count()
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- error log of {}\n{}--- access log\n{}",
                self.mpm,
                last_lines(&self.error_log()),
                last_lines(&self.access_log())
            );
        }
    }
}
