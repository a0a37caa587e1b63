//! The settings by name and type. What each means to an operator stands in [`super::keys`].

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use super::profile::{Profile, WITHOUT_API};
use super::users::AllowedUsers;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The sockets, the clocks and the limits.
    pub server: Server,
    /// Who answers.
    pub backend: Backend,
    /// What the events look like.
    pub sse: Sse,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// The two logs.
    pub logging: Logging,
    /// Measuring: a summary at the end instead of metrics. Only a flag, `--benchmark`.
    pub benchmark: bool,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where handoffs arrive, SOCK_SEQPACKET. At most 107 bytes (`sun_path`, unix(7)).
    pub socket_path: PathBuf,
    /// A second one, SOCK_STREAM.
    pub stream_socket_path: Option<PathBuf>,
    /// File mode of both. Who may write may hand off.
    pub socket_mode: u32,
    /// Group of both files, by name or number; none leaves the daemon's own.
    pub socket_group: Option<String>,
    /// Whose processes may hand off, beside root's and the daemon's own.
    pub allowed_users: AllowedUsers,
    /// Where `streaming-daemon status` asks.
    pub admin_socket_path: Option<PathBuf>,
    /// Threads that carry the streams; none: [`Server::threads`] decides.
    pub worker_threads: Option<usize>,
    /// Streams at the same time. A handoff above it is answered with `503` and `Retry-After`.
    pub max_connections: usize,
    /// Streams of one `user_id` at the same time; above it `429`.
    pub max_streams_per_user: Option<usize>,
    /// Streams of one client address at the same time; above it `429`.
    pub max_streams_per_client: Option<usize>,
    /// Longest data of the application in a handoff of protocol 2, in bytes.
    pub max_payload: usize,
    /// From accepting a connection of the module to the whole handoff message. The connection is closed then.
    pub handoff_timeout: Duration,
    /// From the moment a write finds the client's receive window full to the next byte that it takes.
    pub write_timeout: Duration,
    /// From our FIN to the client's: how long unread input is still discarded before the socket is closed.
    pub close_timeout: Duration,
    /// From the shutdown signal to the end of streams that are still running; they get an error event then.
    pub shutdown_timeout: Duration,
    /// From the handoff to the end of the stream, whatever happens in it; it gets an error event then.
    pub stream_timeout: Option<Duration>,
    /// From the last byte sent to the comment that keeps proxies from closing a silent connection.
    pub heartbeat: Option<Duration>,
    /// What a client's FIN means.
    pub half_close: HalfClose,
}

/// What it means that a client has closed its sending side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfClose {
    /// It has gone: what a browser's FIN means.
    Gone,
    /// It still reads: only a broken connection ends the stream.
    Keep,
}

/// `[backend]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Which one: "mock", "typing", or the name of a profile.
    pub provider: String,
    /// The model of requests that name none, for profiles without a model of their own.
    pub default_model: String,
    /// From the request, or the last byte, to the backend's next byte.
    pub timeout: Duration,
    /// From the need for a connection to an API until it is there, TLS included.
    pub connect_timeout: Duration,
    /// Silence between two tokens of the backends that need no API.
    pub token_delay: Duration,
    /// `[backend.NAME]`: those of [`super::profile::BUILT_IN`] first, then the operator's own.
    pub profiles: Vec<Profile>,
}

impl Backend {
    /// The profile of this name.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    pub(super) fn profile_mut(&mut self, name: &str) -> Option<&mut Profile> {
        self.profiles.iter_mut().find(|profile| profile.name == name)
    }

    /// What requests and `backend.provider` can name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        WITHOUT_API.into_iter().chain(self.profiles.iter().map(|profile| profile.name.as_str()))
    }
}

/// `[sse]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sse {
    /// For requests that name none.
    pub format: Format,
}

/// What the data of an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The piece of text itself.
    Text,
    /// `{"content":"…"}`.
    Json,
    /// No data of ours: whole events as the backend sent them.
    Raw,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Whether they are served.
    pub enabled: bool,
    /// Where: TCP.
    pub listen_addr: SocketAddr,
}

/// `[logging]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// A level, or directives as in `RUST_LOG`.
    pub level: String,
    /// What a line of the log looks like.
    pub format: LogFormat,
    /// Where the line of each finished stream goes.
    pub access_log: AccessLog,
    /// What that line looks like.
    pub access_log_format: AccessLogFormat,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For programs: an object a line.
    Json,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// To this file, appended.
    File(PathBuf),
}

/// What a line of the access log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// Apache's `combined`, and more behind it.
    Combined,
    /// An object a line.
    Json,
}

impl Server {
    /// How many threads carry the streams. By default half of the processors: the fewer there are, the more tokens share
    /// a wake-up, one carries a hundred thousand tokens a second, and Apache and PHP are on the same machine.
    #[must_use]
    pub fn threads(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, NonZero::get);
        self.worker_threads.unwrap_or_else(|| processors().div_ceil(2))
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            socket_path: "/var/run/streaming-daemon.sock".into(),
            stream_socket_path: None,
            socket_mode: 0o660,
            socket_group: None,
            allowed_users: AllowedUsers::default(),
            admin_socket_path: None,
            worker_threads: None,
            max_connections: 100_000,
            max_streams_per_user: None,
            max_streams_per_client: None,
            max_payload: 64 * 1024 * 1024,
            handoff_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(2),
            shutdown_timeout: Duration::from_secs(120),
            stream_timeout: None,
            heartbeat: Some(Duration::from_secs(15)),
            half_close: HalfClose::Gone,
        }
    }
}

impl Default for Backend {
    fn default() -> Self {
        Self {
            provider: "mock".to_owned(),
            default_model: "gpt-4o".to_owned(),
            timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(10),
            token_delay: Duration::from_millis(50),
            profiles: Profile::built_in(),
        }
    }
}

impl Default for Sse {
    fn default() -> Self {
        Self { format: Format::Text }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // Off: a daemon opens no TCP port that nobody asked for.
        Self { enabled: false, listen_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)) }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Pretty,
            access_log: AccessLog::Off,
            access_log_format: AccessLogFormat::Combined,
        }
    }
}
