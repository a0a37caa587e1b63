//! The handoff data as the program finds it: in the environment, or in a file that is already open.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};

use handoff_protocol::memory;
use rustix::fs::{Mode, OFlags};
use rustix::io::DupFlags;

/// Data up to this many bytes is in `HANDOFF_DATA`. The kernel takes 128 KiB for one variable (`MAX_ARG_STRLEN`), name
/// included.
const ENVIRONMENT_LIMIT: usize = 100 * 1024;

/// A descriptor's number under which a program inherits long data.
///
/// A descriptor without close-on-exec is inherited by whatever program is started, by any thread. So all are started
/// here, one at a time, and only one of them finds the data: that of another client never.
#[derive(Debug)]
pub struct Slot {
    /// `/dev/null`, except while a program is being started.
    inherited: Mutex<OwnedFd>,
    null: OwnedFd,
}

impl Slot {
    /// Takes the lowest number that is free.
    ///
    /// # Errors
    /// When `/dev/null` cannot be opened.
    pub fn new() -> io::Result<Self> {
        let null = || rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        Ok(Self { inherited: Mutex::new(null()?), null: null()? })
    }

    /// Starts `command` with `data`, which holds no NUL.
    pub(super) fn spawn(&self, command: &mut Command, data: &[u8]) -> io::Result<Child> {
        let mut inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
        if data.len() <= ENVIRONMENT_LIMIT {
            command.env("HANDOFF_DATA", OsStr::from_bytes(data)).env_remove("HANDOFF_DATA_FD");
            return command.spawn();
        }
        let file = memory::sealed(&[data])?;
        command.env_remove("HANDOFF_DATA").env("HANDOFF_DATA_FD", inherited.as_raw_fd().to_string());
        rustix::io::retry_on_intr(|| rustix::io::dup2(&file, &mut inherited))?;
        let child = command.spawn();
        rustix::io::retry_on_intr(|| rustix::io::dup3(&self.null, &mut inherited, DupFlags::CLOEXEC))?;
        child
    }
}
