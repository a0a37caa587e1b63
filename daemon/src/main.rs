//! `streaming-daemon`: see `--help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use streaming_daemon::cli::{self, Command, ConfigCommand, Serve};
use streaming_daemon::config::{Loaded, Sources, example, report};
use streaming_daemon::listener::inherited::{self, Inherited};
use streaming_daemon::logging::Log;
use streaming_daemon::{commands, exec, logging, open_files, run, shutdown};

fn main() -> ExitCode {
    if let Some(options) = exec::cli::by_second_name() {
        return options.map_or_else(|exit_code| exit_code, exec::main);
    }
    let line = match cli::parse() {
        Ok(line) => line,
        Err(exit_code) => return exit_code,
    };
    match line.command {
        Some(Command::Config(ConfigCommand::Example)) => print(&example::example()),
        Some(Command::Exec(flags)) => exec::main(flags.into()),
        Some(Command::Send(flags)) => commands::send::main(&flags),
        Some(Command::Status(flags)) => commands::status::main(&flags),
        None => serve(&line.serve),
    }
}

/// The daemon itself.
fn serve(flags: &Serve) -> ExitCode {
    let sources = flags.sources(cli::environment());
    let loaded = match sources.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("streaming-daemon: {error}");
            return ExitCode::from(if error.is_usage() { cli::USAGE_ERROR } else { cli::CONFIG_ERROR });
        }
    };
    if flags.check_config {
        for warning in &loaded.warnings {
            eprintln!("streaming-daemon: {warning}");
        }
        return print(&report::report(&loaded));
    }
    let inherited = match inherited::take() {
        Ok(inherited) => inherited,
        Err(error) => {
            eprintln!("streaming-daemon: {error}");
            return ExitCode::from(cli::CONFIG_ERROR);
        }
    };
    // Before the log starts the first thread.
    open_files::prepare(loaded.config.server.max_connections);
    let log = logging::init(&loaded.config.logging);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    answer(loaded, inherited, &sources, &log)
}

/// Answers handoffs until a signal comes.
fn answer(loaded: Loaded, inherited: Vec<Inherited>, sources: &Sources, log: &Log) -> ExitCode {
    let threads = loaded.config.server.threads();
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
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
            result = run(loaded, inherited, sources, log, first) => match result {
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

fn print(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
