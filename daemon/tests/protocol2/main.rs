//! Protocol 2 over real sockets: the protocol's own crate as the module.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

#[path = "../common/mod.rs"]
mod common;

mod access_log;
mod application;
mod backends;
mod connections;
mod credentials;
mod figures;
mod host;
mod module;
mod owners;
