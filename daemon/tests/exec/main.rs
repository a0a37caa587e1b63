//! Any program as handler, and `streaming-daemon send`: the real program over real sockets.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod data;
mod drain;
mod examples;
mod groups;
mod harness;
mod http;
mod leaks;
mod limits;
mod programs;
mod request;
mod send;
mod status;
