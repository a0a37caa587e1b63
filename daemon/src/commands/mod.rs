//! What the program does beside answering handoffs. `streaming-daemon exec` has a room of its own, [`crate::exec`].

mod answer;
mod figures;
pub mod send;
pub mod status;
