//! Accepts handoffs, a task for each, and drains them at the end.

use std::sync::Arc;
use std::time::Duration;

use handoff_protocol::v2::Answer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::access_log::{self, AccessLog};
use crate::backend::Backends;
use crate::config::Config;
use crate::limits::Limits;
use crate::listener::{Accepting, Listener, REST_AFTER_FAILED_ACCEPT};
use crate::live::Live;
use crate::logging::Seldom;
use crate::metrics::{Metrics, endpoint};
use crate::notify::Notifier;
use crate::open_files::{OpenFiles, Room};
use crate::outcome::Limit;
use crate::places::{Place, Places};
use crate::receive::{self, Event, Handoff, Host, Rules};
use crate::{StartError, stream};

/// After the streams were told to end: how long the last of them may take, beyond the gentle close.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// How long the last lines of the access log may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What all streams share.
pub struct Shared {
    /// The settings of the moment.
    pub config: Live,
    /// Who answers.
    pub backends: Backends,
    /// The connections that are being answered.
    pub places: Places,
    /// Who may have another stream.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Metrics,
    /// Where finished streams are told of.
    pub access_log: AccessLog,
    /// The tasks of all connections, those too that have sent nothing yet.
    pub streams: TaskTracker,
    /// The way to systemd.
    pub notify: Notifier,
    /// The parent of every stream's token: cancelled when the shutdown deadline is over.
    pub cancel: CancellationToken,
    /// Cancelled when no more handoffs are taken.
    draining: CancellationToken,
}

impl Shared {
    /// For a daemon that begins.
    ///
    /// # Errors
    /// The access log cannot be opened.
    pub fn new(config: Config, notify: Notifier) -> Result<Self, access_log::OpenError> {
        let backends = Backends::new(&config.backend);
        Ok(Self {
            places: Places::default(),
            limits: Limits::default(),
            metrics: Metrics::new(&backends),
            backends,
            access_log: AccessLog::open(&config.logging)?,
            draining: CancellationToken::new(),
            streams: TaskTracker::new(),
            notify,
            cancel: CancellationToken::new(),
            config: Live::new(config),
        })
    }

    /// Whether the daemon accepts no more handoffs.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// How many streams there are, for people.
    #[must_use]
    pub fn status(&self) -> String {
        let draining = if self.is_draining() { ", shutting down" } else { "" };
        format!("{} streams{draining}", self.places.taken())
    }

    /// From now on these settings, for streams that begin later.
    pub fn apply(&self, config: Config) {
        self.config.replace(config);
    }

    /// Opens those logs anew that are files, after somebody has moved them away.
    pub fn reopen_logs(&self) {
        self.access_log.reopen();
    }
}

impl Host for Shared {
    type Place = Place;

    fn rules(&self) -> Rules {
        let server = &self.config.get().server;
        Rules { handoff_timeout: server.handoff_timeout, idle: receive::IDLE, payload: server.max_payload }
    }

    fn allows(&self, uid: u32) -> bool {
        self.config.get().server.allowed_users.allows(uid)
    }

    fn place(&self) -> Result<Place, Answer> {
        self.places.try_take(self.config.get().server.max_connections).ok_or_else(|| {
            self.metrics.rejected(Limit::Total);
            let reason = "all connections are in use".to_owned();
            Answer::Busy { retry_after: stream::RETRY_WHEN_FULL, reason }
        })
    }

    fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    fn tasks(&self) -> &TaskTracker {
        &self.streams
    }

    fn count(&self, event: Event<'_>) {
        self.metrics.handoff(&event);
    }

    fn answer(
        self: Arc<Self>,
        handoff: Handoff,
        place: Option<Place>,
        room: Room,
    ) -> impl Future<Output = ()> + Send {
        stream::answer(handoff, place, room, self)
    }
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
    answer(listener, Arc::new(Shared::new(config, Notifier::default())?), shutdown).await
}

/// [`serve`] with what was made before.
///
/// # Errors
/// [`StartError`]: nothing was served.
pub async fn answer(
    listener: Listener,
    shared: Arc<Shared>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let open_files = OpenFiles::new()?;
    let config = shared.config.get();
    open_files.tell(config.server.max_connections);
    let sockets = listener.to_string();
    let accepting = listener.start()?;
    tracing::info!("listening on {sockets}");
    shared.notify.ready(&format!("listening on {sockets}"));
    // Counting costs little; a measurement wants to be without the rest.
    let metrics = (config.metrics.enabled && !config.benchmark).then_some(config.metrics.listen_addr);
    let _endpoint =
        metrics.map(|address| AbortOnDropHandle::new(tokio::spawn(endpoint::serve(address, shared.clone()))));

    // A task like the streams: what `block_on` runs has a thread of its own, and each handoff would have to wake that one,
    // and it another for the stream.
    let stop = CancellationToken::new();
    let accept = accept(accepting, open_files.clone(), shared.clone(), stop.clone());
    let accept = AbortOnDropHandle::new(tokio::spawn(accept));
    let stop_at_shutdown = async {
        shutdown.await;
        stop.cancel();
        std::future::pending().await
    };
    let mut accepting = tokio::select! {
        result = accept => result.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic())),
        accepting = stop_at_shutdown => accepting,
    };
    drain(&mut accepting, &open_files, &shared).await;
    shared.access_log.flush(LAST_LINES).await;
    if config.benchmark {
        println!("{}", shared.metrics.summary());
    }
    Ok(())
}

/// Starts a task for each handoff, until `stop`.
async fn accept(
    mut accepting: Accepting,
    open_files: OpenFiles,
    shared: Arc<Shared>,
    stop: CancellationToken,
) -> Accepting {
    let (short, failed) = (Seldom::new(), Seldom::new());
    loop {
        if open_files.exhausted() && short.is_due() {
            tracing::warn!("at the limit of open files: handoffs wait until streams end; raise LimitNOFILE");
        }
        let Some(room) = stop.run_until_cancelled(open_files.room()).await else { break };
        match stop.run_until_cancelled(accepting.accept()).await {
            Some(Ok(peer)) => {
                shared.streams.spawn(receive::serve(peer, room, shared.clone()));
            }
            Some(Err(errno)) => {
                if failed.is_due() {
                    tracing::warn!("accepting handoffs failed: {errno}");
                }
                tokio::time::sleep(REST_AFTER_FAILED_ACCEPT).await;
            }
            None => break,
        }
    }
    accepting
}

async fn drain(accepting: &mut Accepting, open_files: &OpenFiles, shared: &Arc<Shared>) {
    let config = shared.config.get();
    let server = &config.server;
    let streams = &shared.streams;
    accepting.stop();
    shared.draining.cancel();
    shared.notify.stopping("shutting down: streams may finish");
    tracing::info!(
        "shutting down: {} streams may finish within {:?}; a second signal ends them",
        shared.metrics.active(),
        server.shutdown_timeout
    );
    let finish = async {
        // Handoffs that were sent before listening ended are ours: nobody else will answer them.
        loop {
            let room = open_files.room().await;
            let Some(peer) = accepting.accept_queued() else { break };
            streams.spawn(receive::serve(peer, room, shared.clone()));
        }
        streams.close();
        streams.wait().await;
    };
    if tokio::time::timeout(server.shutdown_timeout, finish).await.is_err() {
        tracing::warn!("the shutdown deadline is over; ending {} streams", shared.metrics.active());
        streams.close();
        shared.cancel.cancel();
        // Each write and the gentle close have their own ends; what is still open then is cut.
        let _ = tokio::time::timeout(server.close_timeout + LAST_WRITES, streams.wait()).await;
    }
    tracing::info!("ended");
}
