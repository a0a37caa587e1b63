//! Reads an event that differs from an earlier one in its text only. No IO.

use memchr::{memchr2, memmem};

/// After so many events in a row that were something else, looking is given up: some APIs put something new into each.
const PATIENCE: u8 = 4;

/// Largest event that is kept, in bytes.
const LARGEST: usize = 4 * 1024;

/// A member of events that means nothing: OpenAI hides the length of the text from those who count encrypted bytes.
const NOISE: &[u8] = br#","obfuscation":""#;

/// An event as the last one was, with a gap where its text stood, and perhaps another one for noise.
///
/// What stood there are JSON strings without escapes. Other such strings in their place make another text and change nothing
/// else, so an event that fits need not be parsed.
#[derive(Clone, Debug, Default)]
pub(super) struct Template {
    /// What stands around the gaps.
    around: Box<[u8]>,
    /// Where the text stood.
    text: usize,
    /// Where the noise stood; the end of `around` if there was none.
    noise: usize,
    misses: u8,
}

impl Template {
    /// The text of an event that fits.
    pub(super) fn read<'a>(&self, event: &'a [u8]) -> Option<&'a str> {
        let (before, rest) = self.around.split_at(self.text);
        let (between, behind) = rest.split_at(self.noise - self.text);
        if before.is_empty() {
            return None;
        }
        // `between` and `behind` begin with the quote that ends a string.
        let (text, rest) = string(event.strip_prefix(before)?)?;
        let rest = rest.strip_prefix(between)?;
        let rest = if behind.is_empty() { rest } else { string(rest)?.1 };
        if rest == behind { std::str::from_utf8(text).ok() } else { None }
    }

    /// Learns from an event that did not fit, and that said nothing but `text`.
    pub(super) fn learn(&mut self, event: &[u8], text: &str) {
        // Text with escapes stands elsewhere, and is no reason to forget.
        let Some(at) = (text.as_ptr() as usize).checked_sub(event.as_ptr() as usize) else { return };
        let Some(behind) = event.get(at + text.len()..) else { return };
        if self.misses == PATIENCE || event.len() > LARGEST {
            return;
        }
        *self = Self { misses: self.misses + 1, ..Self::default() };
        if self.misses < PATIENCE {
            let (between, behind) = without_noise(behind);
            self.around = [&event[..at], between, behind].concat().into();
            self.text = at;
            self.noise = at + between.len();
        }
    }

    /// An event has fitted.
    pub(super) fn fitted(&mut self) {
        self.misses = 0;
    }
}

/// What stands before the end of a string, and the rest. None: the string has an escape, or no end.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    memchr2(b'"', b'\\', text).map(|end| text.split_at(end))
}

/// What stands before the noise and behind it, if noise is the last member.
fn without_noise(text: &[u8]) -> (&[u8], &[u8]) {
    let noise = memmem::rfind(text, NOISE).map(|at| at + NOISE.len());
    match noise.and_then(|at| Some((at, string(&text[at..])?.1))) {
        Some((at, behind)) if behind == b"\"}" => (&text[..at], behind),
        _ => (text, &[]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn learned(event: &str, text: &str) -> Template {
        let mut template = Template::default();
        let at = event.find(text).unwrap();
        template.learn(event.as_bytes(), &event[at..at + text.len()]);
        template
    }

    #[test]
    fn an_event_that_differs_in_its_text_only_fits() {
        let template = learned(r#"{"id":1,"content":"Hello","x":null}"#, "Hello");
        assert_eq!(template.read(r#"{"id":1,"content":"wörld","x":null}"#.as_bytes()), Some("wörld"));
        assert_eq!(template.read(br#"{"id":1,"content":"","x":null}"#), Some(""));
    }

    #[test]
    fn noise_may_differ() {
        let template = learned(r#"{"c":"Hello","x":1,"obfuscation":"abc"}"#, "Hello");
        assert_eq!(template.read(br#"{"c":"you","x":1,"obfuscation":"d"}"#), Some("you"));
        for event in [
            r#"{"c":"you","x":2,"obfuscation":"abc"}"#,
            r#"{"c":"you","x":1,"obfuscation":"abc","error":{}}"#,
            r#"{"c":"you","x":1,"obfuscation":"a\n"}"#,
            r#"{"c":"you","x":1,"obfuscation":"a"#,
        ] {
            assert_eq!(template.read(event.as_bytes()), None, "{event}");
        }
    }

    #[test]
    fn whatever_else_differs_does_not_fit() {
        let template = learned(r#"{"id":1,"content":"Hello","x":null}"#, "Hello");
        for event in [
            r#"{"id":2,"content":"a","x":null}"#,
            r#"{"id":1,"content":"a","x":"y"}"#,
            r#"{"id":1,"content":"a\n","x":null}"#,
            r#"{"id":1,"content":"a","content":"b","x":null}"#,
            r#"{"id":1,"content":""#,
            r#"","x":null}"#,
            "",
        ] {
            assert_eq!(template.read(event.as_bytes()), None, "{event}");
        }
        assert_eq!(Template::default().read(b"{}"), None);
        assert_eq!(learned(r#"{"c":"aa"}"#, "aa").read(b"{\"c\":\"\xff\"}"), None);
    }

    #[test]
    fn text_that_stands_elsewhere_is_not_learned() {
        let mut template = Template::default();
        template.learn(br#"{"c":"a\n"}"#, &String::from("a\n"));
        assert_eq!(template.read(br#"{"c":"a\n"}"#), None);
    }

    #[test]
    fn a_large_event_is_not_kept() {
        let event = format!(r#"{{"c":"text","x":"{}"}}"#, "y".repeat(LARGEST));
        assert!(learned(&event, "text").around.is_empty());
    }

    #[test]
    fn who_says_something_new_each_time_is_given_up() {
        let mut template = Template::default();
        for number in 0..u64::from(PATIENCE) {
            let event = format!(r#"{{"c":"text","n":{number}}}"#);
            template.learn(event.as_bytes(), &event[6..10]);
        }
        assert!(template.around.is_empty());
        assert_eq!(template.read(br#"{"c":"text","n":3}"#), None);
    }

    proptest! {
        /// The parser is the oracle.
        #[test]
        fn what_fits_is_what_a_parser_reads(first in "[a-z ]{1,8}", text in "[a-z\"\\\\{}:,é ]{0,12}", noise in "[a-z\"\\\\{}:,]{0,3}") {
            let event = |text: &str, noise: &str| {
                format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}],"a":"b","obfuscation":"{noise}"}}"#)
            };
            let learned = learned(&event(&first, "x"), &first);
            if let Some(read) = learned.read(event(&text, &noise).as_bytes()) {
                let json: serde_json::Value = serde_json::from_str(&event(&text, &noise)).unwrap();
                prop_assert_eq!(&json["choices"][0]["delta"]["content"], read);
            }
        }
    }
}
