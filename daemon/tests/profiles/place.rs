//! A configuration with what belongs to it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use streaming_daemon::config::{Loaded, Profile, Sources};
use tempfile::TempDir;

/// A directory with a configuration file, and key files if a test wants some.
pub(crate) struct Place {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

impl Place {
    pub(crate) fn new(text: &str) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap(), environment: Vec::new() };
        fs::write(place.path("daemon.toml"), text).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn key(self, name: &str, key: &str, mode: u32) -> Self {
        fs::write(self.path(name), key).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// The directory of the keys is where systemd would have them.
    pub(crate) fn in_a_unit(self) -> Self {
        let directory = self.directory.path().to_str().unwrap().to_owned();
        self.with("CREDENTIALS_DIRECTORY", &directory)
    }

    pub(crate) fn sources(&self) -> Sources {
        Sources {
            file: Some(self.path("daemon.toml")),
            environment: self.environment.clone(),
            ..Sources::default()
        }
    }

    pub(crate) fn load(&self) -> Loaded {
        self.sources().load().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn message(&self) -> String {
        self.sources().load().unwrap_err().to_string()
    }
}

pub(crate) fn load(text: &str) -> Loaded {
    Place::new(text).load()
}

pub(crate) fn message(text: &str) -> String {
    Place::new(text).message()
}

pub(crate) fn profile(loaded: &Loaded, name: &str) -> Profile {
    loaded.config.backend.profile(name).unwrap().clone()
}

/// Headers as they would be sent.
pub(crate) fn headers(profile: &Profile) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    profile.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
