//! Output filters and bucket brigades.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;

use apxs_sys as sys;

use super::entry::AFTER_CONTENT_FILTERS;
use super::request::Request;

/// What a filter reports to the one before it, an `apr_status_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(super) sys::apr_status_t);

impl Status {
    pub(crate) const OK: Self = Self(0);
}

/// The module's output filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterKind {
    /// Before all content filters.
    Collector,
    /// After them, before mod_cache.
    Taker,
    /// In error responses: takes the handoff headers off.
    Stripper,
    /// Swallows what comes after the answer.
    Sink,
}

/// One call of a filter.
pub(crate) struct FilterCall<'r> {
    filter: NonNull<sys::ap_filter_t>,
    request: Request<'r>,
}

impl<'r> FilterCall<'r> {
    /// # Safety
    /// `filter` is the valid filter of a request that httpd is calling, and its request outlives `'r`. `None`: it is no
    /// request's filter.
    pub(super) unsafe fn new(filter: *mut sys::ap_filter_t) -> Option<Self> {
        let filter = NonNull::new(filter)?;
        // SAFETY: the caller vouches for the filter, and so for the request in it.
        let request = unsafe { Request::new((*filter.as_ptr()).r) }?;
        Some(Self { filter, request })
    }

    pub(crate) fn request(&self) -> Request<'r> {
        self.request
    }

    /// Takes this filter out of the request's chain. It can still [`pass`](Self::pass) on what it has got.
    pub(crate) fn remove(&self) {
        // SAFETY: the filter is in the chain of its request, or was removed before, which httpd accepts.
        unsafe { sys::ap_remove_output_filter(self.filter.as_ptr()) };
    }

    /// Whether a content filter, such as the one of mod_headers, comes next.
    pub(crate) fn is_before_content_filter(&self) -> bool {
        // SAFETY: the filter is in a chain of valid filters, each with its record.
        unsafe {
            let next = (*self.filter.as_ptr()).next;
            !next.is_null() && (*(*next).frec).ftype < AFTER_CONTENT_FILTERS
        }
    }

    /// Tells the next filter that the response ends here.
    pub(crate) fn pass_end_of_stream(&self) {
        // SAFETY: the filter's request and connection are valid. The brigade takes over the bucket, which comes from the
        // same allocator, and is destroyed after the call.
        unsafe {
            let filter = &*self.filter.as_ptr();
            let allocator = (*filter.c).bucket_alloc;
            let brigade = sys::apr_brigade_create((*filter.r).pool, allocator);
            sys::shim_brigade_insert_tail(brigade, sys::apr_bucket_eos_create(allocator));
            sys::ap_pass_brigade(filter.next, brigade);
            sys::apr_brigade_destroy(brigade.cast());
        }
    }

    /// Gives the brigade to the next filter.
    pub(crate) fn pass(&self, brigade: Brigade<'_>) -> Status {
        // SAFETY: filter and brigade are valid; httpd's filters do not keep either beyond the call.
        Status(unsafe { sys::ap_pass_brigade((*self.filter.as_ptr()).next, brigade.as_ptr()) })
    }
}

/// A list of buckets on its way to the client, or from it.
#[derive(Clone, Copy)]
pub(crate) struct Brigade<'b> {
    raw: NonNull<sys::apr_bucket_brigade>,
    lifetime: PhantomData<&'b ()>,
}

/// How far the data has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collected {
    /// More will follow.
    Part,
    /// The stream has ended.
    Whole,
}

/// Why data was not collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CollectError {
    TooLong,
    /// With the `apr_status_t`.
    Unreadable(i32),
}

