//! The mock backend: says the prompt back, a word at a time. For demos, tests and measurements without an API.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::{Answer, Backend, Broken, Opening, Piece};
use crate::config;
use crate::request::Request;

/// What is said to a request without a prompt.
const GREETING: &str = "Hello! This is the mock backend of streaming-daemon. It needs no prompt, \
                        and when it gets one it says it back, a word at a time.";

/// Said before the prompt, which follows unchanged.
const BEFORE_PROMPT: &str = "You said: ";

/// The mock backend.
#[derive(Debug)]
pub struct Mock;

impl Backend for Mock {
    fn open(&self, request: Request, config: &config::Backend) -> Opening<'_> {
        let text = match request.prompt {
            Some(prompt) if !prompt.is_empty() => format!("{BEFORE_PROMPT}{prompt}"),
            _ => GREETING.to_owned(),
        };
        let words = Words { text, said: 0, delay: config.token_delay, pause: None };
        Box::pin(std::future::ready(Ok(Box::pin(words) as _)))
    }
}

/// An answer of the mock backend.
struct Words {
    text: String,
    /// Bytes of `text` that were said.
    said: usize,
    delay: Duration,
    /// The silence before the next word; none before the first.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Answer for Words {
    fn poll_next<'a>(
        mut self: Pin<&'a mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece<'a>, Broken>>> {
        if self.said == self.text.len() {
            return Poll::Ready(None);
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
        }
        let start = self.said;
        self.said += word_length(&self.text[start..]);
        self.pause_after_word();
        let end = self.said;
        Poll::Ready(Some(Ok(Piece::Text(&self.get_mut().text[start..end]))))
    }
}

impl Words {
    fn pause_after_word(&mut self) {
        if self.delay.is_zero() {
            return;
        }
        match &mut self.pause {
            // From now, not from the end of the pause before: a stream that was held up does not catch up in a burst.
            Some(pause) => pause.as_mut().reset(Instant::now() + self.delay),
            None => self.pause = Some(Box::pin(tokio::time::sleep(self.delay))),
        }
    }
}

/// Length in bytes of the first word of `text` with the whitespace before it; what is left is never lost.
fn word_length(text: &str) -> usize {
    let word = text.find(|c: char| !c.is_whitespace()).unwrap_or(text.len());
    text[word..].find(char::is_whitespace).map_or(text.len(), |end| word + end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(prompt: Option<&str>) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let config = config::Backend { token_delay: Duration::ZERO, ..Default::default() };
            let request = Request { prompt: prompt.map(str::to_owned), ..Request::default() };
            let mut answer = Mock.open(request, &config).await.unwrap();
            let mut words = Vec::new();
            while let Some(word) = std::future::poll_fn(|context| {
                answer.as_mut().poll_next(context).map(|next| {
                    next.map(|piece| match piece.unwrap() {
                        Piece::Text(text) => text.to_owned(),
                    })
                })
            })
            .await
            {
                words.push(word);
            }
            words
        })
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
