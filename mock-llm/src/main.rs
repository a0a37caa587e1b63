//! `mock-llm`: see `--help`.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use mock_llm::{Faults, MockLlm, Settings};
use tokio::signal::unix::{SignalKind, signal};

/// An LLM API that streams, and misbehaves on request
///
/// The first line on standard output says where it listens. It ends at SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(name = "mock-llm", version, after_long_help = include_str!("../patterns.md"))]
struct Flags {
    /// TCP address; port 0: a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Unix socket to listen on as well
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Events with content in an answer
    #[arg(long, value_name = "N", default_value_t = 20)]
    chunk_count: usize,
    /// Milliseconds between two of them; 0: all are ready at once
    #[arg(long, value_name = "N", default_value_t = 0)]
    chunk_delay_ms: u64,
    /// About how long a Chat Completions event with its 8 bytes of content is
    #[arg(long, value_name = "N", default_value_t = 250)]
    chunk_bytes: usize,
    /// Streams on one HTTP/2 connection; 0: no limit is told
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_concurrent_streams: u32,
    /// TLS with a certificate made at the start, for localhost and 127.0.0.1
    #[arg(long)]
    tls: bool,
    /// No HTTP/2
    #[arg(long, conflicts_with = "http2_only")]
    http1_only: bool,
    /// No HTTP/1.1
    #[arg(long)]
    http2_only: bool,
    /// What requests get that ask for no pattern of their own; see below
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<Faults>,
    /// Answers say the last user message back
    #[arg(long)]
    echo: bool,
    /// No line on standard error for each request
    #[arg(short, long)]
    quiet: bool,
}

impl Flags {
    fn settings(self) -> Settings {
        Settings {
            listen: self.listen,
            socket: self.socket,
            chunk_count: self.chunk_count,
            chunk_delay: Duration::from_millis(self.chunk_delay_ms),
            chunk_bytes: self.chunk_bytes,
            max_concurrent_streams: Some(self.max_concurrent_streams).filter(|limit| *limit > 0),
            tls: self.tls,
            http1: !self.http2_only,
            http2: !self.http1_only,
            faults: self.pattern.unwrap_or_default(),
            echo: self.echo,
            record: false,
            verbose: !self.quiet,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Flags::parse().settings();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let address = settings.listen;
    let mock = MockLlm::start(settings).await.with_context(|| format!("cannot listen on {address}"))?;
    println!("listening on {}", mock.base_url().trim_end_matches("/v1"));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
