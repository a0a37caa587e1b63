//! What arrives on a daemon's socket: a handoff of protocol 1, or offers of protocol 2.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::SocketType;
use crate::scm;
use crate::v1::{self, ReceiveError};
use crate::v2::{self, Offer, Rejected};

/// One message.
#[derive(Debug)]
pub enum Incoming {
    /// Protocol 1: the client is ours, and nothing more will come on this connection.
    Handoff(v1::Handoff),
    /// Protocol 2: to be answered. More may come on this connection afterwards.
    Offer(Box<Offer>),
    /// Protocol 2, not understood: to be answered with [`Rejected::answer`].
    Rejected(Rejected),
}

/// Collects messages from one connection.
#[derive(Debug)]
pub struct Receiver {
    first: Option<v1::Receiver>,
    limits: v2::offer::Limits,
    kind: SocketType,
}

impl Receiver {
    /// For a connection of type `kind`. `message`: the longest handoff of protocol 1, in bytes.
    #[must_use]
    pub fn new(kind: SocketType, message: usize, limits: v2::offer::Limits) -> Self {
        Self { first: Some(v1::Receiver::new(kind, message)), limits, kind }
    }

    /// Receives once. `Ok(None)`: a `SOCK_STREAM` connection from which more is to come. `scratch` is where the kernel
    /// writes; it bounds a SEQPACKET message.
    ///
    /// # Errors
    /// [`ReceiveError`]: the connection is of no more use. `Io(EAGAIN)` means: call again when it is readable. `Empty`
    /// is how a connection ends.
    pub fn receive(
        &mut self,
        socket: impl AsFd,
        scratch: &mut [u8],
    ) -> Result<Option<Incoming>, ReceiveError> {
        let received = match scm::receive(socket, scratch) {
            Ok(received) => received,
            Err(Errno::AGAIN) => return Err(Errno::AGAIN.into()),
            Err(errno) => {
                self.first = None;
                return Err(errno.into());
            }
        };
        if self.kind == SocketType::SeqPacket && v2::is_message(&scratch[..received.bytes]) {
            self.first = None;
            return Ok(Some(match Offer::read(received, scratch, self.limits) {
                Ok(offer) => Incoming::Offer(Box::new(offer)),
                Err(rejected) => Incoming::Rejected(rejected),
            }));
        }
        // After a message there is none of protocol 1.
        let Some(first) = &mut self.first else {
            let ended = received.bytes == 0 && received.fds.is_empty();
            return Err(if ended { ReceiveError::Empty } else { ReceiveError::WrongProtocol });
        };
        let result = first.take(received, scratch);
        if !matches!(result, Ok(None)) {
            self.first = None;
        }
        match result? {
            // Its sender waits for an answer and will answer the client itself.
            Some(handoff) if v2::is_message(&handoff.data) => Err(ReceiveError::WrongProtocol),
            handoff => Ok(handoff.map(Incoming::Handoff)),
        }
    }
}
