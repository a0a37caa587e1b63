//! A daemon in front of a mock API.

use mock_llm::{MockLlm, Settings};
use streaming_daemon::Config;
use streaming_daemon::config::{DialectName, Profile, Secret};

use crate::common::Daemon;
use crate::common::response::Response;

/// The key that the daemon has for the API.
pub const KEY: &str = "sk-test-0123456789";

/// A daemon whose backend `api` is a mock API.
pub struct Relayed {
    pub daemon: Daemon,
    pub api: MockLlm,
}

/// Chat Completions, from an API with these settings.
pub async fn relayed(settings: Settings) -> Relayed {
    relayed_with(DialectName::OpenAi, settings, |_| {}).await
}

/// An API with these settings that is asked in `dialect`; `change` the daemon's configuration.
pub async fn relayed_with(
    dialect: DialectName,
    settings: Settings,
    change: impl FnOnce(&mut Config),
) -> Relayed {
    let api = MockLlm::start(settings).await.unwrap();
    let base = match dialect {
        DialectName::Sse => format!("http://{}/events", api.address()),
        _ => api.base_url(),
    };
    let daemon = Daemon::start(|config| {
        config.backend.profiles.push(profile("api", dialect, &base));
        config.backend.provider = "api".to_owned();
        change(config);
    });
    Relayed { daemon, api }
}

/// A profile with a key.
pub fn profile(name: &str, dialect: DialectName, base: &str) -> Profile {
    let model = Some("test-model".to_owned());
    let api_key = Secret::new(KEY.to_owned());
    Profile { api_base: base.to_owned(), model, api_key, ..Profile::new(name, dialect) }
}

impl Relayed {
    /// The whole response to `data`.
    pub async fn ask(&self, data: &str) -> Response {
        self.daemon.ask(data).await
    }
}
