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
        self.0.iter().any(|secret| find(text, secret).is_some())
    }

    /// `text` with something else in their place.
    pub(super) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| without(&text, secret))
    }
}

fn without(text: &str, secret: &str) -> String {
    let (mut hidden, mut rest) = (String::new(), text);
    while let Some((start, end)) = find(rest.as_bytes(), secret) {
        hidden += &rest[..start];
        hidden += "(hidden)";
        rest = &rest[end..];
    }
    hidden + rest
}

/// Where the secret stands first: its start and its end.
fn find(text: &[u8], secret: &str) -> Option<(usize, usize)> {
    (0..text.len()).find_map(|start| {
        let behind = secret.bytes().try_fold(&text[start..], behind)?;
        Some((start, text.len() - behind.len()))
    })
}

/// What stands behind `byte`, as it is or as JSON may write it.
fn behind(text: &[u8], byte: u8) -> Option<&[u8]> {
    match text {
        [b'\\', escaped @ (b'"' | b'\\' | b'/'), rest @ ..] if *escaped == byte => Some(rest),
        [b'\\', b'u', digits @ ..] if byte != b'\\' => {
            let (digits, rest) = digits.split_first_chunk::<4>()?;
            let code = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            (code == u32::from(byte)).then_some(rest)
        }
        [first, rest @ ..] if *first == byte => Some(rest),
        _ => None,
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

    /// Keys in base64 have slashes, and some write `/` as `\/` in JSON.
    #[test]
    fn a_key_is_found_however_json_writes_it() {
        let profile =
            Profile { api_key: Secret::new("sk/12345".to_owned()), ..fixtures::profile(DialectName::OpenAi) };
        let secrets = Secrets::of(&profile);
        for written in [r"sk/12345", r"sk\/12345", r"\u0073k\u002f12345"] {
            assert!(secrets.are_in(format!(r#"{{"message":"no {written}"}}"#).as_bytes()), "{written}");
        }
    }

    #[test]
    fn without_a_key_nothing_is_hidden() {
        let profile = Profile { api_key: Secret::default(), ..fixtures::profile(DialectName::OpenAi) };
        let secrets = Secrets::of(&profile);
        assert_eq!(secrets.hide("a b"), "a b");
        assert!(!secrets.are_in(b"a b"));
    }
}
