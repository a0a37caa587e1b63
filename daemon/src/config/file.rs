//! The configuration file: TOML, of which only known keys are taken.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::Table;
use super::kinds::Raw;
use super::nearest;
use super::profile::{BUILT_IN, WITHOUT_API};
use super::profile_keys::TYPE;
use super::sources::ConfigError;

/// What the file says.
#[derive(Debug)]
pub struct File {
    /// The operator's own profiles, in the order of the file.
    pub profiles: Vec<String>,
    /// The keys that there are, with these profiles.
    pub table: Table,
    /// The values, in the order of the file.
    pub entries: Vec<Entry>,
}

/// A value of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index in [`File::table`].
    pub key: usize,
    /// Its value.
    pub raw: Raw,
    /// Where it stands, from 1.
    pub line: usize,
}

/// Reads the file at `path`.
///
/// # Errors
/// It cannot be read, is no TOML, or has a key or section that nobody knows.
pub fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Reads `text`, the content of the file at `path`.
///
/// # Errors
/// It is no TOML, or has a key or section that nobody knows.
pub fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        ConfigError::Syntax { path: path.to_owned(), line, what: error.message().to_owned() }
    })?;
    let mut reader = Reader { path, text, table: Table::built_in(), entries: Vec::new() };
    let profiles = reader.own_profiles(table.get_ref())?;
    let names = BUILT_IN.iter().map(|(name, _)| *name).chain(profiles.iter().map(String::as_str));
    reader.table = Table::of(names);
    reader.section("", table.get_ref())?;
    reader.entries.sort_by_key(|entry| entry.line);
    reader.refuse_repetition()?;
    Ok(File { profiles, table: reader.table, entries: reader.entries })
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    table: Table,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    /// The names of the operator's own profiles: sections below [backend] that say what type they are.
    fn own_profiles(&self, table: &DeTable<'_>) -> Result<Vec<String>, ConfigError> {
        let Some(DeValue::Table(backend)) = table.get("backend").map(Spanned::get_ref) else {
            return Ok(Vec::new());
        };
        let mut own = Vec::new();
        for (name, value) in backend {
            let DeValue::Table(profile) = value.get_ref() else { continue };
            let start = name.span().start;
            let name = name.get_ref().as_ref();
            let section = format!("backend.{name}");
            if self.table.has_section(&section) || self.table.find(&section).is_some() {
                continue;
            }
            let line = line_of(self.text, start);
            if !profile.contains_key(TYPE) {
                return Err(self.unknown_section(section, line));
            }
            if let Some(what) = no_name(name) {
                return Err(ConfigError::Section { path: self.path.to_owned(), line, section, what });
            }
            own.push((start, name.to_owned()));
        }
        own.sort();
        Ok(own.into_iter().map(|(_, name)| name).collect())
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (name, value) in table {
            let line = line_of(self.text, name.span().start);
            let name = name.get_ref().as_ref();
            let full = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            match value.get_ref() {
                DeValue::Table(inner) if self.table.has_section(&full) => self.section(&full, inner)?,
                _ if self.table.find(&full).is_some() => self.entry(&full, value, line),
                DeValue::Table(inner) if self.has_dotted(&full, inner) => {
                    for (name, value) in inner {
                        let line = line_of(self.text, name.span().start);
                        self.entry(&format!("{full}.{}", name.get_ref()), value, line);
                    }
                }
                DeValue::Table(_) => return Err(self.unknown_section(full, line)),
                _ => return Err(self.unknown_key(section, name, line)),
            }
        }
        Ok(())
    }

    fn entry(&mut self, full: &str, value: &Spanned<DeValue<'_>>, line: usize) {
        self.entries.extend(self.table.find(full).map(|key| Entry { key, raw: raw(value), line }));
    }

    /// Whether the table `full` is the first half of keys with a dot in their names.
    fn has_dotted(&self, full: &str, inner: &DeTable<'_>) -> bool {
        !inner.is_empty()
            && inner.keys().all(|name| self.table.find(&format!("{full}.{}", name.get_ref())).is_some())
    }

    /// TOML sees to it, except for a key with two names.
    fn refuse_repetition(&self) -> Result<(), ConfigError> {
        for (index, entry) in self.entries.iter().enumerate() {
            let key = &self.table[entry.key];
            if let Some(first) = self.entries[..index].iter().find(|other| other.key == entry.key) {
                let what = format!("{} stands in line {} already", key.name, first.line);
                let (path, line) = (self.path.to_owned(), entry.line);
                return Err(ConfigError::Section { path, line, section: key.section.clone(), what });
            }
        }
        Ok(())
    }

    fn unknown_section(&self, section: String, line: usize) -> ConfigError {
        let known = self.table.iter().map(|key| key.section.as_str());
        // "backend." is common to all: likeness is in what follows.
        let meant = match section.strip_prefix("backend.") {
            Some(name) => nearest(name, known.filter_map(|known| known.strip_prefix("backend.")))
                .map(|name| format!("backend.{name}")),
            None => nearest(&section, known).map(str::to_owned),
        };
        let mut hint = meant.map(|name| format!("; did you mean [{name}]?")).unwrap_or_default();
        if section.starts_with("backend.") && section.matches('.').count() == 1 {
            hint += if hint.is_empty() { "; an" } else { " An" };
            hint +=
                " API of your own needs its type: \"openai\", \"openai-responses\", \"anthropic\" or \"sse\"";
        }
        ConfigError::UnknownSection { path: self.path.to_owned(), line, hint, section }
    }

    fn unknown_key(&self, section: &str, name: &str, line: usize) -> ConfigError {
        let all = || self.table.iter();
        let here = nearest(name, all().filter(|key| key.section == section).map(|key| key.name));
        let hint = match (here, all().find(|key| key.name == name)) {
            (_, Some(elsewhere)) => format!("; it belongs to [{}]", elsewhere.section),
            (Some(meant), None) => format!("; did you mean {meant}?"),
            (None, None) => match nearest(name, all().map(|key| key.name)) {
                Some(meant) => format!("; did you mean {meant}?"),
                None => "; `streaming-daemon config example` lists all".to_owned(),
            },
        };
        let place = if section.is_empty() { "no section".to_owned() } else { format!("[{section}]") };
        ConfigError::UnknownKey { path: self.path.to_owned(), line, name: name.to_owned(), place, hint }
    }
}

