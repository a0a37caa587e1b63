//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::config::Sources;
use crate::config::kinds::{FileMode, Kind, Raw};
use crate::exec;

/// `EX_USAGE` of sysexits.h: the command was used wrongly. systemd can be told not to restart on it.
pub const USAGE_ERROR: u8 = 64;

/// `EX_CONFIG` of sysexits.h: the file or the environment has to be changed first.
pub const CONFIG_ERROR: u8 = 78;

/// Answers client connections that Apache's mod_socket_handoff has handed off, with Server-Sent Events.
#[derive(Debug, Parser)]
#[command(name = "streaming-daemon", version, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    /// Something else than answering handoffs.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to answer them.
    #[command(flatten)]
    pub serve: Serve,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// About the configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Answers each handed-off client with a program of its own
    ///
    /// Its standard input and output are the client's connection. The handoff data is in the environment as
    /// HANDOFF_DATA, empty when there is none; above 100 KiB it is in a file instead, which is open as the descriptor
    /// HANDOFF_DATA_FD. What the program writes to standard error goes to the log. It is ended, with all that it has
    /// started, when the client leaves.
    Exec(exec::cli::Flags),
    /// Hands one end of a socket pair to a daemon and prints the answer
    ///
    /// A test without Apache. Prints head and body as they come, without the framing of chunks. Exits with 0 when the
    /// answer was complete: a 200 whose last event is "done".
    Send(commands::send::Flags),
    /// Shows how a running daemon is doing
    Status(commands::status::Flags),
}

/// `streaming-daemon config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Prints a configuration file with every key, its meaning and its default
    Example,
}

/// Flags of the daemon itself. Values are checked where those of the file are.
#[derive(Debug, Default, Args)]
pub struct Serve {
    /// Configuration file (TOML); flags and environment win over it
    #[arg(value_name = "CONFIG")]
    pub file: Option<PathBuf>,

    /// Unix socket (SOCK_SEQPACKET) on which handoffs arrive [default: /var/run/streaming-daemon.sock]
    #[arg(short, long, value_name = "PATH")]
    pub socket: Option<String>,

    /// What answers: mock, typing, openai, openai-responses, anthropic, or one of the file's [default: mock]
    #[arg(short, long, value_name = "NAME")]
    pub backend: Option<String>,

    /// File mode of the socket, octal; Apache's user needs write permission [default: 0660]
    #[arg(short, long, value_name = "OCTAL")]
    pub mode: Option<String>,

    /// Log at level debug
    #[arg(short, long)]
    pub debug: bool,

    /// Mock backend: milliseconds between two words [default: 50]
    #[arg(long, value_name = "MS", allow_hyphen_values = true)]
    pub delay: Option<String>,

    /// For measurements: no metrics, and a summary at the end
    #[arg(long)]
    pub benchmark: bool,

    /// Streams at the same time; more are answered with 503 [default: 100000]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub max_connections: Option<String>,

    /// Base URL of the OpenAI API [default: https://api.openai.com/v1]
    #[arg(long, value_name = "URL")]
    pub openai_base: Option<String>,

    /// Events: text, json or raw [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Prints each setting in effect and where it came from, and ends
    #[arg(long)]
    pub check_config: bool,
}

impl Serve {
    /// Where the settings come from: these flags, the file they name, and `environment`.
    #[must_use]
    pub fn sources(&self, environment: Vec<(String, String)>) -> Sources {
        let text = |value: &Option<String>| value.clone();
        let when = |set: bool, value: &str| set.then(|| value.to_owned());
        let flags = [
            ("--socket", "server.socket_path", text(&self.socket)),
            ("--mode", "server.socket_mode", text(&self.mode)),
            ("--max-connections", "server.max_connections", text(&self.max_connections)),
            ("--backend", "backend.provider", text(&self.backend)),
            ("--delay", "backend.token_delay_ms", text(&self.delay)),
            ("--openai-base", "backend.openai.api_base", text(&self.openai_base)),
            ("--format", "sse.format", text(&self.format)),
            ("--debug", "logging.level", when(self.debug, "debug")),
            ("--benchmark", "metrics.enabled", when(self.benchmark, "false")),
        ];
        Sources {
            file: self.file.clone(),
            environment,
            flags: flags.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value?))).collect(),
            benchmark: self.benchmark,
            only_checks: self.check_config,
        }
    }
}

/// Parses the process's command line. `--help` and `--version` are printed here.
///
/// # Errors
/// The code to exit with: 0 after `--help` and `--version`, 64 after a usage error, which was printed.
pub fn parse() -> Result<CommandLine, ExitCode> {
    CommandLine::try_parse().map_err(|error| {
        // Nothing is left to be done when even this cannot be printed.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(USAGE_ERROR) } else { ExitCode::SUCCESS }
    })
}

/// An octal file mode, for subcommands with a socket of their own.
///
/// # Errors
/// When it is none.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    FileMode::read(&Raw::Untyped(text.to_owned())).map_err(|expected| format!("a mode is {expected}"))
}

/// The environment, as far as it is text.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    fn parse(arguments: &[&str]) -> Result<Config, ConfigError> {
        let line = CommandLine::try_parse_from([&["streaming-daemon"], arguments].concat()).unwrap();
        line.serve.sources(Vec::new()).load().map(|loaded| loaded.config)
    }

    #[test]
    fn without_flags_the_defaults_hold() {
        assert_eq!(parse(&[]).unwrap(), Config::default());
    }

    #[test]
    fn a_mode_is_octal() {
        assert_eq!(parse(&["-m", "0600"]).unwrap().server.socket_mode, 0o600);
        assert_eq!(parse(&["-m", "666"]).unwrap().server.socket_mode, 0o666);
        for wrong in ["0888", "1777", "rw", ""] {
            assert!(parse(&["--mode", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_backend_is_a_usage_error_that_names_the_known_ones() {
        let error = parse(&["-b", "opnai"]).unwrap_err();
        assert!(error.is_usage());
        assert!(error.to_string().contains("has to be \"mock\" or \"typing\" or \"openai\""), "{error}");
        assert!(error.to_string().ends_with("; did you mean \"openai\"?"), "{error}");
    }

    #[test]
    fn at_least_one_connection_is_allowed() {
        assert!(parse(&["--max-connections", "0"]).is_err());
    }
}
