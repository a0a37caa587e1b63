//! The Unix socket on which the module hands connections over.

mod socket_file;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::config::Server;
use crate::watched::watch;
pub use socket_file::BindError;
use socket_file::SocketFile;

/// Where to listen, and who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// At most 107 bytes (`sun_path`, unix(7)).
    pub path: PathBuf,
    /// File mode: who may write may hand off.
    pub mode: u32,
}

impl Endpoint {
    /// Where handoffs arrive.
    #[must_use]
    pub fn handoffs(config: &Server) -> Self {
        Self { path: config.socket_path.clone(), mode: config.socket_mode }
    }
}

/// A listening SEQPACKET socket and its file.
#[derive(Debug)]
pub struct Listener {
    /// Dropped before the socket: as long as that lives, no other file can get the inode number that is compared.
    file: SocketFile,
    socket: OwnedFd,
}

impl Listener {
    /// Makes the socket file with its mode, and listens. A file that a daemon left behind is replaced.
    ///
    /// # Errors
    /// [`BindError`]; nothing of others is touched then.
    pub fn bind(endpoint: &Endpoint) -> Result<Self, BindError> {
        let (socket, file) = socket_file::bind(endpoint)?;
        Ok(Self { socket, file })
    }

    /// The path of the socket file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Starts accepting. To be called inside the runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub fn start(self) -> io::Result<Accepting> {
        let socket = watch(self.socket, Interest::READABLE)?;
        Ok(Accepting { socket, file: Some(self.file) })
    }
}

/// A listener inside the runtime.
#[derive(Debug)]
pub struct Accepting {
    /// None after [`Accepting::stop`]. Dropped before the socket, as in [`Listener`].
    file: Option<SocketFile>,
    socket: AsyncFd<OwnedFd>,
}

impl Accepting {
    /// The next connection, non-blocking and close-on-exec.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM` and `ENOBUFS`: try again later. A connection that was closed in the queue is
    /// none: its message is still there.
    pub async fn accept(&self) -> Result<OwnedFd, Errno> {
        loop {
            let mut readable = match self.socket.readable().await {
                Ok(readable) => readable,
                Err(_) => unreachable!("the runtime outlives its tasks"),
            };
            match accept_now(self.socket.get_ref()) {
                Err(Errno::AGAIN) => readable.clear_ready(),
                result => return result,
            }
        }
    }

    /// Ends listening so that no handoff is lost: nobody can connect any more, and those who had are still to be had
    /// from [`Accepting::accept_queued`].
    pub fn stop(&mut self) {
        self.file = None;
        // From here on connect() says ECONNREFUSED, also to those who found the file before it went (Linux's
        // unix_stream_connect looks at the shutdown mask), and the queue can only shrink.
        let _ = rustix::net::shutdown(self.socket.get_ref(), Shutdown::Read);
    }

    /// The next connection that is in the queue now.
    #[must_use]
    pub fn accept_queued(&self) -> Option<OwnedFd> {
        accept_now(self.socket.get_ref()).ok()
    }
}

fn accept_now(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    loop {
        match rustix::net::accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            result => return result,
        }
    }
}
