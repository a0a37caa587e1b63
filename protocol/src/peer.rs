//! Who is at the other end of a Unix socket (`SO_PEERCRED`, unix(7)).

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::sockopt;

/// The process that connected, or the one that listened, when it did so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its process id; 0 when it is in another PID namespace.
    pub pid: u32,
    /// Its effective user id.
    pub uid: u32,
}

/// The credentials of the peer of a connected socket.
///
/// # Errors
/// Those of getsockopt(2).
pub fn credentials(socket: impl AsFd) -> Result<Credentials, Errno> {
    let peer = sockopt::socket_peercred(socket)?;
    // The kernel says 0 for a process that cannot be named here.
    let pid = u32::try_from(peer.pid.as_raw_pid()).unwrap_or(0);
    Ok(Credentials { pid, uid: peer.uid.as_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_within_one_process_is_itself() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = credentials(&one).unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    }
}
