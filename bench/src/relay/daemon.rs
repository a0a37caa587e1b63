//! The daemon that relays, in one build or another.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::mock::Mock;
use crate::streams::process::Daemon;

/// A build of the daemon.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it is called in the report.
    pub label: String,
    /// The file.
    pub path: PathBuf,
}

impl Program {
    /// Starts it with its default settings and the API `mock` behind it.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(&self, directory: &Path, mock: &Mock) -> Result<Daemon> {
        let mut command = Command::new(&self.path);
        command
            .args(["--backend", "openai", "--openai-base", &mock.base_url()])
            .env("OPENAI_API_KEY", "none")
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1");
        Daemon::start_as(directory, command)
    }
}
