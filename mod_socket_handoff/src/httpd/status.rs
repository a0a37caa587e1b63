//! The shared memory of the scoreboard, and the section of mod_status.

use std::ffi::{c_int, c_void};
use std::panic::catch_unwind;
use std::ptr::{null, null_mut};
use std::sync::atomic::AtomicU64;

use apxs_sys as sys;

use super::log::{c_string, log_server};
use crate::scoreboard::{self, WORDS};

/// Under which the memory is kept from one configuration to the next. Another version of the module may count otherwise.
const KEY: &str = concat!("mod_socket_handoff ", env!("CARGO_PKG_VERSION"));

/// Registers this file's hooks.
///
/// # Safety
/// httpd is calling the module's register_hooks.
pub(super) unsafe fn register_hooks() {
    type Untyped = unsafe extern "C" fn();
    type StatusHook = unsafe extern "C" fn(*mut sys::request_rec, c_int) -> c_int;
    let middle = sys::APR_HOOK_MIDDLE as i32;
    // SAFETY: the functions live as long as the module is loaded. mod_status calls its hook by the type that the function
    // has here (mod_status.h); without mod_status nobody calls it.
    unsafe {
        sys::ap_hook_post_config(Some(open_scoreboard), null(), null(), middle);
        sys::ap_hook_child_status(Some(child_status), null(), null(), middle);
        let report = std::mem::transmute::<StatusHook, Untyped>(report);
        sys::apr_optional_hook_add(c"status_hook".as_ptr(), Some(report), null(), null(), middle);
    }
}

/// Called in the parent when the configuration has been read: at the start twice, then at each restart.
unsafe extern "C" fn open_scoreboard(
    _config: *mut sys::apr_pool_t,
    _log: *mut sys::apr_pool_t,
    _temporary: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) -> c_int {
    // SAFETY: httpd passes the main server, whose process lives longer than any configuration, as does the memory in its
    // pool.
    unsafe {
        match memory((*(*server).process).pool) {
            Ok(memory) => scoreboard::open(memory),
            Err(status) => log_server(
                server,
                &format!("/server-status will not count handoffs: no shared memory (apr_status_t {status})"),
            ),
        }
    }
    sys::OK as c_int
}

/// The memory that this and all later child processes share: made once for a process.
///
/// # Safety
/// `pool` is a valid pool, and is cleared by none but the end of the process.
unsafe fn memory(pool: *mut sys::apr_pool_t) -> Result<&'static [AtomicU64], sys::apr_status_t> {
    let key = c_string(&format!("{KEY} {WORDS}"));
    let mut base: *mut c_void = null_mut();
    // SAFETY: the caller vouches for the pool. Anonymous shared memory is a mapping that begins as zeroes; APR aligns it
    // to 8 bytes. All processes use it by atomic operations only.
    unsafe {
        sys::apr_pool_userdata_get(&raw mut base, key.as_ptr(), pool);
        if base.is_null() {
            let mut shared = null_mut();
            match sys::apr_shm_create(&raw mut shared, size_of::<[AtomicU64; WORDS]>(), null(), pool) {
                0 => base = sys::apr_shm_baseaddr_get(shared),
                status => return Err(status),
            }
            sys::apr_pool_userdata_set(base, key.as_ptr(), None, pool);
        }
        Ok(std::slice::from_raw_parts(base.cast(), WORDS))
    }
}

/// Called in the parent when a child process has been started or has ended.
unsafe extern "C" fn child_status(
    _server: *mut sys::server_rec,
    pid: sys::pid_t,
    _generation: sys::ap_generation_t,
    _slot: c_int,
    status: sys::mpm_child_status,
) {
    if status == sys::mpm_child_status_MPM_CHILD_EXITED {
        scoreboard::leave(pid.unsigned_abs().into());
    }
}

/// Called by mod_status while it answers `request`.
unsafe extern "C" fn report(request: *mut sys::request_rec, flags: c_int) -> c_int {
    let report = catch_unwind(|| {
        let rows = scoreboard::rows()?;
        let flags = flags.unsigned_abs();
        Some(if flags & sys::AP_STATUS_SHORT != 0 {
            scoreboard::plain(&rows)
        } else {
            scoreboard::html(&rows, flags & sys::AP_STATUS_NOTABLE == 0)
        })
    });
    match report {
        Ok(Some(text)) => {
            // SAFETY: mod_status passes the request that it is answering.
            unsafe { sys::ap_rwrite(text.as_ptr().cast(), text.len() as c_int, request) };
            sys::OK as c_int
        }
        _ => sys::DECLINED,
    }
}
