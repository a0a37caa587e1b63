//! Values of ours in httpd's memory pools.

use std::ffi::c_void;
use std::mem::needs_drop;

use apxs_sys as sys;

/// Moves `value` into `pool`; it is dropped when the pool is cleared.
///
/// # Safety
/// `pool` is a valid pool, used by no other thread during the call. The returned pointer is valid, and aligned for `T`,
/// until the pool is cleared.
pub(super) unsafe fn place<T>(pool: *mut sys::apr_pool_t, value: T) -> *mut T {
    // APR aligns to 8 bytes (APR_ALIGN_DEFAULT).
    const { assert!(align_of::<T>() <= 8) };
    // SAFETY: the caller vouches for the pool; apr_palloc does not return NULL, httpd's pools abort when memory ends.
    unsafe {
        let place = sys::apr_palloc(pool, size_of::<T>()).cast::<T>();
        place.write(value);
        if needs_drop::<T>() {
            sys::apr_pool_cleanup_register(
                pool,
                place.cast(),
                Some(drop_in_pool::<T>),
                Some(sys::apr_pool_cleanup_null),
            );
        }
        place
    }
}

unsafe extern "C" fn drop_in_pool<T>(place: *mut c_void) -> sys::apr_status_t {
    // SAFETY: registered by `place` with a pointer to a valid T; APR runs a cleanup once.
    unsafe { place.cast::<T>().drop_in_place() };
    0
}
