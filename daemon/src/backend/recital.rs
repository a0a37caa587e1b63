//! A text, said piece by piece: the answers of the backends that need no API.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::test_pattern::{After, TestPattern};
use super::{Answer, Broken, Next, Opening};
use crate::events::Events;
use crate::request::BadRequest;

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
    pub(super) fn open<'a>(
        text: String,
        rhythm: R,
        pattern: Option<&str>,
    ) -> Result<Opening<'a>, BadRequest> {
        let pattern = TestPattern::parse(pattern)?;
        if let Some(refusal) = pattern.refusal() {
            return Ok(Box::pin(std::future::ready(Err(refusal))));
        }
        let text = match pattern {
            TestPattern::Hang => return Ok(Box::pin(std::future::pending())),
            TestPattern::Words(count) => "word ".repeat(count),
            _ => text,
        };
        let recital = Self { text, said: 0, pieces: 0, rhythm, pattern, pause: None };
        Ok(Box::pin(std::future::ready(Ok(Box::pin(recital) as _))))
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
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        events: &mut Events<'_>,
    ) -> Poll<Result<Next, Broken>> {
        let this = self.get_mut();
        while !events.is_full() {
            match this.pattern.after(this.pieces) {
                After::More => {}
                After::Silence => return Poll::Pending,
                After::Broken(broken) => return Poll::Ready(Err(broken)),
            }
            if this.said == this.text.len() {
                return Poll::Ready(Ok(Next::End));
            }
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(context));
            }
            let start = this.said;
            this.said += this.rhythm.piece(&this.text[start..]);
            this.pieces += 1;
            let piece = &this.text[start..this.said];
            events.text(piece);
            let pause = this.rhythm.pause(piece);
            this.pause_for(pause);
        }
        Poll::Ready(Ok(Next::More))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::Format;

    /// The pieces of an answer that does not fail.
    pub(in crate::backend) async fn pieces(opening: Opening<'_>) -> Vec<String> {
        let mut answer = opening.await.unwrap();
        let mut bytes = Vec::new();
        loop {
            let write = |context: &mut Context<'_>| {
                answer.as_mut().poll_write(context, &mut Events::new(&mut bytes, Format::Json))
            };
            if std::future::poll_fn(write).await.unwrap() == Next::End {
                break;
            }
        }
        let piece = |event: &str| {
            let json: serde_json::Value =
                serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
            json["content"].as_str().unwrap().to_owned()
        };
        std::str::from_utf8(&bytes).unwrap().split_terminator("\n\n").map(piece).collect()
    }
}
