//! What the tests of the dialects share.

use sse::Scanner;

use super::Usage;
use super::dialect::{Dialect, Question};
use crate::config::{DialectName, Profile, Secret};
use crate::request::{BadRequest, Request};

/// What an answer comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub text: String,
    pub usage: Usage,
    pub ended: bool,
    pub error: Option<String>,
}

/// Reads a whole answer.
pub(super) fn hear<D: Dialect>(mut dialect: D, stream: &str) -> Heard {
    let mut heard = Heard::default();
    let mut scanner = Scanner::new(1 << 20);
    let mut rest = stream.as_bytes();
    while let Some(block) = scanner.next(&mut rest) {
        let block = block.unwrap();
        let Some(data) = block.data else { continue };
        let mut scratch = String::new();
        let reading = dialect.read(&block, data, &mut scratch);
        heard.text += reading.text;
        heard.usage.add(reading.usage.unwrap_or_default());
        heard.ended |= reading.end;
        heard.error = heard.error.or(reading.error.map(|error| error.cause()));
    }
    heard
}

/// A profile with a key.
pub(super) fn profile(dialect: DialectName) -> Profile {
    Profile { api_key: Secret::new("sk-1".to_owned()), ..Profile::new("api", dialect) }
}

/// What is asked for `data`, when the model for those that name none is `m`.
pub(super) fn ask<D: Dialect>(profile: &Profile, data: &str) -> Result<Question, BadRequest> {
    D::of(profile).ask(&Request::parse(data.as_bytes()).unwrap(), profile, "m")
}

/// The body of that question.
pub(super) fn body<D: Dialect>(profile: &Profile, data: &str) -> serde_json::Value {
    serde_json::from_slice(&ask::<D>(profile, data).unwrap().body).unwrap()
}
