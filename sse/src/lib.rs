//! Server-Sent Events (WHATWG HTML, section 9.2): reading and writing them. No IO.
#![forbid(unsafe_code)]

mod scanner;
pub mod writer;

pub use scanner::{Block, Scanner, TooLong};
