//! The kinds of values: how each is read from a source, and shown as TOML. Times are in [`super::times`],
//! those with a word for each value in [`super::words`], those that only APIs have in [`super::api_kinds`].

use std::net::SocketAddr;
use std::path::PathBuf;

use super::settings::AccessLog;

/// A value as a source has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// From a flag or the environment, where everything is text.
    Untyped(String),
    /// A string of TOML.
    String(String),
    /// An integer of TOML: its digits, and their base.
    Integer(String, u32),
    /// A float of TOML.
    Float(String),
    /// A boolean of TOML.
    Boolean(bool),
    /// A table of TOML: names and values, in its order.
    Table(Vec<(String, Raw)>),
    /// An array of TOML.
    List(Vec<Raw>),
    /// Anything else: the name of its type.
    Other(&'static str),
}

impl Raw {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Untyped(text) | Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<&str> {
        match self {
            Self::Untyped(text) | Self::Integer(text, 10) | Self::Float(text) => Some(text),
            _ => None,
        }
    }
}

/// What a key takes.
pub trait Kind {
    /// The type of its setting.
    type Value;
    /// Reads it.
    ///
    /// # Errors
    /// What the value has to be: goes on after "has to be ".
    fn read(raw: &Raw) -> Result<Self::Value, String>;
    /// Shows it as TOML. Reading that gives the same value.
    fn show(value: &Self::Value) -> String;
}

/// A string with something in it.
pub enum Text {}
/// A path.
pub enum Path {}
/// A path; the empty string is none.
pub enum OptionalPath {}
/// A name; the empty string is none.
pub enum OptionalText {}
/// Octal digits, up to 0777.
pub enum FileMode {}
/// A whole number from 1.
pub enum Count {}
/// A whole number; 0 is no limit.
pub enum Limit {}
/// true or false.
pub enum Boolean {}
/// An IP address and a port.
pub enum Address {}
/// A log level, or directives as in `RUST_LOG`.
pub enum LogLevel {}
/// A path, or a word.
pub enum AccessLogPlace {}

impl Kind for Text {
    type Value = String;
    fn read(raw: &Raw) -> Result<String, String> {
        let text = raw.text().filter(|text| !text.trim().is_empty());
        Ok(text.ok_or("a string that is not empty")?.to_owned())
    }
    fn show(value: &String) -> String {
        quoted(value)
    }
}

impl Kind for OptionalText {
    type Value = Option<String>;
    fn read(raw: &Raw) -> Result<Self::Value, String> {
        let text = raw.text().ok_or("a string (empty for none)")?;
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }
    fn show(value: &Self::Value) -> String {
        quoted(value.as_deref().unwrap_or_default())
    }
}

impl Kind for Path {
    type Value = PathBuf;
    fn read(raw: &Raw) -> Result<PathBuf, String> {
        Ok(Text::read(raw).map_err(|_| "a path")?.into())
    }
    fn show(value: &PathBuf) -> String {
        quoted(&value.to_string_lossy())
    }
}

impl Kind for OptionalPath {
    type Value = Option<PathBuf>;
    fn read(raw: &Raw) -> Result<Self::Value, String> {
        let path = OptionalText::read(raw).map_err(|_| "a path (empty for none)")?;
        Ok(path.map(PathBuf::from))
    }
    fn show(value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| quoted(""), Path::show)
    }
}

impl Kind for FileMode {
    type Value = u32;
    /// Digits are octal whether they are quoted or not: nobody means `0o1224` by 660. TOML's own `0o660` works too.
    fn read(raw: &Raw) -> Result<u32, String> {
        let digits = match raw {
            Raw::Integer(digits, 8 | 10) => Some(digits.as_str()),
            _ => raw.text(),
        };
        let mode = digits.and_then(|digits| {
            let digits = digits.strip_prefix("0o").unwrap_or(digits);
            let octal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
            u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777)
        });
        Ok(mode.ok_or("octal, from 0000 to 0777, for example \"0660\"")?)
    }
    fn show(value: &u32) -> String {
        quoted(&format!("0{value:03o}"))
    }
}

impl Kind for Count {
    type Value = usize;
    fn read(raw: &Raw) -> Result<usize, String> {
        let number = raw.number().and_then(whole).filter(|number| *number > 0);
        Ok(number.ok_or("a whole number from 1")?)
    }
    fn show(value: &usize) -> String {
        value.to_string()
    }
}

impl Kind for Limit {
    type Value = Option<usize>;
    fn read(raw: &Raw) -> Result<Self::Value, String> {
        let number = raw.number().and_then(whole).ok_or("a whole number (0 for no limit)")?;
        Ok((number > 0).then_some(number))
    }
    fn show(value: &Self::Value) -> String {
        value.unwrap_or(0).to_string()
    }
}

impl Kind for Boolean {
    type Value = bool;
    fn read(raw: &Raw) -> Result<bool, String> {
        if let Raw::Boolean(value) = raw {
            return Ok(*value);
        }
        let Raw::Untyped(text) = raw else {
            return Err("true or false".to_owned());
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }
    fn show(value: &bool) -> String {
        value.to_string()
    }
}

impl Kind for Address {
    type Value = SocketAddr;
    fn read(raw: &Raw) -> Result<SocketAddr, String> {
        let address = raw.text().and_then(|text| text.parse().ok());
        Ok(address.ok_or("an IP address and a port, for example \"127.0.0.1:9090\"")?)
    }
    fn show(value: &SocketAddr) -> String {
        quoted(&value.to_string())
    }
}

impl Kind for LogLevel {
    type Value = String;
    fn read(raw: &Raw) -> Result<String, String> {
        let text = raw.text().filter(|text| crate::logging::is_level(text));
        let words = "error, warn, info, debug, trace, off, or directives such as \"info,streaming_daemon::relay=debug\"";
        Ok(text.ok_or(words)?.to_owned())
    }
    fn show(value: &String) -> String {
        quoted(value)
    }
}

impl Kind for AccessLogPlace {
    type Value = AccessLog;
    fn read(raw: &Raw) -> Result<AccessLog, String> {
        match raw.text().ok_or("a path, \"stdout\" or \"off\"")? {
            "off" | "" => Ok(AccessLog::Off),
            "stdout" => Ok(AccessLog::Stdout),
            path => Ok(AccessLog::File(path.into())),
        }
    }
    fn show(value: &AccessLog) -> String {
        match value {
            AccessLog::Off => quoted("off"),
            AccessLog::Stdout => quoted("stdout"),
            AccessLog::File(path) => Path::show(path),
        }
    }
}

pub(super) fn whole(text: &str) -> Option<usize> {
    // TOML and people write 100_000.
    text.replace('_', "").parse().ok()
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => quoted += &format!("\\u{:04X}", u32::from(character)),
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}
