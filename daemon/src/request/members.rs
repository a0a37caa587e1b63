//! The members of a JSON object, each with its value as it was written.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::BadRequest;

/// Members that nobody has taken yet, in order.
#[derive(Debug)]
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Parses `text`, one JSON object whose members have different names.
    pub(super) fn parse(text: &'a str) -> Result<Self, BadRequest> {
        let not_json = |error: serde_json::Error| BadRequest::NotJson { what: error.to_string() };
        if kind(text) != "an object" {
            serde_json::from_str::<IgnoredAny>(text).map_err(not_json)?;
            return Err(BadRequest::NotAnObject { found: kind(text) });
        }
        serde_json::from_str::<Self>(text).map_err(not_json)?.once()
    }

    /// Parses the object `raw`, the value of `field`.
    pub(super) fn nested(field: &str, raw: &'a RawValue) -> Result<Self, BadRequest> {
        match Self::parse(raw.get()) {
            Err(BadRequest::NotAnObject { found }) => Err(BadRequest::wrong(field, found, "an object")),
            Err(BadRequest::Field { field: inner, found, expected }) => {
                Err(BadRequest::Field { field: format!("{field}.{inner}"), found, expected })
            }
            // The JSON was checked before; what remains are names that are no text.
            Err(other) => Err(BadRequest::wrong(field, "no text", other.to_string())),
            Ok(members) => Ok(members),
        }
    }

    /// Itself, if each name stands once.
    pub(super) fn once(self) -> Result<Self, BadRequest> {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(BadRequest::wrong(pair[0], "there twice", "it once")),
            None => Ok(self),
        }
    }

    /// Takes the value of `field` out, unless it is `null`.
    pub(super) fn take(&mut self, field: &str) -> Option<&'a RawValue> {
        let position = self.0.iter().position(|(name, _)| name == field)?;
        Some(self.0.remove(position).1).filter(|raw| raw.get() != "null")
    }

    pub(super) fn string(&mut self, field: &str) -> Result<Option<String>, BadRequest> {
        self.take(field).map(|raw| string(field, raw)).transpose()
    }

    pub(super) fn string_or_number(&mut self, field: &str) -> Result<Option<String>, BadRequest> {
        let read = |raw: &RawValue| match kind(raw.get()) {
            "a number" => Ok(raw.get().to_owned()),
            "a string" => string(field, raw),
            other => Err(BadRequest::wrong(field, other, "a string or a number")),
        };
        self.take(field).map(read).transpose()
    }

    pub(super) fn number(&mut self, field: &str) -> Result<Option<f64>, BadRequest> {
        self.take(field).map(|raw| number(field, raw, "a number")).transpose()
    }

    pub(super) fn positive(&mut self, field: &str) -> Result<Option<u64>, BadRequest> {
        const EXPECTED: &str = "a whole number from 1";
        match self.take(field).map(|raw| number(field, raw, EXPECTED)).transpose()? {
            Some(0) => Err(BadRequest::wrong(field, "0", EXPECTED)),
            other => Ok(other),
        }
    }

    /// What nobody has taken.
    pub(super) fn rest(self) -> Vec<(String, Box<RawValue>)> {
        self.0.into_iter().map(|(name, raw)| (name, raw.to_owned())).collect()
    }
}

/// Names that stand twice are let through: see [`Members::once`].
impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Members<'de> {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(member) = map.next_entry()? {
            self.0.push(member);
        }
        Ok(self)
    }
}

/// Checks that `raw` is a string and holds whole characters.
pub(super) fn check_string(field: &str, raw: &RawValue) -> Result<(), BadRequest> {
    // Halves of characters can only be named as escapes, \ud800 to \udfff. The parser has looked at everything else.
    let json = raw.get().as_bytes();
    let names_halves = |escape: &[u8]| memchr::memmem::find(json, escape).is_some();
    if kind(raw.get()) == "a string" && !names_halves(b"\\ud") && !names_halves(b"\\uD") {
        return Ok(());
    }
    string(field, raw).map(|_| ())
}

pub(super) fn string(field: &str, raw: &RawValue) -> Result<String, BadRequest> {
    match kind(raw.get()) {
        // JSON can name halves of characters, which no text holds.
        "a string" => serde_json::from_str(raw.get())
            .map_err(|_| BadRequest::wrong(field, "no text", "only whole characters")),
        other => Err(BadRequest::wrong(field, other, "a string")),
    }
}

fn number<T: DeserializeOwned>(field: &str, raw: &RawValue, expected: &str) -> Result<T, BadRequest> {
    match kind(raw.get()) {
        "a number" => {
            serde_json::from_str(raw.get()).map_err(|_| BadRequest::wrong(field, "another number", expected))
        }
        other => Err(BadRequest::wrong(field, other, expected)),
    }
}

/// The kind of value that a JSON text holds, if it is one.
pub(super) fn kind(json: &str) -> &'static str {
    match json.trim_ascii_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}
