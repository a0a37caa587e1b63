//! Header tables.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;

use apxs_sys as sys;

/// An `apr_table_t` of a request: names without regard to case, several values a name.
#[derive(Clone, Copy)]
pub(crate) struct Table<'r> {
    raw: NonNull<sys::apr_table_t>,
    lifetime: PhantomData<&'r ()>,
}

/// Copies of a response's two header tables.
pub(crate) struct TableSnapshot<'r> {
    pub(super) headers_out: Table<'r>,
    pub(super) err_headers_out: Table<'r>,
}

impl<'r> Table<'r> {
    /// # Safety
    /// `raw` is a valid table whose memory, values included, lives for `'r`, and which only this thread uses.
    pub(super) unsafe fn new(raw: *mut sys::apr_table_t) -> Self {
        Self { raw: NonNull::new(raw).expect("httpd's tables are never NULL"), lifetime: PhantomData }
    }

    pub(super) fn as_ptr(self) -> *mut sys::apr_table_t {
        self.raw.as_ptr()
    }

    /// Names that begin with `letter`, in either case, and their values, in the table's order. Other names cost no more
    /// than the look at their first byte.
    ///
    /// The table must not be changed while this runs; what it yielded stays valid, since strings live in the pool.
    pub(crate) fn entries_from(self, letter: u8) -> impl Iterator<Item = (&'r [u8], &'r [u8])> {
        self.raw_entries().filter_map(move |entry| {
            // SAFETY: keys and values of a table are C strings of its pool.
            unsafe {
                (*entry.key.cast::<u8>())
                    .eq_ignore_ascii_case(&letter)
                    .then(|| (CStr::from_ptr(entry.key).to_bytes(), CStr::from_ptr(entry.val).to_bytes()))
            }
        })
    }

    /// All names and their values, in the table's order; otherwise as [`entries_from`](Self::entries_from).
    pub(crate) fn entries(self) -> impl Iterator<Item = (&'r [u8], &'r [u8])> + Clone {
        // SAFETY: as above.
        self.raw_entries().map(|entry| unsafe {
            (CStr::from_ptr(entry.key).to_bytes(), CStr::from_ptr(entry.val).to_bytes())
        })
    }

    fn raw_entries(self) -> impl Iterator<Item = &'r sys::apr_table_entry_t> + Clone {
        // SAFETY: the table is valid (`new`); its elements are apr_table_entry_t (apr_tables.h).
        let entries = unsafe {
            let array = &*sys::apr_table_elts(self.as_ptr());
            let count = usize::try_from(array.nelts).unwrap_or(0);
            if count == 0 {
                &[]
            } else {
                std::slice::from_raw_parts(array.elts.cast::<sys::apr_table_entry_t>(), count)
            }
        };
        entries.iter().filter(|entry| !entry.key.is_null() && !entry.val.is_null())
    }

    /// The first value under `name`.
    pub(crate) fn get(self, name: &CStr) -> Option<&'r [u8]> {
        // SAFETY: as in `entries`; a value that is found is a C string of the table's pool.
        unsafe {
            let value = sys::apr_table_get(self.as_ptr(), name.as_ptr());
            (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes())
        }
    }

    /// Sets `name` to `value`, in place of all values that it has.
    pub(crate) fn set(self, name: &'static CStr, value: &'static CStr) {
        // SAFETY: the table is valid; it keeps the pointers, and the strings live as long as the module is loaded.
        unsafe { sys::apr_table_setn(self.as_ptr(), name.as_ptr(), value.as_ptr()) };
    }

    /// Removes every value under `name`.
    pub(crate) fn unset(self, name: &CStr) {
        // SAFETY: the table is valid; apr_table_unset only reads the name.
        unsafe { sys::apr_table_unset(self.as_ptr(), name.as_ptr()) };
    }

    /// Removes everything.
    pub(crate) fn clear(self) {
        // SAFETY: the table is valid.
        unsafe { sys::apr_table_clear(self.as_ptr()) };
    }
}
