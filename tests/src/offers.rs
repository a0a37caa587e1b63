//! A daemon of protocol 2 that a test plays itself: what it answers, and whether it does, is the test's to say.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use handoff_protocol::SocketType;
use handoff_protocol::incoming::{self, Incoming};
use handoff_protocol::v1::ReceiveError;
use handoff_protocol::v2::offer::Limits;
use handoff_protocol::v2::{self, Answer, Envelope, Offer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use crate::receiver::{Received, STOP_INTERVAL, listener};
use crate::wait::PATIENCE;

/// More than is sent in one message: what is longer travels in a file.
const LONGEST_MESSAGE: usize = 256 * 1024;

/// Nothing that a test sends is too long.
const LIMITS: Limits = Limits { envelope: 16 << 20, payload: 2 << 30, pre_read: 16 << 20 };

/// A listening SEQPACKET socket, and the connections that the modules keep to it. Dropping it closes all of them and
/// removes the socket.
#[derive(Debug)]
pub struct Offers {
    path: PathBuf,
    socket: OwnedFd,
    kept: Kept,
    accepted: AtomicUsize,
}

/// Connections on which a message may come.
type Kept = Arc<Mutex<Vec<OwnedFd>>>;

fn lock(kept: &Kept) -> MutexGuard<'_, Vec<OwnedFd>> {
    kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Offers {
    /// Listens at `path`; what was there before is replaced.
    #[must_use]
    pub fn bind(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let socket = listener(&path, SocketType::SeqPacket, 4096);
        Self { path, socket, kept: Kept::default(), accepted: AtomicUsize::new(0) }
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Connections that were accepted so far, those that have ended included.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that nobody has closed yet, as far as it was noticed, without those that wait for an answer.
    #[must_use]
    pub fn open(&self) -> usize {
        lock(&self.kept).len()
    }

    /// Closes the kept connections, as a daemon that restarts: what waits in them is lost unread.
    pub fn close_kept(&self) {
        lock(&self.kept).clear();
    }

    /// The next handoff, which waits for its answer.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`], or something else than a handoff of protocol 2 does.
    #[track_caller]
    pub fn receive(&self) -> Offered {
        self.try_receive(PATIENCE).expect("no handoff came to the daemon")
    }

    /// The next handoff; `None` when there is none within `limit`.
    ///
    /// # Panics
    /// When something else than a handoff of protocol 2 comes.
    #[track_caller]
    pub fn try_receive(&self, limit: Duration) -> Option<Offered> {
        let (connection, message) = self.message(limit)?;
        match message {
            Incoming::Offer(offer) => {
                Some(Offered { offer: *offer, connection, kept: Arc::clone(&self.kept) })
            }
            Incoming::Rejected(rejected) => panic!("not a handoff: {rejected}"),
            Incoming::Handoff(handoff) => panic!("a handoff of protocol 1: {handoff:?}"),
        }
    }

    /// The next handoff, accepted.
    ///
    /// # Panics
    /// As [`Offers::receive`]; also when the module has given up meanwhile.
    #[track_caller]
    pub fn take(&self) -> Taken {
        self.receive().accept().expect("the module waits for the answer")
    }

    /// Waits until a message lies in the queue of some connection, and closes that one: a daemon that dies before it
    /// has read the handoff.
    ///
    /// # Panics
    /// When no message comes.
    #[track_caller]
    pub fn close_unread(&self) {
        assert!(self.readable_connection(PATIENCE).is_some(), "no message came to the daemon");
    }

    /// Lets `respond` answer every handoff, each in turn, in a thread that ends with the returned value.
    ///
    /// # Panics
    /// The thread does, at what is not a handoff; dropping the returned value passes that on.
    #[must_use]
    pub fn serve(self, respond: impl Fn(Offered) + Send + 'static) -> ServingOffers {
        let path = self.path.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&count));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Some(offered) = self.try_receive(STOP_INTERVAL) {
                    counter.fetch_add(1, Ordering::Relaxed);
                    respond(offered);
                }
            }
        });
        ServingOffers { path, stop, count, thread: Some(thread) }
    }

    /// The next message and the connection it came on. Connections that have ended are dropped.
    fn message(&self, limit: Duration) -> Option<(OwnedFd, Incoming)> {
        let end = Instant::now() + limit;
        let mut scratch = vec![0; LONGEST_MESSAGE];
        loop {
            let connection = self.readable_connection(end.saturating_duration_since(Instant::now()))?;
            let mut receiver = incoming::Receiver::new(SocketType::SeqPacket, LONGEST_MESSAGE, LIMITS);
            match receiver.receive(&connection, &mut scratch) {
                Ok(message) => return Some((connection, message.expect("a SEQPACKET message is whole"))),
                Err(ReceiveError::Empty | ReceiveError::Io(Errno::CONNRESET)) => {}
                Err(error) => panic!("not a handoff: {error}"),
            }
        }
    }

    /// Accepts connections until one of them can be read (end of file included), and takes that one out.
    fn readable_connection(&self, limit: Duration) -> Option<OwnedFd> {
        let end = Instant::now() + limit;
        loop {
            let mut kept = lock(&self.kept);
            let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN)];
            fds.extend(kept.iter().map(|connection| PollFd::new(connection, PollFlags::IN)));
            // Not longer than a moment: another thread may want the connections.
            let wait = end.saturating_duration_since(Instant::now()).min(STOP_INTERVAL);
            let wait = Timespec::try_from(wait).expect("a wait that fits");
            rustix::io::retry_on_intr(|| poll(&mut fds, Some(&wait))).expect("polling sockets");
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if ready[0] {
                kept.push(accept_with(&self.socket, SocketFlags::CLOEXEC).expect("accepting a connection"));
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(index) = ready[1..].iter().position(|ready| *ready) {
                return Some(kept.remove(index));
            }
            if !ready[0] && Instant::now() >= end {
                return None;
            }
        }
    }
}

