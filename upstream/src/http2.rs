//! HTTP/2 connections and the exchanges on them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Response;
use tokio::time::{Instant, Sleep};

use crate::body::Body;
use crate::dial::Dialler;
use crate::error::{Failure, with_causes};
use crate::ledger::Slot;
use crate::link::{Link, Traffic, Wire};
use crate::origin::Outgoing;
use crate::{BodyError, SendError, Settings};

/// The limit of streams before the peer's first SETTINGS: a number that these cannot hold. (Without a limit in them,
/// it is `usize::MAX`.)
const NO_SETTINGS_YET: usize = usize::MAX - 1;

/// The most bytes of a response's head.
const HEAD_LIMIT: u32 = 64 * 1024;

/// A new connection whose peer has sent its first SETTINGS.
pub(crate) struct Fresh2 {
    pub(crate) sender: SendRequest<Bytes>,
    pub(crate) connection: Connection<Wire, Bytes>,
    pub(crate) traffic: Arc<Traffic>,
    /// How many streams the peer allows.
    pub(crate) limit: usize,
}

/// Why a connection did not become one of HTTP/2.
pub(crate) struct NoHttp2 {
    error: SendError,
    /// The peer said something that is not HTTP/2: `HTTP/1.1 400`, or an error page as HTTP/0.9 had it.
    pub(crate) is_foreign: bool,
    /// The peer said nothing, and closed.
    pub(crate) is_mute: bool,
}

impl NoHttp2 {
    pub(crate) fn into_error(self) -> SendError {
        self.error
    }
}

/// Greets the peer, and waits for its SETTINGS.
pub(crate) async fn handshake(wire: Wire, dialler: &Dialler) -> Result<Fresh2, NoHttp2> {
    let traffic = wire.traffic();
    let no = |error: Option<h2::Error>| {
        let detail =
            error.map_or("it closed the connection before its SETTINGS".into(), |error| with_causes(&error));
        let is_mute = traffic.is_mute();
        let is_foreign = !is_mute && !traffic.opened_as_http2();
        let address = dialler.address();
        let error = if is_mute {
            SendError::Broken { address, detail }
        } else {
            SendError::Protocol { address, detail }
        };
        NoHttp2 { error, is_foreign, is_mute }
    };
    let (sender, mut connection) =
        builder(&dialler.settings).handshake(wire).await.map_err(|error| no(Some(error)))?;
    poll_fn(|context| match Pin::new(&mut connection).poll(context) {
        Poll::Ready(end) => Poll::Ready(Err(no(end.err()))),
        Poll::Pending if connection.max_concurrent_send_streams() == NO_SETTINGS_YET => Poll::Pending,
        Poll::Pending => Poll::Ready(Ok(())),
    })
    .await?;
    let limit = connection.max_concurrent_send_streams();
    if limit == 0 {
        let error = SendError::NoStreams { address: dialler.address() };
        return Err(NoHttp2 { error, is_foreign: false, is_mute: false });
    }
    Ok(Fresh2 { sender, connection, traffic, limit })
}

fn builder(settings: &Settings) -> Builder {
    const MAX_WINDOW: usize = (1 << 31) - 1;
    let streams = settings.streams_per_connection;
    let stream_window = settings.stream_window.clamp(1, MAX_WINDOW as u32);
    // All streams can fill their windows, so none that is not read holds up the others.
    let window = (stream_window as usize).saturating_mul(streams).clamp(u16::MAX as usize, MAX_WINDOW);
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(NO_SETTINGS_YET)
        .initial_window_size(stream_window)
        .initial_connection_window_size(window as u32)
        .max_header_list_size(HEAD_LIMIT)
        // h2 takes many small DATA frames that wait for their reader for an attack, and ends the connection. A window
        // full of tokens of 16 bytes is none.
        .data_frame_budget(window.saturating_mul(16))
        // Frames that cross our RST_STREAM are no errors, however many streams are cancelled at once.
        .max_concurrent_reset_streams(streams.max(100))
        .max_local_error_reset_streams(None);
    builder
}

/// Moves a connection's frames, until it ends. The one task and the one timer of all its streams.
pub(crate) struct Driver {
    connection: Connection<Wire, Bytes>,
    pings: Option<PingPong>,
    /// A PING is on its way.
    pinged: bool,
    timer: Pin<Box<Sleep>>,
    limit: usize,
    link: Arc<Link>,
}

impl Driver {
    pub(crate) fn new(mut connection: Connection<Wire, Bytes>, limit: usize, link: Arc<Link>) -> Self {
        let pings = connection.ping_pong();
        let timer = Box::pin(tokio::time::sleep(link.pool.first_check()));
        Self { connection, pings, pinged: false, timer, limit, link }
    }

