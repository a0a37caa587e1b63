//! A program under way: a process group of its own that is ended as a whole, and reaped.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use super::cgi::Variables;
use super::{data, stderr};
use crate::watched::watch;

/// How long the log waits for the end of standard error after the program's end. Only a process that has left the
/// group can still hold it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a program's standard input and output are.
pub(super) enum Streams {
    /// Both the client's connection.
    Client { input: OwnedFd, output: OwnedFd },
    /// Nothing, and a pipe that we read.
    Piped,
}

/// A program that runs, or has run and is not reaped yet. Dropping it kills its group.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    group: Pid,
    /// Readable once the program, the leader of its group, has ended (pidfd_open(2)).
    ended: AsyncFd<OwnedFd>,
    log: JoinHandle<()>,
    reaped: bool,
}

impl Program {
    /// Starts `command` with `data`, and with `variables` of the request.
    pub(super) fn start(
        command: &[OsString],
        streams: Streams,
        data: &[u8],
        variables: Option<Variables>,
        slot: &data::Slot,
    ) -> io::Result<Self> {
        let mut started = Command::new(&command[0]);
        started.args(&command[1..]).stderr(Stdio::piped()).process_group(0);
        if let Some(variables) = variables {
            variables.set(&mut started);
        }
        match streams {
            Streams::Client { input, output } => started.stdin(input).stdout(output),
            Streams::Piped => started.stdin(Stdio::null()).stdout(Stdio::piped()),
        };
        let mut child = slot.spawn(&mut started, data)?;
        let group = Pid::from_child(&child);
        match watch_child(&mut child, group) {
            Ok((ended, log)) => Ok(Self { child, group, ended, log, reaped: false }),
            Err(error) => {
                // Too many open files, most likely. What cannot be watched must not run.
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// The reading end of standard output, once, when it is a pipe.
    pub(super) fn output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Completes when the program has ended. Others of its group may still run.
    pub(super) async fn ended(&self) {
        // An error means that the runtime is going, and this task with it.
        if let Ok(mut ended) = self.ended.readable().await {
            ended.retain_ready();
        }
    }

    /// Ends what still runs: SIGTERM for the group; SIGKILL after `grace`, or as soon as the program itself has ended.
    /// Reaps it.
    pub(super) async fn end(mut self, grace: Duration) -> io::Result<ExitStatus> {
        // The group's id is its leader's: ours until that is reaped, even when it has ended already.
        let patience = async {
            if self.child_is_running() {
                let _ = kill_process_group(self.group, Signal::TERM);
            }
            self.ended().await;
        };
        let _ = tokio::time::timeout(grace, patience).await;
        let _ = kill_process_group(self.group, Signal::KILL);
        self.ended().await;
        let status = self.child.wait();
        self.reaped = true;
        if tokio::time::timeout(LAST_WORDS, &mut self.log).await.is_err() {
            self.log.abort();
        }
        status
    }

    /// Without reaping it.
    fn child_is_running(&self) -> bool {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.reaped {
            self.log.abort();
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

fn watch_child(child: &mut Child, pid: Pid) -> io::Result<(AsyncFd<OwnedFd>, JoinHandle<()>)> {
    let ended = watch(pidfd_open(pid, PidfdFlags::empty())?, Interest::READABLE)?;
    let pipe = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let log = tokio::spawn(stderr::log(stderr::receiver(pipe)?, pid.as_raw_nonzero().get()));
    Ok((ended, log))
}
