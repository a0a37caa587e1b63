//! What is wrong, or worth a warning, although each value is fine for itself.

use std::net::IpAddr;

use http::Uri;

use super::profile::{BUILT_IN, DialectName, Profile};
use super::settings::Server;
use super::sources::{ConfigError, Loaded};
use super::words;

/// Longest path of a Unix socket (`sun_path`, unix(7)), in bytes.
const LONGEST_SOCKET_PATH: usize = 107;

/// Checks the settings, and adds its warnings.
pub(super) fn check(loaded: &mut Loaded) -> Result<(), ConfigError> {
    sockets(&loaded.config.server)?;
    provider(loaded)?;
    let mut warnings = Vec::new();
    // A list of the operator's own was refused if somebody in it is missing.
    if let Some(name) = loaded.config.server.allowed_users.missing() {
        warnings.push(format!(
            "there is no user {name:?}, so only root and the daemon's own user may hand off; name Apache's in {}",
            loaded.place("server.allowed_users")
        ));
    }
    for profile in &loaded.config.backend.profiles {
        refuse(loaded, profile)?;
        warn(loaded, profile, &mut warnings);
    }
    loaded.warnings.append(&mut warnings);
    Ok(())
}

fn sockets(server: &Server) -> Result<(), ConfigError> {
    let sockets =
        [Some(&server.socket_path), server.stream_socket_path.as_ref(), server.admin_socket_path.as_ref()];
    let sockets: Vec<_> = sockets.into_iter().flatten().collect();
    match sockets.iter().enumerate().find(|(index, path)| sockets[..*index].contains(path)) {
        Some((_, twice)) => {
            Err(ConfigError::Together(format!("two sockets have the path {twice:?}; each needs its own")))
        }
        None => Ok(()),
    }
}

fn provider(loaded: &Loaded) -> Result<(), ConfigError> {
    let backend = &loaded.config.backend;
    let names: Vec<_> = backend.names().collect();
    if names.contains(&backend.provider.as_str()) {
        return Ok(());
    }
    Err(loaded.wrong("backend.provider", words::expected(&backend.provider, names.into_iter())))
}

/// The field that carries the key.
fn key_field(dialect: DialectName) -> &'static str {
    if dialect == DialectName::Anthropic { "x-api-key" } else { "authorization" }
}

fn refuse(loaded: &Loaded, profile: &Profile) -> Result<(), ConfigError> {
    let key = |name: &str| format!("backend.{}.{name}", profile.name);
    if profile.api_base.is_empty() {
        let words = format!(
            "{} is missing: an API of type \"sse\" is asked at the URL that it names",
            key("api_base")
        );
        return Err(ConfigError::Together(words));
    }
    if profile.dialect == DialectName::Anthropic && profile.max_tokens.is_none() {
        return Err(
            loaded.wrong(&key("max_tokens"), "above 0: this API answers no request without".to_owned())
        );
    }
    if profile.api_socket.as_ref().is_some_and(|path| path.as_os_str().len() > LONGEST_SOCKET_PATH) {
        return Err(loaded.wrong(&key("api_socket"), "a path of at most 107 bytes".to_owned()));
    }
    let field = key_field(profile.dialect);
    if profile.headers.has(field) && !profile.api_key.is_empty() {
        let (key, headers) = (loaded.place(&key("api_key")), loaded.place(&key("headers")));
        let words = format!("{key} and {field:?} in {headers} are the same field; keep one of them");
        return Err(ConfigError::Together(words));
    }
    Ok(())
}

fn warn(loaded: &Loaded, profile: &Profile, warnings: &mut Vec<String>) {
    let name = &profile.name;
    let at_home = profile.api_base == profile.dialect.home() && profile.api_socket.is_none();
    // A file's key may not be known: --check-config cannot read a unit's credentials.
    let has_key = !profile.api_key.is_empty()
        || profile.api_key_file.is_some()
        || profile.headers.has(key_field(profile.dialect));
    if profile.insecure_ssl {
        warnings.push(format!(
            "{} is on: whoever is in between can read and change what [backend.{name}] is asked and answers",
            loaded.place(&format!("backend.{name}.insecure_ssl"))
        ));
    }
    if has_key && profile.api_socket.is_none() && is_open(&profile.api_base) {
        warnings.push(format!(
            "the key of [backend.{name}] goes over the network in the clear: {} begins with http://",
            loaded.place(&format!("backend.{name}.api_base"))
        ));
    }
    // Those that are always there may be unused.
    let built_in = BUILT_IN.iter().any(|(known, _)| known == name);
    if built_in && loaded.config.backend.provider != *name {
        return;
    }
    if at_home && !has_key {
        let short = loaded.short_name(&format!("backend.{name}.api_key"));
        warnings.push(format!(
            "[backend.{name}] has no key, which {} will answer with 401; set api_key_file{short}",
            profile.api_base
        ));
    }
    if profile.dialect == DialectName::Anthropic && profile.model.is_none() {
        warnings.push(format!("[backend.{name}] has no model: each request has to name one"));
    }
}

/// Whether what goes there can be read on the way.
fn is_open(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let is_here = address.map_or(host == "localhost" || host.ends_with(".localhost"), |ip| ip.is_loopback());
    uri.scheme_str() == Some("http") && !is_here
}

impl Loaded {
    /// The full name of a key, and where its value came from.
    pub(super) fn place(&self, path: &str) -> String {
        match self.table.find(path) {
            Some(index) => format!("{path} ({})", self.origins[index]),
            None => path.to_owned(),
        }
    }

    fn wrong(&self, path: &str, expected: String) -> ConfigError {
        let origin =
            self.table.find(path).map_or(super::Origin::Default, |index| self.origins[index].clone());
        ConfigError::Value { key: path.to_owned(), origin, expected }
    }

    /// " or $NAME" when the key has a short name in the environment.
    fn short_name(&self, path: &str) -> String {
        let short = self.table.find(path).and_then(|index| self.table[index].short.first());
        short.map(|name| format!(" or ${name}")).unwrap_or_default()
    }
}
