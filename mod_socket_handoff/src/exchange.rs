//! A handoff by protocol 2: offering the client to one daemon after another, until one has accepted it.
//!
//! What to do next is decided by [`Sender`], which knows no IO. Here its word is carried out, and it is told what was
//! seen. With a connection that was kept this comes to two system calls, one sendmsg and one recv.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use handoff_protocol::scm;
use handoff_protocol::v2::answer::MOST_ANSWER;
use handoff_protocol::v2::sender::{Do, Saw};
use handoff_protocol::v2::{Answer, Outgoing, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};

use crate::config::{Daemon, Endpoint, Protocol, ServerConfig, User};
use crate::connect::{self, block_for, check_user, connect_below};
use crate::refusal::Refusal;

/// Where a handoff may go: to the daemon that the application named, then to its fallbacks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets<'c> {
    pub(crate) config: &'c ServerConfig,
    pub(crate) daemon: &'c Daemon,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Target<'c> {
    endpoint: &'c Endpoint,
    ack_timeout: Duration,
    user: Option<&'c User>,
    /// A fallback that does not answer is none.
    protocol: Protocol,
    /// After this one there is no other.
    is_last: bool,
}

impl<'c> Targets<'c> {
    fn count(&self) -> usize {
        1 + self.daemon.fallbacks().len()
    }

    /// How many of the first ones have not answered lately, and so are asked after the others. None if all have not.
    fn doubtful(&self, now: Instant) -> usize {
        let count = self.count();
        if count == 1 {
            return 0;
        }
        let stands = |index: &usize| self.get(*index).endpoint.doubt.is_standing(now);
        (0..count).take_while(stands).count() % count
    }

    /// The one that is asked at `place`, from 0, when the first `doubtful` ones are asked last.
    fn at(&self, place: usize, doubtful: usize) -> Target<'c> {
        let count = self.count();
        Target { is_last: place + 1 == count, ..self.get((place + doubtful) % count) }
    }

    fn get(&self, index: usize) -> Target<'c> {
        let (daemon, endpoint) =
            match index.checked_sub(1).and_then(|index| self.daemon.fallbacks().get(index)) {
                None => (self.daemon, self.daemon.endpoint()),
                // What is said of a fallback itself counts for it, else what is said of the daemon that it stands in for.
                Some(fallback) => match self.config.daemon(&fallback.path) {
                    Some(declared) => (declared, declared.endpoint()),
                    None => (self.daemon, fallback),
                },
            };
        Target {
            endpoint,
            ack_timeout: daemon.ack_timeout(),
            user: daemon.user(),
            protocol: daemon.protocol(),
            is_last: false,
        }
    }
}

/// Who has taken the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakenBy<'c> {
    /// The daemon that the application named.
    Named,
    /// The fallback at this path.
    Fallback(&'c Path),
}

impl<'c> TakenBy<'c> {
    /// The path of the fallback, if it was one.
    pub(crate) fn fallback(self) -> Option<&'c Path> {
        match self {
            Self::Named => None,
            Self::Fallback(path) => Some(path),
        }
    }

    /// The value of the note and environment variable HANDOFF, for the access log.
    pub(crate) fn note(self) -> &'static CStr {
        match self {
            Self::Named => c"handed-off",
            Self::Fallback(_) => c"handed-off:fallback",
        }
    }
}

/// Offers the client to one target after another. After `Ok` it is that daemon's.
///
/// `client` gives the client's socket, for as long as this child has it; it is asked anew before each attempt.
/// `on_fallback` is told why a target has not taken the client, and where to it is offered next.
///
/// # Errors
/// Why the last target has not taken the client, or that one of them was busy; the client is still ours, untouched.
pub(crate) fn offer<'c, 'f>(
    targets: Targets<'c>,
    message: &Outgoing<'_>,
    client: impl Fn() -> Option<BorrowedFd<'f>>,
    on_fallback: impl FnMut(&Refusal, &Path),
) -> Result<TakenBy<'c>, Refusal> {
    let doubtful = targets.doubtful(Instant::now());
    let mut sender = Sender::new(targets.count());
    let mut exchange = Exchange {
        targets,
        doubtful,
        target: targets.at(0, doubtful),
        connection: None,
        failure: None,
        busy: None,
        deadline: None,
        client,
        on_fallback,
    };
    let mut step = sender.start();
    loop {
        let saw = match step {
            Do::TakeIdle(index) => exchange.take_idle(index),
            Do::Connect(_) => exchange.connect(),
            Do::Send => exchange.send(message)?,
            Do::Receive => exchange.receive(),
            Do::StopAndReceive => exchange.stop_and_receive(),
            Do::ReceiveLate => exchange.receive_now(),
            Do::Swap => return Ok(exchange.taken()),
            Do::Keep(_) => return Err(exchange.refusal()),
        };
        if matches!(saw, Saw::Answer(Answer::Accepted | Answer::Busy { .. })) && sender.may_be_kept() {
            exchange.keep_connection();
        }
        step = sender.next(saw);
    }
}

