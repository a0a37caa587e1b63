//! Sending a handoff.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::message::Header;
use crate::memory;
use crate::scm::{self, Wait};

/// Parts of up to this many bytes together travel in the message; longer ones in a sealed file. Every system's send
/// buffer has room for this much several times over (`net.core.wmem_default` is 208 KiB).
pub const MOST_INLINE: usize = 64 * 1024;

/// A message that is ready to be sent, as often as is necessary.
#[derive(Debug)]
pub struct Outgoing<'a> {
    header: Header,
    envelope: &'a [u8],
    payload: &'a [u8],
    pre_read: &'a [u8],
    /// The three, when they are too long for a message.
    file: Option<OwnedFd>,
}

impl<'a> Outgoing<'a> {
    /// Prepares a message.
    ///
    /// # Errors
    /// Those of memfd_create(2) and write(2), for parts that are too long for a message; `EFBIG` for 4 GiB and more.
    pub fn new(envelope: &'a [u8], payload: &'a [u8], pre_read: &'a [u8]) -> Result<Self, Errno> {
        let in_file = envelope.len() + payload.len() + pre_read.len() > MOST_INLINE;
        let header =
            Header::new(in_file, envelope.len(), payload.len(), pre_read.len()).ok_or(Errno::FBIG)?;
        let file = if in_file { Some(memory::sealed(&[envelope, payload, pre_read])?) } else { None };
        Ok(Self { header, envelope, payload, pre_read, file })
    }

    /// Sends it with the client's connection. `Ok`: the kernel has taken the whole of it.
    ///
    /// # Errors
    /// Those of sendmsg(2); nothing was sent then.
    pub fn send(&self, socket: impl AsFd, client: BorrowedFd<'_>, wait: Wait) -> Result<(), Errno> {
        let header = self.header.encode();
        let parts = [&header[..], self.envelope, self.payload, self.pre_read].map(IoSlice::new);
        match &self.file {
            None => scm::send_parts(socket, &parts, &[client], wait)?,
            Some(file) => scm::send_parts(socket, &parts[..1], &[client, file.as_fd()], wait)?,
        };
        Ok(())
    }
}
