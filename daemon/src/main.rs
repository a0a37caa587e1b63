//! `streaming-daemon`: see `--help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use streaming_daemon::{cli, logging, run, shutdown};

fn main() -> ExitCode {
    let flags = match cli::parse() {
        Ok(flags) => flags,
        Err(exit_code) => return exit_code,
    };
    logging::init(flags.debug);

    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let (first, second) = match shutdown::signals() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!("signal handlers cannot be installed: {error}");
                return ExitCode::FAILURE;
            }
        };
        tokio::select! {
            result = run(flags.into_config(), first) => match result {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!("{error}");
                    ExitCode::FAILURE
                }
            },
            // Dropping the runtime drops every stream: its client sees the end of the connection, unfinished.
            () = second => {
                tracing::warn!("second signal: ending at once, the streams still open are cut");
                ExitCode::FAILURE
            }
        }
    })
}
