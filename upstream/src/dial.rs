//! Makes connections.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UnixStream;

use crate::http1::Fresh1;
use crate::http2::{Fresh2, NoHttp2};
use crate::learned::Learned;
use crate::link::{Io, Wire};
use crate::origin::{Forwarded, Origin};
use crate::proxy::{Via, tunnel};
use crate::resolve::{connect, resolve};
use crate::tls::Tls;
use crate::{SendError, Settings, SetupError, http1, http2};

/// The way to the origin; the same for all connections.
enum Route {
    Unix(PathBuf),
    Direct,
    /// The proxy takes the requests.
    Forward(Via, Forwarded),
    /// The proxy takes bytes.
    Tunnel(Via),
}

/// Knows how to make a connection to one origin.
pub(crate) struct Dialler {
    pub(crate) origin: Origin,
    pub(crate) settings: Settings,
    pub(crate) learned: Learned,
    route: Route,
    tls: Option<Tls>,
    address: Arc<str>,
}

/// A new connection that is ready for requests.
pub(crate) enum Fresh {
    Http1(Box<Fresh1>),
    Http2(Box<Fresh2>),
}

impl Dialler {
    pub(crate) fn new(settings: Settings) -> Result<Self, SetupError> {
        let origin = Origin::parse(&settings.base)?;
        let via = if settings.socket.is_some() { None } else { settings.proxy.towards(&origin.uri)? };
        let route = match (&settings.socket, via) {
            (Some(path), _) => Route::Unix(path.clone()),
            (None, None) => Route::Direct,
            (None, Some(via)) if origin.is_https() => Route::Tunnel(via),
            (None, Some(via)) => {
                let forwarded = Forwarded { credentials: via.credentials.clone() };
                Route::Forward(via, forwarded)
            }
        };
        let needs_tls = match &route {
            Route::Unix(_) => false,
            Route::Direct => origin.is_https(),
            Route::Forward(via, _) => via.is_https,
            Route::Tunnel(_) => true,
        };
        let tls = if needs_tls { Some(Tls::new(&settings)?) } else { None };
        let address = match &route {
            Route::Unix(path) => format!("unix:{}", path.display()),
            Route::Direct | Route::Tunnel(_) => format!("{}:{}", origin.authority.host(), origin.port()),
            Route::Forward(via, _) => {
                format!("{}:{} (by the proxy {})", origin.authority.host(), origin.port(), via.address)
            }
        };
        Ok(Self { origin, route, tls, address: address.into(), learned: Learned::default(), settings })
    }

    /// The API, as messages name it.
    pub(crate) fn address(&self) -> Arc<str> {
        Arc::clone(&self.address)
    }

    /// What a proxy wants of each request.
    pub(crate) fn forwarded(&self) -> Option<&Forwarded> {
        if let Route::Forward(_, forwarded) = &self.route { Some(forwarded) } else { None }
    }

    /// Whether the next connection is expected to be HTTP/2.
    pub(crate) fn hopes_for_http2(&self) -> bool {
        self.settings.http2
            && match self.route {
                Route::Unix(_) | Route::Forward(..) => false,
                Route::Direct | Route::Tunnel(_) => self.origin.is_https() || !self.learned.is_http1_only(),
            }
    }

    /// Makes a connection, within `connect_timeout`.
    pub(crate) async fn dial(&self) -> Result<Fresh, SendError> {
        let mut step = "";
        let timeout = self.settings.connect_timeout;
        match tokio::time::timeout(timeout, self.connect(&mut step)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SendError::ConnectTimeout { address: self.address(), timeout, step }),
        }
    }

    async fn connect(&self, step: &mut &'static str) -> Result<Fresh, SendError> {
        match &self.route {
            Route::Unix(path) => {
                *step = "connecting";
                let io = UnixStream::connect(path).await.map_err(|error| SendError::Connect {
                    address: self.address(),
                    detail: error.to_string().into(),
                })?;
                self.http1(Box::new(io)).await
            }
            Route::Direct if self.origin.is_https() => {
                let io = self.tcp(self.origin.host(), self.origin.port(), &self.address, step).await?;
                self.secure(io, step).await
            }
            Route::Direct => self.plain(step).await,
            Route::Forward(via, _) => {
                let io = self.to_proxy(via, step).await?;
                self.http1(io).await
            }
            Route::Tunnel(via) => {
                let mut io = self.to_proxy(via, step).await?;
                *step = "asking the proxy for a tunnel";
                let target = format!("{}:{}", self.origin.authority.host(), self.origin.port());
                tunnel(&mut *io, via, &target).await?;
                self.secure(io, step).await
            }
        }
    }

    async fn tcp(
        &self,
        host: &str,
        port: u16,
        address: &Arc<str>,
        step: &mut &'static str,
    ) -> Result<Box<dyn Io>, SendError> {
        *step = "resolving the name";
        let addresses = resolve(host, port).await?;
        *step = "connecting";
        Ok(Box::new(connect(addresses, &self.settings, address).await?))
    }

    async fn to_proxy(&self, via: &Via, step: &mut &'static str) -> Result<Box<dyn Io>, SendError> {
        let io = self.tcp(&via.host, via.port, &via.address, step).await?;
        match &self.tls {
            Some(tls) if via.is_https => {
                *step = "in the TLS handshake with the proxy";
                tls.with_proxy(io, &via.host, &via.address).await
            }
            _ => Ok(io),
        }
    }

    /// TLS, in which the peer chooses the version of HTTP.
    async fn secure(&self, io: Box<dyn Io>, step: &mut &'static str) -> Result<Fresh, SendError> {
        let Some(tls) = &self.tls else {
            return Err(SendError::Request("TLS is not set up"));
        };
        *step = "in the TLS handshake";
        let (io, is_http2) = tls.with_origin(io, self.origin.host(), &self.address).await?;
        if is_http2 {
            *step = "waiting for the first SETTINGS";
            http2::handshake(Wire::new(io), self)
                .await
                .map(|fresh| Fresh::Http2(Box::new(fresh)))
                .map_err(NoHttp2::into_error)
        } else {
            self.http1(io).await
        }
    }

    /// Without TLS nothing tells the version: HTTP/2 is tried, and no request is sent before the peer answered in it.
    async fn plain(&self, step: &mut &'static str) -> Result<Fresh, SendError> {
        let (host, port) = (self.origin.host(), self.origin.port());
        let io = self.tcp(host, port, &self.address, step).await?;
        if !self.hopes_for_http2() {
            return self.http1(io).await;
        }
        *step = "waiting for the first SETTINGS; switch HTTP/2 off (http2_enabled = false) if it speaks HTTP/1.1 only";
        match http2::handshake(Wire::new(io), self).await {
            Ok(fresh) => {
                self.learned.http2_was_spoken();
                Ok(Fresh::Http2(Box::new(fresh)))
            }
            Err(no) if no.is_foreign || (no.is_mute && !self.learned.speaks_http2()) => {
                let io = self.tcp(host, port, &self.address, step).await?;
                self.learned.http1_only(&self.address);
                self.http1(io).await
            }
            Err(no) => Err(no.into_error()),
        }
    }

    async fn http1(&self, io: Box<dyn Io>) -> Result<Fresh, SendError> {
        http1::handshake(Wire::new(io), self).await.map(|fresh| Fresh::Http1(Box::new(fresh)))
    }
}
