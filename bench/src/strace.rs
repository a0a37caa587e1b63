//! An strace on a process that runs already.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::wait_until;
use rustix::process::{Pid, Signal, kill_process};

/// How long strace may take to attach, and to end.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An strace that has attached.
#[derive(Debug)]
pub struct Strace(Child);

impl Strace {
    /// Attaches to the process `pid`; what strace has to report goes to `report`, and what it says of itself beside it.
    ///
    /// # Errors
    /// When strace is not there.
    ///
    /// # Panics
    /// When it does not attach.
    pub fn attach(pid: i32, options: &[&str], report: &Path) -> Result<Self> {
        let said = report.with_file_name("strace.err");
        let child = Command::new("strace")
            .args(options)
            .args([OsStr::new("-o"), report.as_os_str()])
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said)?)
            .spawn()
            .context("starting strace; run: make setup")?;
        wait_until(PATIENCE, "strace to attach", || {
            fs::read_to_string(&said).is_ok_and(|said| said.contains("attached"))
        });
        Ok(Self(child))
    }

    /// Ends it, and waits until its report is written.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn end(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::INT)?;
        self.0.wait()?;
        Ok(())
    }
}
