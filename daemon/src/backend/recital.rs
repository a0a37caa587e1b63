//! A text, said piece by piece: the answers of the backends that need no API.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::test_pattern::{After, TestPattern};
use super::{Answer, Broken, Opening, Piece};

/// How a text is cut into pieces, and in which rhythm they come.
pub(super) trait Rhythm: Send + Unpin + 'static {
    /// Length in bytes of the first piece of `rest`, which is not empty. Nothing may be lost.
    fn piece(&self, rest: &str) -> usize;

    /// The silence after `piece`.
    fn pause(&mut self, piece: &str) -> Duration;
}

/// A text that is being said.
pub(super) struct Recital<R> {
    text: String,
    /// Bytes of `text` that were said.
    said: usize,
    /// In so many pieces.
    pieces: usize,
    rhythm: R,
    pattern: TestPattern,
    /// The silence before the next piece; none before the first.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<R: Rhythm> Recital<R> {
    /// Begins to answer with `text`, or misbehaves as `pattern` asks.
    pub(super) fn open<'a>(text: String, rhythm: R, pattern: Option<&str>) -> Opening<'a> {
        let pattern = match TestPattern::parse(pattern) {
            Ok(TestPattern::Hang) => return Box::pin(std::future::pending()),
            Ok(pattern) => pattern,
            Err(refusal) => return Box::pin(std::future::ready(Err(refusal))),
        };
        if let Some(refusal) = pattern.refusal() {
            return Box::pin(std::future::ready(Err(refusal)));
        }
        let text = match pattern {
            TestPattern::Words(count) => "word ".repeat(count),
            _ => text,
        };
        let recital = Self { text, said: 0, pieces: 0, rhythm, pattern, pause: None };
        Box::pin(std::future::ready(Ok(Box::pin(recital) as _)))
    }

    fn pause_for(&mut self, pause: Duration) {
        if pause.is_zero() {
            self.pause = None;
            return;
        }
        match &mut self.pause {
            // From now, not from the end of the pause before: a stream that was held up does not catch up in a burst.
            Some(sleep) => sleep.as_mut().reset(Instant::now() + pause),
            None => self.pause = Some(Box::pin(tokio::time::sleep(pause))),
        }
    }
}

impl<R: Rhythm> Answer for Recital<R> {
    fn poll_next<'a>(
        self: Pin<&'a mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece<'a>, Broken>>> {
        let this = self.get_mut();
        match this.pattern.after(this.pieces) {
            After::More => {}
            After::Silence => return Poll::Pending,
            After::Broken(broken) => return Poll::Ready(Some(Err(broken))),
        }
        if this.said == this.text.len() {
            return Poll::Ready(None);
        }
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(context));
        }
        let start = this.said;
        this.said += this.rhythm.piece(&this.text[start..]);
        this.pieces += 1;
        let pause = this.rhythm.pause(&this.text[start..this.said]);
        this.pause_for(pause);
        Poll::Ready(Some(Ok(Piece::Text(&this.text[start..this.said]))))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The pieces of an answer that does not fail.
    pub(in crate::backend) async fn pieces(opening: Opening<'_>) -> Vec<String> {
        let mut answer = opening.await.unwrap();
        let mut pieces = Vec::new();
        while let Some(piece) = std::future::poll_fn(|context| {
            answer.as_mut().poll_next(context).map(|next| {
                next.map(|piece| match piece.unwrap() {
                    Piece::Text(text) => text.to_owned(),
                })
            })
        })
        .await
        {
            pieces.push(piece);
        }
        pieces
    }
}
