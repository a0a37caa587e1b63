//! What goes wrong. Messages name the address, and nothing of a request: its fields and its body hold secrets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The base is no URL that can be spoken to. It is not repeated here: it might hold a password.
    #[error("the base URL {0}: it must look like https://host[:port][/path]")]
    Base(&'static str),
    /// No authority is trusted, so no certificate could ever be.
    #[error(
        "no certificate authority is trusted{0}: install ca-certificates, or name a file in SSL_CERT_FILE"
    )]
    NoRoots(String),
    /// The file with the authorities cannot be used.
    #[error("{path}: {detail}: ca_file must hold certificates in PEM", path = path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The proxy is of a kind that is not known.
    #[error("the proxy {proxy} is no http:// or https:// URL with a host; NO_PROXY excludes hosts from it")]
    Proxy {
        /// The proxy, without credentials.
        proxy: String,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
}

/// Why there is no response.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The request cannot be sent to anybody.
    #[error("the request cannot be sent: {0}")]
    Request(&'static str),
    /// The host's name is not known.
    #[error("{host} cannot be resolved: {detail}; check the name in the URL, and the system's name servers")]
    Resolve {
        /// The name.
        host: Arc<str>,
        /// The resolver's words.
        detail: Arc<str>,
    },
    /// There is no connection.
    #[error("{address} cannot be connected to: {detail}; is it running, and does a firewall let us through?")]
    Connect {
        /// Where to.
        address: Arc<str>,
        /// The system's words.
        detail: Arc<str>,
    },
    /// The connection took too long.
    #[error("{address}: no connection within {timeout:?}, {step} (connect_timeout_secs)")]
    ConnectTimeout {
        /// Where to.
        address: Arc<str>,
        /// The setting.
        timeout: Duration,
        /// What was being done.
        step: &'static str,
    },
    /// TLS was not agreed on, or the certificate is not trusted.
    #[error("{address}: TLS failed: {detail}{advice}")]
    Tls {
        /// Where to.
        address: Arc<str>,
        /// The library's words.
        detail: Arc<str>,
        /// What to do; empty when nothing is known.
        advice: &'static str,
    },
    /// The proxy does not let us through.
    #[error("the proxy {proxy} gives no tunnel to {address}: {detail}; see HTTPS_PROXY and NO_PROXY")]
    Proxy {
        /// The proxy, without credentials.
        proxy: Arc<str>,
        /// Where to.
        address: Arc<str>,
        /// Its answer.
        detail: Arc<str>,
    },
    /// The peer allows no stream at all.
    #[error(
        "{address} allows no HTTP/2 streams (SETTINGS_MAX_CONCURRENT_STREAMS is 0): try later, or switch HTTP/2 off (http2_enabled = false)"
    )]
    NoStreams {
        /// Who.
        address: Arc<str>,
    },
    /// The peer refused the request, unprocessed, on each connection that was tried.
    #[error("{address} refused the request without processing it: {detail}")]
    Refused {
        /// Who.
        address: Arc<str>,
        /// How.
        detail: Arc<str>,
    },
    /// The peer gave up the request, which it may have processed.
    #[error("{address} reset the stream before its response: {detail}")]
    Reset {
        /// Who.
        address: Arc<str>,
        /// The HTTP/2 error code.
        detail: Arc<str>,
    },
    /// The connection ended before the response; the request may have been processed.
    #[error("the connection to {address} ended before the response: {detail}")]
    Broken {
        /// Who.
        address: Arc<str>,
        /// How.
        detail: Arc<str>,
    },
    /// What came is not HTTP.
    #[error(
        "{address} does not speak the protocol: {detail}; switch HTTP/2 off (http2_enabled = false) if it speaks HTTP/1.1 only"
    )]
    Protocol {
        /// Who.
        address: Arc<str>,
        /// What was wrong.
        detail: Arc<str>,
    },
}

impl SendError {
    /// Its name as a label of metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Resolve { .. } => "resolve",
            Self::Connect { .. } => "connect",
            Self::ConnectTimeout { .. } => "connect_timeout",
            Self::Tls { .. } => "tls",
            Self::Proxy { .. } => "proxy",
            Self::NoStreams { .. } => "no_streams",
            Self::Refused { .. } => "refused",
            Self::Reset { .. } => "reset",
            Self::Broken { .. } => "broken",
            Self::Protocol { .. } => "protocol",
        }
    }
}

/// Why the body ended before its end.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The peer gave up the stream.
    #[error("{address} reset the stream in the middle of its response: {detail}")]
    Reset {
        /// Who.
        address: Arc<str>,
        /// The HTTP/2 error code.
        detail: Arc<str>,
    },
    /// The connection ended.
    #[error("the connection to {address} ended in the middle of a response: {detail}")]
    Broken {
        /// Who.
        address: Arc<str>,
        /// How.
        detail: Arc<str>,
    },
    /// What came is not HTTP.
    #[error("{address} does not speak the protocol: {detail}")]
    Protocol {
        /// Who.
        address: Arc<str>,
        /// What was wrong.
        detail: Arc<str>,
    },
}

impl BodyError {
    /// Its name as a label of metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Reset { .. } => "reset",
            Self::Broken { .. } => "broken",
            Self::Protocol { .. } => "protocol",
        }
    }
}

/// How an exchange failed.
pub(crate) enum Failure {
    /// The peer did not process the request: it may be sent again.
    Unprocessed(SendError),
    /// The request may have been processed, or cannot succeed elsewhere.
    Final(SendError),
}

/// All of an error's causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> Arc<str> {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text.into()
}
