//! Many clients of one process: one thread, one epoll.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use handoff_protocol::scm::{self, Wait};
use handoff_protocol::v1;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};

/// Without any event for so long, something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both ends of a new TCP connection: the client's, and the one that Apache would have.
///
/// # Errors
/// Too many open files, most likely.
pub fn tcp_pair(listener: &TcpListener) -> Result<(TcpStream, OwnedFd)> {
    let client =
        TcpStream::connect(listener.local_addr()?).context("connecting; is RLIMIT_NOFILE too low?")?;
    let (connection, _) = listener.accept()?;
    connection.set_nonblocking(true)?;
    connection.set_nodelay(true)?;
    Ok((client, connection.into()))
}

/// A listener for [`tcp_pair`].
///
/// # Errors
/// Those of bind(2).
pub fn listener() -> Result<TcpListener> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)
}

/// Does the module's part for `connection`.
///
/// # Errors
/// When the daemon cannot be reached.
pub fn hand_off(daemon: &Path, data: &[u8], connection: &OwnedFd) -> Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(daemon)?).context("connecting to the daemon")?;
    scm::send(socket, v1::encode(data), connection.as_fd(), Wait::Yes)?;
    Ok(())
}

/// What is known of one client.
#[derive(Debug)]
struct Client {
    socket: TcpStream,
    /// When its connection was handed off.
    started: Option<Instant>,
    /// From then to the first byte.
    first_byte: Option<Duration>,
    /// Ends of events that came: empty lines.
    events: u64,
    /// The last byte that came: an empty line may come in two pieces.
    last: u8,
    ended: bool,
}

/// Clients whose answers are being read.
#[derive(Debug)]
pub struct Clients {
    epoll: OwnedFd,
    clients: Vec<Client>,
    begun: usize,
    ended: usize,
}

impl Clients {
    /// Watches these connections.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn new(sockets: Vec<TcpStream>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, socket) in sockets.iter().enumerate() {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
            epoll::add(&epoll, socket, epoll::EventData::new_u64(index as u64), flags)?;
        }
        let client =
            |socket| Client { socket, started: None, first_byte: None, events: 0, last: 0, ended: false };
        Ok(Self { epoll, clients: sockets.into_iter().map(client).collect(), begun: 0, ended: 0 })
    }

    /// The clock of a client starts: its connection is handed off now.
    pub fn start(&mut self, index: usize) {
        self.clients[index].started = Some(Instant::now());
    }

    /// Reads until `end`, or until every client has got its first byte if that is earlier.
    ///
    /// # Errors
    /// When nothing comes any more.
    pub fn read_until(&mut self, end: Instant) -> Result<()> {
        while self.begun < self.clients.len() {
            let left = end.saturating_duration_since(Instant::now());
            self.read(left)?;
            if left.is_zero() {
                break;
            }
        }
        Ok(())
    }

    /// Reads until every client has got its first byte.
    ///
    /// # Errors
    /// When nothing comes any more.
    pub fn read_first_bytes(&mut self) -> Result<()> {
        while self.begun < self.clients.len() {
            ensure!(self.read(PATIENCE)? > 0, "{} clients got nothing", self.clients.len() - self.begun);
        }
        Ok(())
    }

    /// Reads until every connection has ended.
    ///
    /// # Errors
    /// When nothing comes any more.
    pub fn read_all(&mut self) -> Result<()> {
        while self.ended < self.clients.len() {
            ensure!(self.read(PATIENCE)? > 0, "{} streams hang", self.clients.len() - self.ended);
        }
        Ok(())
    }

    /// Events that came so far, of all clients.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.clients.iter().map(|client| client.events).sum()
    }

    /// Times from handoff to first byte, sorted.
    #[must_use]
    pub fn first_bytes(&self) -> Vec<Duration> {
        let mut times: Vec<_> = self.clients.iter().filter_map(|client| client.first_byte).collect();
        times.sort_unstable();
        times
    }

    /// Reads what is there within `time`. Returns from how many clients.
    fn read(&mut self, time: Duration) -> Result<usize> {
        let mut ready = Vec::with_capacity(1024);
        let timeout = Timespec::try_from(time)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&timeout)) {
            Err(Errno::INTR) => return Ok(1),
            result => result?,
        };
        let now = Instant::now();
        for event in &ready {
            // A copy, as the kernel's structure is packed.
            let index = { event.data }.u64() as usize;
            self.read_one(index, now)?;
        }
        Ok(ready.len())
    }

    fn read_one(&mut self, index: usize, now: Instant) -> Result<()> {
        let client = &mut self.clients[index];
        let mut bytes = [0; 16 * 1024];
        let (read, _) = match rustix::net::recv(&client.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            result => result.with_context(|| format!("reading the answer of client {index}"))?,
        };
        if read == 0 {
            epoll::delete(&self.epoll, &client.socket)?;
            // The daemon waits for our end before it closes its own.
            client.socket.shutdown(std::net::Shutdown::Both).or_else(ignore_not_connected)?;
            self.ended += usize::from(!std::mem::replace(&mut client.ended, true));
            return Ok(());
        }
        if let (None, Some(started)) = (client.first_byte, client.started) {
            client.first_byte = Some(now.duration_since(started));
            self.begun += 1;
        }
        for byte in &bytes[..read] {
            client.events += u64::from(*byte == b'\n' && client.last == b'\n');
            client.last = *byte;
        }
        Ok(())
    }
}

fn ignore_not_connected(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotConnected { Ok(()) } else { Err(error) }
}
