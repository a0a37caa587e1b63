//! Accepts handoffs for programs, and drains them at the end.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Options, data, handler};
use crate::StartError;
use crate::listener::{Endpoint, Listener, REST_AFTER_FAILED_ACCEPT};
use crate::open_files::{OpenFiles, Room};

/// What all clients share.
pub(super) struct Shared {
    pub(super) options: Options,
    /// A permit for each program that may still be started.
    pub(super) places: Semaphore,
    /// Cancelled when the shutdown deadline is over.
    pub(super) cancel: CancellationToken,
    pub(super) slot: data::Slot,
}

/// Answers handoffs with programs until `shutdown` completes. Then accepts no more, lets the programs finish for
/// [`Options::shutdown`], and ends the rest.
///
/// # Errors
/// [`StartError`]: nothing was served.
pub async fn serve(
    options: Options,
    slot: data::Slot,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let listener = Listener::bind(&Endpoint::new(&options.socket, options.mode))?;
    let open_files = OpenFiles::new()?;
    let place = listener.to_string();
    let mut accepting = listener.start()?;
    let shared = Arc::new(Shared {
        places: Semaphore::new(options.max),
        cancel: CancellationToken::new(),
        slot,
        options,
    });
    let clients = TaskTracker::new();
    tracing::info!("listening on {place}, answering with {:?}", shared.options.command);

    let accept = async {
        loop {
            let rooms = rooms(&open_files).await;
            match accepting.accept().await {
                Ok(peer) => _ = clients.spawn(handler::serve(peer, rooms, shared.clone())),
                Err(errno) => {
                    tracing::warn!("accepting handoffs failed: {errno}");
                    tokio::time::sleep(REST_AFTER_FAILED_ACCEPT).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = pin!(shutdown) => {}
        () = accept => {}
    }

    accepting.stop();
    let patience = shared.options.shutdown;
    tracing::info!("shutting down: {} clients may be answered within {patience:?}", clients.len());
    let finish = async {
        // Handoffs that were sent before listening ended are ours: nobody else will answer them.
        loop {
            let rooms = rooms(&open_files).await;
            let Some(peer) = accepting.accept_queued() else { break };
            clients.spawn(handler::serve(peer, rooms, shared.clone()));
        }
        clients.close();
        clients.wait().await;
    };
    if tokio::time::timeout(patience, finish).await.is_err() {
        tracing::warn!("the shutdown deadline is over; ending {} programs", clients.len());
        clients.close();
        shared.cancel.cancel();
        clients.wait().await;
    }
    tracing::info!("ended");
    Ok(())
}

/// Room for what a program's client holds open: its connection, the program's pidfd, the pipes of its output and its
/// standard error.
async fn rooms(open_files: &OpenFiles) -> [Room; 2] {
    [open_files.room().await, open_files.room().await]
}
