//! Measuring what the module costs Apache, what a stream costs the daemon ([`streams`]), and what relaying one costs
//! ([`relay`]).
//!
//! For the module, [`case`] says what is compared, [`instructions`], [`syscalls`], [`rate`] and [`body`] measure it, and
//! [`report`] writes the tables. Servers and receivers are those of the end-to-end tests.
#![forbid(unsafe_code)]

pub mod body;
pub mod case;
pub mod daemon;
pub mod handler;
pub mod instructions;
pub mod rate;
pub mod relay;
pub mod report;
pub mod request;
pub mod strace;
pub mod streams;
pub mod syscalls;
