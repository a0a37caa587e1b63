//! HTTP/1.1 connections and the exchanges on them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use crate::body::Body;
use crate::dial::Dialler;
use crate::error::{Failure, with_causes};
use crate::link::{Link, Traffic, Wire};
use crate::origin::Outgoing;
use crate::{BodyError, SendError};

/// The most bytes of a connection that are held here while nobody takes them; also the most of a response's head.
const BUFFER: usize = 64 * 1024;

/// How long a connection may take from an answer's last byte until it is ready for the next request.
const TURN: Duration = Duration::from_secs(1);

/// A connection that was closed before a request came breaks so soon. Later, the peer may have begun with it.
const STALE: Duration = Duration::from_millis(500);

/// A new connection.
pub(crate) struct Fresh1 {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    pub(crate) connection: Connection<TokioIo<Wire>, Full<Bytes>>,
    pub(crate) traffic: Arc<Traffic>,
}

pub(crate) async fn handshake(wire: Wire, dialler: &Dialler) -> Result<Fresh1, SendError> {
    let traffic = wire.traffic();
    let handshake = Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(wire)).await;
    match handshake {
        Ok((sender, connection)) => Ok(Fresh1 { sender, connection, traffic }),
        Err(error) => Err(SendError::Broken { address: dialler.address(), detail: with_causes(&error) }),
    }
}

/// A connection, idle or with its exchange. Closed when dropped.
pub(crate) struct Http1 {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    link: Arc<Link>,
    /// It lay in the pool, so its peer may have closed it meanwhile.
    was_idle: bool,
}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http1 {
    pub(crate) fn new(sender: SendRequest<Full<Bytes>>, driver: AbortHandle, link: Arc<Link>) -> Self {
        Self { sender, driver, link, was_idle: false }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready() && !self.sender.is_closed()
    }

    pub(crate) fn was_idle(&self) -> bool {
        self.was_idle
    }

    pub(crate) fn mark_idle(&mut self) {
        self.was_idle = true;
    }

    /// Back to the pool after an exchange that is over.
    fn give_back(mut self) {
        if self.sender.is_closed() {
            return;
        }
        let pool = Arc::clone(&self.link.pool);
        if self.is_ready() {
            pool.put_back(self);
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(Ok(())) = tokio::time::timeout(TURN, self.sender.ready()).await {
                    pool.put_back(self);
                }
            });
        }
    }
}

/// Sends a request, and waits for the response's head.
pub(crate) async fn exchange(mut connection: Http1, outgoing: &Outgoing) -> Result<Response<Body>, Failure> {
    let link = Arc::clone(&connection.link);
    let dialler = &link.pool.dialler;
    let body = Full::new(outgoing.body.clone());
    let request = dialler.origin.http1(outgoing, dialler.forwarded(), body).map_err(Failure::Final)?;
    link.traffic.take_heard();
    let begun = Instant::now();
    match connection.sender.try_send_request(request).await {
        Ok(response) => {
            Ok(response.map(|stream| Body::http1(Answer { stream, connection: Some(connection) })))
        }
        Err(mut failed) => Err({
            let is_unsent = failed.take_message().is_some();
            let error = failed.into_error();
            let (address, detail) = (link.address(), with_causes(&error));
            let is_stale = connection.was_idle && !link.traffic.take_heard() && begun.elapsed() < STALE;
            if is_unsent || is_stale {
                Failure::Unprocessed(SendError::Broken { address, detail })
            } else if error.is_parse() {
                Failure::Final(SendError::Protocol { address, detail })
            } else {
                Failure::Final(SendError::Broken { address, detail })
            }
        }),
    }
}

/// A response's body on its way.
pub(crate) struct Answer {
    stream: Incoming,
    /// Until it is given back.
    connection: Option<Http1>,
}

impl Answer {
    pub(crate) fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.stream).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => Some(Ok(data)),
                    // Trailers mean nothing here.
                    _ => continue,
                },
                Some(Err(error)) => Some(Err(self.broken(&error))),
                None => {
                    if let Some(connection) = self.connection.take() {
                        connection.give_back();
                    }
                    None
                }
            });
        }
    }

    fn broken(&self, error: &hyper::Error) -> BodyError {
        let address =
            self.connection.as_ref().map_or("the API".into(), |connection| connection.link.address());
        let detail = with_causes(error);
        if error.is_parse() {
            BodyError::Protocol { address, detail }
        } else {
            BodyError::Broken { address, detail }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.stream.is_end_stream()
            && let Some(connection) = self.connection.take()
        {
            connection.give_back();
        }
    }
}
