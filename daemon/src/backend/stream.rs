//! The events of an API's answer, from the bytes of its response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use sse::{Block, Scanner};
use upstream::Body;

use super::api_error::ApiError;
use super::dialect::{Dialect, EndOfResponse};
use super::secrets::Secrets;
use super::{Answer, Broken, Next, Refusal, Usage, refused};
use crate::config::Format;
use crate::events::Events;
use crate::outcome::Failure;

/// Longest event of an API, in bytes. Some repeat the whole answer in their last one.
const EVENT_LIMIT: usize = 4 * 1024 * 1024;

/// The client's status is held for the first event, but not over more bytes of comments than these: while an API keeps saying
/// that a request waits for its turn, it must not count as silent, and the client is told of it too.
const COMMENT_LIMIT: usize = 256;

/// An answer under way.
pub(super) struct Stream<D> {
    dialect: D,
    /// None after the end of the answer.
    body: Option<Body>,
    /// What of the last chunk has not been read.
    unread: Bytes,
    scanner: Scanner,
    /// The first event, which was read already for the sake of the client's status, and the comments before it.
    first: Vec<u8>,
    usage: Usage,
    /// What no error may tell.
    secrets: Secrets,
}

/// What reading has come to.
enum Read {
    /// All of the chunk is read.
    Chunk,
    /// Enough for one write.
    Full,
    /// The mark of the end.
    End,
}

impl<D: Dialect> Stream<D> {
    pub(super) fn new(dialect: D, body: Body, secrets: Secrets) -> Self {
        let scanner = Scanner::new(EVENT_LIMIT);
        Self {
            dialect,
            body: Some(body),
            unread: Bytes::new(),
            scanner,
            first: Vec::new(),
            usage: Usage::default(),
            secrets,
        }
    }

    /// Waits for the first event: an error there can still become a status.
    pub(super) fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        loop {
            let mut rest = &self.unread[..];
            while let Some(block) = self.scanner.next(&mut rest) {
                let Ok(block) = block else { return Poll::Ready(Err(refuse(too_long()))) };
                if let Some(data) = block.data
                    && let Some(error) = self.dialect.read(&block, data, &mut String::new()).error
                {
                    return Poll::Ready(Err(refused::by_event(&hidden(*error, &self.secrets))));
                }
                self.first.extend_from_slice(block.raw);
                if block.data.is_some() || self.first.len() > COMMENT_LIMIT {
                    let read = self.unread.len() - rest.len();
                    self.unread.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
            // Taken in: it must not be read again when there is more.
            self.unread = Bytes::new();
            match ready!(self.poll_chunk(context)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(Ok(())),
                Err(broken) => return Poll::Ready(Err(refuse(broken))),
            }
        }
    }

    /// Gets the next chunk; none when the answer is complete without another word.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(false)) };
        Poll::Ready(match ready!(body.poll_data(context)) {
            Some(Ok(chunk)) => {
                self.unread = chunk;
                Ok(true)
            }
            None if self.dialect.end_of_response() == EndOfResponse::Complete => {
                self.body = None;
                Ok(false)
            }
            None => Err(Broken::new("the backend's answer ended before its end", Failure::Truncated)),
            Some(Err(error)) => Err(Broken {
                cause: Some(error.to_string()),
                ..Broken::new("the connection to the backend broke", Failure::Network)
            }),
        })
    }

    /// Reads the events of the chunk.
    fn read(&mut self, events: &mut Events<'_>) -> Result<Read, Broken> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            let (mut scanner, mut rest) = (Scanner::new(EVENT_LIMIT), &first[..]);
            while let Some(Ok(block)) = scanner.next(&mut rest) {
                if write(&mut self.dialect, &block, &mut self.usage, &self.secrets, events)? {
                    return Ok(Read::End);
                }
            }
        }
        let mut rest = &self.unread[..];
        while let Some(block) = self.scanner.next(&mut rest) {
            let block = block.map_err(|_| too_long())?;
            if write(&mut self.dialect, &block, &mut self.usage, &self.secrets, events)? {
                return Ok(Read::End);
            }
            if events.is_full() {
                let read = self.unread.len() - rest.len();
                self.unread.advance(read);
                return Ok(Read::Full);
            }
        }
        // Not kept: it may be a part of something large.
        self.unread = Bytes::new();
        Ok(Read::Chunk)
    }
}

impl<D: Dialect> Answer for Stream<D> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        events: &mut Events<'_>,
    ) -> Poll<Result<Next, Broken>> {
        loop {
            match self.read(events) {
                Ok(Read::Chunk) => {}
                Ok(Read::Full) => return Poll::Ready(Ok(Next::More)),
                Ok(Read::End) => {
                    if let Some(body) = self.body.take() {
                        body.finish();
                    }
                    return Poll::Ready(Ok(Next::End));
                }
                Err(broken) => return Poll::Ready(Err(broken)),
            }
            match ready!(self.poll_chunk(context)) {
                Ok(true) => events.alive(),
                Ok(false) => return Poll::Ready(Ok(Next::End)),
                Err(broken) => return Poll::Ready(Err(broken)),
            }
        }
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}

/// Writes what `block` says, in the format of `events`. Returns whether it marks the end.
fn write<D: Dialect>(
    dialect: &mut D,
    block: &Block<'_>,
    usage: &mut Usage,
    secrets: &Secrets,
    events: &mut Events<'_>,
) -> Result<bool, Broken> {
    let verbatim = events.format() == Format::Raw;
    let Some(data) = block.data else {
        if verbatim {
            events.comment(block.raw);
        }
        return Ok(false);
    };
    // Nothing is allocated as long as nothing is decoded.
    let mut scratch = String::new();
    let reading = dialect.read(block, data, &mut scratch);
    if let Some(more) = reading.usage {
        usage.add(more);
    }
    if let Some(error) = reading.error {
        let told = verbatim && !secrets.are_in(data);
        if told {
            events.verbatim(block.raw);
        }
        return Err(refused::in_mid_stream(&hidden(*error, secrets), told));
    }
    if verbatim {
        events.verbatim(block.raw);
    } else {
        events.text(reading.text);
    }
    Ok(reading.end)
}

/// What may be told of an error.
fn hidden(mut error: ApiError, secrets: &Secrets) -> ApiError {
    error.kind = secrets.hide(&error.kind);
    error.message = secrets.hide(&error.message);
    error
}

fn too_long() -> Broken {
    let message = "the backend sent an event that is too long";
    let cause = Some(format!("the backend sent an event of more than {EVENT_LIMIT} bytes"));
    Broken { cause, ..Broken::new(message, Failure::Other) }
}

/// What would break an answer off refuses it when it comes before the first event.
fn refuse(broken: Broken) -> Refusal {
    Refusal { cause: broken.cause, ..Refusal::new(502, broken.message, broken.failure) }
}
