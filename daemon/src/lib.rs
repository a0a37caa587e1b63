//! A daemon that takes over client connections from Apache (`mod_socket_handoff`) and answers them with Server-Sent
//! Events.
//!
//! The way of one handoff, and the room where each step lives:
//!
//! | step | room |
//! |---|---|
//! | accept a connection of the module | [`listener`], [`open_files`] |
//! | receive the client's socket and the handoff data, within a deadline | [`receive`] |
//! | understand the handoff data | [`request`] |
//! | look whether there may be another stream | [`places`], [`limits`] |
//! | open the backend's answer | [`backend`] |
//! | send it, token by token, as events | [`relay`], [`events`], [`client`] |
//! | count and log how it ended, close gently | [`outcome`], [`metrics`], [`access_log`], [`client`] |
//!
//! [`server`] starts a task for each accepted connection and drains them at the end; [`stream`] is that task.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod admin;
pub mod backend;
pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod events;
pub mod exec;
pub mod limits;
pub mod listener;
pub mod live;
pub mod logging;
pub mod metrics;
pub mod names;
pub mod notify;
pub mod open_files;
pub mod outcome;
pub mod places;
pub mod receive;
pub mod relay;
pub mod reload;
pub mod request;
pub mod server;
pub mod shutdown;
pub mod stream;
pub mod watched;

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

pub use config::Config;
use config::{Loaded, Sources};
pub use listener::Listener;
use listener::inherited::Inherited;
use logging::Log;
use notify::Notifier;
use server::Shared;
pub use server::serve;

/// Why the daemon could not start. Each message names a cure.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The Unix socket could not be made.
    #[error(transparent)]
    Socket(#[from] listener::BindError),
    /// The limit of open files leaves no room for streams.
    #[error(transparent)]
    OpenFiles(#[from] open_files::TooFew),
    /// The access log cannot be opened.
    #[error(transparent)]
    AccessLog(#[from] access_log::OpenError),
    /// The runtime cannot watch the sockets or the signals.
    #[error("the sockets or signals cannot be watched: {0}")]
    Watch(#[from] std::io::Error),
}

/// Listens on the sockets that were `inherited`, else as the configuration says, and answers handoffs until `shutdown`
/// completes; then drains. At SIGHUP `sources` are read again.
///
/// # Errors
/// [`StartError`]: nothing was served.
pub async fn run(
    loaded: Loaded,
    inherited: Vec<Inherited>,
    sources: &Sources,
    log: &Log,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    // First: until it is there, SIGHUP ends the process.
    let mut hangup = signal(SignalKind::hangup())?;
    let listener = Listener::open(inherited, &loaded.config.server)?;
    let shared = Arc::new(Shared::new(loaded.config, Notifier::from_environment())?);
    let admin = match &shared.config.get().server.admin_socket_path {
        Some(path) => Some(admin::bind(path)?),
        None => None,
    };
    let answer_admin = async {
        match admin {
            Some(listener) => admin::serve(listener, &shared).await,
            None => std::future::pending().await,
        }
    };
    let reload_at_hangup = async {
        while hangup.recv().await.is_some() {
            reload::reload(&shared, sources, log);
        }
    };
    tokio::select! {
        result = server::answer(listener, shared.clone(), shutdown) => result,
        result = answer_admin => Ok(result?),
        // These two never end.
        () = reload_at_hangup => Ok(()),
        () = shared.notify.keep_alive(|| shared.status()) => Ok(()),
    }
}
