//! Listens, and starts a task for each connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;
use crate::state::{Counted, RecordedRequest, State};
use crate::waiting::{holds, in_time};
use crate::{certificate, connection};

/// Connections that the kernel holds until they are accepted: tests open thousands at once.
const BACKLOG: u32 = 4096;

/// A mock API that runs. Dropping it ends it, with all its connections.
pub struct MockLlm {
    state: Arc<State>,
    address: SocketAddr,
    certificate: Option<String>,
    socket: Option<PathBuf>,
    ended: CancellationToken,
}

impl MockLlm {
    /// Starts a server on the current Tokio runtime. It listens when this returns.
    ///
    /// # Errors
    /// The address or the socket cannot be bound.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let (acceptor, certificate) = match settings.tls {
            true => {
                let (acceptor, pem) = certificate::acceptor(&settings)?;
                (Some(acceptor), Some(pem))
            }
            false => (None, None),
        };
        let listener = listen(settings.listen)?;
        let address = listener.local_addr()?;
        let socket = settings.socket.clone();
        let unix = socket.as_ref().map(bind_unix).transpose()?;
        let state = Arc::new(State::new(settings));
        let ended = CancellationToken::new();
        spawn(&ended, accept_tcp(listener, acceptor, Arc::clone(&state), ended.clone()));
        if let Some(unix) = unix {
            spawn(&ended, accept_unix(unix, Arc::clone(&state), ended.clone()));
        }
        Ok(Self { state, address, certificate, socket, ended })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client takes for the API's base URL: `http://127.0.0.1:PORT/v1`, or `https://…`.
    pub fn base_url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/v1", self.address)
    }

    /// The certificate for localhost and 127.0.0.1 (PEM), which a client has to trust. None: without TLS.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Connections accepted since the start.
    pub fn connections_total(&self) -> usize {
        self.state.connections_total.load(Ordering::SeqCst)
    }

    /// Requests that are being answered now, on all connections; with HTTP/1.1 as well.
    pub fn streams(&self) -> usize {
        self.state.streams.load(Ordering::SeqCst)
    }

    /// Answers that the client did not want to the end: RST_STREAM, or the connection closed by it.
    pub fn cancelled(&self) -> usize {
        self.state.cancelled.load(Ordering::SeqCst)
    }

    /// Answers given to their end, also to a planned one such as a reset.
    pub fn completed(&self) -> usize {
        self.state.completed.load(Ordering::SeqCst)
    }

    /// The codes of RST_STREAM frames by which clients ended answers, in their order: 8 is CANCEL (RFC 9113, section 7).
    pub fn resets(&self) -> Vec<u32> {
        self.state.resets()
    }

    /// All requests so far, in the order in which they were complete.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state.requests()
    }

    /// Waits until `condition` holds, and says whether it came to hold within ten seconds. For tests:
    /// `assert!(mock.until(|mock| mock.cancelled() == 1).await)`.
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) -> bool {
        in_time(holds(&self.state.changed, || condition(self))).await
    }
}

impl Drop for MockLlm {
    fn drop(&mut self) {
        self.ended.cancel();
        if let Some(socket) = &self.socket {
            // Somebody else may have taken it away.
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// Runs until it is done or the server ends.
fn spawn(ended: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(ended.clone().run_until_cancelled_owned(work));
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bind_unix(path: &PathBuf) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(path),
    }
}

async fn accept_tcp(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    state: Arc<State>,
    ended: CancellationToken,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            rest().await;
            continue;
        };
        // A token must not wait for its successor.
        let _ = stream.set_nodelay(true);
        let (counted, number) = Counted::connection(&state);
        let state = Arc::clone(&state);
        let acceptor = acceptor.clone();
        spawn(&ended, async move {
            // How a connection ends shows in the counters.
            let _ = match acceptor {
                None => connection::serve(stream, state, number).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => connection::serve(stream, state, number).await,
                    Err(error) => Err(error),
                },
            };
            drop(counted);
        });
    }
}

async fn accept_unix(listener: UnixListener, state: Arc<State>, ended: CancellationToken) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            rest().await;
            continue;
        };
        let (counted, number) = Counted::connection(&state);
        let state = Arc::clone(&state);
        spawn(&ended, async move {
            let _ = connection::serve(stream, state, number).await;
            drop(counted);
        });
    }
}

/// After a failed accept: without descriptors left, the next one fails as well.
async fn rest() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}
