//! The client's connection, and the swap of its socket.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Duration;

use apxs_sys as sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{DupFlags, Errno};

/// A `conn_rec`.
#[derive(Clone, Copy)]
pub(crate) struct Connection<'c> {
    raw: NonNull<sys::conn_rec>,
    lifetime: PhantomData<&'c ()>,
}

impl<'c> Connection<'c> {
    /// # Safety
    /// `raw` is a valid connection that lives for `'c`, and that this thread is serving.
    pub(super) unsafe fn new(raw: *mut sys::conn_rec) -> Self {
        Self { raw: NonNull::new(raw).expect("a request has a connection"), lifetime: PhantomData }
    }

    pub(super) fn as_ptr(self) -> *mut sys::conn_rec {
        self.raw.as_ptr()
    }

    /// Whether this is a stream of an HTTP/2 connection, which has no socket of its own: what
    /// `ap_get_conn_socket` gives then is a dummy of mod_http2.
    pub(crate) fn is_secondary(self) -> bool {
        // SAFETY: the connection is valid.
        unsafe { !(*self.as_ptr()).master.is_null() }
    }

    /// Whether some TLS module encrypts this connection.
    pub(crate) fn is_tls(self) -> bool {
        // SAFETY: the connection is valid.
        unsafe { sys::ap_ssl_conn_is_ssl(self.as_ptr()) != 0 }
    }

    /// What has been read of the client's next requests: mostly nothing, and finding that out costs no system call.
    ///
    /// It stays where it is, so that Apache can serve those requests if the client remains its own. Otherwise nobody
    /// looks at it, since the connection ends for Apache.
    pub(crate) fn pre_read(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // SAFETY: the input filters of a connection are valid. The last one is the core's, whose context is a
        // core_net_rec (core_pre_connection in server/core.c); its brigade, made at the first read, holds what was read
        // and not yet asked for, and behind that the socket.
        unsafe {
            let mut filter = (*self.as_ptr()).input_filters;
            while !filter.is_null() && (*filter).frec != sys::ap_core_input_filter_handle {
                filter = (*filter).next;
            }
            let Some(filter) = filter.as_ref() else { return bytes };
            let Some(network) = filter.ctx.cast::<sys::core_net_rec>().as_ref() else { return bytes };
            let Some(input) = network.in_ctx.as_ref() else { return bytes };
            let sentinel = sys::shim_brigade_sentinel(input.b);
            let mut bucket = sys::shim_brigade_first(input.b);
            while bucket != sentinel && sys::shim_bucket_is_socket(bucket) == 0 {
                let (mut data, mut length) = (std::ptr::null(), 0);
                if sys::shim_bucket_read(bucket, &mut data, &mut length) != 0 {
                    break;
                }
                if length > 0 {
                    bytes.extend_from_slice(std::slice::from_raw_parts(data.cast(), length));
                }
                bucket = sys::shim_bucket_next(bucket);
            }
        }
        bytes
    }

    /// Whether output of an earlier, pipelined request is still held back.
    pub(crate) fn has_unsent_output(self) -> bool {
        // SAFETY: the connection is valid.
        unsafe { sys::shim_data_in_output_filters(self.as_ptr()) != 0 }
    }

    /// No further request on this connection, and no reading of this one's body either.
    pub(crate) fn close_after_this_request(self) {
        // SAFETY: the connection is valid, and this thread is the one that serves it.
        unsafe { (*self.as_ptr()).keepalive = sys::ap_conn_keepalive_e_AP_CONN_CLOSE };
    }

    /// The client's socket. `None` when another thread has closed it, as an ungraceful stop does.
    pub(crate) fn client_socket(self) -> Option<BorrowedFd<'c>> {
        let fd = self.client_fd()?;
        // SAFETY: the descriptor is the connection's open socket. The stop of the child may close it at any time after
        // this look, from another thread: a system call then fails with EBADF, or, in a process that is ending anyway,
        // meets a descriptor that this child opened since.
        Some(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Puts a duplicate of `dead` in the place of the client's socket. In the same step this closes Apache's reference
    /// to the client, and leaves every `apr_socket_t` that some filter holds valid.
    ///
    /// Nothing happens when the child is ending and has closed the socket already.
    ///
    /// # Errors
    /// Those of dup3(2).
    pub(crate) fn swap_client_socket(self, dead: BorrowedFd<'_>) -> Result<(), Errno> {
        let Some(fd) = self.client_fd() else { return Ok(()) };
        // SAFETY: dup3 replaces the open descriptor that the connection owns by number. ManuallyDrop keeps the owner of
        // that number the connection's apr_socket_t, which closes it with the connection.
        let mut client = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
        rustix::io::dup3(dead, &mut client, DupFlags::CLOEXEC)
    }

    /// Waits until the client has sent something or has gone. `false`: not within `timeout`.
    pub(crate) fn wait_readable(self, timeout: Duration) -> bool {
        let Some(socket) = self.client_socket() else { return true };
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::new(&socket, PollFlags::IN)];
        // A signal counts as readable: the caller reads, finds nothing and comes back with the time that is left.
        !matches!(poll(&mut fds, timeout.as_ref()), Ok(0))
    }

    fn client_fd(self) -> Option<i32> {
        let mut fd = -1;
        // SAFETY: the connection is valid; its core configuration holds the socket for as long as it lives.
        let status = unsafe {
            let socket = sys::ap_get_conn_socket(self.as_ptr());
            if socket.is_null() {
                return None;
            }
            sys::apr_os_sock_get(&mut fd, socket)
        };
        (status == 0 && fd >= 0).then_some(fd)
    }
}
