//! Server-Sent Events (WHATWG HTML, section 9.2): reading and writing them. No IO.
#![forbid(unsafe_code)]
