//! The daemon of the measurements: receives by both protocols and answers with a few bytes.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::{Receiver, SocketType};
use handoff_protocol::incoming::{self, Incoming};
use handoff_protocol::v1::ReceiveError;
use handoff_protocol::v2::offer::Limits;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest message taken, in bytes.
const LONGEST: usize = 4096;

/// In a file the data can be longer.
const LIMITS: Limits = Limits { envelope: LONGEST, payload: 16 << 20, pre_read: LONGEST };

/// How often it looks whether it should end.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// What every client gets.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nevent: done\ndata: [DONE]\n\n";

/// A thread that answers every handoff; it ends with this value.
#[derive(Debug)]
pub struct Daemon {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Listens at `path` and serves.
    #[must_use]
    pub fn start(path: PathBuf) -> Self {
        let receiver = Receiver::bind(path);
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&count));
        let thread = std::thread::spawn(move || {
            let mut connections = Connections { receiver, kept: Vec::new(), scratch: vec![0; LONGEST] };
            while !stopped.load(Ordering::Relaxed) {
                match connections.serve() {
                    Ok(handoffs) => _ = counter.fetch_add(handoffs, Ordering::Relaxed),
                    Err(error) => eprintln!("the daemon: {error:#}"),
                }
            }
        });
        Self { stop, count, thread: Some(thread) }
    }

    /// Clients answered so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A listening socket and the connections on which a message may come.
struct Connections {
    receiver: Receiver,
    kept: Vec<(OwnedFd, incoming::Receiver)>,
    scratch: Vec<u8>,
}

impl Connections {
    /// Waits a moment for handoffs and answers them. Returns how many there were.
    fn serve(&mut self) -> Result<usize> {
        let mut fds = vec![PollFd::new(&self.receiver, PollFlags::IN)];
        fds.extend(self.kept.iter().map(|(connection, _)| PollFd::new(connection, PollFlags::IN)));
        rustix::io::retry_on_intr(|| {
            poll(&mut fds, Some(&Timespec::try_from(STOP_INTERVAL).unwrap_or_default()))
        })?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut handoffs = 0;
        // From the end: what goes is replaced by what has been looked at.
        for index in (0..self.kept.len()).rev().filter(|index| ready[index + 1]) {
            let (connection, receiver) = &mut self.kept[index];
            match receiver.receive(&*connection, &mut self.scratch) {
                Ok(Some(Incoming::Offer(offer))) => {
                    answer(offer.accept(&*connection)?.client)?;
                    handoffs += 1;
                }
                Ok(Some(Incoming::Handoff(handoff))) => {
                    answer(handoff.client)?;
                    handoffs += 1;
                    self.kept.swap_remove(index);
                }
                Err(ReceiveError::Empty) => _ = self.kept.swap_remove(index),
                other => bail!("not a handoff: {other:?}"),
            }
        }
        if ready[0] {
            let connection = self.receiver.accept(Duration::ZERO).context("accepting")?;
            self.kept.push((connection, incoming::Receiver::new(SocketType::SeqPacket, LONGEST, LIMITS)));
        }
        Ok(handoffs)
    }
}

fn answer(client: OwnedFd) -> Result<()> {
    // Far less than a send buffer holds: O_NONBLOCK, which the client's socket comes with, makes no difference.
    let mut client = TcpStream::from(client);
    client.write_all(ANSWER)?;
    Ok(client.shutdown(Shutdown::Write)?)
}
