//! The error log, on the module's own level (`LogLevel socket_handoff:debug`).

use std::ffi::CString;
use std::fmt;

use apxs_sys as sys;

use super::entry;
use super::request::Request;

/// Levels of httpd's error log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    Error = sys::APLOG_ERR as isize,
    Warning = sys::APLOG_WARNING as isize,
    Info = sys::APLOG_INFO as isize,
    Debug = sys::APLOG_DEBUG as isize,
}

impl Request<'_> {
    /// Writes one line to the error log. Nothing is formatted when the level is off. httpd escapes control characters.
    pub(crate) fn log(self, level: Level, message: fmt::Arguments<'_>) {
        let level = level as i32;
        let index = entry::module_index();
        // SAFETY: the request is valid; the function reads its log configuration.
        if unsafe { sys::ap_get_request_module_loglevel(self.as_ptr(), index) } < level {
            return;
        }
        let message = c_string(&message.to_string());
        // SAFETY: the format takes one C string, which is given and lives through the call.
        unsafe {
            sys::ap_log_rerror_(
                c"mod_socket_handoff".as_ptr(),
                0,
                index,
                level,
                0,
                self.as_ptr(),
                c"%s".as_ptr(),
                message.as_ptr(),
            );
        }
    }
}

/// Writes a line of a child process that concerns no request.
///
/// # Safety
/// `server` is a valid server_rec.
pub(super) unsafe fn log_server(server: *const sys::server_rec, message: &str) {
    let message = c_string(message);
    // SAFETY: as in `Request::log`.
    unsafe {
        sys::ap_log_error_(
            c"mod_socket_handoff".as_ptr(),
            0,
            entry::module_index(),
            Level::Error as i32,
            0,
            server,
            c"%s".as_ptr(),
            message.as_ptr(),
        );
    }
}

/// A C string of `text`, NUL bytes replaced.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}
