//! What the kernel does with two connected `SOCK_SEQPACKET` sockets, as a value: as much of it as a handoff meets.
//! [`crate::real`] holds it against the kernel itself.

use std::collections::VecDeque;

/// Whose end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Module,
    Daemon,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Module => Self::Daemon,
            Self::Daemon => Self::Module,
        }
    }
}

/// Two connected sockets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair<M> {
    module: End<M>,
    daemon: End<M>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct End<M> {
    queue: VecDeque<M>,
    open: bool,
    /// `shutdown(SHUT_RD)` was called.
    stopped: bool,
    /// The next call fails with ECONNRESET, once.
    reset: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    Pipe,
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<M> {
    Message(M),
    /// 0.
    End,
    /// ECONNRESET.
    Reset,
    /// EAGAIN, or waiting.
    Nothing,
}

impl<M> Pair<M> {
    pub fn new() -> Self {
        let end = || End { queue: VecDeque::new(), open: true, stopped: false, reset: false };
        Self { module: end(), daemon: end() }
    }

    fn end(&mut self, side: Side) -> &mut End<M> {
        match side {
            Side::Module => &mut self.module,
            Side::Daemon => &mut self.daemon,
        }
    }

    pub fn is_open(&self, side: Side) -> bool {
        match side {
            Side::Module => self.module.open,
            Side::Daemon => self.daemon.open,
        }
    }

    /// Whether a receiver would not wait.
    pub fn has_unread(&self, side: Side) -> bool {
        let queue = match side {
            Side::Module => &self.module.queue,
            Side::Daemon => &self.daemon.queue,
        };
        !queue.is_empty()
    }

    pub fn send(&mut self, from: Side, message: M) -> Result<(), SendError> {
        if std::mem::take(&mut self.end(from).reset) {
            return Err(SendError::Reset);
        }
        let to = self.end(from.other());
        if !to.open || to.stopped {
            return Err(SendError::Pipe);
        }
        to.queue.push_back(message);
        Ok(())
    }

    pub fn receive(&mut self, at: Side) -> Received<M> {
        let peer_is_open = self.end(at.other()).open;
        let end = self.end(at);
        if std::mem::take(&mut end.reset) {
            return Received::Reset;
        }
        match end.queue.pop_front() {
            Some(message) => Received::Message(message),
            None if end.stopped || !peer_is_open => Received::End,
            None => Received::Nothing,
        }
    }

    /// `shutdown(SHUT_RD)`.
    pub fn stop(&mut self, at: Side) {
        self.end(at).stopped = true;
    }

    /// Closes an end: the call, or its process dies.
    pub fn close(&mut self, side: Side) {
        let end = self.end(side);
        end.open = false;
        end.reset = false;
        let unread = !end.queue.is_empty();
        end.queue.clear();
        self.end(side.other()).reset |= unread;
    }

    /// Closes the daemon's end before it was accepted: the listener was closed.
    pub fn close_unaccepted(&mut self) {
        self.close(Side::Daemon);
        self.module.reset |= self.module.open;
    }
}
