//! What an operator sets.

use std::path::PathBuf;
use std::time::Duration;

use crate::Proxy;

/// How to reach one API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http(s)://host[:port][/path]`; requests go to paths below it.
    pub base: String,
    /// HTTP/1.1 over this Unix socket; the base gives `Host` and the path.
    pub socket: Option<PathBuf>,
    /// HTTP/2 where the peer speaks it: by ALPN for `https://`, with prior knowledge for `http://`.
    pub http2: bool,
    /// The most streams on one HTTP/2 connection; the peer may allow fewer. At least 1.
    pub streams_per_connection: usize,
    /// How many idle HTTP/1.1 connections are kept.
    pub pool_max_idle_per_host: usize,
    /// Any certificate is taken for the peer's.
    pub insecure_ssl: bool,
    /// Certificates of the authorities to trust, in PEM, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The most that a connection may take: name resolution, TCP, proxy, TLS and the peer's first SETTINGS together.
    pub connect_timeout: Duration,
    /// A connection without a stream is closed after it.
    pub idle_timeout: Duration,
    /// An HTTP/2 connection with streams from which nothing came for this long is asked for a sign of life: between
    /// one and two intervals after the last byte.
    pub ping_interval: Duration,
    /// A connection from which nothing comes for this long after a PING is broken.
    pub ping_timeout: Duration,
    /// The most bytes of a stream that are held here while nobody takes them: 1 to 2^31-1.
    pub stream_window: u32,
    /// The way to the API.
    pub proxy: Proxy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base: String::new(),
            socket: None,
            http2: true,
            streams_per_connection: 100,
            pool_max_idle_per_host: 32,
            insecure_ssl: false,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(90),
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            stream_window: 64 * 1024,
            proxy: Proxy::Environment,
        }
    }
}
