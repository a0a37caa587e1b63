//! A daemon under test, and what the module and a client do to it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a module of tests, each of which uses some of it"
)]
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

pub mod process;
pub mod response;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use handoff_protocol::scm::{self, Wait};
use handoff_protocol::v1;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use streaming_daemon::{Config, Listener};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything may take that should happen at once, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(10);

/// A daemon in this process.
pub struct Daemon {
    pub path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Daemon {
    /// Starts one with a mock backend that does not pause, changed by `change`; it listens when this returns.
    pub fn start(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.sock");
        let mut config = Config { backend: mock(Duration::ZERO), ..Config::default() };
        config.server.socket_path.clone_from(&path);
        change(&mut config);
        let listener = Listener::open(Vec::new(), &config.server).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            streaming_daemon::serve(listener, config, shutdown).await.unwrap();
        });
        Self { path, stop: Some(stop), task, _directory: directory }
    }

    /// What the first signal does.
    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until it has ended.
    pub async fn ended(self) {
        tokio::time::timeout(SOON, self.task).await.unwrap().unwrap();
    }

    /// Hands a new client's connection over with `data`.
    pub fn hand_off(&self, data: &str) -> tokio::net::TcpStream {
        let client = hand_off(&self.path, data.as_bytes());
        client.set_nonblocking(true).unwrap();
        tokio::net::TcpStream::from_std(client).unwrap()
    }

    /// Hands a new client over and reads the whole response.
    pub async fn ask(&self, data: &str) -> response::Response {
        response::read(self.hand_off(data)).await
    }
}

pub fn mock(delay: Duration) -> streaming_daemon::config::Backend {
    streaming_daemon::config::Backend { token_delay: delay, ..Default::default() }
}

/// Both ends of a TCP connection: the client's, and the one that Apache would have.
pub fn tcp_pair() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0.into())
}

/// A connection to the daemon as the module makes it.
pub fn connect(path: &Path) -> OwnedFd {
    try_connect(path).unwrap()
}

/// The same, while the daemon may not listen yet.
pub fn try_connect(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Does the module's part with a new client.
pub fn hand_off(path: &Path, data: &[u8]) -> TcpStream {
    let (client, connection) = tcp_pair();
    hand_off_connection(path, data, connection);
    client
}

/// Does the module's part: one connection, one message.
pub fn hand_off_connection(path: &Path, data: &[u8], connection: OwnedFd) {
    hand_off_over(connect(path), data, connection);
}

/// The same over a connection that exists.
pub fn hand_off_over(module: OwnedFd, data: &[u8], connection: OwnedFd) {
    scm::send(module, v1::encode(data), connection.as_fd(), Wait::Yes).unwrap();
}

/// Asks again and again, with a deadline, until `condition` holds.
pub fn eventually(within: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        std::thread::yield_now();
    }
}
