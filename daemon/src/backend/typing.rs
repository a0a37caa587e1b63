//! The typing backend: says the prompt back as a human types, a character at a time.

use std::time::Duration;

use unicode_segmentation::UnicodeSegmentation;

use super::mock::reply;
use super::recital::{Recital, Rhythm};
use super::{Backend, Opening};
use crate::config;
use crate::request::{BadRequest, Request};

/// The typing backend.
#[derive(Debug)]
pub struct Typing;

impl Backend for Typing {
    fn open(&self, request: &Request, config: &config::Backend) -> Result<Opening<'_>, BadRequest> {
        let text = reply(request);
        let hand = Hand::new(config.token_delay, seed(&text));
        Recital::open(text, hand, request.test_pattern.as_deref())
    }
}

/// A typist: the same for the same text, so that a measurement can be repeated.
struct Hand {
    /// The mean pause between two characters of a word.
    mean: Duration,
    state: u64,
}

impl Hand {
    fn new(mean: Duration, seed: u64) -> Self {
        Self { mean, state: seed }
    }

    /// From 0 up to 1. (SplitMix64, Steele, Lea and Flood 2014.)
    fn chance(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
        let upper = ((z ^ (z >> 31)) >> 11) as f64;
        upper / (1_u64 << 53) as f64
    }
}

impl Rhythm for Hand {
    /// What a reader takes for one character: accents and the parts of an emoji stay together.
    fn piece(&self, rest: &str) -> usize {
        rest.graphemes(true).next().map_or(rest.len(), str::len)
    }

    /// Longer where a thought ends, and never quite the same.
    fn pause(&mut self, piece: &str) -> Duration {
        let weight = match piece {
            "." | "!" | "?" | "…" | "\n" | "\r\n" => 6.0,
            "," | ";" | ":" | "–" => 3.0,
            " " => 1.5,
            _ => 1.0,
        };
        self.mean.mul_f64(weight * (0.4 + 1.2 * self.chance()))
    }
}

/// FNV-1a.
fn seed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::recital::tests::pieces;
    use super::*;

    const MEAN: Duration = Duration::from_millis(50);

    fn pauses(text: &str) -> Vec<Duration> {
        let mut hand = Hand::new(MEAN, seed(text));
        text.graphemes(true).map(|piece| hand.pause(piece)).collect()
    }

    fn typed(prompt: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let config = config::Backend { token_delay: Duration::ZERO, ..Default::default() };
        let request = Request { prompt: Some(prompt.to_owned()), ..Request::default() };
        runtime.block_on(pieces(Typing.open(&request, &config).unwrap()))
    }

    #[test]
    fn what_looks_like_one_character_is_one_piece() {
        let expected = ["H", "i", "ü", "e\u{301}", "👩‍👩‍👧", "🇩🇪", "\r\n", "."];
        let said = typed(&expected.concat());
        assert_eq!(said[said.len() - expected.len()..], expected);
    }

    #[test]
    fn the_rhythm_is_human_and_repeats() {
        let text = "Hello there, this is typed. And more.";
        assert_eq!(pauses(text), pauses(text));
        assert_ne!(pauses(text)[..5], pauses("Hello")[..5], "another text, another rhythm");
        let letters = pauses(&"x".repeat(10_000));
        assert!(letters.iter().all(|pause| (MEAN * 2 / 5..MEAN * 8 / 5).contains(pause)));
        let mean = letters.iter().sum::<Duration>() / 10_000;
        assert!((MEAN * 95 / 100..MEAN * 105 / 100).contains(&mean), "{mean:?}");
        assert!(pauses(".")[0] > MEAN * 2);
    }

    #[tokio::test]
    async fn it_takes_its_time() {
        let start = std::time::Instant::now();
        let request = Request { prompt: Some("x".repeat(40)), ..Request::default() };
        let config = config::Backend { token_delay: Duration::from_millis(2), ..Default::default() };
        assert_eq!(pieces(Typing.open(&request, &config).unwrap()).await.len(), 50);
        assert!(start.elapsed() > Duration::from_millis(50), "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn the_prompt_comes_back_intact(prompt in ".{1,60}") {
            prop_assert!(typed(&prompt).concat().ends_with(&prompt));
        }
    }
}
