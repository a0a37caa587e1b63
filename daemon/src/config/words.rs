//! Values that are one of a few words.

use super::kinds::{Kind, Raw, quoted};
use super::nearest;
use super::profile::{DialectName, Method};
use super::settings::{AccessLogFormat, Format, HalfClose, LogFormat};

/// One of a few words.
pub struct OneOf<T>(std::marker::PhantomData<T>);

/// A type with a word for each of its values.
pub trait Words: Copy + PartialEq + 'static {
    /// All of them.
    const WORDS: &'static [(&'static str, Self)];
}

impl Words for DialectName {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("openai", Self::OpenAi),
        ("openai-responses", Self::OpenAiResponses),
        ("anthropic", Self::Anthropic),
        ("sse", Self::Sse),
    ];
}
impl Words for Method {
    const WORDS: &'static [(&'static str, Self)] = &[("get", Self::Get), ("post", Self::Post)];
}
impl Words for HalfClose {
    const WORDS: &'static [(&'static str, Self)] = &[("gone", Self::Gone), ("keep", Self::Keep)];
}
impl Words for Format {
    const WORDS: &'static [(&'static str, Self)] =
        &[("text", Self::Text), ("json", Self::Json), ("raw", Self::Raw)];
}
impl Words for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("pretty", Self::Pretty), ("json", Self::Json)];
}
impl Words for AccessLogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("combined", Self::Combined), ("json", Self::Json)];
}

impl<T: Words> Kind for OneOf<T> {
    type Value = T;
    fn read(raw: &Raw) -> Result<T, String> {
        let given = raw.text().unwrap_or_default();
        match T::WORDS.iter().find(|(word, _)| *word == given) {
            Some((_, value)) => Ok(*value),
            None => Err(expected(given, T::WORDS.iter().map(|(word, _)| *word))),
        }
    }
    fn show(value: &T) -> String {
        let word = T::WORDS.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word);
        quoted(word)
    }
}

/// What a value has to be that is none of `words`.
pub(super) fn expected<'a>(given: &str, words: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut expected = words.clone().map(quoted).collect::<Vec<_>>().join(" or ");
    if let Some(word) = nearest(given, words) {
        expected += &format!("; did you mean {word:?}?");
    }
    expected
}
