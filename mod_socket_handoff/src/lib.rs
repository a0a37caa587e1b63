//! mod_socket_handoff: an application behind Apache httpd answers with `X-Socket-Handoff: /path/to/daemon.sock`, and
//! this module passes the client's connection to that daemon. The worker is free at once.
//!
//! A request's way through the module:
//! 1. [`filters`] sees the response before any content filter, takes the handoff headers off it ([`headers`]);
//! 2. [`plan`] decides from plain facts: pass through, refuse, or hand off;
//! 3. [`execute`] carries a handoff out: [`socket_path`], [`connect`], [`drain`], send, swap in the [`dead_socket`];
//!    daemons of protocol 2 are told more ([`envelope`]) on connections that are kept ([`pool`]), and answer
//!    ([`exchange`]);
//! 4. whatever fails before the client is the daemon's becomes a [`refusal`], a real HTTP response.
//!
//! All contact with httpd's C structures is in [`httpd`], the one room with unsafe code.
#![deny(unsafe_code)]

mod config;
mod connect;
mod dead_socket;
mod doubt;
mod drain;
mod envelope;
mod exchange;
mod execute;
mod filters;
mod headers;
mod plan;
mod pool;
mod refusal;
mod scoreboard;
mod socket_path;

#[allow(unsafe_code)]
mod httpd;
