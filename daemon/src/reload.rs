//! SIGHUP: tells how many streams there are, opens the logs anew, and reads the configuration again.

use crate::config::keys::{Change, KEYS};
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
    for key in KEYS.iter().filter(|key| !(key.same)(current, wanted)) {
        match key.change {
            Change::Live => {
                (key.copy)(wanted, &mut effective);
                changed.push(key.path());
            }
            Change::Restart => restart.push(key.path()),
        }
    }
    (effective, changed, restart)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
}
