//! The table of all keys: what an operator can set, under which names, and what it means.

use super::kinds::{
    AccessLogPlace, Address, Boolean, Count, FileMode, Kind, Limit, LogLevel, OptionalPath, OptionalText,
    Path, Raw, SecretText, Text, Url,
};
use super::settings::Config;
use super::times::{Milliseconds, OptionalSeconds, Seconds};
use super::words::OneOf;

/// A key.
pub struct Key {
    /// Its section in the file, without brackets.
    pub section: &'static str,
    /// Its name in the section.
    pub name: &'static str,
    /// What it means, for the operator.
    pub meaning: &'static str,
    /// Names in the environment beside `DAEMON_<SECTION>_<KEY>`, which wins over them.
    pub short: &'static [&'static str],
    /// When a new value takes effect.
    pub change: Change,
    /// Reads a value into its field.
    ///
    /// The error goes on after "has to be ".
    pub read: fn(&mut Config, &Raw) -> Result<(), String>,
    /// Shows the field as TOML.
    pub show: fn(&Config) -> String,
    /// Copies the field.
    pub copy: fn(&Config, &mut Config),
    /// Whether the field is the same in both.
    pub same: fn(&Config, &Config) -> bool,
}

/// When a new value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At SIGHUP, for streams that begin later.
    Live,
    /// At the next start.
    Restart,
}

impl Key {
    /// Its full name: `server.socket_path`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Its names in the environment; the first that is set wins.
    pub fn environment(&self) -> impl Iterator<Item = String> {
        let full = format!("DAEMON_{}_{}", self.section, self.name).replace('.', "_").to_uppercase();
        // What every Rust program's log listens to is meant for the moment.
        let (first, rest): (&[_], &[_]) = match self.short {
            ["RUST_LOG", rest @ ..] => (&["RUST_LOG"], rest),
            all => (&[], all),
        };
        let owned = |names: &'static [&'static str]| names.iter().map(|name| (*name).to_owned());
        owned(first).chain([full]).chain(owned(rest))
    }
}

/// One entry of the table.
macro_rules! key {
    ($section:literal, $name:literal, $($field:ident $([$index:literal])?).+: $kind:ty, $change:ident, $short:expr, $meaning:literal) => {
        Key {
            section: $section,
            name: $name,
            meaning: $meaning,
            short: &$short,
            change: Change::$change,
            read: |config, raw| {
                config.$($field $([$index])?).+ = <$kind as Kind>::read(raw)?;
                Ok(())
            },
            show: |config| <$kind as Kind>::show(&config.$($field $([$index])?).+),
            copy: |from, to| to.$($field $([$index])?).+.clone_from(&from.$($field $([$index])?).+),
            same: |a, b| a.$($field $([$index])?).+ == b.$($field $([$index])?).+,
        }
    };
}

