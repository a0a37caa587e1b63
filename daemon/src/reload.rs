//! SIGHUP: tells how many streams there are, opens the logs anew, and reads the configuration again.

use crate::config::keys::{Change, Table};
use crate::config::{Config, Sources};
use crate::logging::Log;
use crate::server::Shared;

/// Does all that SIGHUP asks for, in this order. A configuration with a mistake changes nothing.
pub fn reload(shared: &Shared, sources: &Sources, log: &Log) {
    tracing::info!("SIGHUP: {}, {} lines of the log dropped", shared.status(), log.dropped());
    shared.reopen_logs();
    let loaded = match sources.load() {
        Ok(loaded) => loaded,
        Err(error) => return tracing::error!("the configuration stays as it is: {error}"),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let (effective, changed, restart) = merge(&shared.config.get(), &loaded.config);
    log.set_level(&effective.logging.level);
    shared.apply(effective);
    let list = |paths: &[String]| if paths.is_empty() { "nothing".to_owned() } else { paths.join(", ") };
    tracing::info!("configuration read again; in effect from now on: {}", list(&changed));
    if !restart.is_empty() {
        tracing::warn!("changed, but in effect only after a restart: {}", list(&restart));
    }
}

/// What `wanted` makes of `current` without a restart; the keys whose values change; those that need a restart.
fn merge(current: &Config, wanted: &Config) -> (Config, Vec<String>, Vec<String>) {
    let mut effective = current.clone();
    let (mut changed, mut restart) = (Vec::new(), Vec::new());
    for key in Table::of_config(wanted).iter().filter(|key| !key.same(current, wanted)) {
        match key.change {
            Change::Live if key.profile().is_none_or(|name| is_same_api(name, current, wanted)) => {
                key.copy(wanted, &mut effective);
                changed.push(key.path());
            }
            Change::Live | Change::Restart => restart.push(key.path()),
        }
    }
    let came_or_went = added(current, wanted).chain(added(wanted, current));
    restart.extend(came_or_went.map(|name| format!("[backend.{name}]")));
    (effective, changed, restart)
}

/// Whether the profile means the same API in both. Otherwise the key and the model of the new one have to wait: they
/// would go to the old one.
fn is_same_api(name: &str, a: &Config, b: &Config) -> bool {
    let api = |config: &Config| {
        let profile = config.backend.profile(name)?;
        Some((profile.dialect, profile.api_base.clone(), profile.api_socket.clone()))
    };
    api(a) == api(b)
}

/// The profiles of `to` that `from` has not.
fn added<'a>(from: &Config, to: &'a Config) -> impl Iterator<Item = &'a str> {
    let names = to.backend.profiles.iter().map(|profile| profile.name.as_str());
    names.filter(|name| from.backend.profile(name).is_none())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{DialectName, Profile, Secret};

    #[test]
    fn what_can_change_changes_and_the_rest_is_told() {
        let current = Config::default();
        let mut wanted = current.clone();
        wanted.server.socket_path = "/other.sock".into();
        wanted.backend.token_delay = Duration::ZERO;
        wanted.server.max_connections = 5;
        let (effective, changed, restart) = merge(&current, &wanted);
        assert_eq!(changed, ["server.max_connections", "backend.token_delay_ms"]);
        assert_eq!(restart, ["server.socket_path"]);
        assert_eq!(effective.server.socket_path, current.server.socket_path);
        assert_eq!(effective.server.max_connections, 5);
    }

    #[test]
    fn what_a_profile_asks_changes_and_how_it_connects_does_not() {
        let current = Config::default();
        let mut wanted = current.clone();
        let openai = &mut wanted.backend.profiles[0];
        openai.api_key = Secret::new("sk-1".to_owned());
        openai.stream_usage = false;
        openai.http2_enabled = false;
        let (effective, changed, restart) = merge(&current, &wanted);
        assert_eq!(changed, ["backend.openai.api_key", "backend.openai.stream_usage"]);
        assert_eq!(restart, ["backend.openai.http2_enabled"]);
        assert_eq!(effective.backend.profiles[0].api_key.expose(), "sk-1");
        assert!(effective.backend.profiles[0].http2_enabled);
    }

    #[test]
    fn a_new_key_does_not_go_to_the_old_api() {
        let current = Config::default();
        let mut wanted = current.clone();
        wanted.backend.profiles[0].api_base = "https://api.example.org/v1".to_owned();
        wanted.backend.profiles[0].api_key = Secret::new("sk-1".to_owned());
        let (effective, changed, restart) = merge(&current, &wanted);
        assert_eq!(effective, current);
        assert_eq!(changed, Vec::<String>::new());
        assert_eq!(restart, ["backend.openai.api_base", "backend.openai.api_key"]);
    }

    /// Else an API of Anthropic would lose the `max_tokens` that it needs to the defaults of another type.
    #[test]
    fn a_profile_of_another_type_waits_as_a_whole() {
        let mut current = Config::default();
        current.backend.profiles.push(Profile::new("own", DialectName::Anthropic));
        let mut wanted = Config::default();
        wanted.backend.profiles.push(Profile::new("own", DialectName::OpenAi));
        let (effective, changed, restart) = merge(&current, &wanted);
        assert_eq!(effective, current);
        assert_eq!(changed, Vec::<String>::new());
        assert_eq!(restart, ["backend.own.type", "backend.own.api_base", "backend.own.max_tokens"]);
    }
}
