//! The command line of `bench-relay`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::daemon::Program;
use crate::streams::process::sibling;

/// What can be measured, in the order of the report.
pub const MEASUREMENTS: [&str; 8] = ["paced", "first", "burst", "calls", "memory", "limit", "all", "instead"];

const USAGE: &str = "usage: bench-relay [--only NAME,…] [--rounds N] [--daemon [LABEL=]PATH]…";

/// What to measure, and how.
#[derive(Debug)]
pub struct Options {
    /// Names of measurements.
    pub only: Vec<String>,
    /// How often what is noisy is measured; the median counts.
    pub rounds: usize,
    /// Whose figures are wanted. The first one's are held against the bars.
    pub daemons: Vec<Program>,
}

impl Options {
    /// Reads the command line, without the program's name.
    ///
    /// # Errors
    /// When it is wrong, or the daemon is not built.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options =
            Self { only: MEASUREMENTS.map(str::to_owned).to_vec(), rounds: 3, daemons: Vec::new() };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{flag} needs a value; {USAGE}"))?;
            match flag.as_str() {
                "--only" => options.only = value.split(',').map(str::to_owned).collect(),
                "--rounds" => options.rounds = value.parse().context(USAGE)?,
                "--daemon" => options.daemons.push(program(&value)?),
                _ => bail!("{flag} is unknown; {USAGE}"),
            }
        }
        for name in &options.only {
            ensure!(MEASUREMENTS.contains(&name.as_str()), "{name} is none of {}", MEASUREMENTS.join(", "));
        }
        ensure!(options.rounds > 0, "at least one round is needed");
        if options.daemons.is_empty() {
            let path = sibling("streaming-daemon")?;
            options.daemons.push(Program { label: "daemon".into(), path });
        }
        Ok(options)
    }

    /// Whether this measurement is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.only.iter().any(|wanted| wanted == name)
    }
}

/// Of `LABEL=PATH`, or of a path, which is its own label.
fn program(text: &str) -> Result<Program> {
    let (label, path) = text.split_once('=').unwrap_or((text, text));
    let path = PathBuf::from(path);
    ensure!(path.exists(), "{} does not exist", path.display());
    Ok(Program { label: label.to_owned(), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options> {
        Options::parse(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn two_builds_can_be_compared() {
        let options = parse(&["--daemon", "old=/bin/sh", "--daemon", "/bin/ls", "--only", "burst"]).unwrap();
        let labels: Vec<_> = options.daemons.iter().map(|daemon| daemon.label.as_str()).collect();
        assert_eq!(labels, ["old", "/bin/ls"]);
        assert!(options.wants("burst") && !options.wants("paced"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in [&["--only", "fast"][..], &["--only"], &["--rounds", "0"], &["--x", "1"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
