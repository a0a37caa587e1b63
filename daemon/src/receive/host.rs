//! Who answers the clients that are handed over.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use handoff_protocol::v2::{Answer, Envelope};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Failure;
use crate::open_files::Room;

/// A client that is ours, and what was said about it.
#[derive(Debug)]
pub struct Handoff {
    /// Its connection, which nobody has touched yet.
    pub client: OwnedFd,
    /// The application's data; empty for none. Not checked in any way.
    pub data: Vec<u8>,
    /// What the module tells of the request and of the application's answer. None: protocol 1, which tells nothing.
    pub envelope: Option<Box<Envelope>>,
}

/// What holds for connections of the module.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// From accepting a connection to its first whole message.
    pub handoff_timeout: Duration,
    /// How long a connection of protocol 2 may wait for its next message.
    pub idle: Duration,
    /// Longest data of the application, in bytes (protocol 2).
    pub payload: usize,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One connection, one handoff.
    One,
    /// Handoffs are answered, and connections kept.
    Two,
}

/// What can be counted.
#[derive(Debug)]
pub enum Event<'a> {
    /// A client is ours, so long after its connection was accepted, or its message was there.
    Received(Protocol, Duration),
    /// A connection brought no handoff.
    Failed(&'a Failure),
    /// A handoff of protocol 2 was answered otherwise than with "accepted".
    Refused(&'a Answer),
    /// The sender of a handoff did not wait for "accepted".
    SenderGone,
}

/// A program that answers clients.
pub trait Host: Send + Sync + 'static {
    /// What a client has that was let in before it was ours (protocol 2).
    type Place: Send;

    /// The rules of this moment.
    fn rules(&self) -> Rules;

    /// Whether processes of this user may hand off.
    fn allows(&self, uid: u32) -> bool;

    /// Lets one more client in, if there is a place.
    ///
    /// # Errors
    /// What to answer instead of "accepted".
    fn place(&self) -> Result<Self::Place, Answer>;

    /// Cancelled when no more handoffs are taken.
    fn draining(&self) -> &CancellationToken;

    /// Where the tasks of clients belong.
    fn tasks(&self) -> &TaskTracker;

    /// Counts.
    fn count(&self, event: Event<'_>);

    /// Answers a client. `place` is what [`Host::place`] gave; none with protocol 1, which cannot be refused before.
    /// `room` is for its descriptors and to be dropped after them.
    fn answer(
        self: Arc<Self>,
        handoff: Handoff,
        place: Option<Self::Place>,
        room: Room,
    ) -> impl Future<Output = ()> + Send;
}
