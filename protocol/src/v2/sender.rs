//! The module's side of a handoff: what to do next, from what was seen. No IO.
//!
//! The rule behind it: the client is the daemon's if "accepted" arrives, and ours if it can no longer arrive. In
//! between, nobody but the daemon may touch it, and so we first make sure that no answer can come any more
//! (`shutdown(SHUT_RD)`: the daemon's send then fails with EPIPE), and then look whether one came before.

use std::time::Duration;

use super::Answer;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Take an idle connection to this target, if there is one. Leads to [`Saw::Connected`] or [`Saw::NotConnected`].
    TakeIdle(usize),
    /// Drop the connection, if any, and connect to this target. As above.
    Connect(usize),
    /// Send the message. [`Saw::Sent`] or [`Saw::NotSent`].
    Send,
    /// Receive the answer, within the time for it. What recv(2) gave, or [`Saw::Nothing`] when the time is over.
    Receive,
    /// `shutdown(SHUT_RD)`, then receive without waiting. What recv(2) gave.
    StopAndReceive,
    /// Receive once more without waiting. What recv(2) gave.
    ReceiveLate,
    /// The client is the daemon's: put the dead socket in its place.
    Swap,
    /// The client is ours, and nobody else will answer it.
    Keep(NotTaken),
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saw {
    /// There is a connection.
    Connected,
    /// There is none, or it leads to somebody else than was demanded.
    NotConnected,
    /// The message is in the daemon's queue.
    Sent,
    /// It is not: EPIPE, ECONNRESET, EAGAIN, ETOOMANYREFS, …
    NotSent,
    /// The daemon's answer.
    Answer(Answer),
    /// Something came that is none.
    NotAnAnswer,
    /// ECONNRESET: the daemon closed with something unread. **An answer may still be in the queue behind it.** EINTR
    /// means the same: receive again.
    Again,
    /// 0, end of file: no answer can come any more.
    Closed,
    /// The time is over; when receiving without waiting, EAGAIN.
    Nothing,
}

/// Why nobody has taken the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// There was no connection.
    NotConnected,
    /// The message could not be sent.
    NotSent,
    /// The daemon ended without an answer, or answered what is not understood.
    Closed,
    /// There was no answer in time.
    NoAnswer,
    /// The daemon has no room.
    Busy {
        /// When to ask again.
        retry_after: Duration,
        /// The daemon's words.
        reason: String,
    },
    /// The daemon is ending.
    Draining,
    /// The daemon does not understand the message.
    Bad {
        /// The daemon's words.
        reason: String,
    },
}

/// One handoff, to the first of several targets that takes it: the daemon that the application named, then its
/// fallbacks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    targets: usize,
    target: usize,
    connection: Connection,
    /// Whether the time for an answer still runs.
    waits: bool,
    /// Whether the daemon at this target has said once that it is ending.
    drained: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Connection {
    /// Used before: it may have ended meanwhile, which says nothing of the daemon of now.
    Kept,
    /// Made for this handoff.
    New,
}

impl Sender {
    /// A handoff to the first of `targets` that takes it; at least one. Begins with [`Sender::start`].
    #[must_use]
    pub fn new(targets: usize) -> Self {
        Self { targets, target: 0, connection: Connection::Kept, waits: true, drained: false }
    }

    /// What to do first.
    #[must_use]
    pub fn start(&self) -> Do {
        Do::TakeIdle(self.target)
    }

    /// What to do after `saw`.
    pub fn next(&mut self, saw: Saw) -> Do {
        match saw {
            Saw::Connected => Do::Send,
            Saw::NotConnected => self.elsewhere(NotTaken::NotConnected),
            Saw::Sent => {
                self.waits = true;
                Do::Receive
            }
            Saw::NotSent => self.elsewhere(NotTaken::NotSent),
            Saw::Answer(Answer::Accepted) => Do::Swap,
            Saw::Answer(Answer::Busy { retry_after, reason }) => {
                self.next_target(NotTaken::Busy { retry_after, reason })
            }
            // A successor may stand at the same path.
            Saw::Answer(Answer::Draining) if !self.drained => {
                self.drained = true;
                self.connection = Connection::New;
                Do::Connect(self.target)
            }
            Saw::Answer(Answer::Draining) => self.next_target(NotTaken::Draining),
            Saw::Answer(Answer::Bad { reason }) => Do::Keep(NotTaken::Bad { reason }),
            Saw::NotAnAnswer | Saw::Closed => {
                let why = if self.waits { NotTaken::Closed } else { NotTaken::NoAnswer };
                self.gone(why)
            }
            Saw::Again if self.waits => Do::Receive,
            Saw::Again => Do::ReceiveLate,
            Saw::Nothing if self.waits => {
                self.waits = false;
                Do::StopAndReceive
            }
            Saw::Nothing => self.gone(NotTaken::NoAnswer),
        }
    }

    /// The daemon will not answer any more. One that hangs would hang once more.
    fn gone(&mut self, why: NotTaken) -> Do {
        if self.waits { self.elsewhere(why) } else { self.next_target(why) }
    }

    /// A connection that was kept says nothing of the daemon that stands at its path now.
    fn elsewhere(&mut self, why: NotTaken) -> Do {
        match self.connection {
            Connection::Kept => {
                self.connection = Connection::New;
                Do::Connect(self.target)
            }
            Connection::New => self.next_target(why),
        }
    }

    fn next_target(&mut self, why: NotTaken) -> Do {
        if self.target + 1 == self.targets {
            return Do::Keep(why);
        }
        self.target += 1;
        self.connection = Connection::Kept;
        self.drained = false;
        Do::TakeIdle(self.target)
    }
}
