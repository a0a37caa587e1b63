//! `make demo`: the chat on a private Apache, until Ctrl-C. DEMO_PORT is the port, 8080 unless set.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use e2e::Demo;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

const DEFAULT_PORT: u16 = 8080;

/// How often to look whether a server has ended by itself.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    // First, so that a signal during the start is not lost: dropping the demo is what stops its servers.
    let mut signals = Signals::listen().map_err(|error| format!("Listening for signals failed: {error}"))?;
    let mut demo = Demo::start(Some(port()?))?;
    println!("The chat: {}", demo.page());
    println!("The same in a terminal:\n    {}", demo.curl_command());
    println!("Ctrl-C ends the demo and removes what it has made.");
    loop {
        tokio::select! {
            () = signals.next() => return Ok(()),
            () = sleep(WATCH_INTERVAL) => demo.ended().map_or(Ok(()), Err)?,
        }
    }
}

fn port() -> Result<u16, String> {
    match std::env::var("DEMO_PORT") {
        Ok(text) if !text.is_empty() => text
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| format!("DEMO_PORT={text} is not a port: it is a number from 1 to 65535.")),
        _ => Ok(DEFAULT_PORT),
    }
}

/// The ways in which a demo is told to end: Ctrl-C, kill, and the terminal being closed.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
