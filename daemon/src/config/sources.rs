//! Where settings come from: flags over environment over file over defaults.

use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::file::{self, File};
use super::key_file::{self, KeyFileError};
use super::keys::Table;
use super::kinds::Raw;
use super::profile::{DialectName, Profile};
use super::profile_keys::TYPE;
use super::settings::Config;
use super::{check, environment};

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
    /// `--check-config`: the unit's credentials need not be there.
    pub only_checks: bool,
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
    /// A file of its own, which another key names.
    KeyFile(PathBuf),
}

impl Origin {
    /// Which of two origins wins: the greater one.
    fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(..) | Self::KeyFile(_) => 1,
            Self::Environment(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => f.write_str(name),
            Self::KeyFile(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The keys that there are.
    pub table: Table,
    /// Where the value of each came from, in the order of the table.
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
    /// A section that is not as it has to be.
    #[error("{}:{line}: [{section}]: {what}", path.display())]
    Section {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Its name.
        section: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A key that profiles of another type have.
    #[error("{key} ({origin}) is nothing that an API of type {dialect:?} has; take it out")]
    Inapplicable {
        /// The full name of the key.
        key: String,
        /// Where its value came from.
        origin: Origin,
        /// The profile's type.
        dialect: &'static str,
    },
    /// A key that cannot be read from its file.
    #[error("{key} ({origin}) {source}")]
    KeyFile {
        /// The full name of the key that names the file.
        key: String,
        /// Where that name came from.
        origin: Origin,
        /// What is wrong with it.
        source: KeyFileError,
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
    /// Values that are fine each, and not together.
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
        let file = match &self.file {
            Some(path) => file::read(path)?,
            None => File { profiles: Vec::new(), table: Table::built_in(), entries: Vec::new() },
        };
        if let Some((variable, first, second)) = file.table.shared_variable() {
            let words = format!(
                "{variable} would belong to [{first}] and [{second}]; one of them needs another name"
            );
            return Err(ConfigError::Together(words));
        }
        let environment = environment::read(&file.table, &self.environment);
        let mut values: Vec<(usize, Raw, Origin)> = Vec::new();
        if let Some(path) = &self.file {
            let entries = file.entries.into_iter();
            values
                .extend(entries.map(|entry| (entry.key, entry.raw, Origin::File(path.clone(), entry.line))));
        }
        let entries = environment.entries.into_iter();
        values.extend(entries.map(|(key, name, raw)| (key, raw, Origin::Environment(name))));
        for (flag, path, value) in &self.flags {
            let key = file.table.find(path);
            values.extend(key.map(|key| (key, Raw::Untyped(value.clone()), Origin::Flag(flag))));
        }

        let mut config = Config { benchmark: self.benchmark, ..Config::default() };
        // Of any type: each says its own.
        config
            .backend
            .profiles
            .extend(file.profiles.iter().map(|name| Profile::new(name, DialectName::OpenAi)));
        let origins = vec![Origin::Default; file.table.len()];
        let mut loaded = Loaded { config, table: file.table, origins, warnings: environment.warnings };
        // The type of a profile gives the defaults of its other keys.
        let (types, rest): (Vec<_>, Vec<_>) = values.into_iter().partition(|(key, ..)| loaded.is_type(*key));
        for (key, raw, origin) in types.into_iter().chain(rest) {
            loaded.set(key, &raw, origin)?;
        }
        loaded.read_keys(self)?;
        loaded.config.backend.profiles.iter_mut().for_each(Profile::tidy);
        check::check(&mut loaded)?;
        Ok(loaded)
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }
}

impl Loaded {
    fn is_type(&self, key: usize) -> bool {
        self.table[key].profile().is_some() && self.table[key].name == TYPE
    }

    fn set(&mut self, index: usize, raw: &Raw, origin: Origin) -> Result<(), ConfigError> {
        let key = &self.table[index];
        let profile = key.profile().and_then(|name| self.config.backend.profile(name));
        if let Some(dialect) = profile.map(|profile| profile.dialect).filter(|dialect| !key.is_of(*dialect)) {
            return Err(ConfigError::Inapplicable { key: key.path(), origin, dialect: dialect.word() });
        }
        key.read(&mut self.config, raw).map_err(|expected| ConfigError::Value {
            key: key.path(),
            origin: origin.clone(),
            expected,
        })?;
        self.origins[index] = origin;
        Ok(())
    }

    /// Takes the key of each profile from its file, unless a source that wins over the file's name has the key itself.
    fn read_keys(&mut self, sources: &Sources) -> Result<(), ConfigError> {
        for index in 0..self.config.backend.profiles.len() {
            let profile = &self.config.backend.profiles[index];
            let Some(name) = profile.api_key_file.clone() else { continue };
            let path = |key: &str| format!("backend.{}.{key}", profile.name);
            let (key, key_file) = (path("api_key"), path("api_key_file"));
            let found = self.table.find(&key).zip(self.table.find(&key_file));
            let Some((key_index, file_index)) = found else { continue };
            let origin = self.origins[file_index].clone();
            if !profile.api_key.is_empty() {
                let (key, key_file) = (self.place(&key), self.place(&key_file));
                let file_wins = match self.origins[key_index].rank().cmp(&origin.rank()) {
                    Ordering::Equal => {
                        let words = format!("{key} and {key_file} are both set; keep one of them");
                        return Err(ConfigError::Together(words));
                    }
                    Ordering::Less => true,
                    Ordering::Greater => false,
                };
                let (winner, loser) = if file_wins { (key_file, key) } else { (key, key_file) };
                self.warnings.push(format!("{loser} is not used, since {winner} wins over it"));
                if !file_wins {
                    self.config.backend.profiles[index].api_key_file = None;
                    continue;
                }
            }
            match key_file::read(&name, sources.variable("CREDENTIALS_DIRECTORY")) {
                Ok(read) => {
                    if read.is_public {
                        self.warnings.push(format!(
                            "everybody on this host can read the key in {:?}; chmod o-r it, and make a new key",
                            read.path
                        ));
                    }
                    self.config.backend.profiles[index].api_key = read.key;
                    self.origins[key_index] = Origin::KeyFile(read.path);
                }
                Err(error @ KeyFileError::NoCredentials(_)) if sources.only_checks => {
                    self.warnings.push(format!("not checked here: {} {error}", self.place(&key_file)));
                }
                Err(source) => return Err(ConfigError::KeyFile { key: key_file, origin, source }),
            }
        }
        Ok(())
    }
}
