//! What each API says, in the vendors' documented form. Keys stand in the vendors' order.

pub(crate) mod chat;
pub(crate) mod errors;
pub(crate) mod events;
pub(crate) mod messages;
pub(crate) mod models;
pub(crate) mod prompt;
pub(crate) mod responses;

use crate::faults::{Finish, Flavour, Kind};

/// Tokens in each request, for usage. An answer has as many as it has pieces.
pub(crate) const INPUT_TOKENS: usize = 9;

/// What the model thinks, when it thinks aloud.
pub(crate) const THOUGHTS: [&str; 3] = ["The user ", "asks for ", "words."];

/// How an API is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dialect {
    /// OpenAI Chat Completions.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Anthropic Messages.
    Messages,
    /// Plain events of no vendor.
    Events,
}

impl Dialect {
    /// By the end of the path, so that bases such as `/api/v1` serve as well.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path.rsplit('/').next()? {
            "completions" if path.ends_with("/chat/completions") => Some(Self::Chat),
            "responses" => Some(Self::Responses),
            "messages" => Some(Self::Messages),
            "events" => Some(Self::Events),
            _ => None,
        }
    }

    /// The events of an answer.
    pub(crate) fn stream(self, said: &Said) -> Vec<Event> {
        match self {
            Self::Chat => chat::stream(said),
            Self::Responses => responses::stream(said),
            Self::Messages => messages::stream(said),
            Self::Events => events::stream(said),
        }
    }

    /// The answer to a request that wants no stream.
    pub(crate) fn whole(self, said: &Said) -> Option<String> {
        match self {
            Self::Chat => Some(chat::whole(said)),
            Self::Responses => Some(responses::whole(said)),
            Self::Messages => Some(messages::whole(said)),
            Self::Events => None,
        }
    }

    /// An error in mid-stream, and what comes after it. `number`: how many events came before.
    pub(crate) fn error(self, said: &Said, number: usize) -> Vec<Event> {
        match self {
            Self::Chat => chat::error(said),
            Self::Responses => vec![responses::error(said, number)],
            Self::Messages => vec![messages::error()],
            Self::Events => vec![events::error()],
        }
    }

    /// An event of a type that no client knows.
    pub(crate) fn unknown(self) -> Event {
        let data = r#"{"type":"response.sparkle","sparkle":{"hue":7}}"#;
        match self {
            Self::Chat => {
                Event::data(Place::Tail, r#"{"object":"chat.completion.sparkle","sparkle":{"hue":7}}"#)
            }
            _ => Event::named(Place::Tail, "response.sparkle", data),
        }
    }
}

/// What an answer says, whatever the dialect.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) pieces: Vec<String>,
    pub(crate) kind: Kind,
    pub(crate) thinking: bool,
    pub(crate) finish: Finish,
    pub(crate) usage: bool,
    pub(crate) flavour: Flavour,
    pub(crate) failed: bool,
    pub(crate) chunk_bytes: usize,
}

impl Said {
    pub(crate) fn text(&self) -> String {
        self.pieces.concat()
    }

    pub(crate) fn output_tokens(&self) -> usize {
        self.pieces.len()
    }
}

/// A function that the model calls, with its arguments as they come.
pub(crate) struct Call {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) arguments: [&'static str; 3],
}

/// Two calls, of which the second begins when the first is complete.
pub(crate) const CALLS: [Call; 2] = [
    Call { id: "Yq3mockA1", name: "get_weather", arguments: [r#"{"city":""#, "Paris", r#""}"#] },
    Call { id: "Yq3mockB2", name: "get_time", arguments: [r#"{"zone":""#, "Europe/Paris", r#""}"#] },
];

/// Where an event stands in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before the content.
    Lead,
    /// A piece of the content: these are counted and paced.
    Content,
    /// Between or after the content.
    Tail,
    /// The terminal marker.
    End,
}

/// One event of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) place: Place,
    /// Names and values of its lines; a comment has no name.
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl Event {
    pub(crate) fn data(place: Place, data: impl Into<String>) -> Self {
        Self { place, fields: vec![("data", data.into())] }
    }

    pub(crate) fn named(place: Place, name: &str, data: impl Into<String>) -> Self {
        Self { place, fields: vec![("event", name.into()), ("data", data.into())] }
    }

    pub(crate) fn comment(place: Place, text: &str) -> Self {
        Self { place, fields: vec![("", text.into())] }
    }
}

/// Numbered words of 8 bytes: `word001 `, `word002 `, …, `wor1000 `, and so on up to a million.
pub(crate) fn words(count: usize) -> Vec<String> {
    let word = |number: usize| {
        let number = format!("{number:03}");
        format!("{}{number} ", &"word"[..7_usize.saturating_sub(number.len()).min(4)])
    };
    (1..=count).map(word).collect()
}

/// A JSON string, with its quotation marks.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