struct Exchange<'c, C, F> {
    targets: Targets<'c>,
    /// So many of the first targets are asked last.
    doubtful: usize,
    target: Target<'c>,
    /// To the target.
    connection: Option<OwnedFd>,
    /// Why the target has not taken the client, so far.
    failure: Option<Refusal>,
    /// What a target before this one has said, if it was busy.
    busy: Option<Refusal>,
    /// Until when an answer is waited for, once a first wait has ended early.
    deadline: Option<Instant>,
    client: C,
    on_fallback: F,
}

impl<'c, 'f, C, F> Exchange<'c, C, F>
where
    C: Fn() -> Option<BorrowedFd<'f>>,
    F: FnMut(&Refusal, &Path),
{
    fn path(&self) -> &'c Path {
        &self.target.endpoint.path
    }

    fn take_idle(&mut self, index: usize) -> Saw {
        if index > 0 {
            self.target = self.targets.at(index, self.doubtful);
            self.connection = None;
            if let Some(failure) = self.failure.take() {
                (self.on_fallback)(&failure, &self.target.endpoint.path);
                self.busy = Some(failure)
                    .filter(|failure| matches!(failure, Refusal::Busy { .. }))
                    .or(self.busy.take());
            }
        }
        self.connection = self.target.endpoint.pool.take(Instant::now());
        if self.connection.is_some() { Saw::Connected } else { Saw::NotConnected }
    }

    fn connect(&mut self) -> Saw {
        if self.connection.take().is_some() {
            // It led to a daemon that has gone or is going, and so do the others that were kept.
            self.target.endpoint.pool.clear();
        }
        match self.new_connection() {
            Ok(socket) => {
                self.connection = Some(socket);
                Saw::Connected
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::ConnectTimeout { .. }) {
                    self.target.endpoint.doubt.raise(Instant::now());
                }
                self.failure = Some(refusal);
                Saw::NotConnected
            }
        }
    }

    fn new_connection(&self) -> Result<OwnedFd, Refusal> {
        let (config, path) = (self.targets.config, self.path());
        if self.target.protocol != Protocol::Two {
            return Err(Refusal::FallbackWithoutAnswer(path.to_owned()));
        }
        let limits = connect::Limits {
            timeout: config.connect_timeout(),
            // Where there is another daemon, it is asked at once.
            retries: if self.target.is_last { config.max_retries() } else { 0 },
        };
        let socket = connect_below(config.allowed_prefix(), path, Protocol::Two, limits)?.socket;
        if let Some(user) = self.target.user {
            check_user(&socket, path, user)?;
        }
        block_for(&socket, config.send_timeout())
            .and_then(|()| set_socket_timeout(&socket, Timeout::Recv, Some(self.target.ack_timeout)))
            .map_err(|errno| Refusal::DaemonFailed { path: path.to_owned(), errno })?;
        Ok(socket)
    }

    fn send(&mut self, message: &Outgoing<'_>) -> Result<Saw, Refusal> {
        let Some(connection) = &self.connection else { return Ok(Saw::NotSent) };
        // An ungraceful stop closes the workers' sockets from another thread: look at the last moment.
        let client = (self.client)().ok_or(Refusal::ConnectionEnding)?;
        self.deadline = None;
        let path = self.path();
        let failure = match message.send(connection, client, scm::Wait::Yes) {
            Ok(()) => return Ok(Saw::Sent),
            Err(Errno::BADF) => return Err(Refusal::ConnectionEnding),
            Err(Errno::TOOMANYREFS) => Refusal::TooManyInFlight(path.to_owned()),
            Err(errno) => Refusal::DaemonFailed { path: path.to_owned(), errno },
        };
        self.failure = Some(failure);
        Ok(Saw::NotSent)
    }

    fn receive(&mut self) -> Saw {
        let start = Instant::now();
        let saw = match self.deadline {
            None => self.receive_with(RecvFlags::empty()),
            Some(deadline) => match self.wait_until(deadline) {
                Ok(0) => Saw::Nothing,
                Ok(_) => self.receive_now(),
                Err(Errno::INTR) => Saw::Again,
                Err(_) => Saw::Nothing,
            },
        };
        let path = self.path();
        match saw {
            Saw::Again => {
                self.deadline.get_or_insert(start + self.target.ack_timeout);
            }
            Saw::Nothing => {
                let timeout = self.target.ack_timeout;
                self.target.endpoint.doubt.raise(Instant::now());
                self.failure = Some(Refusal::NoAnswer { path: path.to_owned(), timeout });
            }
            Saw::NotAnAnswer => self.failure = Some(Refusal::NotAnAnswer(path.to_owned())),
            Saw::Closed => self.failure = Some(Refusal::DaemonClosed(path.to_owned())),
            _ => {}
        }
        saw
    }

    fn wait_until(&self, deadline: Instant) -> Result<usize, Errno> {
        let Some(connection) = &self.connection else { return Ok(0) };
        let remaining = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(remaining).ok();
        poll(&mut [PollFd::new(connection, PollFlags::IN)], timeout.as_ref())
    }

    /// After this no answer can come any more: the daemon's send fails with EPIPE. One may have come before.
    fn stop_and_receive(&mut self) -> Saw {
        if let Some(connection) = &self.connection {
            // Fails only where there is no peer any more.
            let _ = shutdown(connection, Shutdown::Read);
        }
        self.receive_now()
    }

    fn receive_now(&mut self) -> Saw {
        self.receive_with(RecvFlags::DONTWAIT)
    }

    fn receive_with(&mut self, flags: RecvFlags) -> Saw {
        let Some(connection) = &self.connection else { return Saw::Closed };
        // One byte more than an answer may have, so that what is longer does not look like one.
        let mut buffer = [MaybeUninit::uninit(); MOST_ANSWER + 1];
        let answer = match recv(connection, &mut buffer, flags) {
            Ok((([], _), _)) => return Saw::Closed,
            Ok(((bytes, _), _)) => Answer::decode(bytes),
            Err(Errno::AGAIN) => return Saw::Nothing,
            Err(Errno::CONNRESET | Errno::INTR) => return Saw::Again,
            // What is left says that this is no connection (recv(2)): nothing can come.
            Err(_) => return Saw::Closed,
        };
        let Ok(answer) = answer else { return Saw::NotAnAnswer };
        if self.targets.count() > 1 {
            self.target.endpoint.doubt.dispel();
        }
        let path = self.path();
        match &answer {
            Answer::Accepted => {}
            Answer::Busy { retry_after, reason } => {
                let (retry_after, reason) = (*retry_after, reason.clone());
                self.failure = Some(Refusal::Busy { path: path.to_owned(), retry_after, reason });
            }
            Answer::Draining => self.failure = Some(Refusal::Draining(path.to_owned())),
            Answer::Bad { reason } => {
                self.failure = Some(Refusal::BadMessage { path: path.to_owned(), reason: reason.clone() });
            }
        }
        Saw::Answer(answer)
    }

    /// The next handoff may use it: to one message there was one answer.
    fn keep_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.target.endpoint.pool.put(connection, Instant::now());
        }
    }

    fn taken(self) -> TakenBy<'c> {
        let endpoint = self.target.endpoint;
        if std::ptr::eq(endpoint, self.targets.daemon.endpoint()) {
            TakenBy::Named
        } else {
            TakenBy::Fallback(&endpoint.path)
        }
    }

    fn refusal(self) -> Refusal {
        let path = self.path();
        match self.failure {
            Some(bad @ Refusal::BadMessage { .. }) => bad,
            // When there will be room again is the most useful thing that a client can be told.
            last => self.busy.or(last).unwrap_or_else(|| Refusal::DaemonClosed(path.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
