//! A request, as a filter or hook sees it.

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

use apxs_sys as sys;

use super::connection::Connection;
use super::filter::{Brigade, FilterKind};
use super::table::{Table, TableSnapshot};
use super::{entry, pool};
use crate::config::{DirectoryConfig, ServerConfig};
use crate::filters::RequestState;
use crate::plan::{Facts, Method};

/// A `request_rec`. `'r` is the call of httpd in which it was received.
#[derive(Clone, Copy)]
pub(crate) struct Request<'r> {
    raw: NonNull<sys::request_rec>,
    lifetime: PhantomData<&'r ()>,
}

/// What one non-blocking read of the request body brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyRead {
    /// So many bytes.
    Data(u64),
    /// The client has not sent more so far.
    NothingYet,
    /// The body has been read to its end.
    End,
    /// It cannot be read; the status code says why.
    Failed(u16),
}

impl<'r> Request<'r> {
    /// # Safety
    /// `raw` is NULL or a valid request that this thread is serving and that outlives `'r`.
    pub(super) unsafe fn new(raw: *mut sys::request_rec) -> Option<Self> {
        Some(Self { raw: NonNull::new(raw)?, lifetime: PhantomData })
    }

    pub(super) fn as_ptr(self) -> *mut sys::request_rec {
        self.raw.as_ptr()
    }

