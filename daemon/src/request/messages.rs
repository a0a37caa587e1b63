//! A conversation: the field `messages`.

use serde_json::value::RawValue;

use super::BadRequest;
use super::members::{self, Members, kind};

/// Messages whose shape was checked. They are kept as they were written, for the backend knows more of them than we do.
#[derive(Clone, Debug)]
pub struct Messages(Box<RawValue>);

impl Messages {
    /// Checks `raw`: an array of at least one object, each with a `role`, and its `content` text or parts.
    pub(super) fn new(raw: &RawValue) -> Result<Self, BadRequest> {
        if kind(raw.get()) != "an array" {
            return Err(BadRequest::wrong("messages", kind(raw.get()), "an array of objects"));
        }
        let messages = members_of(raw)?;
        if messages.is_empty() {
            return Err(BadRequest::wrong("messages", "empty", "at least one message"));
        }
        for (index, mut message) in messages.into_iter().enumerate() {
            let field = |name: &str| format!("messages[{index}]{name}");
            let Some(role) = message.take("role") else {
                return Err(BadRequest::wrong(field(".role"), "missing", "a string"));
            };
            members::check_string(&field(".role"), role)?;
            // Null, or none at all, beside the calls of tools.
            match message.take("content") {
                Some(content) if kind(content.get()) == "a string" => {
                    members::check_string(&field(".content"), content)?;
                }
                Some(content) if kind(content.get()) != "an array" => {
                    let found = kind(content.get());
                    return Err(BadRequest::wrong(field(".content"), found, "a string or an array"));
                }
                _ => {}
            }
        }
        Ok(Self(raw.to_owned()))
    }

    /// The messages, each as it was written.
    pub fn iter(&self) -> impl Iterator<Item = &RawValue> {
        split(&self.0).into_iter()
    }

    /// The text of the last message of role `user`, if its content is a string.
    pub(super) fn last_user_text(&self) -> Option<String> {
        let mut scratch = String::new();
        let mut last = None;
        // What was checked in full is only stepped over here.
        for message in skim::Value::of(self.0.get().as_bytes()).as_array()? {
            let [role, content] = message.ok()?.pick(["role", "content"]).ok()?;
            if role?.as_str(&mut scratch).ok()? == Some("user") {
                last = content.filter(|content| content.raw().starts_with(b"\"")).or(last);
            }
        }
        last?.as_str(&mut scratch).ok()?.map(str::to_owned)
    }
}

/// The members of each message.
fn members_of(messages: &RawValue) -> Result<Vec<Members<'_>>, BadRequest> {
    let all: Vec<Members<'_>> = serde_json::from_str(messages.get()).unwrap_or_default();
    if let Ok(all) = all.into_iter().map(Members::once).collect::<Result<Vec<_>, _>>()
        && !all.is_empty()
    {
        return Ok(all);
    }
    // One after the other, for a sentence that says which.
    let nested = |(index, message)| Members::nested(&format!("messages[{index}]"), message);
    split(messages).into_iter().enumerate().map(nested).collect()
}

fn split(array: &RawValue) -> Vec<&RawValue> {
    // An array that the parser has passed over once.
    serde_json::from_str(array.get()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Messages, String> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        Messages::new(&raw).map_err(|error| error.to_string())
    }

    #[test]
    fn messages_are_kept_as_they_were_written() {
        let json = r#"[{"role":"user","content":[{"type":"text"}]},
                       {"role":"assistant","content":null,"tool_calls":[1.0]}, {"role":"tool","content":"x"}]"#;
        let written: Vec<_> = check(json).unwrap().iter().map(|message| message.get().to_owned()).collect();
        assert_eq!(format!("[{},\n                       {}, {}]", written[0], written[1], written[2]), json);
    }

    #[test]
    fn halves_of_characters_are_found_in_messages_and_only_they() {
        let content = |json: &str| check(&format!(r#"[{{"role":"user","content":"{json}"}}]"#));
        for half in [r"\ud83d", r"\uDE00", r"\ud83d\ud83d"] {
            assert!(
                content(half).unwrap_err().contains("\"messages[0].content\" of the handoff data is no text")
            );
        }
        for (json, text) in [(r"\ud83d\ude00", "😀"), (r"\\ud83d", r"\ud83d"), (r"a\/b\u00fc", "a/bü")] {
            assert_eq!(content(json).unwrap().last_user_text().as_deref(), Some(text));
        }
    }

    #[test]
    fn a_wrong_message_is_told_with_the_way_to_it() {
        for (json, expected) in [
            ("{}", "\"messages\" of the handoff data is an object; send an array of objects"),
            ("[]", "\"messages\" of the handoff data is empty"),
            ("[1]", "\"messages[0]\" of the handoff data is a number; send an object"),
            ("[{\"content\":\"x\"}]", "\"messages[0].role\" of the handoff data is missing"),
            ("[{\"role\":\"user\"},{\"role\":1}]", "\"messages[1].role\" of the handoff data is a number"),
            (
                "[{\"role\":\"user\",\"content\":1}]",
                "\"messages[0].content\" of the handoff data is a number",
            ),
            (
                "[{\"role\":\"user\",\"role\":\"system\"}]",
                "\"messages[0].role\" of the handoff data is there",
            ),
        ] {
            let message = check(json).unwrap_err();
            assert!(message.contains(expected), "{json}: {message}");
        }
    }
}
