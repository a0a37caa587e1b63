//! Reads single members out of JSON text (RFC 8259), without building what it does not look at.
//!
//! A piece of an answer comes as a few words in 250 bytes of JSON, a hundred times a second and stream. Only the words
//! and the end are of interest: the rest is stepped over, and nothing is allocated.
//!
//! ```
//! # fn main() -> Result<(), skim::Malformed> {
//! let chunk = br#"{"id":"1","choices":[{"index":0,"delta":{"content":"Hi\n"},"finish_reason":null}]}"#;
//! let mut scratch = String::new();
//! let [choices, error] = skim::Value::of(chunk).pick(["choices", "error"])?;
//! assert!(error.is_none());
//! for choice in choices.and_then(skim::Value::as_array).into_iter().flatten() {
//!     let [delta] = choice?.pick(["delta"])?;
//!     if let Some(delta) = delta {
//!         let [content] = delta.pick(["content"])?;
//!         assert_eq!(content.unwrap().as_str(&mut scratch)?, Some("Hi\n"));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is wrong is noticed late, or never
//! JSON that is valid is read right. Of what is invalid, only what is in the way is noticed:
//! - the members of an object (the elements of an array) are checked one after the other: the order of keys, colons,
//!   commas and brackets, to the end, with nothing behind it. A text that was cut short is always [`Malformed`] when
//!   the iterator is asked until its end, as [`Value::pick`] does;
//! - of a value that is stepped over, only its strings and the depth of its brackets are looked at: `[}`, `nul` and
//!   `01` pass, until they are read;
//! - characters below U+0020 may stand in strings as they are;
//! - bytes that are not UTF-8, and halves of surrogate pairs (`\ud83d` alone), are read as U+FFFD: one character is
//!   lost, and not the stream. A pair whose halves come in two texts is two U+FFFD.
//!
//! There is no recursion: how deep the text is nested does not matter.
#![forbid(unsafe_code)]

mod members;
mod scan;
mod text;
mod value;

pub use members::{Elements, Key, Members};
pub use value::Value;

/// The text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed JSON: {0}")]
pub struct Malformed(&'static str);