impl Brigade<'_> {
    /// # Safety
    /// `raw` is a valid brigade that lives for the lifetime of the result. `None` for NULL.
    pub(super) unsafe fn new(raw: *mut sys::apr_bucket_brigade) -> Option<Self> {
        Some(Self { raw: NonNull::new(raw)?, lifetime: PhantomData })
    }

    pub(super) fn as_ptr(self) -> *mut sys::apr_bucket_brigade {
        self.raw.as_ptr()
    }

    /// Moves the data to the end of `body`, up to the end of the stream or of the brigade. Waits for a handler that
    /// gives a pipe to read from. What is not data is dropped.
    ///
    /// # Errors
    /// `body` would be longer than `limit` bytes, or the data cannot be read. The rest is still in the brigade.
    pub(crate) fn collect_into(self, body: &mut Vec<u8>, limit: usize) -> Result<Collected, CollectError> {
        // SAFETY: the buckets are those of this brigade. Reading one gives memory that lives until it is deleted, and may
        // put a further one behind it.
        unsafe {
            let sentinel = sys::shim_brigade_sentinel(self.as_ptr());
            loop {
                let bucket = sys::shim_brigade_first(self.as_ptr());
                if bucket == sentinel {
                    return Ok(Collected::Part);
                }
                if sys::shim_bucket_is_eos(bucket) != 0 {
                    return Ok(Collected::Whole);
                }
                if sys::shim_bucket_is_metadata(bucket) == 0 {
                    let (mut data, mut length) = (std::ptr::null(), 0);
                    let status = sys::shim_bucket_read(bucket, &mut data, &mut length);
                    if status != 0 {
                        return Err(CollectError::Unreadable(status));
                    }
                    if length > limit - body.len() {
                        return Err(CollectError::TooLong);
                    }
                    if length > 0 {
                        body.extend_from_slice(std::slice::from_raw_parts(data.cast(), length));
                    }
                }
                sys::shim_bucket_delete(bucket);
            }
        }
    }

    /// Drops every bucket. What a program writes that mod_cgi runs is read away: mod_cgi waits for the program's end
    /// anyway, and the program waits for its reader.
    pub(crate) fn clear(self) {
        /// A program that does not come to an end has to wait, for as long as Timeout says.
        const MOST: usize = 1 << 30;
        let mut length = 0;
        // SAFETY: the brigade is valid. The buckets are its own, and each has its type; reading one gives memory that
        // lives until it is deleted, and may put a further one behind it.
        unsafe {
            let sentinel = sys::shim_brigade_sentinel(self.as_ptr());
            let mut bucket = sys::shim_brigade_first(self.as_ptr());
            while bucket != sentinel && length <= MOST {
                // The type's name in modules/generators/mod_cgi.c. What mod_cgid brings is a pipe, whose end it leaves
                // to itself.
                if CStr::from_ptr((*(*bucket).type_).name) == c"CGI" {
                    let (mut data, mut more) = (std::ptr::null(), 0);
                    if sys::shim_bucket_read(bucket, &mut data, &mut more) != 0 {
                        break;
                    }
                    length += more;
                }
                sys::shim_bucket_delete(bucket);
                bucket = sys::shim_brigade_first(self.as_ptr());
            }
            sys::apr_brigade_cleanup(self.as_ptr().cast());
        }
    }

    /// Whether a handler put an ERROR bucket in.
    pub(crate) fn has_error(self) -> bool {
        // SAFETY: the buckets are those of this brigade.
        self.any(|bucket| unsafe { sys::shim_bucket_is_error(bucket) } != 0)
    }

    /// Whether the stream ends within.
    pub(crate) fn has_end_of_stream(self) -> bool {
        // SAFETY: the buckets are those of this brigade.
        self.any(|bucket| unsafe { sys::shim_bucket_is_eos(bucket) } != 0)
    }

    fn any(self, mut is_it: impl FnMut(*mut sys::apr_bucket) -> bool) -> bool {
        // SAFETY: a brigade is a ring that ends at its sentinel, and nothing changes it meanwhile.
        unsafe {
            let sentinel = sys::shim_brigade_sentinel(self.as_ptr());
            let mut bucket = sys::shim_brigade_first(self.as_ptr());
            while bucket != sentinel {
                if is_it(bucket) {
                    return true;
                }
                bucket = sys::shim_bucket_next(bucket);
            }
        }
        false
    }
}
