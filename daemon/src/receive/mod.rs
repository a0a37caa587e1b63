//! Receives handoffs from an accepted connection of the module: one of protocol 1, or one after another of protocol 2.
//!
//! | what | where |
//! |---|---|
//! | who answers the clients | [`Host`] |
//! | the first message, which tells the protocol | here |
//! | protocol 2: a connection that is kept, and the answers on it | `kept` |

mod host;
mod kept;

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use handoff_protocol::incoming::{Incoming, Receiver};
use handoff_protocol::peer::{self, Credentials};
use handoff_protocol::v1::{self, ReceiveError};
use handoff_protocol::v2;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::listener::Peer;
use crate::logging::Seldom;
use crate::open_files::Room;
use crate::watched::watch;
pub use host::{Event, Handoff, Host, Protocol, Rules};
use kept::Kept;

/// Longest message, in bytes. More than a SEQPACKET message can have by default (`net.core.wmem_default`, 208 KiB), so
/// that the kernel's limit holds, which the sender sees.
const MESSAGE_LIMIT: usize = 256 * 1024;

/// How long a connection of protocol 2 may wait for its next handoff. The module closes its own after half of that.
pub const IDLE: Duration = Duration::from_secs(60);

/// Longest envelope, in bytes. A request has up to 100 fields of 8 KiB (Apache's defaults), and an octet that is not ASCII
/// takes six in JSON: no client can make its request one that is refused as too long.
const ENVELOPE_LIMIT: usize = 8 * 1024 * 1024;

/// Most that is taken of a client's next requests, in bytes.
const PRE_READ_LIMIT: usize = 64 * 1024;

/// Processes that may not hand off are told of now and then.
static STRANGERS: Seldom = Seldom::new();

thread_local! {
    /// Where the kernel writes messages: one for each thread of the runtime, none for a stream. Its pages are touched
    /// only as far as the longest message so far.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MESSAGE_LIMIT]);
}

/// Why no handoff came out of a connection.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Whoever connected may not hand off.
    #[error(
        "the process {} of user {} may not hand off; if it is Apache, name its user in server.allowed_users",
        .0.pid, .0.uid
    )]
    Stranger(Credentials),
    /// What came is no handoff.
    #[error(transparent)]
    Message(#[from] ReceiveError),
    /// The message did not come, or not all of it, in time.
    #[error("no handoff arrived within {0:?}")]
    Deadline(Duration),
    /// The runtime cannot watch the connection.
    #[error("the connection cannot be watched: {0}")]
    Watch(#[from] io::Error),
}

impl Failure {
    /// A short constant name for logs and metric labels.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Stranger(_) => "not_allowed",
            Self::Message(error) => error.reason(),
            Self::Deadline(_) => "handoff_timeout",
            Self::Watch(_) => "watch",
        }
    }

    fn log(&self) {
        match self {
            // A health check, or another daemon that looks whether this one lives.
            Self::Message(ReceiveError::Empty) => tracing::debug!(reason = self.reason(), "{self}"),
            Self::Stranger(Credentials { pid, uid }) if STRANGERS.is_due() => {
                tracing::warn!(reason = self.reason(), pid, uid, "no handoff: {self}");
            }
            Self::Stranger(_) => {}
            _ => tracing::warn!(reason = self.reason(), "no handoff: {self}"),
        }
    }
}

/// What the first message was.
enum First {
    Handoff(v1::Handoff),
    /// Protocol 2: the connection and its message.
    Message(Box<(AsyncFd<OwnedFd>, Receiver, Incoming)>),
}

/// Receives what comes on `peer` and has `host` answer it. `room` is for the connection and a client.
///
/// A client of protocol 1 is answered here: this future is what its stream keeps in memory while it is silent. Clients of
/// protocol 2 have tasks of their own.
// Not `async fn`, which would keep what it is given twice (https://github.com/rust-lang/rust/issues/62958).
#[allow(clippy::manual_async_fn)]
pub fn serve<H: Host>(peer: Peer, mut room: Room, host: Arc<H>) -> impl Future<Output = ()> + Send {
    async move {
        let accepted = Instant::now();
        match first(peer, &*host).await {
            Ok(First::Handoff(v1::Handoff { client, data })) => {
                room.one_closed();
                host.count(Event::Received(Protocol::One, accepted.elapsed()));
                host.answer(Handoff { client, data, envelope: None }, None, room).await;
            }
            Ok(First::Message(first)) => {
                let (connection, receiver, message) = *first;
                Box::pin(Kept::new(connection, receiver, room, host).serve(message, accepted)).await;
            }
            Err(failure) => {
                host.count(Event::Failed(&failure));
                failure.log();
            }
        }
    }
}

/// The first message of a connection.
async fn first<H: Host>(peer: Peer, host: &H) -> Result<First, Failure> {
    let credentials = peer::credentials(&peer.connection).map_err(ReceiveError::from)?;
    if !host.allows(credentials.uid) {
        return Err(Failure::Stranger(credentials));
    }
    let Rules { handoff_timeout, payload, .. } = host.rules();
    let limits = v2::offer::Limits { envelope: ENVELOPE_LIMIT, payload, pre_read: PRE_READ_LIMIT };
    let mut receiver = Receiver::new(peer.socket_type, MESSAGE_LIMIT, limits);
    let peer = peer.connection;
    // The module sends right after connecting: most often the message is there, and nothing needs to be watched.
    match receive_now(&mut receiver, &peer)? {
        Some(Incoming::Handoff(handoff)) => return Ok(First::Handoff(handoff)),
        Some(message) => {
            return Ok(First::Message(Box::new((watch(peer, Interest::READABLE)?, receiver, message))));
        }
        None => {}
    }
    // On the heap, since the room for its timer would be part of every stream, which is the same task.
    match Box::pin(tokio::time::timeout(handoff_timeout, first_later(receiver, peer))).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Deadline(handoff_timeout)),
    }
}

async fn first_later(mut receiver: Receiver, peer: OwnedFd) -> Result<First, Failure> {
    let peer = watch(peer, Interest::READABLE)?;
    match receive_next(&mut receiver, &peer).await? {
        Incoming::Handoff(handoff) => Ok(First::Handoff(handoff)),
        message => Ok(First::Message(Box::new((peer, receiver, message)))),
    }
}

async fn receive_next(receiver: &mut Receiver, peer: &AsyncFd<OwnedFd>) -> Result<Incoming, Failure> {
    loop {
        let mut readable = peer.readable().await?;
        match receive_now(receiver, peer.get_ref())? {
            Some(message) => return Ok(message),
            None => readable.clear_ready(),
        }
    }
}

/// `None`: not yet.
fn receive_now(receiver: &mut Receiver, peer: impl AsFd) -> Result<Option<Incoming>, ReceiveError> {
    SCRATCH.with_borrow_mut(|scratch| match receiver.receive(peer, scratch) {
        Err(ReceiveError::Io(Errno::AGAIN)) => Ok(None),
        result => result,
    })
}
