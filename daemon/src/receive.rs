//! Receives the handoff from an accepted connection of the module.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use handoff_protocol::v1::{Handoff, ReceiveError, Receiver};
use rustix::io::Errno;
use tokio::io::Interest;

use crate::listener::Peer;
use crate::watched::watch;

/// Longest handoff message, in bytes. More than a SEQPACKET message can have by default (`net.core.wmem_default`,
/// 208 KiB), so that the kernel's limit holds, which the sender sees.
const MESSAGE_LIMIT: usize = 256 * 1024;

thread_local! {
    /// Where the kernel writes messages: one for each thread of the runtime, none for a stream. Its pages are touched
    /// only as far as the longest message so far.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MESSAGE_LIMIT]);
}

/// Why no handoff came out of a connection.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
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
            Self::Message(error) => error.reason(),
            Self::Deadline(_) => "handoff_timeout",
            Self::Watch(_) => "watch",
        }
    }
}

/// Receives one handoff from `peer` and closes it.
///
/// # Errors
/// [`Failure`]; whatever had arrived is closed.
pub async fn receive(peer: Peer, deadline: Duration) -> Result<Handoff, Failure> {
    let mut receiver = Receiver::new(peer.socket_type, MESSAGE_LIMIT);
    let peer = peer.connection;
    // The module sends right after connecting: most often the message is there, and nothing needs to be watched.
    if let Some(handoff) = receive_now(&mut receiver, &peer)? {
        return Ok(handoff);
    }
    // On the heap, since the room for its timer would be part of every stream, which is the same task.
    match Box::pin(tokio::time::timeout(deadline, receive_later(receiver, peer))).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Deadline(deadline)),
    }
}

async fn receive_later(mut receiver: Receiver, peer: OwnedFd) -> Result<Handoff, Failure> {
    let peer = watch(peer, Interest::READABLE)?;
    loop {
        let mut readable = peer.readable().await?;
        match receive_now(&mut receiver, peer.get_ref())? {
            Some(handoff) => return Ok(handoff),
            None => readable.clear_ready(),
        }
    }
}

/// `None`: not yet.
fn receive_now(receiver: &mut Receiver, peer: impl AsFd) -> Result<Option<Handoff>, ReceiveError> {
    SCRATCH.with_borrow_mut(|scratch| match receiver.receive(peer, scratch) {
        Err(ReceiveError::Io(Errno::AGAIN)) => Ok(None),
        result => result,
    })
}
