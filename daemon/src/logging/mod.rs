//! The log, on standard error.
//!
//! Prompts and answers are never logged; at info nothing of the handoff data is but its identifiers.

mod seldom;
mod writer;

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogFormat, Logging};
pub use seldom::Seldom;
use writer::Writer;

/// What our own lines are called in directives.
const TARGET: &str = "streaming_daemon";

/// What those of the daemon were called that this one replaces: `RUST_LOG=streaming_daemon_rs=debug` goes on working.
const FORMER_TARGET: &str = "streaming_daemon_rs";

/// What `level` lets through: a level, or directives as in `RUST_LOG`.
///
/// # Errors
/// When it is neither.
pub fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(level.replace(FORMER_TARGET, TARGET))
}

/// Whether `level` is one, or directives. A single word that is no level would be the target of some other program,
/// and silence everything.
#[must_use]
pub fn is_level(level: &str) -> bool {
    let a_level_or_ours = |word: &str| {
        word.contains('=') || word.starts_with(TARGET) || word.trim().parse::<LevelFilter>().is_ok()
    };
    // ASCII: the parser of directives panics at some other texts (tracing-subscriber 0.3.23).
    level.is_ascii() && !level.is_empty() && level.split(',').all(a_level_or_ours) && filter(level).is_ok()
}

/// The log of a subcommand, which reads no configuration: level debug if asked for, else what `RUST_LOG` says, else
/// info.
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

/// The log of the process. To be kept until its end: dropping it waits a moment for the last lines.
#[derive(Debug)]
#[must_use = "the last lines are written when this is dropped"]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    writer: Writer,
}

/// Starts logging. Once for each process; a second log stays silent.
pub fn init(config: &Logging) -> Log {
    let writer = Writer::start(std::io::stderr());
    let lines = writer.lines();
    let now = filter(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(now);
    let layer = fmt::layer().with_writer(move || lines.clone()).with_target(false);
    let layer = match config.format {
        LogFormat::Pretty => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_target(true).boxed(),
    };
    // An error means that there is a log already.
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
    Log { filter: handle, writer }
}

impl Log {
    /// From now on this level. It was checked with the rest of the configuration.
    pub fn set_level(&self, level: &str) {
        if let Ok(filter) = filter(level) {
            // An error means that the log is gone.
            let _ = self.filter.reload(filter);
        }
    }

    /// Lines that were dropped so far, since whoever reads standard error is slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.writer.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_told_from_slips() {
        for good in [
            "info",
            "WARN",
            "off",
            "info,streaming_daemon::relay=debug",
            "streaming_daemon_rs=debug",
            "streaming_daemon",
        ] {
            assert!(is_level(good), "{good}");
        }
        for wrong in ["loud", "inof", "", "info,dbug", "info,x=loud", "U￣=={d"] {
            assert!(!is_level(wrong), "{wrong}");
        }
        assert_eq!(filter("streaming_daemon_rs=debug").unwrap().to_string(), "streaming_daemon=debug");
    }
}
