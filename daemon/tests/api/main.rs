//! APIs as backends: how they are asked, how their answers are relayed, what the client is told when they fail.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]
#![allow(unreachable_pub, dead_code, reason = "modules of tests, each of which uses some of the harness")]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod asking;
mod ends;
mod figures;
mod framing;
mod harness;
mod heartbeats;
mod leaving;
mod many;
mod retries;
mod secrets;
mod slow_readers;
mod statuses;
mod transport;
mod verbatim;
