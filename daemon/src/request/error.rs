//! What can be wrong with handoff data.

/// What is wrong with handoff data, and where. Values are not quoted: they may be secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Not text.
    #[error("the handoff data is not UTF-8: byte {offset} starts no character; send JSON in UTF-8")]
    NotUtf8 {
        /// Offset of the first wrong byte, from 0.
        offset: usize,
    },
    /// Not JSON.
    #[error("the handoff data is not JSON: {what}; build it with json_encode() or its like")]
    NotJson {
        /// The parser's words, which tell line and column, from 1.
        what: String,
    },
    /// JSON, but another kind of value.
    #[error("the handoff data is {found}; send a JSON object such as {{\"prompt\":\"Hello\"}}")]
    NotAnObject {
        /// The kind that was found.
        found: &'static str,
    },
    /// A known field of the wrong type or with a value that is not allowed.
    // Names are quoted with escapes: some come from the data, and this goes to a log.
    #[error("the field {field:?} of the handoff data {found}; send {expected}")]
    Field {
        /// The field's name, or the way to it: `messages[0].role`.
        field: String,
        /// What was found.
        found: String,
        /// What is taken.
        expected: String,
    },
}

impl BadRequest {
    /// `field` is `found`, such as "a number" or "unknown"; it should be `expected`.
    pub fn wrong(field: impl Into<String>, found: &str, expected: impl Into<String>) -> Self {
        let verb = if found.starts_with("is ") || found.starts_with("has ") { "" } else { "is " };
        Self::Field { field: field.into(), found: format!("{verb}{found}"), expected: expected.into() }
    }
}
