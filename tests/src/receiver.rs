//! Daemons that a test plays itself: they receive handoffs by protocol 1, or fail to.

use std::fs;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use handoff_protocol::SocketType;
use handoff_protocol::v1::{self, ReceiveError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, accept_with, bind, connect, listen, socket_with,
};

use crate::wait::PATIENCE;

/// More than a SEQPACKET message can hold at the kernel's default SO_SNDBUF.
const LONGEST_MESSAGE: usize = 256 * 1024;

/// How often a serving thread looks whether it should end.
pub(crate) const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// A daemon in the test's own process: a listening Unix socket. Dropping it closes and removes the socket.
#[derive(Debug)]
pub struct Receiver {
    path: PathBuf,
    kind: SocketType,
    socket: OwnedFd,
}

impl Receiver {
    /// Listens at `path` as a SEQPACKET daemon; what was there before is replaced.
    #[must_use]
    pub fn bind(path: impl Into<PathBuf>) -> Self {
        Self::bind_as(path, SocketType::SeqPacket)
    }

    /// Listens at `path` with a socket of type `kind`.
    ///
    /// # Panics
    /// When the path can't be bound.
    #[must_use]
    pub fn bind_as(path: impl Into<PathBuf>, kind: SocketType) -> Self {
        let path = path.into();
        let socket = listener(&path, kind, 4096);
        Self { path, kind, socket }
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next handoff.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`], or something else than a handoff does.
    #[track_caller]
    pub fn receive(&self) -> Received {
        self.try_receive(PATIENCE)
            .expect("no handoff came to the receiver")
            .unwrap_or_else(|error| panic!("not a handoff: {error}"))
    }

    /// The next connection's handoff, or what was wrong with it; `None` when there is no connection within `limit`.
    ///
    /// # Panics
    /// When a system call fails that never should.
    pub fn try_receive(&self, limit: Duration) -> Option<Result<Received, ReceiveError>> {
        let connection = self.accept(limit)?;
        let mut receiver = v1::Receiver::new(self.kind, LONGEST_MESSAGE);
        let mut scratch = vec![0; LONGEST_MESSAGE];
        loop {
            if !readable(&connection, PATIENCE) {
                return Some(Err(ReceiveError::Io(rustix::io::Errno::TIMEDOUT)));
            }
            match receiver.receive(&connection, &mut scratch) {
                Ok(None) => {}
                Ok(Some(handoff)) => return Some(Ok(Received::new(handoff.data, handoff.client))),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Accepts a connection and does not read from it; `None` when there is none within `limit`.
    ///
    /// # Panics
    /// When accept(2) fails.
    #[must_use]
    pub fn accept(&self, limit: Duration) -> Option<OwnedFd> {
        readable(&self.socket, limit)
            .then(|| accept_with(&self.socket, SocketFlags::CLOEXEC).expect("accepting a connection"))
    }

    /// Answers every handoff with `respond`, each in turn, in a thread that ends with the returned value. For answers
    /// that take their time let `respond` start a thread.
    ///
    /// # Panics
    /// The thread does, at what is not a handoff; dropping the returned value passes that on.
    #[must_use]
    pub fn serve(self, respond: impl Fn(Received) + Send + 'static) -> Serving {
        let path = self.path.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&count));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Some(received) = self.try_receive(STOP_INTERVAL) {
                    let received = received.unwrap_or_else(|error| panic!("not a handoff: {error}"));
                    counter.fetch_add(1, Ordering::Relaxed);
                    respond(received);
                }
            }
        });
        Serving { path, stop, count, thread: Some(thread) }
    }
}

/// For poll(2): when a connection can be accepted.
impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A [`Receiver`] that answers in the background.
#[derive(Debug)]
pub struct Serving {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Handoffs received so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let result = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(!matches!(result, Some(Err(_))), "the receiver's thread panicked");
        }
    }
}

/// A handoff: the client's connection is ours now.
#[derive(Debug)]
pub struct Received {
    /// The application's data, as in `X-Handoff-Data`; empty for none.
    pub data: Vec<u8>,
    /// The client, in blocking mode. (A virtual client is an AF_UNIX socket: reading and writing work on it all the
    /// same, questions about addresses do not.)
    pub client: TcpStream,
}

impl Received {
    pub(crate) fn new(data: Vec<u8>, client: OwnedFd) -> Self {
        let client = TcpStream::from(client);
        client.set_nonblocking(false).expect("making the client's socket blocking");
        Self { data, client }
    }

    /// The data as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.data).expect("handoff data in UTF-8")
    }

    /// Answers with 200, `text/event-stream` and `body`, ended by closing the connection.
    ///
    /// # Panics
    /// When the client has gone.
    pub fn respond(mut self, body: impl AsRef<[u8]>) {
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
        self.send(body);
        self.close();
    }

    /// Writes bytes to the client.
    ///
    /// # Panics
    /// When the client has gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.client.write_all(bytes.as_ref()).expect("writing to the client");
    }

    /// Ends the connection as its one owner has to: the FIN goes out even if a copy of the descriptor is somewhere.
    pub fn close(self) {
        let _ = self.client.shutdown(Shutdown::Write);
    }
}

/// A daemon that hangs: its socket listens, nothing is ever accepted and its backlog is full.
#[derive(Debug)]
pub struct HungReceiver {
    path: PathBuf,
    _socket: OwnedFd,
    _waiting: Vec<OwnedFd>,
}

impl HungReceiver {
    /// Listens at `path` and fills the backlog.
    ///
    /// # Panics
    /// When the path can't be bound.
    #[must_use]
    pub fn bind(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let socket = listener(&path, SocketType::SeqPacket, 1);
        let mut waiting = Vec::new();
        loop {
            let client = unix_socket(SocketType::SeqPacket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
            match connect(&client, &address(&path)) {
                Ok(()) => waiting.push(client),
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => panic!("filling the backlog of {}: {error}", path.display()),
            }
        }
        Self { path, _socket: socket, _waiting: waiting }
    }

    /// Where it does not answer.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for HungReceiver {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

pub(crate) fn listener(path: &Path, kind: SocketType, backlog: i32) -> OwnedFd {
    let _ = fs::remove_file(path);
    let socket = unix_socket(kind, SocketFlags::CLOEXEC);
    bind(&socket, &address(path)).unwrap_or_else(|error| panic!("binding {}: {error}", path.display()));
    // Apache's workers run as another user when the tests run as root.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
        .expect("opening the socket to Apache's user");
    listen(&socket, backlog).expect("listening");
    socket
}

fn unix_socket(kind: SocketType, flags: SocketFlags) -> OwnedFd {
    socket_with(AddressFamily::UNIX, kind.into(), flags, None).expect("making a Unix socket")
}

fn address(path: &Path) -> SocketAddrUnix {
    SocketAddrUnix::new(path).unwrap_or_else(|error| panic!("{} as a socket's path: {error}", path.display()))
}

/// Whether something can be read (end of file included) within `limit`.
fn readable(socket: impl AsFd, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).expect("a limit that fits");
    let mut fds = [PollFd::new(&socket, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit))).expect("polling a socket") > 0
}
