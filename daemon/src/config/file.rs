//! The configuration file: TOML, of which only known keys are taken.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kinds::Raw;
use super::sources::ConfigError;
use super::{keys, nearest};

/// A value of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index in [`keys::KEYS`].
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
pub fn read(path: &Path) -> Result<Vec<Entry>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Reads `text`, the content of the file at `path`.
///
/// # Errors
/// It is no TOML, or has a key or section that nobody knows.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        ConfigError::Syntax { path: path.to_owned(), line, what: error.message().to_owned() }
    })?;
    let mut reader = Reader { path, text, entries: Vec::new() };
    reader.section("", table.get_ref())?;
    reader.entries.sort_by_key(|entry| entry.line);
    Ok(reader.entries)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    fn section(&mut self, section: &str, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (name, value) in table {
            let line = line_of(self.text, name.span().start);
            let name = name.get_ref().as_ref();
            let full = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            match value.get_ref() {
                DeValue::Table(inner) if is_section(&full) => self.section(&full, inner)?,
                DeValue::Table(_) => return Err(self.unknown_section(full, line)),
                _ => match keys::find(&full) {
                    Some(key) => self.entries.push(Entry { key, raw: raw(value), line }),
                    None => return Err(self.unknown_key(section, name, line)),
                },
            }
        }
        Ok(())
    }

    fn unknown_section(&self, section: String, line: usize) -> ConfigError {
        let meant = nearest(&section, keys::KEYS.iter().map(|key| key.section));
        ConfigError::UnknownSection {
            path: self.path.to_owned(),
            line,
            hint: meant.map(|name| format!("; did you mean [{name}]?")).unwrap_or_default(),
            section,
        }
    }

    fn unknown_key(&self, section: &str, name: &str, line: usize) -> ConfigError {
        let all = || keys::KEYS.iter();
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

fn is_section(name: &str) -> bool {
    keys::KEYS.iter().any(|key| key.section == name)
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::String(text.to_string()),
        DeValue::Integer(number) => Raw::Integer(number.as_str().to_owned(), number.radix()),
        DeValue::Float(number) => Raw::Float(number.as_str().to_owned()),
        DeValue::Boolean(value) => Raw::Boolean(*value),
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
        fn no_file_makes_the_reader_panic(text in "(\\[(server|backend\\.openai|x)\\]\n|[a-z_]{1,20}( ?= ?)?|[0-9.\"'\\[\\]{}\n#ü-]{1,5}){0,20}") {
            if let Err(error) = parse(Path::new("x"), &text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
