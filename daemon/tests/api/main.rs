//! APIs as backends: how they are asked, how their answers are relayed, what the client is told when they fail.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod harness;
