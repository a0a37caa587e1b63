//! What each API says, in the vendors' documented form.

pub(crate) mod chat;

/// Where an event stands in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before the content.
    Lead,
    /// A piece of the content: these are counted and paced.
    Content,
    /// After the content.
    Tail,
    /// The terminal marker.
    End,
}

/// One event of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) place: Place,
    pub(crate) text: String,
}

/// Numbered words of 8 bytes: `word001 `, `word002 `, …
pub(crate) fn words(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("word{number:03} ")).collect()
}

/// A JSON string, with its quotation marks.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
