//! The table of all keys: what an operator can set, under which names, and what it means.
//!
//! Those of the profiles are in [`super::profile_keys`]; a [`Table`] has both.

use super::kinds::{
    AccessLogPlace, Address, Boolean, Count, FileMode, Limit, LogLevel, OptionalPath, OptionalText, Path,
    Raw, Text,
};
use super::profile::DialectName;
use super::profile_keys::{self, PROFILE_KEYS};
use super::settings::Config;
use super::times::{Milliseconds, OptionalSeconds, Seconds};
use super::users::AllowedUsers;
use super::words::OneOf;

/// A key of the configuration.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its section in the file, without brackets.
    pub section: String,
    /// Its name in the section.
    pub name: &'static str,
    /// What it means, for the operator.
    pub meaning: &'static str,
    /// Names in the environment beside `DAEMON_<SECTION>_<KEY>`, which wins over them.
    pub short: &'static [&'static str],
    /// When a new value takes effect.
    pub change: Change,
    /// Its field.
    field: Place,
}

/// When a new value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At SIGHUP, for streams that begin later.
    Live,
    /// At the next start.
    Restart,
}

/// Where a key's field is.
#[derive(Clone, Debug)]
enum Place {
    Config(Field<Config>),
    /// In the profile of this name.
    Profile(String, &'static profile_keys::Entry),
}

/// A field of `T`, as the table sees it.
#[derive(Debug)]
pub(super) struct Field<T> {
    pub(super) read: fn(&mut T, &Raw) -> Result<(), String>,
    pub(super) show: fn(&T) -> String,
    pub(super) copy: fn(&T, &mut T),
    pub(super) same: fn(&T, &T) -> bool,
}

impl<T> Clone for Field<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Field<T> {}

/// Says how the field `$field` of a struct is read and shown.
macro_rules! field {
    ($($field:ident).+: $kind:ty) => {
        $crate::config::keys::Field {
            read: |of, raw| {
                of.$($field).+ = <$kind as $crate::config::kinds::Kind>::read(raw)?;
                Ok(())
            },
            show: |of| <$kind as $crate::config::kinds::Kind>::show(&of.$($field).+),
            copy: |from, to| to.$($field).+.clone_from(&from.$($field).+),
            same: |a, b| a.$($field).+ == b.$($field).+,
        }
    };
}
pub(super) use field;

impl Key {
    /// Its full name: `server.socket_path`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The profile that it belongs to.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        match &self.field {
            Place::Config(_) => None,
            Place::Profile(name, _) => Some(name),
        }
    }

    /// Whether profiles of this dialect have it. Any dialect has what is no profile's.
    #[must_use]
    pub fn is_of(&self, dialect: DialectName) -> bool {
        match &self.field {
            Place::Config(_) => true,
            Place::Profile(_, entry) => entry.dialects.contains(&dialect),
        }
    }

    /// Whether `config` has a field for it: the profile is there, and of a dialect that knows the key.
    #[must_use]
    pub fn is_in(&self, config: &Config) -> bool {
        match &self.field {
            Place::Config(_) => true,
            Place::Profile(name, _) => {
                config.backend.profile(name).is_some_and(|profile| self.is_of(profile.dialect))
            }
        }
    }

    /// Reads a value into the field.
    ///
    /// # Errors
    /// What the value has to be: goes on after "has to be ".
    pub fn read(&self, config: &mut Config, raw: &Raw) -> Result<(), String> {
        match &self.field {
            Place::Config(field) => (field.read)(config, raw),
            Place::Profile(name, entry) => match config.backend.profile_mut(name) {
                Some(profile) => (entry.field.read)(profile, raw),
                None => Err("a key of a backend that is there".to_owned()),
            },
        }
    }

    /// Shows the field as TOML.
    #[must_use]
    pub fn show(&self, config: &Config) -> String {
        match &self.field {
            Place::Config(field) => (field.show)(config),
            Place::Profile(name, entry) => {
                config.backend.profile(name).map(entry.field.show).unwrap_or_default()
            }
        }
    }

    /// Copies the field.
    pub fn copy(&self, from: &Config, to: &mut Config) {
        match &self.field {
            Place::Config(field) => (field.copy)(from, to),
            Place::Profile(name, entry) => {
                if let Some((from, to)) = from.backend.profile(name).zip(to.backend.profile_mut(name)) {
                    (entry.field.copy)(from, to);
                }
            }
        }
    }

    /// Whether the field is the same in both. What one of them has no field for is the same.
    #[must_use]
    pub fn same(&self, a: &Config, b: &Config) -> bool {
        match &self.field {
            Place::Config(field) => (field.same)(a, b),
            Place::Profile(name, entry) => match a.backend.profile(name).zip(b.backend.profile(name)) {
                Some((a, b)) => (entry.field.same)(a, b),
                None => true,
            },
        }
    }

    /// Its names in the environment; the first that is set wins.
    pub fn environment(&self) -> impl Iterator<Item = String> + use<> {
        let full = format!("DAEMON_{}_{}", self.section, self.name).replace(['.', '-'], "_").to_uppercase();
        // What every Rust program's log listens to is meant for the moment.
        let (first, rest): (&'static [_], &'static [_]) = match self.short {
            ["RUST_LOG", rest @ ..] => (&["RUST_LOG"], rest),
            all => (&[], all),
        };
        let owned = |names: &'static [&'static str]| names.iter().map(|name| (*name).to_owned());
        owned(first).chain([full]).chain(owned(rest))
    }
}

