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
    /// Receive once more without waiting, until there is nothing left. What recv(2) gave.
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
    /// The daemon ended without an answer.
    Closed,
    /// There was no answer in time, or one that is not understood.
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
            Saw::Closed if self.waits => self.elsewhere(NotTaken::Closed),
            Saw::Again if self.waits => Do::Receive,
            // What is not understood is no answer; one may follow.
            Saw::Nothing | Saw::NotAnAnswer if self.waits => {
                self.waits = false;
                Do::StopAndReceive
            }
            Saw::Again | Saw::NotAnAnswer => Do::ReceiveLate,
            // One that hangs would hang once more.
            Saw::Closed | Saw::Nothing => self.next_target(NotTaken::NoAnswer),
        }
    }

    /// After an answer: whether the connection that brought it may serve another handoff. Not after
    /// [`Do::StopAndReceive`], since nothing can be received on it any more.
    #[must_use]
    pub fn may_be_kept(&self) -> bool {
        self.waits
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds what was seen to a handoff to `targets`, and returns each thing to do.
    fn run(targets: usize, seen: impl IntoIterator<Item = Saw>) -> (Vec<Do>, Sender) {
        let mut sender = Sender::new(targets);
        let mut done = vec![sender.start()];
        done.extend(seen.into_iter().map(|saw| sender.next(saw)));
        (done, sender)
    }

    fn last(targets: usize, seen: impl IntoIterator<Item = Saw>) -> Do {
        run(targets, seen).0.pop().unwrap()
    }

    fn busy() -> Answer {
        Answer::Busy { retry_after: Duration::from_secs(3), reason: "full".into() }
    }

    #[test]
    fn the_ordinary_way_is_four_steps() {
        let (done, sender) = run(1, [Saw::Connected, Saw::Sent, Saw::Answer(Answer::Accepted)]);
        assert_eq!(done, [Do::TakeIdle(0), Do::Send, Do::Receive, Do::Swap]);
        assert!(sender.may_be_kept());
    }

    #[test]
    fn without_an_answer_in_time_a_late_one_still_counts() {
        let waited = [Saw::Connected, Saw::Sent, Saw::Nothing];
        assert_eq!(last(1, waited.clone()), Do::StopAndReceive);
        let late = |then: &[Saw]| run(1, waited.iter().chain(then).cloned());
        let (done, sender) = late(&[Saw::Answer(Answer::Accepted)]);
        assert_eq!(done.last(), Some(&Do::Swap));
        assert!(!sender.may_be_kept(), "nothing can be received on it any more");
        assert_eq!(late(&[Saw::Again]).0.last(), Some(&Do::ReceiveLate));
        assert_eq!(late(&[Saw::NotAnAnswer]).0.last(), Some(&Do::ReceiveLate));
        assert_eq!(late(&[Saw::Again, Saw::Answer(Answer::Accepted)]).0.last(), Some(&Do::Swap));
        for end in [Saw::Closed, Saw::Nothing] {
            assert_eq!(late(&[Saw::Again, end]).0.last(), Some(&Do::Keep(NotTaken::NoAnswer)));
        }
    }

    #[test]
    fn what_is_not_understood_may_be_followed_by_an_answer() {
        assert_eq!(last(1, [Saw::Connected, Saw::Sent, Saw::NotAnAnswer]), Do::StopAndReceive);
    }

    #[test]
    fn a_connection_that_was_kept_is_tried_anew_once() {
        for gone in [
            &[Saw::NotConnected][..],
            &[Saw::Connected, Saw::NotSent],
            &[Saw::Connected, Saw::Sent, Saw::Closed],
            &[Saw::Connected, Saw::Sent, Saw::Again, Saw::Closed],
        ] {
            let (mut done, mut sender) = run(2, gone.iter().cloned());
            assert_eq!(done.pop(), Some(Do::Connect(0)), "{gone:?}");
            assert_eq!(sender.next(Saw::NotConnected), Do::TakeIdle(1), "{gone:?}");
        }
        // One that hangs would hang once more.
        assert_eq!(last(2, [Saw::Connected, Saw::Sent, Saw::Nothing, Saw::Nothing]), Do::TakeIdle(1));
    }

    #[test]
    fn the_last_reason_is_the_one_that_is_told() {
        let none = [Saw::NotConnected, Saw::NotConnected];
        let unsent = [Saw::NotConnected, Saw::Connected, Saw::NotSent];
        let closed = [Saw::NotConnected, Saw::Connected, Saw::Sent, Saw::Closed];
        assert_eq!(last(1, none.clone()), Do::Keep(NotTaken::NotConnected));
        assert_eq!(last(1, unsent), Do::Keep(NotTaken::NotSent));
        assert_eq!(last(1, closed), Do::Keep(NotTaken::Closed));
        let full = [Saw::Connected, Saw::Sent, Saw::Answer(busy())];
        let told = NotTaken::Busy { retry_after: Duration::from_secs(3), reason: "full".into() };
        assert_eq!(last(2, none.into_iter().chain(full)), Do::Keep(told));
    }

    #[test]
    fn a_daemon_that_ends_is_asked_once_more_since_another_may_stand_there() {
        let draining = [Saw::Connected, Saw::Sent, Saw::Answer(Answer::Draining)];
        let twice = draining.iter().chain(&draining).cloned();
        let (done, _) = run(2, twice.clone());
        assert_eq!(done[3..], [Do::Connect(0), Do::Send, Do::Receive, Do::TakeIdle(1)]);
        assert_eq!(last(1, twice.clone()), Do::Keep(NotTaken::Draining));
        // The fallback as well.
        assert_eq!(last(2, twice.chain(draining.clone())), Do::Connect(1));
    }

    #[test]
    fn a_full_daemon_has_fallbacks_and_a_message_that_is_bad_has_none() {
        let sent = [Saw::Connected, Saw::Sent];
        assert_eq!(last(2, sent.iter().cloned().chain([Saw::Answer(busy())])), Do::TakeIdle(1));
        let bad = Saw::Answer(Answer::Bad { reason: "why".into() });
        let keep = Do::Keep(NotTaken::Bad { reason: "why".into() });
        assert_eq!(last(2, sent.into_iter().chain([bad])), keep);
    }
}
