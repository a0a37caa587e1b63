//! Safe types over httpd's structures: the one room of the module with unsafe code.
//!
//! httpd calls the functions of [`entry`] with raw pointers; there they become [`Request`], [`FilterCall`] and
//! [`Brigade`], which live no longer than the call. What they hand out with the lifetime `'r` is allocated in the
//! request's pool, which outlives every filter call of that request.

mod connection;
mod details;
mod entry;
mod filter;
mod log;
mod pool;
mod request;
mod status;
mod table;
mod user;

pub(crate) use filter::{Brigade, CollectError, Collected, FilterCall, FilterKind, Status};
pub(crate) use log::Level;
pub(crate) use request::{BodyRead, Request};
pub(crate) use table::{Table, TableSnapshot};
