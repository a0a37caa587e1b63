//! The daemon of the measurements: receives by protocol 1 and answers with a few bytes.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Receiver, SocketType};
use handoff_protocol::v1;

/// Longest handoff data taken, in bytes.
const LONGEST: usize = 4096;

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
            let mut scratch = vec![0; LONGEST];
            while !stopped.load(Ordering::Relaxed) {
                match serve_one(&receiver, &mut scratch) {
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

/// Waits a moment for a handoff and answers it. Returns how many there were: one or none.
fn serve_one(receiver: &Receiver, scratch: &mut [u8]) -> Result<usize> {
    let Some(connection) = receiver.accept(STOP_INTERVAL) else { return Ok(0) };
    let handoff = v1::Receiver::new(SocketType::SeqPacket, LONGEST)
        .receive(&connection, scratch)?
        .context("a SEQPACKET message is a whole handoff")?;
    // Far less than a send buffer holds: O_NONBLOCK, which the client's socket comes with, makes no difference.
    let mut client = TcpStream::from(handoff.client);
    client.write_all(ANSWER)?;
    client.shutdown(Shutdown::Write)?;
    Ok(1)
}