/// Every key: those that are always there, and those of each profile.
#[derive(Clone, Debug)]
pub struct Table(Vec<Key>);

impl Table {
    /// For the profiles of these names, in the order of the example file.
    #[must_use]
    pub fn of<'a>(profiles: impl IntoIterator<Item = &'a str>) -> Self {
        let last = KEYS.iter().rposition(|entry| entry.section == "backend").map_or(0, |last| last + 1);
        let (before, behind) = KEYS.split_at(last);
        let profiles = profiles.into_iter().flat_map(|name| {
            PROFILE_KEYS.iter().map(move |entry| Key {
                section: format!("backend.{name}"),
                name: entry.name,
                meaning: entry.meaning,
                short: profile_keys::short_names(name, entry.name),
                change: entry.change,
                field: Place::Profile(name.to_owned(), entry),
            })
        });
        Self(before.iter().map(Entry::key).chain(profiles).chain(behind.iter().map(Entry::key)).collect())
    }

    /// For the profiles of `config`.
    #[must_use]
    pub fn of_config(config: &Config) -> Self {
        Self::of(config.backend.profiles.iter().map(|profile| profile.name.as_str()))
    }

    /// For the profiles that are there without any configuration.
    #[must_use]
    pub fn built_in() -> Self {
        Self::of(super::profile::BUILT_IN.iter().map(|(name, _)| *name))
    }

    /// The index of the key of this full name. A dotted name that a key had elsewhere finds it as well.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<usize> {
        let path = match path.strip_suffix(profile_keys::DOTTED.0) {
            Some(section) => &format!("{section}{}", profile_keys::DOTTED.1),
            None => path,
        };
        self.0.iter().position(|key| key.path() == path)
    }

    /// Whether there is a section of this name.
    #[must_use]
    pub fn has_section(&self, name: &str) -> bool {
        self.0.iter().any(|key| key.section == name)
    }

    /// A variable that two keys would have, and the sections of both.
    #[must_use]
    pub fn shared_variable(&self) -> Option<(String, &str, &str)> {
        let full = |key: &Key| key.environment().find(|name| name.starts_with("DAEMON_BACKEND_"));
        let mut seen = std::collections::HashMap::new();
        self.0.iter().find_map(|key| {
            let name = full(key)?;
            let before = seen.insert(name.clone(), key.section.as_str())?;
            Some((name, before, key.section.as_str()))
        })
    }
}

impl std::ops::Deref for Table {
    type Target = [Key];
    fn deref(&self) -> &[Key] {
        &self.0
    }
}

/// A key that is always there.
struct Entry {
    section: &'static str,
    name: &'static str,
    meaning: &'static str,
    short: &'static [&'static str],
    change: Change,
    field: Field<Config>,
}

impl Entry {
    fn key(&self) -> Key {
        Key {
            section: self.section.to_owned(),
            name: self.name,
            meaning: self.meaning,
            short: self.short,
            change: self.change,
            field: Place::Config(self.field),
        }
    }
}