impl Drop for Offers {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A handoff that waits for its answer. Dropping it closes the connection: a daemon that dies before it answers.
/// Keeping it is one that hangs.
#[derive(Debug)]
pub struct Offered {
    offer: Offer,
    connection: OwnedFd,
    kept: Kept,
}

impl Offered {
    /// Of the request and of the application's answer.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        self.offer.envelope()
    }

    /// The application's data.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.offer.payload()
    }

    /// Takes the client over, and keeps the connection.
    ///
    /// # Errors
    /// The module has given up: the client is not ours.
    pub fn accept(self) -> Result<Taken, Errno> {
        let v2::Handoff { client, envelope, payload, pre_read } = self.offer.accept(&self.connection)?;
        lock(&self.kept).push(self.connection);
        Ok(Taken { envelope, pre_read, handoff: Received::new(payload, client) })
    }

    /// Takes the client over, and closes the connection: no pool keeps it.
    ///
    /// # Errors
    /// As for [`Offered::accept`].
    pub fn accept_and_close(self) -> Result<Taken, Errno> {
        let v2::Handoff { client, envelope, payload, pre_read } = self.offer.accept(&self.connection)?;
        Ok(Taken { envelope, pre_read, handoff: Received::new(payload, client) })
    }

    /// Says something else than "accepted", and keeps the connection.
    ///
    /// # Panics
    /// When the module has given up.
    pub fn refuse(self, answer: &Answer) {
        self.offer.refuse(&self.connection, answer).expect("answering the module");
        lock(&self.kept).push(self.connection);
    }

    /// Sends bytes in place of an answer, and keeps the connection.
    ///
    /// # Panics
    /// When the module has given up.
    pub fn say(self, bytes: &[u8]) {
        rustix::net::send(&self.connection, bytes, rustix::net::SendFlags::NOSIGNAL)
            .expect("answering the module");
        lock(&self.kept).push(self.connection);
    }
}

/// A client that is ours now, and what the module told.
#[derive(Debug)]
pub struct Taken {
    /// Of the request and of the application's answer.
    pub envelope: Envelope,
    /// What was read of the client's next requests.
    pub pre_read: Vec<u8>,
    /// The application's data and the client's connection.
    pub handoff: Received,
}

impl Taken {
    /// Answers with 200, `text/event-stream` and `body`, ended by closing the connection.
    ///
    /// # Panics
    /// When the client has gone.
    pub fn respond(self, body: impl AsRef<[u8]>) {
        self.handoff.respond(body);
    }

    /// The values of a field of the application's answer, whatever its case.
    #[must_use]
    pub fn response_header(&self, name: &str) -> Vec<&[u8]> {
        let is = |field: &[u8]| field.eq_ignore_ascii_case(name.as_bytes());
        let fields = self.envelope.response_headers.iter();
        fields.filter(|(field, _)| is(field.as_bytes())).map(|(_, value)| value.as_bytes()).collect()
    }
}

/// [`Offers`] that are answered in the background.
#[derive(Debug)]
pub struct ServingOffers {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl ServingOffers {
    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Handoffs received so far, accepted or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for ServingOffers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let result = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(!matches!(result, Some(Err(_))), "the daemon's thread panicked");
        }
    }
}
