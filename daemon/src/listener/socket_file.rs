//! The socket's file: made without a moment of wider permissions, replaced only when nobody listens on it, removed only
//! while it is ours.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags};

use super::Endpoint;
use crate::names;
use handoff_protocol::SocketType;

/// Connections that wait to be accepted. The kernel lowers it to `net.core.somaxconn` (4096 by default).
const BACKLOG: i32 = 65_535;

/// How long another daemon that starts at the same moment in the same directory may take.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// `sun_path` is an array of 108 bytes.
    #[error("the socket path {path:?} is {length} bytes long; a Unix socket's path has 1 to 107 bytes")]
    PathLength {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Somebody listens there.
    #[error("a daemon is listening on {0:?} already; stop it first, or choose another path with --socket")]
    Alive(PathBuf),
    /// It is something else.
    #[error(
        "{0:?} exists and is not a socket, so it is left alone; remove it yourself, or choose another path with --socket"
    )]
    NotASocket(PathBuf),
    /// The directory is missing.
    #[error("the directory of {0:?} does not exist; create it, or choose another path with --socket")]
    NoDirectory(PathBuf),
    /// The directory, or an old socket in it, is somebody else's.
    #[error(
        "no permission to create {0:?}; run as a user who may write to its directory, let systemd make one (RuntimeDirectory=), or choose another path with --socket"
    )]
    NoPermission(PathBuf),
    /// Nobody has heard of it.
    #[error("there is no group {0:?} in /etc/group; create it, or give its number (server.socket_group)")]
    NoGroup(String),
    /// Only root may give files to groups that it is not in.
    #[error(
        "no permission to give {path:?} to the group {group:?}; add the daemon's user to it, or let systemd make the socket (SocketGroup=)"
    )]
    ForeignGroup {
        /// The socket.
        path: PathBuf,
        /// Its group to be.
        group: String,
    },
    /// Anything else.
    #[error("cannot {attempt} {path:?}: {source}")]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A socket file that we made; removed when dropped, unless it is somebody else's by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: another file at the same path belongs to a successor.
    identity: Option<(u64, u64)>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Whoever removed it before us, or forbids it now, has the last word.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

pub(super) fn bind(endpoint: &Endpoint) -> Result<(OwnedFd, SocketFile), BindError> {
    let path = &endpoint.path;
    let length = path.as_os_str().len();
    let address = match SocketAddrUnix::new(path) {
        Ok(address) if (1..=107).contains(&length) => address,
        _ => return Err(BindError::PathLength { path: path.clone(), length }),
    };
    let error = |attempt| move |errno: Errno| explain(attempt, path, errno);

    let gid = match &endpoint.group {
        Some(name) => Some(names::group(name).ok_or_else(|| BindError::NoGroup(name.clone()))?),
        None => None,
    };
    let socket = new_socket(endpoint.socket_type).map_err(error("make a socket for"))?;
    // While the file is still with our own group, that one is not to have what the other shall have.
    let first_mode = if gid.is_some() { endpoint.mode & 0o700 } else { endpoint.mode };
    // The file gets the permissions of the socket's inode, less the umask (unix_bind_bsd in Linux's af_unix.c): it is
    // never wider than it shall be. What the umask took away is given back below.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(first_mode))
        .map_err(error("set the mode of the socket for"))?;

    // Two daemons that start at once must not both find the same dead file and remove each other's new one. Held until
    // this one listens: a socket that is bound and does not listen yet looks dead.
    let _lock = lock_directory(path)?;
    remove_dead_socket(path, &address)?;
    rustix::net::bind(&socket, &address).map_err(error("bind a socket to"))?;
    let file = SocketFile { path: path.clone(), identity: identity(path) };
    if let Some(gid) = gid {
        match rustix::fs::chownat(CWD, path, None, Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::PERM) => {
                let group = endpoint.group.clone().unwrap_or_default();
                return Err(BindError::ForeignGroup { path: path.clone(), group });
            }
            Err(errno) => return Err(explain("set the group of", path, errno)),
        }
    }
    let finish = || {
        fs::set_permissions(path, fs::Permissions::from_mode(endpoint.mode))?;
        Ok(rustix::net::listen(&socket, BACKLOG)?)
    };
    match finish() {
        Ok(()) => Ok((socket, file)),
        Err(source) => Err(BindError::Io { attempt: "listen on", path: path.clone(), source }),
    }
}

fn new_socket(socket_type: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socket_with(AddressFamily::UNIX, socket_type.into(), flags, None)
}

/// Removes what a daemon that is gone left at `path`; nothing else.
fn remove_dead_socket(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(_) => return Ok(()),
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    let probe =
        new_socket(SocketType::SeqPacket).map_err(|errno| explain("make a socket to probe", path, errno))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .map_err(|error| {
                explain("remove the dead socket", path, Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }),
        Err(Errno::NOENT) => Ok(()),
        // Its type is another (EPROTOTYPE), its queue is full (EAGAIN): somebody is there.
        Ok(()) | Err(Errno::PROTOTYPE | Errno::AGAIN) => Err(BindError::Alive(path.to_owned())),
        Err(errno) => Err(explain("probe the socket", path, errno)),
    }
}

/// Holds the directory's advisory lock until dropped. A directory that cannot be opened for reading (one may still be
/// allowed to write) goes without.
fn lock_directory(path: &Path) -> Result<Option<OwnedFd>, BindError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(directory, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(BindError::NoDirectory(path.to_owned())),
        Err(_) => return Ok(None),
    };
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(directory)),
            Err(Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            Err(errno) => return Err(explain("lock the directory of", path, errno)),
        }
    }
}

fn explain(attempt: &'static str, path: &Path, errno: Errno) -> BindError {
    let path = path.to_owned();
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => BindError::NoPermission(path),
        Errno::NOENT | Errno::NOTDIR => BindError::NoDirectory(path),
        Errno::ADDRINUSE => BindError::Alive(path),
        _ => BindError::Io { attempt, path, source: errno.into() },
    }
}
