//! Sockets that systemd passed on (`LISTEN_FDS`, sd_listen_fds(3)).

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use handoff_protocol::SocketType;
use listenfd::ListenFd;
use rustix::net::sockopt;

/// `AF_UNIX` and the two types, as getsockopt(2) tells them.
const UNIX: i32 = 1;
const SOCK_STREAM: i32 = 1;
const SOCK_SEQPACKET: i32 = 5;

/// A listening socket that is not our own.
#[derive(Debug)]
pub struct Inherited {
    pub(super) socket: OwnedFd,
    pub(super) socket_type: SocketType,
    pub(super) path: PathBuf,
}

/// A descriptor was passed on that nobody can hand off to.
#[derive(Debug, thiserror::Error)]
#[error(
    "descriptor {index} from systemd is no listening Unix socket of type SOCK_SEQPACKET or SOCK_STREAM; \
     use ListenSequentialPacket= or ListenStream= with a path in the .socket unit"
)]
pub struct Unusable {
    /// From 0.
    index: usize,
}

/// Takes the sockets over, once, and takes their variables out of the environment. To be called while the process has
/// one thread.
///
/// # Errors
/// [`Unusable`]
pub fn take() -> Result<Vec<Inherited>, Unusable> {
    let mut passed = ListenFd::from_env();
    (0..passed.len()).map(|index| take_one(&mut passed, index).ok_or(Unusable { index })).collect()
}

/// The type decides, not the order: both types can come from one unit.
fn take_one(passed: &mut ListenFd, index: usize) -> Option<Inherited> {
    let mut take = |kind| passed.take_custom::<OwnedFd>(index, UNIX, kind, "Unix socket").ok().flatten();
    let (socket, socket_type) = match take(SOCK_SEQPACKET) {
        Some(socket) => (socket, SocketType::SeqPacket),
        None => (take(SOCK_STREAM)?, SocketType::Stream),
    };
    if !sockopt::socket_acceptconn(&socket).ok()? {
        return None;
    }
    rustix::io::ioctl_fionbio(&socket, true).ok()?;
    let address = rustix::net::SocketAddrUnix::try_from(rustix::net::getsockname(&socket).ok()?).ok()?;
    let path = address.path_bytes().map(|path| String::from_utf8_lossy(path).into_owned());
    Some(Inherited { socket, socket_type, path: path.unwrap_or_default().into() })
}
