//! The API behind it all: `mock-llm` as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::streams::process::{Process, sibling};

/// Streams that it allows on one connection.
pub const STREAMS_PER_CONNECTION: usize = 100;

/// A mock API. Its events have about 250 bytes each, 8 of them content.
#[derive(Debug)]
pub struct Mock {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    events: usize,
}

impl Mock {
    /// Starts one whose answers have `events` events with content, each `delay_ms` after the one before.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(events: usize, delay_ms: u64) -> Result<Self> {
        let mut command = Command::new(sibling("mock-llm")?);
        command
            .args(["--chunk-count", &events.to_string(), "--chunk-delay-ms", &delay_ms.to_string()])
            .args(["--max-concurrent-streams", &STREAMS_PER_CONNECTION.to_string(), "--quiet"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let mut line = String::new();
        BufReader::new(process.output().context("its output")?).read_line(&mut line)?;
        let address = line.trim().rsplit('/').next().and_then(|address| address.parse().ok());
        let address = address.with_context(|| format!("mock-llm says {line:?}"))?;
        Ok(Self { process, address, events })
    }

    /// Before `/chat/completions`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// A request for one of its answers.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"Hello"}],"stream":true}"#;
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .into_bytes()
    }

    /// What a client of the daemon gets for one of its answers, as text.
    #[must_use]
    pub fn relayed(&self) -> Vec<u8> {
        let words = (1..=self.events).map(|number| format!("data: word{number:03} \n\n"));
        words.chain(["event: done\ndata: [DONE]\n\n".to_owned()]).collect::<String>().into_bytes()
    }

    /// Connections that others have to it now.
    ///
    /// # Errors
    /// When the kernel's table cannot be read.
    pub fn connections(&self) -> Result<usize> {
        const ESTABLISHED: &str = "01";
        let address = format!("0100007F:{:04X}", self.address.port());
        let table = std::fs::read_to_string("/proc/net/tcp")?;
        let to_it = |line: &&str| {
            let fields: Vec<&str> = line.split_whitespace().take(4).collect();
            fields.get(2) == Some(&address.as_str()) && fields.get(3) == Some(&ESTABLISHED)
        };
        Ok(table.lines().filter(to_it).count())
    }
}