/// One entry of the table.
macro_rules! key {
    ($section:literal, $name:literal, $($field:ident).+: $kind:ty, $change:ident, $short:expr, $meaning:literal) => {
        Entry {
            section: $section,
            name: $name,
            meaning: $meaning,
            short: &$short,
            change: Change::$change,
            field: field!($($field).+: $kind),
        }
    };
}

/// The keys that are always there, in the order of the example file.
static KEYS: &[Entry] = &[
    key!("server", "socket_path", server.socket_path: Path, Restart, ["DAEMON_SOCKET_PATH"],
            "Unix socket (SOCK_SEQPACKET) on which Apache hands connections over. At most 107 bytes."),
    key!("server", "stream_socket_path", server.stream_socket_path: OptionalPath, Restart, [],
            "A second socket, SOCK_STREAM, for senders that know no SOCK_SEQPACKET. Empty: none."),
    key!("server", "socket_mode", server.socket_mode: FileMode, Restart, ["DAEMON_SOCKET_MODE"],
            "File mode of the sockets, octal. Who may write may hand off: Apache's user or group."),
    key!("server", "socket_group", server.socket_group: OptionalText, Restart, [],
            "Group of the sockets' files, by name or number, for example \"www-data\". Empty: the daemon's own."),
    key!("server", "allowed_users", server.allowed_users: AllowedUsers, Live, [],
            "Users whose processes may hand off, by name or number: Apache's. root and the daemon's own always may."),
    key!("server", "admin_socket_path", server.admin_socket_path: OptionalPath, Restart, [],
            "Unix socket that `streaming-daemon status` asks. Only the daemon's user may connect. Empty: none."),
    key!("server", "worker_threads", server.worker_threads: Limit, Restart, [],
            "Threads that carry the streams. 0: half as many as there are processors, at least one."),
    key!("server", "max_connections", server.max_connections: Count, Live, ["DAEMON_MAX_CONNECTIONS", "MAX_CONNECTIONS"],
            "Streams at the same time. Above it clients get 503 with Retry-After."),
    key!("server", "max_streams_per_user", server.max_streams_per_user: Limit, Live, [],
            "Streams of one user_id at the same time. Above it 429 with Retry-After. 0: no limit."),
    key!("server", "max_streams_per_client", server.max_streams_per_client: Limit, Live, [],
            "Streams of one client address at the same time. Above it 429 with Retry-After. 0: no limit."),
    key!("server", "max_payload_bytes", server.max_payload: Count, Live, [],
            "Longest data of the application in a handoff of protocol 2; a longer one is refused (502)."),
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
            "What answers: \"mock\" says the prompt back, \"typing\" does so as a human types, others ask an API (below)."),
    key!("backend", "default_model", backend.default_model: Text, Live, [],
            "Model of requests that name none, where the backend has no model of its own."),
    key!("backend", "timeout_secs", backend.timeout: Seconds, Live, [],
            "How long a backend may be silent, before its answer and within."),
    key!("backend", "connect_timeout_secs", backend.connect_timeout: Seconds, Restart, [],
            "How long a new connection to an API may take, TLS included."),
    key!("backend", "token_delay_ms", backend.token_delay: Milliseconds, Live, ["DAEMON_TOKEN_DELAY_MS"],
            "Mock and typing: milliseconds between two tokens."),
    key!("sse", "format", sse.format: OneOf<_>, Live, [],
            "Events of requests that name no format: \"text\", \"json\" for {\"content\":\"...\"}, \"raw\" as the backend's."),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::config::file;

    proptest! {
        #[test]
        fn no_value_makes_a_key_panic(text in "\\PC{0,30}") {
            for key in Table::built_in().iter() {
                let mut config = Config::default();
                if key.read(&mut config, &Raw::Untyped(text.clone())).is_ok() {
                    // And what was taken is shown as TOML that is taken again.
                    let shown = format!("[{}]\n{} = {}", key.section, key.name, key.show(&config));
                    prop_assert!(file::parse(Path::new("x"), &shown).is_ok(), "{shown}");
                }
            }
        }
    }
}
