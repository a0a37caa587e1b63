//! Accepts handoffs for programs, and drains them at the end.

use std::pin::pin;
use std::sync::Arc;

use handoff_protocol::v2::Answer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Options, data, handler};
use crate::StartError;
use crate::config::Server;
use crate::listener::{Endpoint, Listener, REST_AFTER_FAILED_ACCEPT};
use crate::open_files::{OpenFiles, Room};
use crate::receive::{self, Event, Handoff, Host, Rules};

/// What all clients share.
pub(super) struct Shared {
    pub(super) options: Options,
    /// A permit for each program that may still be started.
    pub(super) places: Semaphore,
    /// Cancelled when the shutdown deadline is over.
    pub(super) cancel: CancellationToken,
    pub(super) slot: data::Slot,
    clients: TaskTracker,
    /// Cancelled when no more handoffs are taken.
    draining: CancellationToken,
}

/// What a program's client holds open: its connection, the program's pidfd, the pipes of its output and its standard
/// error.
const OPEN_FILES: usize = 4;

impl Host for Shared {
    type Place = ();

    fn rules(&self) -> Rules {
        let Server { handoff_timeout, max_payload, .. } = Server::default();
        Rules { handoff_timeout, idle: receive::IDLE, payload: max_payload }
    }

    fn allows(&self, uid: u32) -> bool {
        self.options.allowed_users.allows(uid)
    }

    fn place(&self) -> Result<(), Answer> {
        Ok(())
    }

    fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    fn tasks(&self) -> &TaskTracker {
        &self.clients
    }

    fn count(&self, _event: Event<'_>) {}

    fn answer(
        self: Arc<Self>,
        handoff: Handoff,
        _place: Option<()>,
        room: Room,
    ) -> impl Future<Output = ()> + Send {
        handler::serve(handoff, room, self)
    }
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
    let open_files = OpenFiles::for_clients_of(OPEN_FILES)?;
    let place = listener.to_string();
    let mut accepting = listener.start()?;
    let shared = Arc::new(Shared {
        places: Semaphore::new(options.max),
        cancel: CancellationToken::new(),
        slot,
        clients: TaskTracker::new(),
        draining: CancellationToken::new(),
        options,
    });
    let clients = &shared.clients;
    tracing::info!("listening on {place}, answering with {:?}", shared.options.command);

    let accept = async {
        loop {
            let room = open_files.room().await;
            match accepting.accept().await {
                Ok(peer) => _ = clients.spawn(receive::serve(peer, room, shared.clone())),
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
    shared.draining.cancel();
    let patience = shared.options.shutdown;
    tracing::info!("shutting down: {} clients may be answered within {patience:?}", clients.len());
    let finish = async {
        // Handoffs that were sent before listening ended are ours: nobody else will answer them.
        loop {
            let room = open_files.room().await;
            let Some(peer) = accepting.accept_queued() else { break };
            clients.spawn(receive::serve(peer, room, shared.clone()));
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
