//! The body of a response.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::{BodyError, http1, http2};

/// How much of a body may follow the end of what it says.
const REST: usize = 64 * 1024;
/// And for how long.
const REST_TIME: Duration = Duration::from_secs(2);

/// The body of a response, as it comes. Dropping it cancels the stream.
#[derive(Debug)]
pub struct Body(Inner);

enum Inner {
    /// Boxed: a connection to itself costs more than this.
    Http1(Box<http1::Answer>),
    Http2(http2::Answer),
    Ended,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http1(_) => "HTTP/1.1",
            Self::Http2(_) => "HTTP/2",
            Self::Ended => "ended",
        })
    }
}

impl Body {
    pub(crate) fn http1(answer: http1::Answer) -> Self {
        Self(Inner::Http1(Box::new(answer)))
    }

    pub(crate) fn http2(answer: http2::Answer) -> Self {
        Self(Inner::Http2(answer))
    }

    /// The next bytes, as many as came together; never empty. `None`: the body is complete.
    ///
    /// The peer may send as much again as is taken. After the end or an error there is only `None`, and the stream's
    /// place on its connection is another's.
    pub fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let polled = match &mut self.0 {
            Inner::Http1(answer) => answer.poll_data(context),
            Inner::Http2(answer) => answer.poll_data(context),
            Inner::Ended => return Poll::Ready(None),
        };
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.0 = Inner::Ended;
        }
        polled
    }

    /// The answer was understood to its end before the body's end was seen: the rest, up to 64 KiB within 2 s, is read
    /// away in the background, so that the stream is not reset, and an HTTP/1.1 connection can be used again.
    pub fn finish(mut self) {
        let mut rest = REST;
        // Most often the end has come already.
        if self.poll_rest(&mut rest, &mut Context::from_waker(Waker::noop())).is_pending()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(REST_TIME, async move {
                poll_fn(|context| self.poll_rest(&mut rest, context)).await;
            }));
        }
    }

    /// Reads at most `rest` bytes away.
    fn poll_rest(&mut self, rest: &mut usize, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.poll_data(context) {
                Poll::Ready(Some(Ok(data))) if data.len() <= *rest => *rest -= data.len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
