//! Exactly one owner: the state machines of both sides, as they are shipped, in every order of events.
//!
//! | what | where |
//! |---|---|
//! | two connected sockets, as a value | `kernel` |
//! | that value held against the real kernel | `real` |
//! | module and daemons around it, each of which may hang or die anywhere | `world` |
//! | every state that can be reached | `explore` |
//! | the same with threads and real sockets | `race` |
#![allow(clippy::unwrap_used, unreachable_pub, missing_docs, reason = "tests")]

mod explore;
mod kernel;
mod race;
mod real;
mod world;
