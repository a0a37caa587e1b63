//! Reads whole texts through the skimmer and compares with serde_json. The fuzzer shares this.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use serde_json::{Map, Number};
use skim::{Malformed, Value};

/// How deep serde_json goes.
const DEPTH: usize = 128;

/// Why there is no tree.
#[derive(Debug)]
pub(crate) enum Unread {
    Malformed,
    /// A value is neither of the six kinds: what is skipped is not checked.
    NoValue,
    TooDeep,
}

impl From<Malformed> for Unread {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The tree of a text, read by nothing but the skimmer; numbers by serde_json.
pub(crate) fn tree(value: Value<'_>) -> Result<serde_json::Value, Unread> {
    tree_at(value, 0)
}

fn tree_at(value: Value<'_>, depth: usize) -> Result<serde_json::Value, Unread> {
    let mut scratch = String::new();
    if depth > DEPTH {
        return Err(Unread::TooDeep);
    }
    if let Some(members) = value.as_object() {
        let mut object = Map::new();
        for member in members {
            let (key, value) = member?;
            object.insert(key.as_str(&mut scratch)?.to_owned(), tree_at(value, depth + 1)?);
        }
        return Ok(object.into());
    }
    if let Some(elements) = value.as_array() {
        return elements.map(|element| tree_at(element?, depth + 1)).collect();
    }
    if let Some(text) = value.as_str(&mut scratch)? {
        return Ok(text.into());
    }
    match value.raw() {
        b"true" => Ok(true.into()),
        b"false" => Ok(false.into()),
        _ if value.is_null() => Ok(serde_json::Value::Null),
        raw => {
            let number: Number = serde_json::from_slice(raw).map_err(|_| Unread::NoValue)?;
            assert_eq!(value.as_u64(), number.as_u64(), "{}", String::from_utf8_lossy(raw));
            Ok(number.into())
        }
    }
}

/// What serde_json reads, the skimmer reads too, and the same. Whatever else it is: reading ends, and does not panic.
pub(crate) fn check(text: &[u8]) {
    let value = Value::of(text);
    let read = tree(value);
    let picked = value.pick(["choices", "error", ""]);
    if let Ok(expected) = serde_json::from_slice::<serde_json::Value>(text) {
        assert_eq!(read.unwrap(), expected, "{}", String::from_utf8_lossy(text));
        for (name, picked) in ["choices", "error", ""].iter().zip(picked.unwrap()) {
            assert_eq!(picked.map(|value| tree(value).unwrap()).as_ref(), expected.get(name), "{name:?}");
        }
    }
}
