//! The Unix sockets on which the module hands connections over: our own, or those that systemd passed on.

pub mod inherited;
mod socket_file;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use handoff_protocol::SocketType;
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::config::Server;
use crate::watched::watch;
use inherited::Inherited;
pub use socket_file::BindError;
use socket_file::SocketFile;

/// How long accepting rests when the system has run out of descriptors or memory.
pub(crate) const REST_AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// Where to listen, and who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// At most 107 bytes (`sun_path`, unix(7)).
    pub path: PathBuf,
    /// What kind of connections.
    pub socket_type: SocketType,
    /// File mode: who may write may hand off.
    pub mode: u32,
    /// Group of the file, by name or number; none leaves the process's own.
    pub group: Option<String>,
}

impl Endpoint {
    /// A SEQPACKET socket, whose file stays with the process's group.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, mode: u32) -> Self {
        Self { path: path.into(), socket_type: SocketType::SeqPacket, mode, group: None }
    }

    /// Where the configuration wants handoffs to arrive: the SEQPACKET socket first.
    #[must_use]
    pub fn handoffs(config: &Server) -> Vec<Self> {
        let with = |path: &PathBuf, socket_type| Self {
            path: path.clone(),
            socket_type,
            mode: config.socket_mode,
            group: config.socket_group.clone(),
        };
        let stream = config.stream_socket_path.as_ref().map(|path| with(path, SocketType::Stream));
        [with(&config.socket_path, SocketType::SeqPacket)].into_iter().chain(stream).collect()
    }
}

/// A connection of the module.
#[derive(Debug)]
pub struct Peer {
    /// Non-blocking and close-on-exec.
    pub connection: OwnedFd,
    /// How its message ends.
    pub socket_type: SocketType,
}

/// Listening sockets, and the files of those that are our own.
#[derive(Debug)]
pub struct Listener {
    /// Never empty.
    sockets: Vec<Socket<OwnedFd>>,
}

/// One of them.
#[derive(Debug)]
struct Socket<T> {
    /// None after [`Accepting::stop`], and when systemd made it. Dropped before the socket: as long as that lives, no
    /// other file can get the inode number that is compared.
    file: Option<SocketFile>,
    socket: T,
    socket_type: SocketType,
    path: PathBuf,
    /// systemd keeps it, and whoever connects to it waits there for our successor.
    inherited: bool,
}

impl Listener {
    /// Makes one socket file with its mode and group, and listens. A file that a daemon left behind is replaced.
    ///
    /// # Errors
    /// [`BindError`]; nothing of others is touched then.
    pub fn bind(endpoint: &Endpoint) -> Result<Self, BindError> {
        Self::bind_all(std::slice::from_ref(endpoint))
    }

    /// The same for several.
    ///
    /// # Errors
    /// [`BindError`]; those that were made before it are removed.
    pub fn bind_all(endpoints: &[Endpoint]) -> Result<Self, BindError> {
        let bind = |endpoint: &Endpoint| {
            let (socket, file) = socket_file::bind(endpoint)?;
            let path = endpoint.path.clone();
            Ok(Socket { file: Some(file), socket, socket_type: endpoint.socket_type, path, inherited: false })
        };
        Ok(Self { sockets: endpoints.iter().map(bind).collect::<Result<_, _>>()? })
    }

    /// Listens on what systemd passed on; where that is nothing, on what the configuration says.
    ///
    /// # Errors
    /// [`BindError`]
    pub fn open(inherited: Vec<Inherited>, config: &Server) -> Result<Self, BindError> {
        if inherited.is_empty() {
            return Self::bind_all(&Endpoint::handoffs(config));
        }
        let adopt = |from: Inherited| Socket {
            file: None,
            socket: from.socket,
            socket_type: from.socket_type,
            path: from.path,
            inherited: true,
        };
        Ok(Self { sockets: inherited.into_iter().map(adopt).collect() })
    }

    /// The path of the first socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.sockets[0].path
    }

    /// Starts accepting. To be called inside the runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub fn start(self) -> io::Result<Accepting> {
        let start = |from: Socket<OwnedFd>| {
            let socket = watch(from.socket, Interest::READABLE)?;
            let Socket { file, socket_type, path, inherited, .. } = from;
            Ok(Socket { file, socket, socket_type, path, inherited })
        };
        Ok(Accepting { sockets: self.sockets.into_iter().map(start).collect::<io::Result<_>>()?, turn: 0 })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, socket) in self.sockets.iter().enumerate() {
            let kind = if socket.socket_type == SocketType::Stream { " (SOCK_STREAM)" } else { "" };
            let from = if socket.inherited { " from systemd" } else { "" };
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{}{kind}{from}", socket.path.display())?;
        }
        Ok(())
    }
}

/// A listener inside the runtime.
#[derive(Debug)]
pub struct Accepting {
    sockets: Vec<Socket<AsyncFd<OwnedFd>>>,
    /// Which socket is asked first: each in turn, so that none waits for the other.
    turn: usize,
}

impl Accepting {
    /// The next connection.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM` and `ENOBUFS`: try again later. A connection that was closed in the queue is
    /// none: its message is still there.
    pub async fn accept(&mut self) -> Result<Peer, Errno> {
        std::future::poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<Peer, Errno>> {
        let count = self.sockets.len();
        self.turn = (self.turn + 1) % count;
        for index in 0..count {
            let from = &self.sockets[(self.turn + index) % count];
            while let Poll::Ready(readable) = from.socket.poll_read_ready(context) {
                let Ok(mut readable) = readable else { unreachable!("the runtime outlives its tasks") };
                match from.accept_now() {
                    Err(Errno::AGAIN) => readable.clear_ready(),
                    result => return Poll::Ready(result),
                }
            }
        }
        Poll::Pending
    }

    /// Ends listening so that no handoff is lost: nobody can connect any more, and those who had are still to be had
    /// from [`Accepting::accept_queued`]. Sockets of systemd go on listening; what waits there is the successor's.
    pub fn stop(&mut self) {
        for from in self.sockets.iter_mut().filter(|from| !from.inherited) {
            from.file = None;
            // From here on connect() says ECONNREFUSED, also to those who found the file before it went (Linux's
            // unix_stream_connect looks at the shutdown mask), and the queue can only shrink.
            let _ = rustix::net::shutdown(from.socket.get_ref(), Shutdown::Read);
        }
    }

    /// The next connection that is in a queue now.
    #[must_use]
    pub fn accept_queued(&self) -> Option<Peer> {
        self.sockets.iter().filter(|from| !from.inherited).find_map(|from| from.accept_now().ok())
    }
}

impl Socket<AsyncFd<OwnedFd>> {
    fn accept_now(&self) -> Result<Peer, Errno> {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(self.socket.get_ref(), flags) {
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Ok(connection) => return Ok(Peer { connection, socket_type: self.socket_type }),
                Err(errno) => return Err(errno),
            }
        }
    }
}
