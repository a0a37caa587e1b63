//! What the program does beside answering handoffs. `streaming-daemon exec` has a room of its own, [`crate::exec`].

mod answer;
mod figures;
pub mod send;
pub mod status;

use std::fmt::Display;
use std::process::ExitCode;

/// Tells how a command went, in a sentence on stderr and in the exit code.
fn exit_code(result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
