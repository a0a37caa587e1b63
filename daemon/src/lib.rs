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
//! | open the backend's answer | [`backend`] |
//! | send it, token by token, as events | [`relay`], [`sse`], [`client`] |
//! | close gently, write the log line | [`client`], [`access_log`] |
//!
//! [`server`] starts a task for each accepted connection and drains them at the end; [`stream`] is that task.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod backend;
pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod exec;
pub mod listener;
pub mod live;
pub mod logging;
pub mod open_files;
pub mod receive;
pub mod relay;
pub mod request;
pub mod server;
pub mod shutdown;
pub mod sse;
pub mod stream;
pub mod watched;

pub use config::Config;
pub use listener::Listener;
use listener::inherited::Inherited;
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
    /// The runtime cannot watch the socket.
    #[error("the socket cannot be watched: {0}")]
    Watch(#[from] std::io::Error),
}

/// Listens on the sockets that were `inherited`, else as `config` says, and answers handoffs until `shutdown` completes; then drains.
///
/// # Errors
/// [`StartError`]: nothing was served.
pub async fn run(
    config: Config,
    inherited: Vec<Inherited>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let listener = Listener::open(inherited, &config.server)?;
    serve(listener, config, shutdown).await
}
