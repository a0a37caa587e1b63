//! The mock backend: says the prompt back, a word at a time. For demos, tests and measurements without an API.

use std::time::Duration;

use super::recital::{Recital, Rhythm};
use super::{Backend, Opening};
use crate::config;
use crate::request::{BadRequest, Request};

/// What is said to a request without a prompt.
const GREETING: &str = "Hello! This is the mock backend of streaming-daemon. It needs no prompt, \
                        and when it gets one it says it back, a word at a time.";

/// Said before the prompt, which follows unchanged.
const BEFORE_PROMPT: &str = "You said: ";

/// The mock backend.
#[derive(Debug)]
pub struct Mock;

impl Backend for Mock {
    fn open(&self, request: &Request, config: &config::Backend) -> Result<Opening<'_>, BadRequest> {
        Recital::open(reply(request), Words(config.token_delay), request.test_pattern.as_deref())
    }
}

/// What the backends that need no API have to say.
pub(super) fn reply(request: &Request) -> String {
    match request.last_words() {
        Some(words) => format!("{BEFORE_PROMPT}{words}"),
        None => GREETING.to_owned(),
    }
}

/// A word at a time, with the same silence after each.
struct Words(Duration);

impl Rhythm for Words {
    /// A word, with the whitespace before it.
    fn piece(&self, rest: &str) -> usize {
        let word = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
        rest[word..].find(char::is_whitespace).map_or(rest.len(), |end| word + end)
    }

    fn pause(&mut self, _: &str) -> Duration {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::recital::tests::pieces;
    use super::*;

    fn words(prompt: Option<&str>) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let config = config::Backend { token_delay: Duration::ZERO, ..Default::default() };
        let request = Request { prompt: prompt.map(str::to_owned), ..Request::default() };
        runtime.block_on(pieces(Mock.open(&request, &config).unwrap()))
    }

    #[test]
    fn a_word_at_a_time_with_the_whitespace_before_it() {
        let expected = ["You", " said:", " a", "  b", "\n\nc", " "];
        assert_eq!(words(Some("a  b\n\nc ")), expected);
    }

    #[test]
    fn without_a_prompt_it_greets() {
        for prompt in [None, Some("")] {
            assert_eq!(words(prompt).concat(), GREETING);
        }
    }

    proptest! {
        #[test]
        fn the_prompt_comes_back_intact(prompt in "[ \r\n\u{a0}a-c\u{1f600}]{1,60}") {
            let said = words(Some(&prompt)).concat();
            prop_assert_eq!(said, format!("{BEFORE_PROMPT}{prompt}"));
        }
    }
}
