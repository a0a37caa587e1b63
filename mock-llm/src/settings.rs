//! What a mock API is to be like.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::faults::Faults;

/// What a mock API is to be like. Further fields may come: write `Settings { chunk_count: 3, ..Settings::default() }`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// TCP address. Default: a free port on 127.0.0.1.
    pub listen: SocketAddr,
    /// A Unix socket to listen on as well; without TLS. A file that is there already is replaced.
    pub socket: Option<PathBuf>,
    /// Events with content in an answer. Default: 20.
    pub chunk_count: usize,
    /// Time between two of them; the first comes at once. Default: none, then all are ready together.
    pub chunk_delay: Duration,
    /// About how long a Chat Completions event is, in bytes, with its 8 bytes of content. Default: 250.
    pub chunk_bytes: usize,
    /// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, section 6.5.2); none: no limit is told. Default: 100.
    pub max_concurrent_streams: Option<u32>,
    /// TLS with a certificate made for this server. Default: off.
    pub tls: bool,
    /// HTTP/1.1 is spoken. Default: on.
    pub http1: bool,
    /// HTTP/2 is spoken: with prior knowledge, or by ALPN with TLS. Default: on.
    pub http2: bool,
    /// What every request gets that asks for no faults of its own. Default: a well-behaved answer.
    pub faults: Faults,
    /// Answers say the last user message back, in pieces of 8 characters. Default: off, numbered words.
    pub echo: bool,
    /// Requests are kept for [`MockLlm::requests`](crate::MockLlm::requests). Default: on.
    pub record: bool,
    /// A line on standard error for each request. Default: off.
    pub verbose: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            socket: None,
            chunk_count: 20,
            chunk_delay: Duration::ZERO,
            chunk_bytes: 250,
            max_concurrent_streams: Some(100),
            tls: false,
            http1: true,
            http2: true,
            faults: Faults::default(),
            echo: false,
            record: true,
            verbose: false,
        }
    }
}
