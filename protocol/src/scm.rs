//! Messages with file descriptors over Unix sockets (`SCM_RIGHTS`, unix(7)), in types that own what they hold.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors that the kernel puts into one message (`SCM_MAX_FD`). The receive buffer has room for all of
/// them: a buffer for one, rounded up by `CMSG_SPACE`, lets a second one in unseen, which then leaks.
const SCM_MAX_FD: usize = 253;

/// The most descriptors that are sent with one message: the client's, and a file in memory.
pub const MOST_SENT: usize = 2;

/// Whether a send may wait for room in the receiver's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Fail with `EAGAIN` at once (`MSG_DONTWAIT`).
    No,
    /// Wait, as long as the socket's `SO_SNDTIMEO` says.
    Yes,
}

/// Sends `message` with one descriptor. Never raises `SIGPIPE`; a signal before the first byte is retried.
///
/// The descriptor travels with the first byte: on a `SOCK_STREAM` socket the number of bytes that is returned may be
/// short, and the receiver then owns the descriptor all the same.
///
/// # Errors
/// Those of sendmsg(2): `EAGAIN` no room in time, `EMSGSIZE` larger than a SEQPACKET message may be, `EPIPE` and
/// `ECONNRESET` the receiver has gone, `ETOOMANYREFS` too many descriptors in flight.
pub fn send(socket: impl AsFd, message: &[u8], fd: BorrowedFd<'_>, wait: Wait) -> Result<usize, Errno> {
    send_parts(socket, &[IoSlice::new(message)], &[fd], wait)
}

/// [`send`] for a message that lies in several places, with up to [`MOST_SENT`] descriptors.
///
/// # Errors
/// Those of [`send`]; `EINVAL` for more descriptors.
pub fn send_parts(
    socket: impl AsFd,
    parts: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
    wait: Wait,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SENT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds.len() > MOST_SENT || (!fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds))) {
        return Err(Errno::INVAL);
    }
    let flags = match wait {
        Wait::No => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        Wait::Yes => SendFlags::NOSIGNAL,
    };
    rustix::io::retry_on_intr(|| sendmsg(&socket, parts, &mut control, flags))
}

/// What one `recvmsg` brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the caller's buffer; 0 means end of file.
    pub bytes: usize,
    /// Every descriptor that came along, close-on-exec. Those that the caller does not take are closed with this value.
    pub fds: Vec<OwnedFd>,
    /// The message was longer than the buffer, and the rest is gone (`MSG_TRUNC`, SEQPACKET only).
    pub truncated: bool,
    /// The kernel could not deliver every descriptor (`MSG_CTRUNC`): this process is at its limit of open files.
    pub control_truncated: bool,
}

/// Receives one message (SEQPACKET) or what is there of one (STREAM). A signal is retried.
///
/// # Errors
/// Those of recvmsg(2), `EAGAIN` on a non-blocking socket included.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SCM_MAX_FD))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut iov = [IoSliceMut::new(buffer)];
    let message =
        rustix::io::retry_on_intr(|| recvmsg(&socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    Ok(Received {
        bytes: message.bytes,
        fds,
        truncated: message.flags.contains(ReturnFlags::TRUNC),
        control_truncated: message.flags.contains(ReturnFlags::CTRUNC),
    })
}
