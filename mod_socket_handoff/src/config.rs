//! What an operator can set, how virtual hosts inherit it, and the sentences for values that make no sense.

use std::ffi::CStr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use daemon::Daemons;
pub(crate) use daemon::{Daemon, Endpoint, Protocol, User, UserId};

mod daemon;

/// Settings of the server or of a virtual host. `None`: not set here, so the server's value or the default applies.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerConfig {
    allowed_prefix: Option<PathBuf>,
    connect_timeout_ms: Option<u32>,
    send_timeout_ms: Option<u32>,
    max_retries: Option<u32>,
    drain_bytes: Option<u64>,
    drain_ms: Option<u32>,
    max_data_size: Option<u64>,
    daemons: Daemons,
}

/// Settings that come from the place around them where they are not set.
pub(crate) trait Inherit: Default {
    /// Key by key the inner's own, else the outer's.
    fn inherit(outer: &Self, inner: &Self) -> Self;
}

impl Inherit for ServerConfig {
    fn inherit(server: &Self, vhost: &Self) -> Self {
        let same_prefix =
            vhost.allowed_prefix.as_ref().is_none_or(|prefix| prefix == server.allowed_prefix());
        Self {
            allowed_prefix: vhost.allowed_prefix.clone().or_else(|| server.allowed_prefix.clone()),
            connect_timeout_ms: vhost.connect_timeout_ms.or(server.connect_timeout_ms),
            send_timeout_ms: vhost.send_timeout_ms.or(server.send_timeout_ms),
            max_retries: vhost.max_retries.or(server.max_retries),
            drain_bytes: vhost.drain_bytes.or(server.drain_bytes),
            drain_ms: vhost.drain_ms.or(server.drain_ms),
            max_data_size: vhost.max_data_size.or(server.max_data_size),
            daemons: Daemons::inherit(&server.daemons, &vhost.daemons, same_prefix),
        }
    }
}

impl ServerConfig {
    /// Daemon sockets must be below this directory. It does not end with a slash.
    pub(crate) fn allowed_prefix(&self) -> &Path {
        self.allowed_prefix.as_deref().unwrap_or(Path::new("/var/run"))
    }

    /// All attempts to connect to a daemon together end within this time.
    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms.unwrap_or(500).into())
    }

    /// How long the handoff message may wait for room in the daemon's queue.
    pub(crate) fn send_timeout(&self) -> Duration {
        Duration::from_millis(self.send_timeout_ms.unwrap_or(200).into())
    }

    /// How often to try again when the daemon's socket is missing or refuses.
    pub(crate) fn max_retries(&self) -> u32 {
        self.max_retries.unwrap_or(2)
    }

    /// The longest unread request body, in bytes, that is read away before a handoff.
    pub(crate) fn drain_bytes(&self) -> u64 {
        self.drain_bytes.unwrap_or(1 << 20)
    }

    /// How long reading the request body away may take.
    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_ms.unwrap_or(1000).into())
    }

    /// The longest handoff data, in bytes, that are taken from a response's body.
    pub(crate) fn max_data_size(&self) -> u64 {
        self.max_data_size.unwrap_or(16 << 20)
    }

    /// What the operator has declared about the daemon at `path`, under whichever name for its directory.
    pub(crate) fn daemon(&self, path: &Path) -> Option<&Daemon> {
        self.daemons.find(path)
    }
}

/// Settings that may also stand in `<Directory>`, `<Location>` and `<Files>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DirectoryConfig {
    enabled: Option<bool>,
    allow_proxied: Option<bool>,
}

impl Inherit for DirectoryConfig {
    fn inherit(outer: &Self, inner: &Self) -> Self {
        Self {
            enabled: inner.enabled.or(outer.enabled),
            allow_proxied: inner.allow_proxied.or(outer.allow_proxied),
        }
    }
}

impl DirectoryConfig {
    /// With `SocketHandoffEnabled` as said.
    #[cfg(test)]
    pub(crate) fn test(enabled: bool) -> Self {
        Self { enabled: Some(enabled), ..Self::default() }
    }

    /// Whether handoff headers are acted upon. They are taken off the response in any case.
    pub(crate) fn enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    /// Whether handoff headers of a proxied upstream are acted upon.
    pub(crate) fn allow_proxied(&self) -> bool {
        self.allow_proxied.unwrap_or(false)
    }
}

/// One directive: its name, its usage for httpd's own error messages, and what it sets.
pub(crate) struct Directive {
    pub(crate) name: &'static CStr,
    pub(crate) usage: &'static CStr,
    pub(crate) set: Set,
}

/// Which settings a directive changes, and so where it may stand. A setter's error is the second half of a sentence
/// that begins with the directive's name.
pub(crate) enum Set {
    /// In the server configuration and in `<VirtualHost>`, from one word.
    Server(fn(&mut ServerConfig, &str) -> Result<(), String>),
    /// There, from all words after the name.
    ServerWords(fn(&mut ServerConfig, &[&str], UserId) -> Result<(), String>),
    /// There, and in sections for directories and locations, from one word; never in .htaccess.
    Directory(fn(&mut DirectoryConfig, &str) -> Result<(), String>),
}

