//! Connecting to a daemon's Unix socket within a time limit, of whichever type the socket is.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use handoff_protocol::{SocketType, peer};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, connect, socket_with};

use crate::config::{Protocol, User};
use crate::refusal::Refusal;
use crate::socket_path::{self, PathError, SocketFile};

/// Wait before the first retry; it doubles with each further one.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(10);

/// A connection to a daemon, non-blocking unless connecting had to wait.
#[derive(Debug)]
pub(crate) struct DaemonConnection {
    pub(crate) socket: OwnedFd,
    pub(crate) kind: SocketType,
}

/// How far to go for a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For all attempts together.
    pub(crate) timeout: Duration,
    /// Attempts after the first, when the socket is missing or refuses.
    pub(crate) retries: u32,
}

/// Checks `path` against `prefix` and connects to it, with a type of socket that `protocol` can be spoken over.
///
/// A daemon that is just starting is waited for: a missing socket and a refused connection are tried again.
///
/// # Errors
/// A [`Refusal`] that says what is wrong with the path or with the daemon.
pub(crate) fn connect_below(
    prefix: &Path,
    path: &Path,
    protocol: Protocol,
    limits: Limits,
) -> Result<DaemonConnection, Refusal> {
    let deadline = Instant::now() + limits.timeout;
    let mut delay = FIRST_RETRY_DELAY;
    for attempt in 1.. {
        let failure = match attempt_once(prefix, path, protocol, deadline, limits.timeout) {
            Ok(connection) => return Ok(connection),
            Err(Attempt::Final(refusal)) => return Err(refusal),
            Err(failure) => failure,
        };
        let remaining = deadline.saturating_duration_since(Instant::now());
        if attempt > limits.retries || remaining < delay {
            return Err(failure.into_refusal(path, attempt));
        }
        std::thread::sleep(delay);
        delay *= 2;
    }
    unreachable!("the loop ends by returning")
}

/// How an attempt failed.
enum Attempt {
    /// The socket does not exist: the daemon may be about to create it.
    Missing,
    /// Nobody listens: the daemon may be about to.
    Refused,
    /// Trying again would not help.
    Final(Refusal),
}

impl Attempt {
    fn into_refusal(self, path: &Path, attempts: u32) -> Refusal {
        let path = path.to_owned();
        match self {
            Self::Missing => Refusal::DaemonMissing { path, attempts },
            Self::Refused => Refusal::DaemonRefused { path, attempts },
            Self::Final(refusal) => refusal,
        }
    }
}

fn attempt_once(
    prefix: &Path,
    path: &Path,
    protocol: Protocol,
    deadline: Instant,
    timeout: Duration,
) -> Result<DaemonConnection, Attempt> {
    let file = socket_path::open_below(prefix, path).map_err(|error| match error {
        PathError::Missing => Attempt::Missing,
        PathError::Outside => {
            Attempt::Final(Refusal::PathOutsidePrefix { path: path.to_owned(), prefix: prefix.to_owned() })
        }
        // Links in a circle, a name that no file system has: no daemon can come to be there.
        PathError::Failed(Errno::LOOP | Errno::NAMETOOLONG) => {
            Attempt::Final(Refusal::NotASocket(path.to_owned()))
        }
        PathError::Failed(errno) => Attempt::Final(failed(path, errno)),
    })?;
    connect_to_file(&file, path, protocol, deadline).map_err(|errno| match errno {
        // connect(2) has no error of its own for a file that is no socket, and looks at the permissions first.
        Errno::CONNREFUSED | Errno::ACCESS if !file.is_socket() => {
            Attempt::Final(Refusal::NotASocket(path.to_owned()))
        }
        Errno::CONNREFUSED => Attempt::Refused,
        Errno::NOENT => Attempt::Missing,
        Errno::PROTOTYPE if protocol == Protocol::Two => {
            Attempt::Final(Refusal::NotSeqPacket(path.to_owned()))
        }
        Errno::AGAIN => Attempt::Final(Refusal::ConnectTimeout { path: path.to_owned(), timeout }),
        errno => Attempt::Final(failed(path, errno)),
    })
}

