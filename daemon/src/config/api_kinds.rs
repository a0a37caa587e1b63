//! The kinds of values that only APIs have: URLs, keys, header fields.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Uri};

use super::Secret;
use super::kinds::{Kind, OptionalText, Raw, quoted, whole};
use super::profile::Headers;

/// A URL, `http` or `https`.
pub enum Url {}
/// A string of visible ASCII that may be empty.
pub enum SecretText {}
/// An absolute path, or the name of a systemd credential; the empty string is none.
pub enum KeyFile {}
/// Fields of a request.
pub enum HeaderFields {}
/// A whole number of tokens; 0 is none.
pub enum Tokens {}
/// How many streams share a connection.
pub enum Sharing {}

impl Kind for Url {
    type Value = String;
    fn read(raw: &Raw) -> Result<String, String> {
        let text = raw.text().filter(|text| text.starts_with("http://") || text.starts_with("https://"));
        let text = text.ok_or("a URL that begins with http:// or https://")?;
        // Uri itself drops fragments.
        if text.contains(['?', '#', '@']) {
            return Err("a URL without a user, a query and a fragment; a key goes to api_key".to_owned());
        }
        let host = |uri: &Uri| uri.host().is_some_and(|host| !host.is_empty());
        match text.parse::<Uri>().is_ok_and(|uri| host(&uri)) {
            true => Ok(text.to_owned()),
            false => Err("a URL with a host, for example \"https://api.example.org/v1\"".to_owned()),
        }
    }
    fn show(value: &String) -> String {
        quoted(value)
    }
}

/// What a key has to be made of: it becomes a header field's value.
pub(super) fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Kind for SecretText {
    type Value = Secret;
    fn read(raw: &Raw) -> Result<Secret, String> {
        let text = raw.text().filter(|text| is_key(text));
        Ok(Secret::new(text.ok_or("a string of visible ASCII characters without spaces")?.to_owned()))
    }
    fn show(value: &Secret) -> String {
        quoted(&value.to_string())
    }
}

impl Kind for KeyFile {
    type Value = Option<PathBuf>;
    fn read(raw: &Raw) -> Result<Self::Value, String> {
        let expected = "an absolute path, or the name of a systemd credential (empty for none)";
        let text = OptionalText::read(raw).map_err(|_| expected)?;
        let known = |text: &String| text.starts_with('/') || !(text.contains('/') || text.starts_with('.'));
        match text {
            Some(text) if !known(&text) => Err(expected.to_owned()),
            text => Ok(text.map(PathBuf::from)),
        }
    }
    fn show(value: &Self::Value) -> String {
        quoted(&value.as_ref().map(|path| path.to_string_lossy()).unwrap_or_default())
    }
}

/// Fields that say how the message itself is sent, or that the daemon's reading of the answer depends on.
const OURS: [&str; 16] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Kind for HeaderFields {
    type Value = Headers;
    /// A table of the file; of the environment lines of `Name: value`.
    fn read(raw: &Raw) -> Result<Headers, String> {
        let expected = "names and values, for example { X-Team = \"chat\" }, or in the environment lines of \
                        \"X-Team: chat\"";
        let pairs: Option<Vec<(&str, &str)>> = match raw {
            Raw::Table(pairs) => {
                pairs.iter().map(|(name, value)| Some((name.as_str(), value.text()?))).collect()
            }
            Raw::Untyped(text) => {
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                lines
                    .map(|line| line.split_once(':').map(|(name, value)| (name.trim(), value.trim())))
                    .collect()
            }
            _ => None,
        };
        let mut fields: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (name, value) in pairs.ok_or(expected)? {
            let field = field(name, value)?;
            if fields.iter().any(|(known, _)| *known == field.0) {
                return Err(format!("without two values for {name:?}"));
            }
            fields.push(field);
        }
        Ok(Headers::new(fields))
    }
    fn show(value: &Headers) -> String {
        let fields: Vec<_> =
            value.iter().map(|(name, _)| format!("{} = \"(hidden)\"", quoted(name.as_str()))).collect();
        if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
    }
}

/// The value stays out of the error: it may be secret.
fn field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let no_name =
        |_| format!("without {name:?}, which is no name of a header field (letters, digits and dashes are)");
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(no_name)?;
    if OURS.contains(&header.as_str()) {
        return Err(format!("without {name:?}, which the daemon sets itself"));
    }
    let visible = value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.trim() == value;
    match HeaderValue::from_str(value) {
        Ok(value) if visible && !value.is_empty() => Ok((header, value)),
        _ => Err(format!("visible ASCII in the value of {name:?}, spaces only within")),
    }
}

impl Kind for Tokens {
    type Value = Option<u64>;
    fn read(raw: &Raw) -> Result<Self::Value, String> {
        let number = raw.number().and_then(whole).ok_or("a whole number of tokens (0 for none)")?;
        Ok((number > 0).then_some(number as u64))
    }
    fn show(value: &Self::Value) -> String {
        value.unwrap_or(0).to_string()
    }
}

impl Kind for Sharing {
    type Value = usize;
    fn read(raw: &Raw) -> Result<usize, String> {
        let number = raw.number().and_then(whole).filter(|number| (1..=10_000).contains(number));
        Ok(number.ok_or("a whole number from 1 to 10000")?)
    }
    fn show(value: &usize) -> String {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever stands in the table: what is taken can be sent, and what is not is told without its value.
        #[test]
        fn header_fields_are_sent_or_refused(names in prop::collection::vec("[a-zA-Z -]{0,6}|\\PC{0,6}|host", 0..4), value in "[ -~]{0,9}|\\PC{0,9}|.{0,9}") {
            let value = format!("{value}secret{value}");
            let pairs = names.iter().map(|name| (name.clone(), Raw::String(value.clone()))).collect();
            match HeaderFields::read(&Raw::Table(pairs)) {
                Ok(headers) => {
                    prop_assert_eq!(headers.iter().count(), names.len());
                    prop_assert!(headers.iter().all(|(_, sent)| sent.is_sensitive() && sent.as_bytes() == value.as_bytes()));
                    prop_assert!(!HeaderFields::show(&headers).contains("secret"));
                }
                Err(expected) => prop_assert!(!expected.contains("secret"), "{}", expected),
            }
        }
    }
}