/// The directives of this module.
pub(crate) static DIRECTIVES: [Directive; 10] = [
    Directive {
        name: c"SocketHandoffEnabled",
        usage: c"On or Off: whether X-Socket-Handoff is acted upon (default On)",
        set: Set::Directory(|config, value| on_off(value).map(|on| config.enabled = Some(on))),
    },
    Directive {
        name: c"SocketHandoffAllowProxied",
        usage: c"On or Off: whether handoff headers of a proxied upstream are acted upon (default Off)",
        set: Set::Directory(|config, value| on_off(value).map(|on| config.allow_proxied = Some(on))),
    },
    Directive {
        name: c"SocketHandoffAllowedPrefix",
        usage: c"an absolute directory: daemon sockets must be below it (default /var/run/)",
        set: Set::Server(|config, value| prefix(value).map(|path| config.allowed_prefix = Some(path))),
    },
    Directive {
        name: c"SocketHandoffConnectTimeoutMs",
        usage: c"milliseconds, 1 to 60000, for connecting to a daemon, retries included (default 500)",
        set: Set::Server(|config, value| {
            number(value, 1, 60_000).map(|ms| config.connect_timeout_ms = Some(ms))
        }),
    },
    Directive {
        name: c"SocketHandoffSendTimeoutMs",
        usage: c"milliseconds, 1 to 60000, for sending the handoff (default 200)",
        set: Set::Server(|config, value| {
            number(value, 1, 60_000).map(|ms| config.send_timeout_ms = Some(ms))
        }),
    },
    Directive {
        name: c"SocketHandoffMaxRetries",
        usage: c"0 to 10: further attempts when a daemon's socket is missing or refuses (default 2)",
        set: Set::Server(|config, value| number(value, 0, 10).map(|n| config.max_retries = Some(n))),
    },
    Directive {
        name: c"SocketHandoffDrainBytes",
        usage: c"bytes, with k, m or g: the longest unread request body that is read away (default 1m)",
        set: Set::Server(|config, value| {
            size(value, 0, 1 << 40, "at most 1024g").map(|bytes| config.drain_bytes = Some(bytes))
        }),
    },
    Directive {
        name: c"SocketHandoffDrainMs",
        usage: c"milliseconds, 1 to 60000, for reading an unread request body away (default 1000)",
        set: Set::Server(|config, value| number(value, 1, 60_000).map(|ms| config.drain_ms = Some(ms))),
    },
    Directive {
        name: c"SocketHandoffMaxDataSize",
        usage: c"bytes, with k, m or g, 1 to 1g: the longest handoff data that a response's body may be (default 16m)",
        set: Set::Server(|config, value| {
            size(value, 1, 1 << 30, "from 1 to 1g").map(|bytes| config.max_data_size = Some(bytes))
        }),
    },
    Directive {
        name: c"SocketHandoffDaemon",
        usage: c"a daemon's socket, then protocol=1|2, fallback=PATH, ack_timeout_ms=N, user=NAME, pool=N",
        set: Set::ServerWords(|config, words, user_id| {
            config.daemons.declare(Daemon::parse(words, user_id)?)
        }),
    },
];

fn on_off(value: &str) -> Result<bool, String> {
    if value.eq_ignore_ascii_case("on") {
        Ok(true)
    } else if value.eq_ignore_ascii_case("off") {
        Ok(false)
    } else {
        Err(format!("must be On or Off, not '{value}'"))
    }
}

fn number(value: &str, least: u32, most: u32) -> Result<u32, String> {
    digits(value)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("must be a whole number from {least} to {most}, not '{value}'"))
}

/// Bytes, with an optional suffix k, m or g (powers of 1024). `most` leaves sums room.
fn size(value: &str, least: u64, most: u64, range: &str) -> Result<u64, String> {
    let (count, shift) = match value.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (&value[..value.len() - 1], 10),
        Some(b'm') => (&value[..value.len() - 1], 20),
        Some(b'g') => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    digits(count)
        .and_then(|count| count.checked_mul(1 << shift))
        .filter(|bytes| (least..=most).contains(bytes))
        .ok_or_else(|| format!("must be a number of bytes such as 65536, 64k or 1m, {range}, not '{value}'"))
}

