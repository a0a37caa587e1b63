//! Descriptors that the runtime watches.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime watch `fd`. To be called inside the runtime.
///
/// # Errors
/// When it cannot be watched; `fd` is closed then.
// tokio deprecates this constructor since it takes any `T: AsRawFd`, which may name another descriptor each time; its
// successor is `unsafe`, and this crate is free of that. An `OwnedFd` keeps the successor's contract by its type: one
// descriptor, open and the same until it is dropped, which `AsyncFd` does after it has ended the watch.
#[allow(deprecated)]
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}
