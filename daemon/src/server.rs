//! Accepts handoffs, a task for each, and drains them at the end.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{self, Backend};
use crate::config::Config;
use crate::listener::{Accepting, Listener};
use crate::live::Live;
use crate::open_files::{OpenFiles, Room};
use crate::{StartError, stream};

/// How long accepting rests when the system has run out of descriptors or memory.
const REST_AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// How often a lasting shortage is logged, at most.
const SHORTAGE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// After the streams were told to end: how long the last of them may take, beyond the gentle close.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// What all streams share.
pub struct Shared {
    /// The settings of the moment.
    pub config: Live,
    /// Who answers.
    pub backend: Box<dyn Backend>,
    /// A permit for each connection that may still be answered.
    pub places: Semaphore,
    /// The parent of every stream's token: cancelled when the shutdown deadline is over.
    pub cancel: CancellationToken,
}

/// Answers handoffs from `listener` until `shutdown` completes. Then accepts no more, lets the streams finish for
/// `server.shutdown_timeout`, and ends the rest with an error event.
///
/// # Errors
/// [`StartError`]: nothing was served.
pub async fn serve(
    listener: Listener,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let open_files = OpenFiles::new()?;
    let sockets = listener.to_string();
    let mut accepting = listener.start()?;
    let shared = Arc::new(Shared {
        backend: backend::from_config(&config.backend),
        places: Semaphore::new(config.server.max_connections.min(Semaphore::MAX_PERMITS)),
        cancel: CancellationToken::new(),
        config: Live::new(config),
    });
    let streams = TaskTracker::new();
    tracing::info!("listening on {sockets}");

    let mut shutdown = pin!(shutdown);
    let mut shortage = Shortage::default();
    while let Some(room) = until(&mut shutdown, shortage.room(&open_files)).await {
        match until(&mut shutdown, accepting.accept()).await {
            Some(Ok(peer)) => {
                streams.spawn(stream::serve(peer, room, shared.clone()));
            }
            Some(Err(errno)) => {
                shortage.log(&format!("accepting handoffs failed: {errno}"));
                tokio::time::sleep(REST_AFTER_FAILED_ACCEPT).await;
            }
            None => break,
        }
    }
    drain(&mut accepting, &open_files, &shared, &streams).await;
    Ok(())
}

/// `None` when `shutdown` completes first.
async fn until<T>(
    shutdown: &mut Pin<&mut impl Future<Output = ()>>,
    future: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = shutdown => None,
        result = future => Some(result),
    }
}

async fn drain(
    accepting: &mut Accepting,
    open_files: &OpenFiles,
    shared: &Arc<Shared>,
    streams: &TaskTracker,
) {
    let config = shared.config.get();
    let server = &config.server;
    accepting.stop();
    tracing::info!(
        "shutting down: {} streams may finish within {:?}; a second signal ends them",
        streams.len(),
        server.shutdown_timeout
    );
    let finish = async {
        // Handoffs that were sent before listening ended are ours: nobody else will answer them.
        loop {
            let room = open_files.room().await;
            let Some(peer) = accepting.accept_queued() else { break };
            streams.spawn(stream::serve(peer, room, shared.clone()));
        }
        streams.close();
        streams.wait().await;
    };
    if tokio::time::timeout(server.shutdown_timeout, finish).await.is_err() {
        tracing::warn!("the shutdown deadline is over; ending {} streams", streams.len());
        streams.close();
        shared.cancel.cancel();
        // Each write and the gentle close have their own ends; what is still open then is cut.
        let _ = tokio::time::timeout(server.close_timeout + LAST_WRITES, streams.wait()).await;
    }
    tracing::info!("ended");
}

/// Tells, now and then, that handoffs have to wait.
#[derive(Default)]
struct Shortage {
    logged: Option<Instant>,
}

impl Shortage {
    /// Waits for room, and says so if it is not there.
    async fn room(&mut self, open_files: &OpenFiles) -> Room {
        if open_files.exhausted() {
            self.log("at the limit of open files: handoffs wait until streams end; raise LimitNOFILE");
        }
        open_files.room().await
    }

    fn log(&mut self, message: &str) {
        if self.logged.is_none_or(|at| at.elapsed() >= SHORTAGE_LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            tracing::warn!("{message}");
        }
    }
}
