//! What mod_status tells about the workers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Counts of workers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    /// With a request, the question for this status included.
    pub(super) busy: usize,
    /// Without one.
    pub(super) idle: usize,
}

/// Asks; `None` when nobody answers, or answers something else.
pub(super) fn read(addr: SocketAddr) -> Option<Status> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /server-status?auto HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let number = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some(Status { busy: number("BusyWorkers:")?, idle: number("IdleWorkers:")? })
}
