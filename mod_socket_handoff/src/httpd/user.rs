//! The system's users.

use std::ffi::CString;
use std::ptr::null_mut;

use apxs_sys as sys;

/// The id of the user `name`. `None`: there is none.
pub(super) fn id(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: the pool is made for this call, which leaves nothing in it that is used afterwards.
    let status = unsafe {
        let mut pool = null_mut();
        if sys::apr_pool_create_ex(&raw mut pool, null_mut(), None, null_mut()) != 0 {
            return None;
        }
        let status = sys::apr_uid_get(&raw mut uid, &raw mut gid, name.as_ptr(), pool);
        sys::apr_pool_destroy(pool);
        status
    };
    (status == 0).then_some(uid)
}
