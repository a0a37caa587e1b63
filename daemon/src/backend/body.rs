//! Writes the JSON of requests to APIs, with what the application has written taken over as it stands. No IO.

use serde::Serialize;

use crate::request::{BadRequest, Messages, Request};

/// An object that is being written.
#[derive(Debug)]
pub(super) struct Object(Vec<u8>);

impl Object {
    /// Without members.
    #[must_use]
    pub(super) fn new() -> Self {
        Self(vec![b'{'])
    }

    /// Appends a member.
    pub(super) fn member(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.name(name);
        let _ = serde_json::to_writer(&mut self.0, value);
    }

    /// Appends a member whose value is JSON already.
    pub(super) fn json(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.0.extend_from_slice(value);
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        // Writing text and numbers to memory does not fail.
        let _ = serde_json::to_writer(&mut self.0, name);
        self.0.push(b':');
    }

    /// Appends a member if there is a value.
    pub(super) fn optional(&mut self, name: &str, value: Option<&(impl Serialize + ?Sized)>) {
        if let Some(value) = value {
            self.member(name, value);
        }
    }

    /// Appends the members of `request` that the daemon knows nothing of, except those in `own`, and `stream`, which can only
    /// be true.
    ///
    /// # Errors
    /// `stream` is something else, or one of `own` was given.
    pub(super) fn others(&mut self, request: &Request, own: &[&str]) -> Result<(), BadRequest> {
        for (name, value) in &request.others {
            if name == "stream" {
                if value.get() != "true" {
                    return Err(BadRequest::wrong(
                        "stream",
                        "not true",
                        "true or nothing: answers are streamed",
                    ));
                }
            } else if own.contains(&name.as_str()) {
                return Err(BadRequest::wrong(name.clone(), "set by the daemon", "the request without it"));
            } else {
                self.member(name, value);
            }
        }
        Ok(())
    }

    /// The whole object.
    #[must_use]
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

/// What is said in a conversation by `role`.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    /// `user`, `system`, …
    pub(super) role: &'a str,
    /// Text.
    pub(super) content: &'a str,
}

/// The whole conversation: what the model is told first, the messages as they were written, and the prompt.
///
/// # Errors
/// There is neither a prompt nor a message: an API would answer what nobody has asked.
pub(super) fn conversation(system: Option<&str>, request: &Request) -> Result<Vec<u8>, BadRequest> {
    let prompt = request.prompt.as_deref().filter(|prompt| !prompt.is_empty());
    if prompt.is_none() && request.messages.is_none() {
        return Err(BadRequest::wrong("prompt", "missing or empty", "what the user says, or \"messages\""));
    }
    let mut array = vec![b'['];
    let mut say = |json: &dyn Fn(&mut Vec<u8>)| {
        if array.len() > 1 {
            array.push(b',');
        }
        json(&mut array);
    };
    let message = |role, content| {
        move |array: &mut Vec<u8>| drop(serde_json::to_writer(array, &Message { role, content }))
    };
    if let Some(system) = system {
        say(&message("system", system));
    }
    for written in request.messages.iter().flat_map(Messages::iter) {
        say(&|array| array.extend_from_slice(written.get().as_bytes()));
    }
    if let Some(prompt) = prompt {
        say(&message("user", prompt));
    }
    array.push(b']');
    Ok(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(data: &str) -> Request {
        Request::parse(data.as_bytes()).unwrap()
    }

    #[test]
    fn a_conversation_is_system_messages_and_prompt() {
        let data = r#"{"prompt":"last \"words\"","messages":[ {"role":"user","content":[{"type":"text","text":"ü"}], "x":1.0} ]}"#;
        let expected = r#"[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"ü"}], "x":1.0},{"role":"user","content":"last \"words\""}]"#;
        let conversation = conversation(Some("be brief"), &request(data)).unwrap();
        assert_eq!(String::from_utf8(conversation).unwrap(), expected);
    }

    #[test]
    fn nobody_is_asked_nothing() {
        for data in ["{}", r#"{"prompt":""}"#, r#"{"system":"x"}"#] {
            let wrong = conversation(None, &request(data)).unwrap_err().to_string();
            assert!(wrong.contains("\"prompt\""), "{wrong}");
        }
    }

    #[test]
    fn other_members_pass_through_and_answers_stay_streams() {
        let mut object = Object::new();
        object.others(&request(r#"{"top_p":0.10,"stream":true,"tools":[ 1 ]}"#), &[]).unwrap();
        assert_eq!(object.end(), br#"{"top_p":0.10,"tools":[ 1 ]}"#);
        for data in [r#"{"stream":false}"#, r#"{"input":[]}"#] {
            assert!(Object::new().others(&request(data), &["input"]).is_err(), "{data}");
        }
    }
}
