//! What a request tells the API in confidence, taken out of what the API says: some repeat the key that they refuse.
//! No IO.

use crate::config::Profile;

/// What is shorter is a word that stands in many sentences, and no secret.
const SHORTEST: usize = 8;

/// The key and the values of further fields.
#[derive(Debug, Default)]
pub(super) struct Secrets(Box<[Box<str>]>);

impl Secrets {
    /// Those that requests with `profile` hold.
    pub(super) fn of(profile: &Profile) -> Self {
        let values = profile.headers.iter().filter_map(|(_, value)| value.to_str().ok());
        // The key may stand behind a word such as `Bearer`.
        let words = values.flat_map(|value| value.split(' '));
        let all = std::iter::once(profile.api_key.expose()).chain(words);
        Self(all.filter(|secret| secret.len() >= SHORTEST).map(Into::into).collect())
    }

    /// Whether one of them is in `text`.
    pub(super) fn are_in(&self, text: &[u8]) -> bool {
        self.0.iter().any(|secret| text.windows(secret.len()).any(|part| part == secret.as_bytes()))
    }

    /// `text` with something else in their place.
    pub(super) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(&**secret, "(hidden)"))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::super::fixtures;
    use super::*;
    use crate::config::{DialectName, Headers, Secret};

    #[test]
    fn the_key_and_the_values_of_fields_are_hidden_and_words_are_not() {
        let field = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let headers = Headers::new(vec![field("x-team", "chat"), field("x-proxy", "Bearer 0123456789")]);
        let api_key = Secret::new("sk-12345".to_owned());
        let secrets = Secrets::of(&crate::config::Profile {
            api_key,
            headers,
            ..fixtures::profile(DialectName::OpenAi)
        });
        assert_eq!(
            secrets.hide("chat: sk-12345, 0123456789; sk-12345"),
            "chat: (hidden), (hidden); (hidden)"
        );
        assert!(secrets.are_in(b"{\"sk-12345\"}") && !secrets.are_in(b"sk-1234 chat Bearer"));
    }

    #[test]
    fn without_a_key_nothing_is_hidden() {
        let profile = Profile { api_key: Secret::default(), ..fixtures::profile(DialectName::OpenAi) };
        let secrets = Secrets::of(&profile);
        assert_eq!(secrets.hide("a b"), "a b");
        assert!(!secrets.are_in(b"a b"));
    }
}
