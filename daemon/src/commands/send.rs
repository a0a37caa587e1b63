//! `streaming-daemon send`: hands one end of a socket pair to a daemon and prints the answer. The operator's test
//! without Apache.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use handoff_protocol::SocketType;
use handoff_protocol::scm::{self, Wait};
use handoff_protocol::v1;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags};

use super::answer::Answer;

/// `streaming-daemon send`
#[derive(Debug, Args)]
pub struct Flags {
    /// The daemon's socket
    #[arg(
        short,
        long,
        value_name = "PATH",
        env = "DAEMON_SOCKET_PATH",
        default_value = "/var/run/streaming-daemon.sock"
    )]
    socket: PathBuf,

    /// Seconds of silence after which to give up; 0: never
    #[arg(long, value_name = "S", default_value = "60")]
    timeout: u64,

    /// The handoff data, for example '{"prompt":"Hello"}'; "-" reads it from standard input; none: none is sent
    data: Option<String>,
}

/// Why there is no complete answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the handoff data cannot be read from standard input: {0}")]
    Data(io::Error),
    #[error("no daemon listens on {0:?}; is it running, and is this its socket?")]
    NobodyListens(PathBuf),
    #[error("no permission to connect to {0:?}; run as Apache's user, or as one of the socket's group")]
    NoPermission(PathBuf),
    #[error("the handoff data is {0} bytes long, more than one message can carry")]
    TooLong(usize),
    #[error("handing off to {0:?} failed: {1}")]
    HandOff(PathBuf, Errno),
    #[error("nothing more has come for {0:?}")]
    Silence(Duration),
    #[error("reading the answer failed: {0}")]
    Read(io::Error),
    #[error("the answer cannot be printed: {0}")]
    Print(io::Error),
    #[error("{0}")]
    Incomplete(&'static str),
}

/// Runs the command.
#[must_use]
pub fn main(flags: &Flags) -> ExitCode {
    super::exit_code(run(flags))
}

fn run(flags: &Flags) -> Result<(), Failure> {
    let data = match flags.data.as_deref() {
        Some("-") => {
            let mut data = Vec::new();
            io::stdin().read_to_end(&mut data).map_err(Failure::Data)?;
            data.truncate(data.trim_ascii_end().len());
            data
        }
        data => data.unwrap_or_default().as_bytes().to_vec(),
    };
    let mut client = hand_off(&flags.socket, &data)?;
    let patience = (flags.timeout > 0).then(|| Duration::from_secs(flags.timeout));
    client.set_read_timeout(patience).map_err(Failure::Read)?;

    let mut answer = Answer::default();
    let mut bytes = [0; 16 * 1024];
    loop {
        let read = match client.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Failure::Silence(patience.unwrap_or_default()));
            }
            Err(error) => return Err(Failure::Read(error)),
        };
        let mut out = io::stdout().lock();
        out.write_all(&answer.push(&bytes[..read])).and_then(|()| out.flush()).map_err(Failure::Print)?;
    }
    answer.end().map_err(Failure::Incomplete)
}

/// Does the module's part. Returns the client's end.
fn hand_off(path: &Path, data: &[u8]) -> Result<UnixStream, Failure> {
    let failure = |errno| match errno {
        Errno::NOENT | Errno::CONNREFUSED => Failure::NobodyListens(path.to_owned()),
        Errno::ACCESS | Errno::PERM => Failure::NoPermission(path.to_owned()),
        Errno::MSGSIZE => Failure::TooLong(data.len()),
        errno => Failure::HandOff(path.to_owned(), errno),
    };
    let (client, connection) = UnixStream::pair().map_err(Failure::Read)?;
    // As Apache's: the flag belongs to the open connection and travels with it.
    connection.set_nonblocking(true).map_err(Failure::Read)?;
    let daemon = connect(path).map_err(failure)?;
    let message = v1::encode(data);
    let sent = scm::send(&daemon, message, connection.as_fd(), Wait::Yes).map_err(failure)?;
    let mut rest = &message[sent..];
    while !rest.is_empty() {
        // SOCK_STREAM, interrupted: the descriptor has gone with the first byte.
        let sent = rustix::net::send(&daemon, rest, rustix::net::SendFlags::NOSIGNAL).map_err(failure)?;
        rest = &rest[sent..];
    }
    Ok(client)
}

/// Connects to either type of socket, as the module does.
fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let connect = |kind: SocketType| {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind.into(), SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &address).map(|()| socket)
    };
    match connect(SocketType::SeqPacket) {
        Err(Errno::PROTOTYPE) => connect(SocketType::Stream),
        result => result,
    }
}
