//! Connections to HTTP APIs whose answers are long streams.
//!
//! An [`Upstream`] is the pool of connections to one origin. Over HTTP/2 it opens as many connections as the streams
//! need: each is filled up to what its peer allows, and a request for which there is no room waits for a connection
//! that is being dialled for it, never for another stream's end. Over HTTP/1.1 an exchange has a connection to itself.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::future::poll_fn;
//! use upstream::{Settings, Upstream};
//!
//! let api = Upstream::new(Settings { base: "http://127.0.0.1:11434/v1".into(), ..Settings::default() })?;
//! let request = http::Request::post("/chat/completions").body("{}".into())?;
//! let mut answer = api.send(request).await?;
//! while let Some(data) = poll_fn(|context| answer.body_mut().poll_data(context)).await {
//!     println!("{} bytes", data?.len());
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod attempt;
mod body;
mod dial;
mod error;
mod http1;
mod http2;
mod learned;
mod ledger;
mod link;
mod origin;
mod pool;
mod proxy;
mod resolve;
mod settings;
mod tls;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

pub use body::Body;
pub use error::{BodyError, SendError, SetupError};
pub use pool::Figures;
pub use proxy::Proxy;
pub use settings::Settings;

use pool::Pool;

/// The pool of connections to one API. Clones share it; the idle connections are closed when the last clone is dropped.
#[derive(Clone)]
pub struct Upstream(Arc<Handle>);

/// Tells the pool that nobody will send any more.
struct Handle(Arc<Pool>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upstream").field(&self.0.0.dialler.address()).finish()
    }
}

impl Upstream {
    /// A pool without connections: the first request dials.
    ///
    /// # Errors
    /// When the base is no URL that can be spoken to, a proxy is of an unknown kind, or there is no certificate to
    /// trust.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        Ok(Self(Arc::new(Handle(Pool::new(settings)?))))
    }

    /// Sends a request whose URI is a path below the base, such as `/chat/completions`. `Host`, and the fields of
    /// the connection, are written here.
    ///
    /// Completes with the response's head. A request that the peer surely did not process (RFC 9113, section 8.7) is
    /// moved to another connection, up to three times; so is one whose kept HTTP/1.1 connection ends at once, without a
    /// byte. Must be polled within a Tokio runtime.
    pub fn send(&self, request: http::Request<Bytes>) -> Sending {
        let upstream = self.clone();
        Sending(Box::pin(async move { upstream.0.0.send(request).await }))
    }

    /// What is going on at the moment.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.0.0.figures()
    }
}

/// A request on its way. Dropping it cancels the request: over HTTP/2 with RST_STREAM, over HTTP/1.1 by closing.
///
/// Boxed, so that a task that sends does not keep the room for it while the answer streams.
#[must_use = "nothing is sent unless it is polled"]
pub struct Sending(Pin<Box<dyn Future<Output = Result<http::Response<Body>, SendError>> + Send>>);

impl Future for Sending {
    type Output = Result<http::Response<Body>, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_a_stream_is_small() {
        let settings =
            Settings { base: "http://localhost".into(), proxy: Proxy::Never, ..Settings::default() };
        let api = Upstream::new(settings).unwrap();
        let sending = size_of_val(&api.0.0.send(http::Request::new(Bytes::new())));
        println!("until the head: {sending} bytes; then: {} bytes", size_of::<Body>());
        assert!(sending <= 1536 && size_of::<Body>() <= 48);
        assert!(size_of::<Sending>() <= 16);
    }
}
