//! What the backends' answers come to, in tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::exposition::Exposition;
use super::load;
use crate::backend::Usage;
use crate::outcome::Outcome;

/// How much of the usual length is that of the last answer: one part in so many.
const MEMORY: u64 = 16;

/// Tokens of the longest answer that is believed: sums of some do not overflow.
const LONGEST: u64 = u32::MAX as u64;

/// The answers of each backend.
#[derive(Debug, Default)]
pub(super) struct Answers(Box<[Backend]>);

#[derive(Debug, Default)]
struct Backend {
    name: Arc<str>,
    input: AtomicU64,
    output: AtomicU64,
    saved: AtomicU64,
    /// Tokens of a usual answer: a mean in which older ones fade.
    usual: AtomicU64,
}

impl Answers {
    /// Of the backends with these names, in the order of their indices.
    pub(super) fn new(names: impl Iterator<Item = Arc<str>>) -> Self {
        Self(names.map(|name| Backend { name, ..Backend::default() }).collect())
    }

    /// An answer of the backend with this index has ended, after so many pieces.
    pub(super) fn finished(&self, index: usize, outcome: Outcome, usage: Usage, pieces: u64) {
        let Some(backend) = self.0.get(index) else { return };
        backend.input.fetch_add(usage.input.unwrap_or(0), Ordering::Relaxed);
        backend.output.fetch_add(usage.output.unwrap_or(0), Ordering::Relaxed);
        // APIs send a piece a token, more or less.
        let length = usage.output.unwrap_or(pieces).min(LONGEST);
        let usual = load(&backend.usual);
        match outcome {
            // Two at once may overwrite each other: it is an estimate.
            Outcome::Done if usual == 0 => backend.usual.store(length, Ordering::Relaxed),
            Outcome::Done => {
                backend.usual.store((usual * (MEMORY - 1) + length).div_ceil(MEMORY), Ordering::Relaxed);
            }
            Outcome::ClientGone => {
                backend.saved.fetch_add(usual.saturating_sub(length), Ordering::Relaxed);
            }
            _ => {}
        }
    }

    pub(super) fn write(&self, to: &mut Exposition) {
        let mut counters = |name, help, figure: fn(&Backend) -> &AtomicU64| {
            let values: Vec<_> = self.0.iter().map(|of| (&*of.name, load(figure(of)))).collect();
            to.counters(name, help, "backend", &values);
        };
        counters("daemon_tokens_input_total", "Tokens of requests, as far as backends tell.", |of| &of.input);
        counters("daemon_tokens_output_total", "Tokens of answers, as far as backends tell.", |of| {
            &of.output
        });
        let help = "Estimate of tokens that were not generated since the client had left.";
        counters("daemon_tokens_saved_total", help, |of| &of.saved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_who_leaves_saves_is_the_rest_of_a_usual_answer() {
        let answers = Answers::new([Arc::from("a")].into_iter());
        let told = |output| Usage { input: Some(10), output: Some(output) };
        answers.finished(0, Outcome::ClientGone, Usage::default(), 5);
        assert_eq!(load(&answers.0[0].saved), 0, "nothing is known of its answers yet");
        answers.finished(0, Outcome::Done, told(100), 90);
        answers.finished(0, Outcome::ClientGone, Usage::default(), 30);
        assert_eq!(load(&answers.0[0].saved), 70);
        answers.finished(0, Outcome::ClientGone, Usage::default(), 300);
        assert_eq!(load(&answers.0[0].saved), 70);
        assert_eq!((load(&answers.0[0].input), load(&answers.0[0].output)), (10, 100));
    }

    #[test]
    fn no_number_of_tokens_is_too_large() {
        let answers = Answers::new([Arc::from("a")].into_iter());
        let told = Usage { input: None, output: Some(u64::MAX) };
        answers.finished(0, Outcome::Done, told, 1);
        answers.finished(0, Outcome::Done, told, 1);
        assert_eq!(load(&answers.0[0].usual), LONGEST);
    }

    #[test]
    fn the_usual_length_follows_the_answers() {
        let answers = Answers::new([Arc::from("a")].into_iter());
        for length in [1000].into_iter().chain([10; 200]) {
            answers.finished(0, Outcome::Done, Usage::default(), length);
        }
        assert!(load(&answers.0[0].usual) < 30, "{}", load(&answers.0[0].usual));
    }
}