/// All keys, in the order of the example file.
pub static KEYS: &[Key] = &[
    key!("server", "socket_path", server.socket_path: Path, Restart, ["DAEMON_SOCKET_PATH"],
            "Unix socket (SOCK_SEQPACKET) on which Apache hands connections over. At most 107 bytes."),
    key!("server", "stream_socket_path", server.stream_socket_path: OptionalPath, Restart, [],
            "A second socket, SOCK_STREAM, for senders that know no SOCK_SEQPACKET. Empty: none."),
    key!("server", "socket_mode", server.socket_mode: FileMode, Restart, ["DAEMON_SOCKET_MODE"],
            "File mode of the sockets, octal. Who may write may hand off: Apache's user or group."),
    key!("server", "socket_group", server.socket_group: OptionalText, Restart, [],
            "Group of the sockets' files, by name or number, for example \"www-data\". Empty: the daemon's own."),
    key!("server", "admin_socket_path", server.admin_socket_path: OptionalPath, Restart, [],
            "Unix socket that `streaming-daemon status` asks. Only the daemon's user may connect. Empty: none."),
    key!("server", "max_connections", server.max_connections: Count, Live, ["DAEMON_MAX_CONNECTIONS", "MAX_CONNECTIONS"],
            "Streams at the same time. Above it clients get 503 with Retry-After."),
    key!("server", "max_streams_per_user", server.max_streams_per_user: Limit, Live, [],
            "Streams of one user_id at the same time. Above it 429 with Retry-After. 0: no limit."),
    key!("server", "max_streams_per_client", server.max_streams_per_client: Limit, Live, [],
            "Streams of one client address at the same time. Above it 429 with Retry-After. 0: no limit."),
    key!("server", "handoff_timeout_secs", server.handoff_timeout: Seconds, Live, [],
            "From accepting a connection of Apache to its whole handoff message."),
    key!("server", "write_timeout_secs", server.write_timeout: Seconds, Live, [],
            "How long a client may take nothing while something is there for it."),
    key!("server", "close_timeout_secs", server.close_timeout: Seconds, Live, [],
            "How long the daemon waits for the client to close as well after the end of the stream."),
    key!("server", "shutdown_timeout_secs", server.shutdown_timeout: Seconds, Live, [],
            "From SIGTERM to the end of streams that are still running; they get an error event then."),
    key!("server", "stream_timeout_secs", server.stream_timeout: OptionalSeconds, Live, [],
            "Longest duration of a stream; it gets an error event then. 0: no limit."),
    key!("server", "heartbeat_secs", server.heartbeat: OptionalSeconds, Live, [],
            "Silence after which a comment is sent, so that proxies keep the connection open. 0: never."),
    key!("server", "half_close", server.half_close: OneOf<_>, Live, [],
            "A client that closes its sending side has \"gone\", as a browser has, or is to \"keep\" its stream."),
    key!("backend", "provider", backend.provider: Text, Restart, [],
            "What answers: \"mock\" says the prompt back, \"typing\" does so as a human types, \"openai\" asks an API."),
    key!("backend", "default_model", backend.default_model: Text, Live, [],
            "Model of requests that name none."),
    key!("backend", "timeout_secs", backend.timeout: Seconds, Live, [],
            "How long a backend may be silent, before its answer and within."),
    key!("backend", "connect_timeout_secs", backend.connect_timeout: Seconds, Restart, [],
            "How long a new connection to an API may take, TLS included."),
    key!("backend", "token_delay_ms", backend.token_delay: Milliseconds, Live, ["DAEMON_TOKEN_DELAY_MS"],
            "Mock and typing: milliseconds between two tokens."),
    key!("backend.openai", "api_base", backend.profiles[0].api_base: Url, Restart, ["OPENAI_API_BASE"],
            "URL of the API, before /chat/completions."),
    key!("backend.openai", "api_key", backend.profiles[0].api_key: SecretText, Restart, ["OPENAI_API_KEY"],
            "Key of the API. Better in the environment, where no file's permissions have to protect it."),
    key!("backend.openai", "http2_enabled", backend.profiles[0].http2_enabled: Boolean, Restart, ["OPENAI_HTTP2_ENABLED"],
            "Whether many streams share one connection to the API."),
    key!("backend.openai", "pool_max_idle_per_host", backend.profiles[0].pool_max_idle_per_host: Count, Restart, [],
            "Connections to the API that are kept for the next request."),
    key!("backend.openai", "insecure_ssl", backend.profiles[0].insecure_ssl: Boolean, Restart, [],
            "Takes any certificate of the API. For tests only."),
    key!("sse", "format", sse.format: OneOf<_>, Live, [],
            "Data of an event for requests that name no format: \"text\", or \"json\" for {\"content\":\"...\"}."),
    key!("metrics", "enabled", metrics.enabled: Boolean, Restart, [],
            "Whether /metrics, /healthz and /readyz are served."),
    key!("metrics", "listen_addr", metrics.listen_addr: Address, Restart, ["DAEMON_METRICS_ADDR"],
            "Where: an IP address and a port."),
    key!("logging", "level", logging.level: LogLevel, Live, ["RUST_LOG", "DAEMON_LOG_LEVEL"],
            "error, warn, info, debug, trace or off; or directives such as \"info,streaming_daemon::relay=debug\"."),
    key!("logging", "format", logging.format: OneOf<_>, Restart, ["DAEMON_LOG_FORMAT"],
            "Lines of the log, on standard error: \"pretty\" for people, \"json\" for programs."),
    key!("logging", "access_log", logging.access_log: AccessLogPlace, Restart, [],
            "Where a line for each finished stream goes: a path (reopened at SIGHUP), \"stdout\" or \"off\"."),
    key!("logging", "access_log_format", logging.access_log_format: OneOf<_>, Restart, [],
            "Lines of the access log: Apache's \"combined\" with more behind it, or \"json\"."),
];

/// The key of this full name.
#[must_use]
pub fn find(path: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.path() == path)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::config::file;

    proptest! {
        #[test]
        fn no_value_makes_a_key_panic(text in "\\PC{0,30}") {
            for key in KEYS {
                let mut config = Config::default();
                if (key.read)(&mut config, &Raw::Untyped(text.clone())).is_ok() {
                    // And what was taken is shown as TOML that is taken again.
                    let shown = format!("[{}]\n{} = {}", key.section, key.name, (key.show)(&config));
                    prop_assert!(file::parse(Path::new("x"), &shown).is_ok(), "{shown}");
                }
            }
        }
    }
}
