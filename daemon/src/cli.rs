//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::config::{Backend, Config, Mock, Socket};

/// `EX_USAGE` of sysexits.h: the command was used wrongly. systemd can be told not to restart on it.
const USAGE_ERROR: u8 = 64;

/// Answers client connections that Apache's mod_socket_handoff has handed off, with Server-Sent Events.
#[derive(Debug, Parser)]
#[command(name = "streaming-daemon", version)]
pub struct Flags {
    /// Unix socket (SOCK_SEQPACKET) on which handoffs arrive
    #[arg(short, long, value_name = "PATH", default_value = "/var/run/streaming-daemon.sock")]
    pub socket: PathBuf,

    /// File mode of the socket, octal; Apache's user needs write permission
    #[arg(short, long, value_name = "OCTAL", default_value = "0660", value_parser = parse_mode)]
    pub mode: u32,

    /// What answers the prompts
    #[arg(short, long, value_enum, default_value = "mock")]
    pub backend: BackendName,

    /// Mock backend: milliseconds between two words
    #[arg(long, value_name = "MS", default_value = "50")]
    pub delay: u64,

    /// Streams at the same time; more are answered with 503
    #[arg(long, value_name = "N", default_value = "100000", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// Log at level debug (else RUST_LOG decides, else info)
    #[arg(short, long)]
    pub debug: bool,
}

/// The backends by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum BackendName {
    /// Says the prompt back, a word at a time; needs no network
    Mock,
}

impl Flags {
    /// The configuration that the flags ask for; what has no flag keeps its default.
    #[must_use]
    pub fn into_config(self) -> Config {
        Config {
            socket: Socket { path: self.socket, mode: self.mode },
            backend: match self.backend {
                BackendName::Mock => Backend::Mock(Mock { delay: Duration::from_millis(self.delay) }),
            },
            max_connections: self.max_connections as usize,
            ..Config::default()
        }
    }
}

/// Parses the process's command line. `--help` and `--version` are printed here.
///
/// # Errors
/// The code to exit with: 0 after `--help` and `--version`, 64 after a usage error, which was printed.
pub fn parse() -> Result<Flags, ExitCode> {
    Flags::try_parse().map_err(|error| {
        // Nothing is left to be done when even this cannot be printed.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(USAGE_ERROR) } else { ExitCode::SUCCESS }
    })
}

fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("a mode is octal, from 0000 to 0777, for example 0660".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
        Flags::try_parse_from([&["streaming-daemon"], arguments].concat()).map(Flags::into_config)
    }

    #[test]
    fn without_flags_the_defaults_hold() {
        assert_eq!(parse(&[]).unwrap(), Config::default());
    }

    #[test]
    fn a_mode_is_octal() {
        assert_eq!(parse(&["-m", "0600"]).unwrap().socket.mode, 0o600);
        assert_eq!(parse(&["-m", "666"]).unwrap().socket.mode, 0o666);
        for wrong in ["0888", "1777", "-1", "rw", ""] {
            assert!(parse(&["--mode", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_backend_is_a_usage_error_that_names_the_known_ones() {
        let error = parse(&["-b", "opnai"]).unwrap_err();
        assert!(error.use_stderr());
        assert!(error.to_string().contains("mock"), "{error}");
    }

    #[test]
    fn at_least_one_connection_is_allowed() {
        assert!(parse(&["--max-connections", "0"]).is_err());
    }
}