/// Why a profile cannot have this name.
fn no_name(name: &str) -> Option<String> {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if WITHOUT_API.contains(&name) {
        Some(format!(
            "{name:?} is a backend without an API, whose settings are in [backend]; choose another name"
        ))
    } else if !name.bytes().all(|byte| known(byte) || matches!(byte, b'-' | b'_'))
        || !name.bytes().next().is_some_and(known)
    {
        Some(
            "the name of a backend is made of a-z, 0-9, - and _, and begins with a letter or digit"
                .to_owned(),
        )
    } else {
        None
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::String(text.to_string()),
        DeValue::Integer(number) => Raw::Integer(number.as_str().to_owned(), number.radix()),
        DeValue::Float(number) => Raw::Float(number.as_str().to_owned()),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Table(table) => {
            let mut pairs: Vec<_> = table.iter().collect();
            pairs.sort_by_key(|(name, _)| name.span().start);
            Raw::Table(
                pairs.into_iter().map(|(name, value)| (name.get_ref().to_string(), raw(value))).collect(),
            )
        }
        DeValue::Array(values) => Raw::List(values.iter().map(raw).collect()),
        other => Raw::Other(other.type_str()),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever somebody has in the file, the answer is a sentence.
        #[test]
        fn no_file_makes_the_reader_panic(text in "(\\[(server|backend\\.(openai|x|x\\.headers)|x)\\]\n|type = \"sse\"\n|http2\\.enabled = |[a-z_]{1,20}( ?= ?)?|[0-9.\"'\\[\\]{}\n#ü-]{1,5}){0,20}") {
            if let Err(error) = parse(Path::new("x"), &text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
