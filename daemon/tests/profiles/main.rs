//! `[backend.NAME]`: APIs with names, their keys, and what the operator is told about them.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod keys;
mod mistakes;
mod place;
mod settings;
