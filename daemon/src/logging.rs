//! The log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::Logging;

/// What `level` lets through: a level, or directives as in `RUST_LOG`.
///
/// # Errors
/// When it is neither.
pub fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(level)
}

/// The log of a subcommand, which reads no configuration: level debug if asked for, else what `RUST_LOG` says, else info.
#[must_use]
pub fn for_command(debug: bool) -> Logging {
    let mut config = Logging::default();
    if debug {
        "debug".clone_into(&mut config.level);
    } else if let Ok(level) = std::env::var(EnvFilter::DEFAULT_ENV) {
        config.level = level;
    }
    config
}

/// Starts logging. Prompts and answers are never logged; at info nothing of the handoff data is but its identifiers.
pub fn init(config: &Logging) {
    let filter = filter(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
