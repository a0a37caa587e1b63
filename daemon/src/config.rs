//! The settings of the daemon, checked. Where they come from is [`crate::cli`]'s concern.

use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where handoffs arrive.
    pub socket: Socket,
    /// Who answers.
    pub backend: Backend,
    /// Streams at the same time. A handoff above it is answered with `503` and `Retry-After`.
    pub max_connections: usize,
    /// The clocks.
    pub timeouts: Timeouts,
}

/// The Unix socket that the module connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its path, at most 107 bytes (`sun_path`, unix(7)).
    pub path: PathBuf,
    /// Its file mode. Who may write may hand off.
    pub mode: u32,
}

/// The backends, each with its own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Says the prompt back.
    Mock(Mock),
}

/// Settings of the mock backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mock {
    /// Silence between two words.
    pub delay: Duration,
}

/// How long the daemon waits, and from when on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accepting a connection of the module to the whole handoff message. The connection is closed then.
    pub handoff: Duration,
    /// From the moment a write finds the client's receive window full to the next byte that it takes.
    pub write: Duration,
    /// From our FIN to the client's: how long unread input is still discarded before the socket is closed.
    pub close: Duration,
    /// From the shutdown signal to the end of streams that are still running; they get an error event then.
    pub shutdown: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: Socket { path: "/var/run/streaming-daemon.sock".into(), mode: 0o660 },
            backend: Backend::Mock(Mock { delay: Duration::from_millis(50) }),
            max_connections: 100_000,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handoff: Duration::from_secs(5),
            write: Duration::from_secs(30),
            close: Duration::from_secs(2),
            shutdown: Duration::from_secs(120),
        }
    }
}
