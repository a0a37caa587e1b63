//! A connection of protocol 2: one handoff after another, each answered before the next one.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use handoff_protocol::incoming::{Incoming, Receiver};
use handoff_protocol::v1::ReceiveError;
use handoff_protocol::v2::{self, Answer, Offer};
use rustix::net::Shutdown;
use tokio::io::unix::AsyncFd;

use super::host::{Event, Handoff, Host, Protocol};
use super::{Failure, receive_next, receive_now};
use crate::logging::Seldom;
use crate::open_files::Room;

/// When to ask again a process at its limit of open files. Streams end all the time.
const RETRY_WITHOUT_ROOM: Duration = Duration::from_secs(1);

/// A shortage that lasts is told of now and then.
static SHORTAGE: Seldom = Seldom::new();

/// A connection that is kept.
pub(super) struct Kept<H> {
    connection: AsyncFd<OwnedFd>,
    receiver: Receiver,
    /// For the connection.
    room: Room,
    /// For the client of the first message; later ones look for theirs.
    first: Option<Room>,
    host: Arc<H>,
}

impl<H: Host> Kept<H> {
    pub(super) fn new(
        connection: AsyncFd<OwnedFd>,
        receiver: Receiver,
        mut room: Room,
        host: Arc<H>,
    ) -> Self {
        let first = Some(room.split_client());
        Self { connection, receiver, room, first, host }
    }

    /// Answers `message`, which came at `since`, and those that follow, until the sender closes, is silent for too long,
    /// or no more handoffs are taken.
    pub(super) async fn serve(mut self, mut message: Incoming, mut since: Instant) {
        // Whoever had connected before handoffs ended is served: nobody else reads that message.
        let mut draining = false;
        loop {
            self.take(message, since, draining);
            let idle = self.host.rules().idle;
            let next = tokio::time::timeout(idle, receive_next(&mut self.receiver, &self.connection));
            let next = tokio::select! {
                biased;
                () = self.host.draining().cancelled() => None,
                next = next => Some(next),
            };
            match next {
                Some(Ok(Ok(next))) => message = next,
                Some(Ok(Err(failure))) => return log_end(&failure),
                Some(Err(_)) => return tracing::debug!("a connection was idle for {idle:?}"),
                None => match self.last() {
                    Some(next) => {
                        draining = true;
                        message = next;
                    }
                    None => return,
                },
            }
            since = Instant::now();
        }
    }

    /// What was sent before the sender could know that we are ending. From here on it cannot send, which it sees at once.
    fn last(&mut self) -> Option<Incoming> {
        // Without effect on a connection that has ended already.
        let _ = rustix::net::shutdown(self.connection.get_ref(), Shutdown::Read);
        receive_now(&mut self.receiver, self.connection.get_ref()).ok().flatten()
    }

    /// Answers one message.
    fn take(&mut self, message: Incoming, since: Instant, draining: bool) {
        match message {
            Incoming::Offer(offer) => self.decide(*offer, since, draining),
            Incoming::Rejected(rejected) => {
                tracing::warn!(reason = rejected.reason(), "no handoff: {rejected}");
                self.refuse(None, &rejected.answer());
            }
            // The receiver gives none after a message of protocol 2. The client sees the end of its connection.
            Incoming::Handoff(_) => {}
        }
        self.first = None;
    }

    fn decide(&mut self, offer: Offer, since: Instant, draining: bool) {
        if draining {
            return self.refuse(Some(offer), &Answer::Draining);
        }
        let Some(room) = self.first.take().or_else(|| self.room.for_another_client()) else {
            if SHORTAGE.is_due() {
                tracing::warn!("at the limit of open files: handoffs are refused; raise LimitNOFILE");
            }
            let reason = "at the limit of open files".to_owned();
            return self.refuse(Some(offer), &Answer::Busy { retry_after: RETRY_WITHOUT_ROOM, reason });
        };
        let place = match self.host.place() {
            Ok(place) => place,
            Err(answer) => return self.refuse(Some(offer), &answer),
        };
        match offer.accept(self.connection.get_ref()) {
            Ok(v2::Handoff { client, envelope, payload, .. }) => {
                self.host.count(Event::Received(Protocol::Two, since.elapsed()));
                let handoff = Handoff { client, data: payload, envelope: Some(Box::new(envelope)) };
                self.host.tasks().spawn(self.host.clone().answer(handoff, Some(place), room));
            }
            Err(errno) => {
                self.host.count(Event::SenderGone);
                tracing::debug!("the sender of a handoff did not wait for the answer: {errno}");
            }
        }
    }

    /// The client stays the sender's, whether this is heard or not.
    fn refuse(&self, offer: Option<Offer>, answer: &Answer) {
        self.host.count(Event::Refused(answer));
        let sent = match offer {
            Some(offer) => offer.refuse(self.connection.get_ref(), answer),
            None => v2::offer::send(self.connection.get_ref(), answer),
        };
        if let Err(errno) = sent {
            tracing::debug!("the sender of a handoff did not wait for the answer: {errno}");
        }
    }
}

fn log_end(failure: &Failure) {
    match failure {
        Failure::Message(ReceiveError::Empty) => tracing::trace!("a connection was closed by its sender"),
        _ => tracing::debug!(reason = failure.reason(), "a connection was closed: {failure}"),
    }
}
