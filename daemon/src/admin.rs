//! The admin socket: tells everybody who may connect how the daemon is doing, and closes.
//!
//! What it says is text, in Prometheus' format like `/metrics`, so that it can be read with `streaming-daemon status` as
//! well as with `socat`. Only the daemon's own user may connect: the file's mode is 0600.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use handoff_protocol::SocketType;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::listener::{BindError, Endpoint, Listener};
use crate::metrics::Format;
use crate::server::Shared;

/// How long one who has connected may take to read.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long accepting rests when the system has run out of descriptors or memory.
const REST_AFTER_FAILED_ACCEPT: Duration = Duration::from_secs(1);

/// Makes the socket at `path`.
///
/// # Errors
/// [`BindError`]
pub fn bind(path: &Path) -> Result<Listener, BindError> {
    Listener::bind(&Endpoint { socket_type: SocketType::Stream, ..Endpoint::new(path, 0o600) })
}

/// Answers until dropped. One at a time: this must not take descriptors from streams.
///
/// # Errors
/// When the runtime cannot watch the socket.
pub async fn serve(listener: Listener, shared: &Shared) -> io::Result<()> {
    let started = Instant::now();
    let mut accepting = listener.start()?;
    loop {
        match accepting.accept().await {
            // Whoever does not read learns nothing.
            Ok(peer) => {
                _ = tokio::time::timeout(PATIENCE, answer(peer.connection.into(), figures(shared, started)))
                    .await
            }
            Err(errno) => {
                tracing::warn!("the admin socket cannot accept: {errno}");
                tokio::time::sleep(REST_AFTER_FAILED_ACCEPT).await;
            }
        }
    }
}

async fn answer(connection: std::os::unix::net::UnixStream, text: String) -> io::Result<()> {
    let mut connection = UnixStream::from_std(connection)?;
    connection.write_all(text.as_bytes()).await?;
    connection.shutdown().await
}

/// What `/metrics` does not say comes first.
fn figures(shared: &Shared, started: Instant) -> String {
    let config = shared.config.get();
    // Names of backends have nothing in them that would have to be escaped.
    let backend = &config.backend.provider;
    format!(
        "daemon_running_info{{version=\"{version}\",backend=\"{backend}\"}} 1\n\
         daemon_uptime_seconds {uptime}\n\
         daemon_draining {draining}\n\
         {metrics}",
        version = env!("CARGO_PKG_VERSION"),
        uptime = started.elapsed().as_secs_f64(),
        draining = u8::from(shared.is_draining()),
        metrics = shared.metrics.write(Format::Text, &shared.backends, shared.access_log.lost()),
    )
}