    /// The timer is up: how long until it is the next time; `None`: the peer is gone.
    fn check(&mut self, context: &mut Context<'_>) -> Option<Duration> {
        let settings = &self.link.pool.dialler.settings;
        let heard = self.link.traffic.take_heard();
        if self.pinged && !heard {
            return None;
        }
        self.pinged = false;
        let found = self.link.pool.check(self.link.id);
        if heard || !found.has_streams {
            return Some(found.next_check);
        }
        if let Some(pings) = &mut self.pings {
            // An answer that was too late for the last PING is in the way of the next.
            let _ = pings.poll_pong(context);
            self.pinged = pings.send_ping(Ping::opaque()).is_ok();
        }
        Some(if self.pinged { settings.ping_timeout } else { found.next_check })
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Poll::Ready(end) = Pin::new(&mut this.connection).poll(context) {
            if let Err(error) = end {
                tracing::debug!(address = &*this.link.address(), error = %error, "an HTTP/2 connection broke");
            }
            return Poll::Ready(());
        }
        let limit = this.connection.max_concurrent_send_streams();
        if limit != this.limit {
            this.limit = limit;
            this.link.pool.limit_changed(this.link.id, limit);
        }
        while this.timer.as_mut().poll(context).is_ready() {
            let Some(next) = this.check(context) else {
                tracing::debug!(address = &*this.link.address(), "no answer to a PING");
                this.link.silent.store(true, Ordering::Release);
                return Poll::Ready(());
            };
            this.timer.as_mut().reset(Instant::now() + next);
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.link.pool.ended(self.link.id);
    }
}

/// Sends a request on a connection that has room for it, and waits for the response's head.
pub(crate) async fn exchange(
    slot: Slot,
    mut sender: SendRequest<Bytes>,
    outgoing: &Outgoing,
) -> Result<Response<Body>, Failure> {
    let link = slot.link();
    let head = link.pool.dialler.origin.http2_head(outgoing).map_err(Failure::Final)?;
    let written = link.traffic.written();
    let broken =
        |error: &h2::Error| SendError::Broken { address: link.address(), detail: words(error, link) };

    let ends = outgoing.body.is_empty();
    let response = match sender.send_request(head, ends) {
        Ok((response, mut stream)) => {
            if !ends {
                // Held by h2 until the peer's window lets it go. An error is also the response's.
                let _ = stream.send_data(outgoing.body.clone(), true);
            }
            response
        }
        Err(error) if error.get_io().is_some() || error.is_go_away() => {
            return Err(Failure::Unprocessed(broken(&error)));
        }
        Err(error) => {
            tracing::debug!(error = %error, "h2 does not take the request");
            return Err(Failure::Final(SendError::Request("it is not valid in HTTP/2")));
        }
    };
    drop(sender);

    match response.await {
        Ok(response) => Ok(response.map(|stream| Body::http2(Answer { stream, slot, unreleased: 0 }))),
        Err(error) => Err({
            let (address, detail) = (link.address(), words(&error, link));
            let refused =
                error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
            if refused {
                Failure::Unprocessed(SendError::Refused { address, detail })
            } else if link.traffic.written() == written {
                Failure::Unprocessed(SendError::Broken { address, detail })
            } else if error.is_reset() && error.is_remote() {
                Failure::Final(SendError::Reset { address, detail })
            } else if error.is_library() {
                Failure::Final(SendError::Protocol { address, detail })
            } else {
                Failure::Final(SendError::Broken { address, detail })
            }
        }),
    }
}

/// What became of a connection.
fn words(error: &h2::Error, link: &Link) -> Arc<str> {
    if link.silent.load(Ordering::Acquire) {
        return "it did not answer a PING".into();
    }
    with_causes(error)
}

/// A response's body on its way.
pub(crate) struct Answer {
    /// Before the slot, so that it is reset before the next stream takes its place.
    stream: RecvStream,
    slot: Slot,
    /// Bytes that were taken and that the peer does not know of yet.
    unreleased: u32,
}

impl Answer {
    pub(crate) fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let data = match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => data,
                // NO_ERROR too: h2 does not tell of a reset behind the end (RFC 9113, section 8.1), and Envoy resets so
                // the streams whose API has failed.
                Some(Err(error)) => return Poll::Ready(Some(Err(self.broken(&error)))),
                None => return Poll::Ready(None),
            };
            if !data.is_empty() {
                self.release(data.len());
                return Poll::Ready(Some(Ok(data)));
            }
        }
    }

    /// Opens the window again. h2 writes a WINDOW_UPDATE only when it can open it by half of what is left, so that
    /// telling it of each token would be locks for nothing: an eighth of the window at a time is enough.
    fn release(&mut self, length: usize) {
        // A DATA frame has less than 16 MiB.
        self.unreleased += length as u32;
        if self.unreleased > self.slot.link().pool.dialler.settings.stream_window / 8 {
            let _ = self.stream.flow_control().release_capacity(self.unreleased as usize);
            self.unreleased = 0;
        }
    }

    fn broken(&self, error: &h2::Error) -> BodyError {
        let link = self.slot.link();
        let (address, detail) = (link.address(), words(error, link));
        if error.is_library() {
            BodyError::Protocol { address, detail }
        } else if error.is_reset() {
            BodyError::Reset { address, detail }
        } else {
            BodyError::Broken { address, detail }
        }
    }
}

/// Whether a request can be sent on a connection: no GOAWAY came, it is not broken, and it has stream ids left.
pub(crate) fn is_open(sender: &mut SendRequest<Bytes>) -> bool {
    matches!(sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
}