    pub(super) fn raw(&self) -> &'r sys::request_rec {
        // SAFETY: the request is valid for 'r. The reference is used to read a field and given up at once, never held
        // while httpd changes the request.
        unsafe { self.raw.as_ref() }
    }

    /// Whether this is a subrequest, such as an SSI include.
    pub(crate) fn is_subrequest(self) -> bool {
        !self.raw().main.is_null()
    }

    /// The request that this one continues as an internal redirect, such as the one that failed and led to this error
    /// document.
    pub(crate) fn previous(self) -> Option<Self> {
        // SAFETY: httpd keeps the chain of redirected requests for as long as the last of them lives.
        unsafe { Self::new(self.raw().prev) }
    }

    pub(crate) fn connection(self) -> Connection<'r> {
        // SAFETY: a request's connection outlives it, and this thread serves both.
        unsafe { Connection::new(self.raw().connection) }
    }

    /// What the plan depends on.
    pub(crate) fn facts(self) -> Facts {
        let raw = self.raw();
        let connection = self.connection();
        Facts {
            method: if raw.header_only != 0 {
                Method::Head
            } else if raw.method_number == sys::M_CONNECT as i32 {
                Method::Connect
            } else {
                Method::Other
            },
            proxied: raw.proxyreq != 0 && !self.is_fastcgi(),
            secondary_connection: connection.is_secondary(),
            tls: connection.is_tls(),
        }
    }

    /// Whether the handler is FastCGI through mod_proxy: for httpd a proxied request, for everybody else the application.
    fn is_fastcgi(self) -> bool {
        let filename = self.raw().filename;
        if filename.is_null() {
            return false;
        }
        // SAFETY: a filename is a C string of the request's pool.
        let filename = unsafe { CStr::from_ptr(filename) }.to_bytes();
        // A balancer names the member that it chose in the environment, which only the configuration can set otherwise.
        filename.starts_with(b"proxy:fcgi://")
            || (filename.starts_with(b"proxy:balancer://")
                && self
                    .environment()
                    .get(c"BALANCER_WORKER_NAME")
                    .is_some_and(|worker| worker.starts_with(b"fcgi://")))
    }

    pub(super) fn environment(self) -> Table<'r> {
        // SAFETY: the table belongs to the request.
        unsafe { Table::new(self.raw().subprocess_env) }
    }

    /// The headers of the response: those of a success, then those that error responses have too.
    pub(crate) fn response_tables(self) -> [Table<'r>; 2] {
        let raw = self.raw();
        // SAFETY: both tables belong to the request.
        unsafe { [Table::new(raw.headers_out), Table::new(raw.err_headers_out)] }
    }

    pub(crate) fn snapshot_response_tables(self) -> TableSnapshot<'r> {
        let [headers_out, err_headers_out] = self.response_tables();
        // SAFETY: the copies are made in the request's pool, as the tables themselves are.
        let copy =
            |table: Table<'r>| unsafe { Table::new(sys::apr_table_copy(self.raw().pool, table.as_ptr())) };
        TableSnapshot { headers_out: copy(headers_out), err_headers_out: copy(err_headers_out) }
    }

    /// Makes the response headers those of the snapshot, which must not be used again.
    pub(crate) fn restore_response_tables(self, snapshot: &TableSnapshot<'r>) {
        // SAFETY: the request is valid, and the copies live as long as it does.
        unsafe {
            (*self.as_ptr()).headers_out = snapshot.headers_out.as_ptr();
            (*self.as_ptr()).err_headers_out = snapshot.err_headers_out.as_ptr();
        }
    }

    /// Drops the headers that error responses have too.
    pub(crate) fn clear_error_table(self) {
        let [_, err_headers_out] = self.response_tables();
        err_headers_out.clear();
    }

    /// Sets a header that an error response will have.
    pub(crate) fn set_error_header(self, name: &'static CStr, value: &CStr) {
        let [_, err_headers_out] = self.response_tables();
        // SAFETY: the copy is made in the request's pool, in which the table is as well.
        unsafe {
            let copy = sys::apr_pstrmemdup(self.raw().pool, value.as_ptr(), value.count_bytes());
            sys::apr_table_setn(err_headers_out.as_ptr(), name.as_ptr(), copy);
        }
    }

    /// Keeps mod_cache from storing the response.
    pub(crate) fn forbid_caching(self) {
        // SAFETY: the request is valid, and this thread is the one that serves it.
        unsafe { (*self.as_ptr()).no_cache = 1 };
    }

    /// Sets the note and the environment variable HANDOFF, for `%{HANDOFF}n` and `%{HANDOFF}e` in the access log.
    pub(crate) fn note(self, value: &'static CStr) {
        // SAFETY: the table belongs to the request.
        unsafe { Table::new(self.raw().notes) }.set(c"HANDOFF", value);
        self.environment().set(c"HANDOFF", value);
    }

    /// The same for the last request that this one was redirected to, if it was.
    pub(crate) fn note_on_last_redirect(self, value: &'static CStr) {
        let mut last = self;
        // SAFETY: as in `previous`.
        while let Some(next) = unsafe { Self::new(last.raw().next) } {
            last = next;
        }
        last.note(value);
    }

    /// Has httpd send an end of stream when the handler has returned, though one was passed on before.
    pub(crate) fn expect_end_of_stream(self) {
        // SAFETY: the request is valid, and this thread is the one that serves it.
        unsafe { sys::shim_set_eos_sent(self.as_ptr(), 0) };
    }

    /// Sends an error response now, with its error document (`ap_die`).
    pub(crate) fn die(self, status: u16) {
        // SAFETY: the request is valid and has not been answered.
        unsafe { sys::ap_die(status.into(), self.as_ptr()) };
    }

    pub(crate) fn add_filter(self, kind: FilterKind) {
        // SAFETY: the handle was made by httpd when the module was loaded; request and connection are valid.
        unsafe {
            sys::ap_add_output_filter_handle(
                entry::filter_handle(kind),
                std::ptr::null_mut(),
                self.as_ptr(),
                self.raw().connection,
            );
        }
    }

    /// Whether the response is compressed or otherwise coded (RFC 9110, section 8.4).
    pub(crate) fn has_content_coding(self) -> bool {
        !self.raw().content_encoding.is_null()
            || self.response_tables().iter().any(|table| {
                let coding = table.get(c"Content-Encoding");
                coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"))
            })
    }

    /// Takes the content coding off the response, since its body will be another one.
    pub(crate) fn forget_content_coding(self) {
        for table in self.response_tables() {
            table.unset(c"Content-Encoding");
        }
    }

    /// What the module remembers about this request.
    pub(crate) fn state(self) -> Option<&'r RequestState<'r>> {
        // SAFETY: only `set_state` writes this slot, with a pointer to a state in the request's pool.
        unsafe { entry::module_config::<RequestState<'r>>(self.raw().request_config).as_ref() }
    }

    pub(crate) fn set_state(self, state: RequestState<'r>) -> &'r RequestState<'r> {
        // SAFETY: pool and configuration vector belong to the request.
        unsafe {
            let state = pool::place(self.raw().pool, state);
            entry::set_module_config(self.raw().request_config, state);
            &*state
        }
    }

    pub(crate) fn server_config(self) -> &'r ServerConfig {
        // SAFETY: httpd keeps what create_server_config returned for as long as it serves requests with it.
        unsafe {
            let config = entry::module_config::<ServerConfig>((*self.raw().server).module_config);
            config.as_ref().expect("httpd creates a server configuration for every server")
        }
    }

    pub(crate) fn directory_config(self) -> &'r DirectoryConfig {
        // SAFETY: as for the server configuration.
        unsafe {
            let config = entry::module_config::<DirectoryConfig>(self.raw().per_dir_config);
            config.as_ref().expect("httpd creates a directory configuration for every request")
        }
    }

    /// Whether the client announced a body (RFC 9112, section 6).
    pub(crate) fn has_body(self) -> bool {
        let headers = self.headers_in();
        headers.get(c"Transfer-Encoding").is_some()
            || headers.get(c"Content-Length").is_some_and(|length| length != b"0")
    }

    /// Whether the client waits for "100 Continue" before it sends its body (RFC 9110, section 10.1.1).
    pub(crate) fn expects_continue(self) -> bool {
        self.raw().expecting_100 != 0
    }

    /// Reads and drops some of the request body, without waiting for the client.
    pub(crate) fn read_body(self) -> BodyRead {
        const AT_ONCE: i64 = 8192;
        // SAFETY: the input filters are the request's; the brigade is made for this read and destroyed after it.
        unsafe {
            let raw = sys::apr_brigade_create(self.raw().pool, (*self.raw().connection).bucket_alloc);
            let Some(brigade) = Brigade::new(raw) else { return BodyRead::Failed(500) };
            let status = sys::ap_get_brigade(
                self.raw().input_filters,
                raw,
                sys::ap_input_mode_t_AP_MODE_READBYTES,
                sys::apr_read_type_e_APR_NONBLOCK_READ,
                AT_ONCE,
            );
            let mut length: sys::apr_off_t = 0;
            let outcome = if sys::shim_status_is_eagain(status) != 0 {
                BodyRead::NothingYet
            } else if status != 0 {
                let code = sys::ap_map_http_request_error(status, sys::HTTP_BAD_REQUEST as i32);
                BodyRead::Failed(
                    u16::try_from(code).ok().filter(|code| (400..600).contains(code)).unwrap_or(400),
                )
            } else if brigade.has_end_of_stream() {
                BodyRead::End
            } else if sys::apr_brigade_length(raw, 1, &mut length) == 0 && length > 0 {
                BodyRead::Data(length.unsigned_abs())
            } else {
                // A status of success and an empty brigade: httpd's other way to say "not yet".
                BodyRead::NothingYet
            };
            sys::apr_brigade_destroy(raw.cast());
            outcome
        }
    }

    /// Has httpd close the connection without a farewell (`ap_start_lingering_close`) when this request is done: after a
    /// handoff nobody is at the other end, to be told of the end and waited for. Not before the request is logged, since
    /// it would be logged as aborted: its pool is cleared after that (`eor_bucket_destroy`).
    pub(crate) fn do_not_linger(self) {
        unsafe extern "C" fn abort(connection: *mut c_void) -> sys::apr_status_t {
            // SAFETY: registered below with the request's connection, whose pool is the parent of the request's.
            unsafe { sys::shim_set_connection_aborted(connection.cast()) };
            0
        }
        let raw = self.raw();
        // SAFETY: the pool is the request's; the functions stay loaded.
        unsafe {
            sys::apr_pool_cleanup_register(
                raw.pool,
                raw.connection.cast(),
                Some(abort),
                Some(sys::apr_pool_cleanup_null),
            );
        }
    }

    /// Sends what earlier requests of this connection have left in the output filters. Waits for the client, for as
    /// long as httpd's Timeout says.
    pub(crate) fn flush_connection(self) -> Result<(), ()> {
        // SAFETY: the brigade is made for this flush, with buckets of the connection's allocator, and destroyed after it.
        unsafe {
            let connection = self.raw().connection;
            let brigade = sys::apr_brigade_create(self.raw().pool, (*connection).bucket_alloc);
            sys::shim_brigade_insert_tail(brigade, sys::apr_bucket_flush_create((*connection).bucket_alloc));
            let status = sys::ap_pass_brigade((*connection).output_filters, brigade);
            sys::apr_brigade_destroy(brigade.cast());
            if status == 0 && sys::shim_connection_aborted(connection) == 0 { Ok(()) } else { Err(()) }
        }
    }
}
