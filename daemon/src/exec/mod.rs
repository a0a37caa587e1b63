//! Any program as handler: `streaming-daemon exec`, `fdrecv`.
//!
//! | what | where |
//! |---|---|
//! | the command lines | [`cli`] |
//! | accepting, waiting for a place, draining | [`server`] |
//! | one client, from the handoff to the log line | `handler` |
//! | its program: a process group that is always ended and reaped | `program` |
//! | the handoff data as the program finds it | `data` |
//! | the request as the program finds it, by protocol 2 | `cgi` |
//! | whether the client is still there, while its socket is the program's | `presence` |
//! | `--http`: what the program prints as an HTTP response | `output` |
//! | standard error, line by line into the log | `stderr` |

mod cgi;
pub mod cli;
mod data;
mod handler;
mod output;
mod presence;
mod program;
pub mod server;
mod stderr;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::Access;

use crate::config::AllowedUsers;
use crate::{logging, shutdown};
pub use data::Slot;
pub use server::serve;

/// What `--http` says of a program's output, unless told otherwise.
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Unix socket on which handoffs arrive.
    pub socket: PathBuf,
    /// Its file mode.
    pub mode: u32,
    /// Who may hand off.
    pub allowed_users: AllowedUsers,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Programs at the same time.
    pub max: usize,
    /// How long a client waits for a place when all are taken. Then it gets 503.
    pub wait_for_place: Duration,
    /// From the start of a program to SIGTERM; `None`: as long as the client stays.
    pub time: Option<Duration>,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// From the shutdown signal to SIGTERM for the programs that still run.
    pub shutdown: Duration,
    /// Write an HTTP response around what the program prints.
    pub http: Option<Http>,
    /// Log at level debug.
    pub debug: bool,
}

/// The response around a program's output.
#[derive(Clone, Debug)]
pub struct Http {
    /// Its media type.
    pub content_type: String,
}

impl Default for Http {
    fn default() -> Self {
        Self { content_type: PLAIN_TEXT.to_owned() }
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new(socket: PathBuf, mode: u32, command: Vec<OsString>) -> Self {
        Self {
            socket,
            mode,
            allowed_users: AllowedUsers::default(),
            command,
            max: 100,
            wait_for_place: Duration::from_secs(5),
            time: None,
            grace: Duration::from_secs(5),
            shutdown: Duration::from_secs(120),
            http: None,
            debug: false,
        }
    }
}

/// Runs the command until SIGTERM or SIGINT, and drains.
#[must_use]
pub fn main(options: Options) -> ExitCode {
    // First, so that the descriptor of handoff data gets a low number: shells can name those below 10 only.
    let slot = Slot::new();
    let _log = logging::init(&logging::for_command(options.debug));
    let slot = match slot {
        Ok(slot) => slot,
        Err(error) => return failure(&format!("/dev/null cannot be opened: {error}")),
    };
    if let Some(missing) = options.allowed_users.missing() {
        tracing::warn!("--allowed-users: there is no user {missing:?} on this system");
    }
    let program = &options.command[0];
    if find(Path::new(program)).is_none() {
        return failure(&format!("{program:?} is no program that may be run; give its path, or see PATH"));
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&format!("the runtime does not start: {error}")),
    };
    runtime.block_on(async {
        let (first, second) = match shutdown::signals() {
            Ok(signals) => signals,
            Err(error) => return failure(&format!("signal handlers cannot be installed: {error}")),
        };
        tokio::select! {
            result = serve(options, slot, first) => match result {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failure(&error.to_string()),
            },
            // Dropping the runtime drops every program's owner, which kills it.
            () = second => failure("second signal: ending at once, the programs still running are killed"),
        }
    })
}

fn failure(message: &str) -> ExitCode {
    tracing::error!("{message}");
    ExitCode::FAILURE
}

/// The file that execvp(3) would take.
fn find(program: &Path) -> Option<PathBuf> {
    let may_be_run = |path: &Path| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    if program.components().count() > 1 || program.is_absolute() {
        return may_be_run(program).then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| may_be_run(file))
}
