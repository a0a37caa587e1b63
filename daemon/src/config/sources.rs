//! Where settings come from: flags over environment over file over defaults.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::kinds::Raw;
use super::settings::Config;
use super::{environment, file, keys};

/// What can be asked again at SIGHUP: the file may have changed, the rest is as at the start.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// All of the environment.
    pub environment: Vec<(String, String)>,
    /// The flag's name, the full name of its key, the value.
    pub flags: Vec<(&'static str, &'static str, String)>,
    /// `--benchmark`
    pub benchmark: bool,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file.
    File(PathBuf, usize),
    /// A variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where each came from, in the order of [`keys::KEYS`].
    pub origins: Vec<Origin>,
    /// For the log.
    pub warnings: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path:?}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no TOML.
    #[error("{}:{line}: {what}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The parser's words.
        what: String,
    },
    /// A section that nobody knows.
    #[error("{}:{line}: unknown section [{section}]{hint}", path.display())]
    UnknownSection {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Its name.
        section: String,
        /// What was meant, perhaps.
        hint: String,
    },
    /// A key that nobody knows.
    #[error("{}:{line}: unknown key {name} in {place}{hint}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Its name.
        name: String,
        /// Its section.
        place: String,
        /// What was meant, perhaps.
        hint: String,
    },
    /// A value that its key does not take. Not quoted: it may be secret.
    #[error("{key} ({origin}) has to be {expected}")]
    Value {
        /// The full name of the key.
        key: String,
        /// Where the value came from.
        origin: Origin,
        /// What it takes.
        expected: String,
    },
    /// Values that are fine each, and not together, or not yet.
    #[error("{0}")]
    Together(String),
}

impl ConfigError {
    /// Whether the command line is wrong, not the file or the environment.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Value { origin: Origin::Flag(_), .. })
    }
}

impl Sources {
    /// Puts all sources together and checks the result.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = Loaded {
            config: Config { benchmark: self.benchmark, ..Config::default() },
            origins: vec![Origin::Default; keys::KEYS.len()],
            warnings: Vec::new(),
        };
        if let Some(path) = &self.file {
            for entry in file::read(path)? {
                loaded.set(entry.key, &entry.raw, Origin::File(path.clone(), entry.line))?;
            }
        }
        let environment = environment::read(&self.environment);
        loaded.warnings = environment.warnings;
        for (key, name, raw) in environment.entries {
            loaded.set(key, &raw, Origin::Environment(name))?;
        }
        for (flag, path, value) in &self.flags {
            if let Some(key) = keys::find(path) {
                loaded.set(key, &Raw::Untyped(value.clone()), Origin::Flag(flag))?;
            }
        }
        check(&loaded.config)?;
        Ok(loaded)
    }
}

impl Loaded {
    fn set(&mut self, index: usize, raw: &Raw, origin: Origin) -> Result<(), ConfigError> {
        let key = &keys::KEYS[index];
        (key.read)(&mut self.config, raw).map_err(|expected| ConfigError::Value {
            key: key.path(),
            origin: origin.clone(),
            expected,
        })?;
        self.origins[index] = origin;
        Ok(())
    }
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let server = &config.server;
    let sockets =
        [Some(&server.socket_path), server.stream_socket_path.as_ref(), server.admin_socket_path.as_ref()];
    let sockets: Vec<_> = sockets.into_iter().flatten().collect();
    if let Some(twice) = sockets.iter().enumerate().find(|(index, path)| sockets[..*index].contains(path)) {
        let words = format!("two sockets have the path {:?}; each needs its own", twice.1);
        return Err(ConfigError::Together(words));
    }
    Ok(())
}
