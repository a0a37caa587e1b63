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

use super::answer::Answer;

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
    /// None: it has ended.
    socket: Option<TcpStream>,
    /// When its connection was handed off, or its request was sent.
    started: Option<Instant>,
    /// From then to the first byte.
    first_byte: Option<Duration>,
    /// From then to the end of the first event.
    first_event: Option<Duration>,
    answer: Answer,
}

/// Clients whose answers are being read.
#[derive(Debug)]
pub struct Clients {
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// What each body has to be.
    wanted: Option<Vec<u8>>,
    begun: usize,
    answering: usize,
    ended: usize,
    events: u64,
    bytes: Vec<u8>,
}

impl Clients {
    /// Watches these connections.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn new(sockets: Vec<TcpStream>) -> Result<Self> {
        let mut clients = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::with_capacity(sockets.len()),
            wanted: None,
            begun: 0,
            answering: 0,
            ended: 0,
            events: 0,
            bytes: vec![0; 64 * 1024],
        };
        for socket in sockets {
            clients.add(socket)?;
        }
        Ok(clients)
    }

    /// Watches one more connection, and returns its number.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn add(&mut self, socket: TcpStream) -> Result<usize> {
        let index = self.clients.len();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(index as u64), flags)?;
        let answer = Answer::default();
        let socket = Some(socket);
        self.clients.push(Client { socket, started: None, first_byte: None, first_event: None, answer });
        Ok(index)
    }

    /// What the body of each answer has to be. It is compared as it comes.
    pub fn want(&mut self, body: Vec<u8>) {
        self.wanted = Some(body);
    }

    /// The clock of a client starts: its connection is handed off now.
    pub fn start(&mut self, index: usize) {
        self.clients[index].started = Some(Instant::now());
    }

    /// The connection of a client that has not ended.
    #[must_use]
    pub fn socket(&self, index: usize) -> Option<&TcpStream> {
        self.clients[index].socket.as_ref()
    }

    /// Reads until `end`.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn read_until(&mut self, end: Instant) -> Result<()> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            self.read(left)?;
            if left.is_zero() {
                return Ok(());
            }
        }
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

    /// Reads until every client has got its first event.
    ///
    /// # Errors
    /// When nothing comes any more.
    pub fn read_first_events(&mut self) -> Result<()> {
        while self.answering < self.clients.len() {
            let silent = self.clients.len() - self.answering;
            ensure!(self.read(PATIENCE)? > 0, "{silent} clients got no event");
        }
        Ok(())
    }

    /// Reads until no more than `left` connections have not ended.
    ///
    /// # Errors
    /// When nothing comes any more.
    pub fn read_down_to(&mut self, left: usize) -> Result<()> {
        while self.ended + left < self.clients.len() {
            ensure!(self.read(PATIENCE)? > 0, "{} streams hang", self.clients.len() - self.ended);
        }
        Ok(())
    }

    /// Reads until every connection has ended.
    ///
    /// # Errors
    /// When nothing comes any more.
    pub fn read_all(&mut self) -> Result<()> {
        self.read_down_to(0)
    }

    /// Events that came so far, of all clients.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Clients that got an event.
    #[must_use]
    pub fn answering(&self) -> usize {
        self.answering
    }

    /// Clients that have ended without exactly the body that they were to get, and those that have not ended.
    #[must_use]
    pub fn wrong(&self) -> usize {
        let right = |client: &&Client| {
            client.socket.is_none()
                && self.wanted.as_ref().map_or(client.answer.is_ok(), |wanted| client.answer.is(wanted))
        };
        self.clients.len() - self.clients.iter().filter(right).count()
    }

    /// Times from handoff to first byte, sorted.
    #[must_use]
    pub fn first_bytes(&self) -> Vec<Duration> {
        sorted(self.clients.iter().filter_map(|client| client.first_byte))
    }

    /// Times from handoff to first event, sorted.
    #[must_use]
    pub fn first_events(&self) -> Vec<Duration> {
        sorted(self.clients.iter().filter_map(|client| client.first_event))
    }

    /// Reads what is there within `time`. Returns from how many clients.
    fn read(&mut self, time: Duration) -> Result<usize> {
        let mut ready = Vec::with_capacity(256);
        let timeout = Timespec::try_from(time)?;
        let waited = epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&timeout));
        let now = Instant::now();
        for event in &ready {
            // A copy, as the kernel's structure is packed.
            let index = { event.data }.u64() as usize;
            self.read_one(index, now);
        }
        match waited {
            Err(Errno::INTR) => Ok(1),
            result => Ok(result.map(|_| ready.len())?),
        }
    }

    fn read_one(&mut self, index: usize, now: Instant) {
        let client = &mut self.clients[index];
        let Some(socket) = &client.socket else { return };
        let (read, _) = match rustix::net::recv(socket, &mut self.bytes[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => return,
            // An answer that breaks off is not what was wanted.
            Err(_) => {
                client.answer = Answer::default();
                (0, 0)
            }
            Ok(result) => result,
        };
        if read == 0 {
            // The daemon waits for our end before it closes its own.
            client.socket = None;
            self.ended += 1;
            return;
        }
        let since_start = client.started.map(|started| now.duration_since(started));
        if client.first_byte.is_none() && since_start.is_some() {
            client.first_byte = since_start;
            self.begun += 1;
        }
        let before = client.answer.events;
        client.answer.take(&self.bytes[..read], self.wanted.as_deref());
        self.events += client.answer.events - before;
        if before == 0 && client.answer.events > 0 {
            client.first_event = since_start;
            self.answering += 1;
        }
    }
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}
