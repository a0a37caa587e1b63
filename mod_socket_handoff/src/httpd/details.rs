//! What a request tells of itself, its connection and its response: for the envelope of a handoff.

use std::ffi::{CStr, c_char};

use apxs_sys as sys;

use super::request::Request;
use super::table::Table;

impl<'r> Request<'r> {
    /// The method (RFC 9110, section 9). An error document is asked for with GET, and yet the answer to HEAD has no body.
    pub(crate) fn method(self) -> &'r [u8] {
        if self.raw().header_only != 0 { b"HEAD" } else { text(self.raw().method).unwrap_or_default() }
    }

    /// The target as the client sent it (RFC 9112, section 3.2), whatever it was rewritten to.
    pub(crate) fn target(self) -> &'r [u8] {
        let mut first = self;
        while let Some(previous) = first.previous() {
            first = previous;
        }
        text(first.raw().unparsed_uri).unwrap_or_default()
    }

    /// `HTTP/1.1`, `HTTP/1.0`.
    pub(crate) fn protocol(self) -> &'r [u8] {
        text(self.raw().protocol).unwrap_or_default()
    }

    /// What mod_unique_id calls it.
    pub(crate) fn unique_id(self) -> Option<&'r [u8]> {
        self.environment().get(c"UNIQUE_ID")
    }

    /// `http` or `https`.
    pub(crate) fn scheme(self) -> Option<&'r [u8]> {
        // SAFETY: the request is valid; the scheme is a static string, or one of the server's configuration.
        text(unsafe { sys::ap_run_http_scheme(self.as_ptr()) })
    }

    /// The name by which the server was asked, or its own: as UseCanonicalName says.
    pub(crate) fn server_name(self) -> Option<&'r [u8]> {
        // SAFETY: the request is valid; the name lives as long as the request or the configuration.
        text(unsafe { sys::ap_get_server_name(self.as_ptr()) })
    }

    /// Address and port of the connection's other end.
    pub(crate) fn client_address(self) -> (&'r [u8], u16) {
        // SAFETY: a request's connection outlives it.
        let connection = unsafe { &*self.raw().connection };
        (text(connection.client_ip).unwrap_or_default(), port(connection.client_addr))
    }

    /// Address and port of this end.
    pub(crate) fn local_address(self) -> (&'r [u8], u16) {
        // SAFETY: as above.
        let connection = unsafe { &*self.raw().connection };
        (text(connection.local_ip).unwrap_or_default(), port(connection.local_addr))
    }

    /// Address of the client behind proxies that mod_remoteip trusts, or the connection's.
    pub(crate) fn useragent_address(self) -> Option<&'r [u8]> {
        text(self.raw().useragent_ip)
    }

    /// Whom Apache has authenticated.
    pub(crate) fn user(self) -> Option<&'r [u8]> {
        text(self.raw().user)
    }

    /// The application's status code.
    pub(crate) fn status(self) -> u16 {
        u16::try_from(self.raw().status).unwrap_or(200)
    }

    /// The fields of the request.
    pub(crate) fn headers_in(self) -> Table<'r> {
        // SAFETY: the table belongs to the request.
        unsafe { Table::new(self.raw().headers_in) }
    }
}

/// A string of httpd's, which may be missing.
fn text<'r>(string: *const c_char) -> Option<&'r [u8]> {
    // SAFETY: this file gives it strings of a request, its connection or the configuration only: they end with NUL and
    // live as long as the request does.
    (!string.is_null()).then(|| unsafe { CStr::from_ptr(string) }.to_bytes())
}

/// 0 where the family has no ports.
fn port(address: *const sys::apr_sockaddr_t) -> u16 {
    // SAFETY: the addresses of a connection are NULL or valid.
    unsafe { address.as_ref() }.map_or(0, |address| address.port)
}
