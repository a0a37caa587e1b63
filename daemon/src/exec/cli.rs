//! The command lines of `streaming-daemon exec` and `fdrecv`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser};

use super::{Http, Options};
use crate::cli::{USAGE_ERROR, parse_mode};
use crate::config::AllowedUsers;

const DEFAULT_SOCKET: &str = "/var/run/streaming-daemon.sock";

/// The second name of the program, under which it takes `SOCKET PROGRAM ARGS…`.
const SECOND_NAME: &str = "fdrecv";

/// `streaming-daemon exec`
#[derive(Debug, Args)]
pub struct Flags {
    /// Unix socket (SOCK_SEQPACKET) on which handoffs arrive
    #[arg(short, long, value_name = "PATH", env = "DAEMON_SOCKET_PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,

    /// File mode of the socket, octal; Apache's user needs write permission
    #[arg(short, long, value_name = "OCTAL", default_value = "0660", value_parser = parse_mode)]
    mode: u32,

    /// Users who may hand off beside root and this one, by name or number, with commas between them
    #[arg(long, value_name = "USERS", env = "DAEMON_SERVER_ALLOWED_USERS", default_value = "www-data", value_parser = allowed_users)]
    allowed_users: AllowedUsers,

    /// Programs at the same time; further clients wait a moment for a place, then get 503
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,

    /// Seconds that a program may run; 0: as long as its client stays
    #[arg(long, value_name = "S", default_value = "0")]
    timeout: u32,

    /// Write status line, headers and framing for a program that only prints text
    #[arg(long)]
    http: bool,

    /// With --http: the Content-Type of what the program prints
    #[arg(long, value_name = "TYPE", default_value = super::PLAIN_TEXT, requires = "http", value_parser = field_value)]
    content_type: String,

    /// Log at level debug (else RUST_LOG decides, else info)
    #[arg(short, long)]
    debug: bool,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

/// Answers each handed-off client with a program of its own, whose standard input and output are the client's
/// connection, and whose environment has the handoff data as HANDOFF_DATA. `streaming-daemon exec --help` has options.
#[derive(Debug, Parser)]
#[command(name = "fdrecv", version)]
pub struct Fdrecv {
    /// Unix socket (SOCK_SEQPACKET) on which handoffs arrive
    socket: PathBuf,

    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

impl From<Flags> for Options {
    fn from(flags: Flags) -> Self {
        Self {
            max: flags.max as usize,
            time: (flags.timeout > 0).then(|| Duration::from_secs(flags.timeout.into())),
            http: flags.http.then_some(Http { content_type: flags.content_type }),
            debug: flags.debug,
            allowed_users: flags.allowed_users,
            ..Self::new(flags.socket, flags.mode, flags.command)
        }
    }
}

impl From<Fdrecv> for Options {
    fn from(flags: Fdrecv) -> Self {
        Self::new(flags.socket, 0o660, flags.command)
    }
}

/// When the program goes by its second name: what its arguments ask for, or the code to exit with after help or a usage
/// error was printed.
#[must_use]
pub fn by_second_name() -> Option<Result<Options, ExitCode>> {
    let name = std::env::args_os().next()?;
    if Path::new(&name).file_name() != Some(OsStr::new(SECOND_NAME)) {
        return None;
    }
    Some(Fdrecv::try_parse().map(Options::from).map_err(|error| {
        // Nothing is left to be done when even this cannot be printed.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(USAGE_ERROR) } else { ExitCode::SUCCESS }
    }))
}

fn allowed_users(text: &str) -> Result<AllowedUsers, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    Ok(AllowedUsers::of(names))
}

/// A field's value cannot hold line ends or other control characters (RFC 9110, section 5.5).
fn field_value(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(|c| c.is_control() || !c.is_ascii()) {
        return Err("a media type is ASCII without control characters, for example text/html".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: Flags,
    }

    fn exec(arguments: &[&str]) -> Result<Options, clap::Error> {
        let command = Command::try_parse_from([&["exec"], arguments].concat())?;
        Ok(command.flags.into())
    }

    #[test]
    fn what_comes_after_the_dashes_is_the_program() {
        let options =
            exec(&["-s", "/s", "--max", "3", "--timeout", "9", "--", "php", "-r", "--max"]).unwrap();
        assert_eq!(options.command, ["php", "-r", "--max"]);
        assert_eq!((options.max, options.time), (3, Some(Duration::from_secs(9))));
        assert!(options.http.is_none());
    }

    #[test]
    fn a_program_is_needed() {
        for wrong in [&[][..], &["--"], &["php"], &["--max", "0", "--", "x"]] {
            assert!(exec(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_content_type_has_no_line_end_and_needs_http() {
        assert!(exec(&["--http", "--content-type", "a\r\nb: c", "--", "x"]).is_err());
        assert!(exec(&["--content-type", "text/html", "--", "x"]).is_err());
        let options = exec(&["--http", "--content-type", "text/html", "--", "x"]).unwrap();
        assert_eq!(options.http.unwrap().content_type, "text/html");
    }

    #[test]
    fn the_second_name_takes_the_socket_and_the_program() {
        let flags = Fdrecv::try_parse_from(["fdrecv", "/s", "php", "-r", "x", "--", "-h"]).unwrap();
        let options = Options::from(flags);
        assert_eq!(options.command, ["php", "-r", "x", "--", "-h"]);
        assert_eq!(options.socket.to_str(), Some("/s"));
    }
}
