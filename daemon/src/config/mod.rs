//! The settings of the daemon, checked.
//!
//! | what | where |
//! |---|---|
//! | the settings, as the rest of the daemon uses them | [`settings`] |
//! | the APIs by name, `[backend.NAME]` | [`profile`] |
//! | the table of keys: names, meaning, how each is read and shown | [`keys`], `profile_keys`, [`kinds`], [`api_kinds`], [`times`], [`users`], [`words`] |
//! | flags over environment over file over defaults | [`sources`], [`file`], [`environment`], [`key_file`] |
//! | what is wrong, or worth a warning, only together | `check` |
//! | what an operator reads: `--check-config`, `config example` | [`report`], [`example`] |
//!
//! A new setting is a field in [`settings`] and an entry in [`keys`], or a field in [`profile`] and an entry in
//! `profile_keys`; everything else follows from these two.

pub mod api_kinds;
mod check;
pub mod environment;
pub mod example;
pub mod file;
pub mod key_file;
pub mod keys;
pub mod kinds;
pub mod profile;
mod profile_keys;
pub mod report;
pub mod secret;
pub mod settings;
pub mod sources;
pub mod times;
pub mod users;
pub mod words;

pub use profile::{DialectName, Headers, Method, Profile};
pub use secret::Secret;
pub use settings::{
    AccessLog, AccessLogFormat, Backend, Config, Format, HalfClose, LogFormat, Logging, Metrics, Server, Sse,
};
pub use sources::{ConfigError, Loaded, Origin, Sources};
pub use users::AllowedUsers;

/// Of `known`, the one that `unknown` was probably meant to be.
fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Jaro-Winkler finds swapped and missing letters and values a common beginning; below this it is guessing.
    const ALIKE: f64 = 0.8;
    known
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_nearest_name_is_found_and_nothing_is_guessed() {
        let known = ["max_connections", "socket_mode", "socket_path"];
        let nearest = |unknown| super::nearest(unknown, known.into_iter());
        assert_eq!(nearest("max_conections"), Some("max_connections"));
        assert_eq!(nearest("socket_pth"), Some("socket_path"));
        assert_eq!(nearest("zebra"), None);
    }
}
