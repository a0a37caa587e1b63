//! Carries a backend's answer to the client, event by event.

use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::access_log::Outcome;
use crate::backend::{BoxAnswer, Piece};
use crate::client::head::{self, Framing};
use crate::client::{ClientConn, WriteError};
use crate::sse;

/// Events that are ready together go out in one write, up to this many bytes: enough to make the cost of the system
/// call small, and little to keep for a client that is slow to take it.
const WRITE_SIZE: usize = 16 * 1024;

/// Sends `answer` as a stream of events until it ends, the client goes, or `cancel` is cancelled.
///
/// While the backend is silent nothing is held but the future itself, and the client is watched. While the client is
/// slow the backend is not asked for more.
pub async fn relay(
    client: &mut ClientConn,
    mut answer: BoxAnswer,
    framing: Framing,
    write_deadline: Duration,
    cancel: &CancellationToken,
) -> Outcome {
    // The head goes out with the first events if they are ready, else at once.
    let mut out = Vec::new();
    head::event_stream(&mut out, framing, SystemTime::now());

    let mut cancelled = pin!(cancel.cancelled());
    loop {
        let mut events = Vec::new();
        let end = std::future::poll_fn(|context| {
            if client.poll_gone(context).is_ready() {
                return Poll::Ready(Some(Outcome::ClientGone));
            }
            if cancelled.as_mut().poll(context).is_ready() {
                sse::error(&mut events, "the server is shutting down; please ask again");
                return Poll::Ready(Some(Outcome::Shutdown));
            }
            match gather(&mut answer, &mut events, context) {
                None if events.is_empty() && out.is_empty() => Poll::Pending,
                end => Poll::Ready(end),
            }
        })
        .await;

        if end == Some(Outcome::ClientGone) {
            return Outcome::ClientGone;
        }
        framing.write(&mut out, &events);
        drop(events);
        if end.is_some() {
            framing.write_end(&mut out);
        }
        if let Err(failure) = write(client, &out, write_deadline, cancel).await {
            return failure;
        }
        if let Some(outcome) = end {
            return outcome;
        }
        out = Vec::new();
        // An answer that is always ready, to a client that always takes it, would keep other streams waiting.
        tokio::task::coop::consume_budget().await;
    }
}

/// Appends the events that are ready. Returns how the answer ended, if it did.
fn gather(answer: &mut BoxAnswer, events: &mut Vec<u8>, context: &mut Context<'_>) -> Option<Outcome> {
    while events.len() < WRITE_SIZE {
        match answer.as_mut().poll_next(context) {
            Poll::Pending => return None,
            Poll::Ready(Some(Ok(Piece::Text(text)))) => sse::text(events, text),
            Poll::Ready(Some(Err(broken))) => {
                sse::error(events, &broken.message);
                return Some(Outcome::BackendBroken);
            }
            Poll::Ready(None) => {
                sse::done(events);
                return Some(Outcome::Done);
            }
        }
    }
    None
}

/// Writes at once what the kernel takes; the rest, seldom, in a future of its own on the heap, so that the room for
/// its timer is not part of every stream.
async fn write(
    client: &mut ClientConn,
    bytes: &[u8],
    deadline: Duration,
    cancel: &CancellationToken,
) -> Result<(), Outcome> {
    let written = client.write_now(bytes).map_err(outcome)?;
    if written == bytes.len() {
        return Ok(());
    }
    let rest = Box::pin(async {
        tokio::select! {
            biased;
            result = client.write(&bytes[written..], deadline) => result.map_err(outcome),
            // In the midst of an event there is no place for an error event: the stream is cut.
            () = cancel.cancelled() => Err(Outcome::Shutdown),
        }
    });
    rest.await
}

fn outcome(error: WriteError) -> Outcome {
    match error {
        WriteError::Gone => Outcome::ClientGone,
        WriteError::Deadline => Outcome::WriteTimeout,
    }
}