/// Decimal digits only: `str::parse` would take a sign as well.
fn digits(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// An absolute directory that is not the root: a prefix of "everything" would let an application reach any socket.
fn prefix(value: &str) -> Result<PathBuf, String> {
    let path = Path::new(value);
    if !path.is_absolute() {
        return Err(format!("must be an absolute directory such as /var/run/, not '{value}'"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("must not contain '..', as '{value}' does"));
    }
    if !path.components().any(|part| matches!(part, Component::Normal(_))) {
        return Err(
            "must name a directory below '/': with '/' every socket of the machine would be allowed".into()
        );
    }
    // Without doubled and trailing slashes.
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ServerConfig {
        /// The configuration of these directives.
        pub(crate) fn of(lines: &[(&str, String)]) -> Self {
            let mut both = Default::default();
            for (name, value) in lines {
                apply(&mut both, name, value).unwrap();
            }
            both.0
        }
    }

    fn apply(both: &mut (ServerConfig, DirectoryConfig), name: &str, value: &str) -> Result<(), String> {
        let directive = DIRECTIVES.iter().find(|directive| directive.name.to_str() == Ok(name)).unwrap();
        let (server, directory) = both;
        match directive.set {
            Set::Server(set) => set(server, value),
            Set::ServerWords(set) => set(server, &value.split_whitespace().collect::<Vec<_>>(), |_| None),
            Set::Directory(set) => set(directory, value),
        }
    }

    fn set(name: &str, value: &str) -> Result<(ServerConfig, DirectoryConfig), String> {
        let mut both = Default::default();
        apply(&mut both, name, value)?;
        Ok(both)
    }

    #[test]
    fn defaults_are_those_of_the_readme() {
        let server = ServerConfig::default();
        assert_eq!(server.allowed_prefix(), Path::new("/var/run/"));
        assert_eq!(server.connect_timeout(), Duration::from_millis(500));
        assert_eq!(server.send_timeout(), Duration::from_millis(200));
        assert_eq!(server.max_retries(), 2);
        assert_eq!(server.drain_bytes(), 1_048_576);
        assert_eq!(server.drain_timeout(), Duration::from_secs(1));
        assert_eq!(server.max_data_size(), 16_777_216);
        assert!(DirectoryConfig::default().enabled());
        assert!(!DirectoryConfig::default().allow_proxied());
    }

    #[test]
    fn a_virtual_host_inherits_key_by_key() {
        let server = set("SocketHandoffAllowedPrefix", "/run/daemons").unwrap().0;
        let vhost = set("SocketHandoffConnectTimeoutMs", "7").unwrap().0;
        let merged = ServerConfig::inherit(&server, &vhost);
        assert_eq!(merged.allowed_prefix(), Path::new("/run/daemons"));
        assert_eq!(merged.connect_timeout(), Duration::from_millis(7));
        assert_eq!(merged.max_retries(), 2);
    }

    #[test]
    fn an_inner_section_can_switch_back_on() {
        let off = set("SocketHandoffEnabled", "off").unwrap().1;
        let on = set("SocketHandoffEnabled", "On").unwrap().1;
        assert!(!DirectoryConfig::inherit(&off, &DirectoryConfig::default()).enabled());
        assert!(DirectoryConfig::inherit(&off, &on).enabled());
    }

    #[test]
    fn numbers_are_bounded() {
        for value in ["0", "60001", "-1", "+5", "1.5", "1s", "", " 5", "99999999999999999999"] {
            let error = set("SocketHandoffConnectTimeoutMs", value).unwrap_err();
            assert!(error.contains("from 1 to 60000"), "{value}: {error}");
        }
        assert!(set("SocketHandoffMaxRetries", "0").is_ok());
        assert!(set("SocketHandoffMaxRetries", "11").is_err());
    }

    #[test]
    fn sizes_take_a_suffix() {
        for (value, bytes) in [("0", 0), ("65536", 65_536), ("64k", 65_536), ("1M", 1 << 20), ("2g", 2 << 30)]
        {
            assert_eq!(set("SocketHandoffDrainBytes", value).unwrap().0.drain_bytes(), bytes);
        }
        for value in ["k", "1x", "-1", "", "1mm", "99999999999g", "ü"] {
            assert!(set("SocketHandoffDrainBytes", value).is_err(), "{value}");
        }
    }

    #[test]
    fn the_size_of_data_is_bounded() {
        for (value, bytes) in [("1", 1), ("16m", 16 << 20), ("1g", 1 << 30)] {
            assert_eq!(set("SocketHandoffMaxDataSize", value).unwrap().0.max_data_size(), bytes);
        }
        for value in ["0", "1025m", "2g", ""] {
            let error = set("SocketHandoffMaxDataSize", value).unwrap_err();
            assert!(error.contains("from 1 to 1g"), "{value}: {error}");
        }
    }

    #[test]
    fn a_virtual_host_inherits_declared_daemons() {
        let server = set("SocketHandoffDaemon", "/run/d.sock protocol=2").unwrap().0;
        let vhost = set("SocketHandoffAllowedPrefix", "/run/other").unwrap().0;
        for config in [&server, &ServerConfig::inherit(&server, &vhost)] {
            assert_eq!(config.daemon(Path::new("/run/d.sock")).unwrap().protocol(), Protocol::Two);
            assert!(config.daemon(Path::new("/run/e.sock")).is_none());
        }
    }

    #[test]
    fn a_prefix_is_never_everything() {
        for value in ["/", "//", "/.", "", "run", "./run", "/run/..", "/run/../etc"] {
            assert!(set("SocketHandoffAllowedPrefix", value).is_err(), "{value}");
        }
        for value in ["/run", "/run/", "//run//./"] {
            let config = set("SocketHandoffAllowedPrefix", value).unwrap().0;
            assert_eq!(config.allowed_prefix().as_os_str(), "/run", "{value}");
        }
    }
}
