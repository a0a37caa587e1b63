//! Connections to a daemon that wait for the next handoff.
//!
//! A connection is taken out while a handoff is under way on it, so two threads never have the same one.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long a connection is kept without a handoff. The daemon closes its end later than that.
const MOST_IDLE_TIME: Duration = Duration::from_secs(30);

/// Idle connections to one path, in one child process: the parent makes no connections, and so its children inherit
/// none.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Newest last.
    idle: Mutex<Vec<Idle>>,
    most_idle: usize,
}

#[derive(Debug)]
struct Idle {
    socket: OwnedFd,
    since: Instant,
}

impl Pool {
    /// An empty pool that keeps up to `most_idle` connections.
    pub(crate) fn new(most_idle: usize) -> Self {
        Self { idle: Mutex::new(Vec::new()), most_idle }
    }

    /// How many connections it keeps.
    pub(crate) fn most_idle(&self) -> usize {
        self.most_idle
    }

    /// Takes the connection out that was used last, which is the most likely one to be alive still.
    pub(crate) fn take(&self, now: Instant) -> Option<OwnedFd> {
        let mut idle = self.lock();
        let old = expire(&mut idle, now);
        let newest = idle.pop();
        // Closed without the lock.
        drop(idle);
        drop(old);
        newest.map(|idle| idle.socket)
    }

    /// Keeps a connection on which nothing is under way. The one that has been idle longest makes room.
    pub(crate) fn put(&self, socket: OwnedFd, now: Instant) {
        if self.most_idle == 0 {
            return;
        }
        let mut idle = self.lock();
        let mut old = expire(&mut idle, now);
        if idle.len() >= self.most_idle {
            old.push(idle.remove(0));
        }
        idle.push(Idle { socket, since: now });
        drop(idle);
        drop(old);
    }

    /// Drops all: the daemon to which they lead has gone.
    pub(crate) fn clear(&self) {
        let gone = std::mem::take(&mut *self.lock());
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes out what has been idle for too long: the oldest ones are first.
fn expire(idle: &mut Vec<Idle>, now: Instant) -> Vec<Idle> {
    let old =
        idle.iter().take_while(|idle| now.saturating_duration_since(idle.since) > MOST_IDLE_TIME).count();
    idle.drain(..old).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A connection whose other end tells when it is closed.
    fn connection() -> (OwnedFd, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (ours.into(), theirs)
    }

    fn is_closed(theirs: &UnixStream) -> bool {
        rustix::io::read(theirs, &mut [0; 1]) == Ok(0)
    }

    #[test]
    fn the_newest_comes_first() {
        let (pool, now) = (Pool::new(8), Instant::now());
        let [(first, _a), (second, _b)] = [connection(), connection()];
        let newest = second.as_raw_fd();
        pool.put(first, now);
        pool.put(second, now);
        assert_eq!(pool.take(now).unwrap().as_raw_fd(), newest);
        assert!(pool.take(now).is_some());
        assert!(pool.take(now).is_none());
    }

    #[test]
    fn it_keeps_as_many_as_it_may() {
        let (pool, now) = (Pool::new(2), Instant::now());
        let others: Vec<_> = (0..3)
            .map(|_| {
                let (ours, theirs) = connection();
                pool.put(ours, now);
                theirs
            })
            .collect();
        assert_eq!(others.iter().map(is_closed).collect::<Vec<_>>(), [true, false, false]);
        let (ours, theirs) = connection();
        Pool::new(0).put(ours, now);
        assert!(is_closed(&theirs));
    }

    #[test]
    fn what_is_idle_for_too_long_is_dropped_when_somebody_looks() {
        let (pool, start) = (Pool::new(8), Instant::now());
        let [(old, old_end), (new, new_end)] = [connection(), connection()];
        pool.put(old, start);
        pool.put(new, start + Duration::from_secs(20));
        let (kept, _kept_end) = connection();
        pool.put(kept, start + MOST_IDLE_TIME);
        assert!(!is_closed(&old_end), "30 s are allowed");
        assert!(pool.take(start + MOST_IDLE_TIME + Duration::from_millis(1)).is_some());
        assert!(is_closed(&old_end) && !is_closed(&new_end));
        assert!(pool.take(start + Duration::from_secs(120)).is_none());
        assert!(is_closed(&new_end));
    }

    #[test]
    fn a_daemon_that_has_gone_leaves_nothing() {
        let (pool, now) = (Pool::new(8), Instant::now());
        let (ours, theirs) = connection();
        pool.put(ours, now);
        pool.clear();
        assert!(is_closed(&theirs) && pool.take(now).is_none());
    }
}