fn failed(path: &Path, errno: Errno) -> Refusal {
    match errno {
        Errno::ACCESS | Errno::PERM => Refusal::PermissionDenied(path.to_owned()),
        errno => Refusal::DaemonFailed { path: path.to_owned(), errno },
    }
}

/// Connects with the type that was right last time, then with the other one. Protocol 2 has one type only.
fn connect_to_file(
    file: &SocketFile,
    path: &Path,
    protocol: Protocol,
    deadline: Instant,
) -> Result<DaemonConnection, Errno> {
    let address = SocketAddrUnix::new(file.connect_path().as_str())?;
    if protocol == Protocol::Two {
        return connect_as(SocketType::SeqPacket, &address, deadline);
    }
    let kind = STREAM_DAEMONS.kind_of(path);
    match connect_as(kind, &address, deadline) {
        Err(Errno::PROTOTYPE) => {
            let kind = kind.other();
            let connection = connect_as(kind, &address, deadline)?;
            STREAM_DAEMONS.remember(path, kind);
            Ok(connection)
        }
        result => result,
    }
}

/// Connects at once if there is room in the daemon's backlog, else waits for it until the deadline.
///
/// An AF_UNIX connect never is "in progress": on a full backlog a non-blocking one fails with EAGAIN, and poll(2) would
/// say nothing about it. Only a blocking connect waits, for as long as SO_SNDTIMEO says (unix(7), socket(7)).
fn connect_as(
    kind: SocketType,
    address: &SocketAddrUnix,
    deadline: Instant,
) -> Result<DaemonConnection, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, kind.into(), flags, None)?;
    match connect(&socket, address) {
        Ok(()) => return Ok(DaemonConnection { socket, kind }),
        Err(Errno::AGAIN) => {}
        Err(errno) => return Err(errno),
    }
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(Errno::AGAIN);
        }
        block_for(&socket, remaining)?;
        match connect(&socket, address) {
            Ok(()) => return Ok(DaemonConnection { socket, kind }),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Refuses a daemon that runs as somebody else than `user`.
///
/// # Errors
/// [`Refusal::WrongUser`]; [`Refusal::DaemonFailed`] if the kernel does not tell.
pub(crate) fn check_user(socket: &OwnedFd, path: &Path, user: &User) -> Result<(), Refusal> {
    match peer::credentials(socket) {
        Ok(peer) if peer.uid == user.uid => Ok(()),
        Ok(peer) => {
            let (path, expected) = (path.to_owned(), user.name.clone());
            Err(Refusal::WrongUser { path, expected, uid: peer.uid })
        }
        Err(errno) => Err(failed(path, errno)),
    }
}

/// Makes `socket` blocking, with `timeout` for connecting and sending.
pub(crate) fn block_for(socket: &OwnedFd, timeout: Duration) -> Result<(), Errno> {
    // A zero would mean "for ever".
    set_socket_timeout(socket, Timeout::Send, Some(timeout.max(Duration::from_millis(1))))?;
    rustix::io::ioctl_fionbio(socket, false)
}

/// The daemons that listen with SOCK_STREAM. All others are taken for SOCK_SEQPACKET.
static STREAM_DAEMONS: StreamDaemons = StreamDaemons(Mutex::new(VecDeque::new()));

/// Paths at which a SOCK_STREAM daemon was found, newest last. It saves an attempt and no more, so the application,
/// which chooses the paths, may push entries out.
struct StreamDaemons(Mutex<VecDeque<PathBuf>>);

impl StreamDaemons {
    const MOST: usize = 64;

    fn kind_of(&self, path: &Path) -> SocketType {
        if self.lock().iter().any(|known| known == path) { SocketType::Stream } else { SocketType::SeqPacket }
    }

    fn remember(&self, path: &Path, kind: SocketType) {
        let mut paths = self.lock();
        paths.retain(|known| known != path);
        if kind == SocketType::Stream {
            if paths.len() == Self::MOST {
                paths.pop_front();
            }
            paths.push_back(path.to_owned());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{bind, listen};

    const LIMITS: Limits = Limits { timeout: Duration::from_millis(150), retries: 2 };

    fn listener(path: &Path, kind: SocketType, backlog: i32) -> OwnedFd {
        let socket = socket_with(AddressFamily::UNIX, kind.into(), SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        listen(&socket, backlog).unwrap();
        socket
    }

    #[test]
    fn the_type_of_the_socket_is_found_out_and_remembered_both_ways() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d.sock");
        for kind in [SocketType::Stream, SocketType::SeqPacket, SocketType::Stream] {
            let listener = listener(&path, kind, 5);
            assert_eq!(connect_below(directory.path(), &path, Protocol::One, LIMITS).unwrap().kind, kind);
            assert_eq!(STREAM_DAEMONS.kind_of(&path), kind);
            drop(listener);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_full_backlog_times_out_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d.sock");
        let _listener = listener(&path, SocketType::SeqPacket, 0);
        let _first = connect_below(directory.path(), &path, Protocol::One, LIMITS).unwrap();
        let start = Instant::now();
        let refusal = connect_below(directory.path(), &path, Protocol::One, LIMITS).unwrap_err();
        assert!(matches!(refusal, Refusal::ConnectTimeout { .. }), "{refusal}");
        assert!(start.elapsed() >= LIMITS.timeout, "it gave up early, after {:?}", start.elapsed());
    }

    #[test]
    fn a_daemon_that_starts_late_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d.sock");
        let late = path.clone();
        let limits = Limits { timeout: Duration::from_secs(20), retries: 10 };
        let starter = std::thread::spawn(move || listener(&late, SocketType::SeqPacket, 5));
        connect_below(directory.path(), &path, Protocol::One, limits).unwrap();
        starter.join().unwrap();
    }

    #[test]
    fn what_cannot_be_reached_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d.sock");
        let refusal = |path: &Path| connect_below(directory.path(), path, Protocol::One, LIMITS).unwrap_err();
        assert_eq!(refusal(&path), Refusal::DaemonMissing { path: path.clone(), attempts: 3 });
        drop(listener(&path, SocketType::SeqPacket, 5));
        assert_eq!(refusal(&path), Refusal::DaemonRefused { path: path.clone(), attempts: 3 });
        let circle = directory.path().join("circle");
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        let impossible = directory.path().join("x".repeat(256));
        for path in [directory.path(), &circle, &impossible] {
            assert_eq!(refusal(path), Refusal::NotASocket(path.to_owned()));
        }
    }

    #[test]
    fn protocol_2_needs_a_socket_that_keeps_messages_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d.sock");
        let _listener = listener(&path, SocketType::Stream, 5);
        let refusal = connect_below(directory.path(), &path, Protocol::Two, LIMITS).unwrap_err();
        assert_eq!(refusal, Refusal::NotSeqPacket(path));
    }

    #[test]
    fn a_daemon_of_another_user_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d.sock");
        let _listener = listener(&path, SocketType::SeqPacket, 5);
        let socket = connect_below(directory.path(), &path, Protocol::Two, LIMITS).unwrap().socket;
        let uid = rustix::process::geteuid().as_raw();
        let user = |uid| User { name: "streamer".into(), uid };
        assert_eq!(check_user(&socket, &path, &user(uid)), Ok(()));
        let expected = "streamer".into();
        let refusal = Refusal::WrongUser { path: path.clone(), expected, uid };
        assert_eq!(check_user(&socket, &path, &user(uid + 1)), Err(refusal));
    }

    #[test]
    fn retries_end_with_the_timeout() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d.sock");
        let limits = Limits { timeout: Duration::from_millis(25), retries: 10 };
        let refusal = connect_below(directory.path(), &path, Protocol::One, limits).unwrap_err();
        assert!(matches!(refusal, Refusal::DaemonMissing { attempts: 1..=2, .. }), "{refusal}");
    }
}
