//! The limit of open files (`RLIMIT_NOFILE`), and how the daemon stays below it.
//!
//! At the limit the kernel delivers a handoff message without its descriptor, and the client's connection is lost
//! (`MSG_CTRUNC`, recv(2)). So room for both descriptors, the module's connection and the client's, is taken *before*
//! a connection is accepted; without room, handoffs wait in the listening socket's queue.

use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Descriptors that are never given to streams: for the runtime, the log, and descriptors nobody asked for.
const RESERVE: usize = 64;

/// The limit leaves no room for a single stream.
#[derive(Debug, thiserror::Error)]
#[error(
    "the limit of open files is {limit}, too low to serve anyone; raise it (ulimit -n, or LimitNOFILE= in the unit)"
)]
pub struct TooFew {
    /// The hard limit.
    limit: usize,
}

/// Descriptors beyond the streams' own for which the table has room from the start: handoffs in the making, the reserve.
const BESIDE_STREAMS: usize = 1024;

/// Raises the soft limit of open files to the hard one, and has the kernel make the table of descriptors large enough for
/// `streams` at once.
///
/// To be called while the process has one thread. When threads share the table, each doubling of it makes the thread that
/// opens a descriptor wait for all processors (`synchronize_rcu` in `expand_table`, Linux's fs/file.c): some ten
/// milliseconds, in which the streams of that thread stand still.
pub fn prepare(streams: usize) {
    let limit = raise_limit();
    let highest = streams.saturating_add(BESIDE_STREAMS).min(limit.saturating_sub(1));
    if let Ok(highest) = i32::try_from(highest)
        && let Ok(some) = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    {
        // The duplicate is closed at once, and the table keeps its size. If it fails, the table grows later.
        drop(rustix::io::fcntl_dupfd_cloexec(&some, highest));
    }
}

/// Raising to the hard limit needs no privilege; should it fail all the same, the soft limit stays and is kept.
fn raise_limit() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum });
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Counts the descriptors that may still be opened for handoffs.
#[derive(Clone, Debug)]
pub struct OpenFiles {
    left: Arc<Semaphore>,
    /// How many each client has.
    client: usize,
}

impl OpenFiles {
    /// Raises the soft limit to the hard one and counts from there. A client has its connection.
    ///
    /// # Errors
    /// [`TooFew`] when the reserve and what is open already use the limit up.
    pub fn new() -> Result<Self, TooFew> {
        Self::for_clients_of(1)
    }

    /// The same where each client has `client` descriptors.
    ///
    /// # Errors
    /// As for [`OpenFiles::new`].
    pub fn for_clients_of(client: usize) -> Result<Self, TooFew> {
        let limit = raise_limit();
        let left = limit.saturating_sub(RESERVE).saturating_sub(open_now());
        if left < 1 + client {
            return Err(TooFew { limit });
        }
        Ok(Self { left: Arc::new(Semaphore::new(left.min(Semaphore::MAX_PERMITS))), client })
    }

    /// Says how many streams there is room for, and warns when that is less than are allowed.
    pub fn tell(&self, max_connections: usize) {
        // A stream keeps one descriptor, the client's; the second one of a handoff is closed once it is received.
        let room = self.left.available_permits().saturating_sub(1);
        tracing::info!("the limit of open files leaves room for {room} streams");
        if room < max_connections {
            tracing::warn!(
                "server.max_connections is {max_connections}, but the limit of open files leaves room for {room} \
                 streams; raise it (ulimit -n, or LimitNOFILE= in the unit)"
            );
        }
    }

    /// Waits for room for a connection of the module and its client.
    pub async fn room(&self) -> Room {
        let wanted = u32::try_from(1 + self.client).unwrap_or(u32::MAX);
        match self.left.clone().acquire_many_owned(wanted).await {
            Ok(permit) => Room { permit, client: self.client },
            Err(_) => unreachable!("this semaphore is never closed"),
        }
    }

    /// Whether [`OpenFiles::room`] would have to wait now.
    #[must_use]
    pub fn exhausted(&self) -> bool {
        self.left.available_permits() < 1 + self.client
    }
}

/// Room for the descriptors of a handoff. Given back when dropped: after the descriptors, therefore.
#[derive(Debug)]
pub struct Room {
    permit: OwnedSemaphorePermit,
    /// How many each client has.
    client: usize,
}

impl Room {
    /// The module's connection was closed: the client's descriptors are left.
    pub fn one_closed(&mut self) {
        drop(self.permit.split(1));
    }

    /// Takes the client's room out: that of the module's connection is left.
    #[must_use]
    pub fn split_client(&mut self) -> Self {
        match self.permit.split(self.client) {
            Some(permit) => Self { permit, client: self.client },
            None => unreachable!("a room that was made for a connection and a client is split once"),
        }
    }

    /// Room for one more client, if there is some now.
    #[must_use]
    pub fn for_another_client(&self) -> Option<Self> {
        let wanted = u32::try_from(self.client).ok()?;
        let permit = self.permit.semaphore().clone().try_acquire_many_owned(wanted).ok()?;
        Some(Self { permit, client: self.client })
    }
}

fn open_now() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
