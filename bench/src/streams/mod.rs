//! Measuring what the daemon's streams cost: memory, time to the first byte, processor time.
//!
//! [`process`] is the daemon or the floor, seen from outside; [`clients`] hands connections off and reads the answers,
//! which [`answer`] counts and compares; [`measure`] has one function for each figure, and [`table`] writes them down.

pub mod answer;
pub mod clients;
pub mod measure;
pub mod process;
pub mod table;
