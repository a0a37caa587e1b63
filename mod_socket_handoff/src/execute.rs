//! Carrying out a handoff, in an order in which everything that can fail comes before the message is sent.

use handoff_protocol::scm::{self, Wait};
use handoff_protocol::v2::Outgoing;
use handoff_protocol::{SocketType, v1};
use rustix::io::Errno;

use crate::config::{Daemon, Protocol, ServerConfig, User};
use crate::connect::{self, DaemonConnection, block_for, check_user, connect_below};
use crate::dead_socket;
use crate::drain::{self, drain};
use crate::envelope;
use crate::exchange::{self, TakenBy, Targets};
use crate::httpd::{Level, Request};
use crate::plan::HandOff;
use crate::refusal::Refusal;

/// Passes the client's connection to the daemon, or to one of its fallbacks. After `Ok` the client is that daemon's, and
/// Apache holds a dead socket in its place.
///
/// # Errors
/// A [`Refusal`]; the client then still is Apache's, untouched.
pub(crate) fn hand_off<'r>(
    request: Request<'r>,
    handoff: HandOff<'_>,
    config: &'r ServerConfig,
) -> Result<TakenBy<'r>, Refusal> {
    let dead = dead_socket::get().ok_or(Refusal::NoDeadSocket)?;
    let connection = request.connection();

    // The client must get the answers to its requests in their order. And it must be done with sending before there is
    // a connection to the daemon: a slow client would hold that one idle.
    if connection.has_unsent_output() {
        request.flush_connection().map_err(|()| Refusal::EarlierResponse)?;
    }
    drain(request, drain::Limits { bytes: config.drain_bytes(), timeout: config.drain_timeout() })?;

    let taken_by = match config.daemon(handoff.socket) {
        Some(daemon) if daemon.protocol() == Protocol::Two => {
            offer(request, handoff, Targets { config, daemon })?
        }
        declared => give(request, handoff, config, declared.and_then(Daemon::user))?,
    };

    // From here on nothing may fail: the daemon has the client.
    connection.close_after_this_request();
    match connection.swap_client_socket(dead) {
        Ok(()) => request.do_not_linger(),
        Err(errno) => request.log(
            Level::Error,
            format_args!("the client's socket could not be swapped after the handoff: {errno}"),
        ),
    }
    Ok(taken_by)
}

/// By protocol 2: the client is the daemon's when it says so.
fn offer<'r>(
    request: Request<'r>,
    handoff: HandOff<'_>,
    targets: Targets<'r>,
) -> Result<TakenBy<'r>, Refusal> {
    /// Room for what browsers and applications usually send.
    const USUAL_ENVELOPE: usize = 2048;
    let mut envelope = Vec::with_capacity(USUAL_ENVELOPE);
    envelope::write(request, &mut envelope);
    let pre_read = request.connection().pre_read();
    let message = Outgoing::new(&envelope, handoff.data, &pre_read).map_err(|errno| match errno {
        Errno::FBIG => Refusal::DataTooLarge(handoff.data.len()),
        errno => Refusal::NoMemoryFile(errno),
    })?;
    let client = || request.connection().client_socket();
    exchange::offer(targets, &message, client, |failure, fallback| {
        request.log(
            Level::Warning,
            format_args!("{failure}; the client is offered to the fallback {fallback:?}"),
        );
    })
}

/// By protocol 1: with the message the client is the daemon's.
fn give<'r>(
    request: Request<'r>,
    handoff: HandOff<'_>,
    config: &ServerConfig,
    user: Option<&User>,
) -> Result<TakenBy<'r>, Refusal> {
    let limits = connect::Limits { timeout: config.connect_timeout(), retries: config.max_retries() };
    let daemon = connect_below(config.allowed_prefix(), handoff.socket, Protocol::One, limits)?;
    if let Some(user) = user {
        check_user(&daemon.socket, handoff.socket, user)?;
    }
    let message = v1::encode(handoff.data);
    check_size(&daemon, message)?;
    send(request, &daemon, message, handoff, config)?;
    Ok(TakenBy::Named)
}

/// Refuses what one `sendmsg` cannot take as a whole on a stream socket: the client's descriptor travels with the first
/// byte, and the rest could not be sent later without a worker. A SEQPACKET socket says so by itself (EMSGSIZE).
fn check_size(daemon: &DaemonConnection, message: &[u8]) -> Result<(), Refusal> {
    /// Every system's send buffer has room for this much.
    const ALWAYS_FITS: usize = 64 * 1024;
    if daemon.kind == SocketType::Stream && message.len() > ALWAYS_FITS {
        let room = rustix::net::sockopt::socket_send_buffer_size(&daemon.socket).unwrap_or(ALWAYS_FITS);
        if message.len() > room {
            return Err(Refusal::DataTooLarge(message.len()));
        }
    }
    Ok(())
}

fn send(
    request: Request<'_>,
    daemon: &DaemonConnection,
    message: &[u8],
    handoff: HandOff<'_>,
    config: &ServerConfig,
) -> Result<(), Refusal> {
    // An ungraceful stop closes the workers' sockets from another thread: look at the last moment.
    let client = || request.connection().client_socket().ok_or(Refusal::ConnectionEnding);
    let sent = match scm::send(&daemon.socket, message, client()?, Wait::No) {
        Err(Errno::AGAIN) => {
            let _ = block_for(&daemon.socket, config.send_timeout());
            scm::send(&daemon.socket, message, client()?, Wait::Yes)
        }
        result => result,
    };
    let path = || handoff.socket.to_owned();
    match sent {
        Ok(bytes) => {
            if bytes < message.len() {
                let whole = message.len();
                request.log(Level::Error, format_args!(
                    "the daemon at {:?} got only {bytes} of {whole} bytes of handoff data, and the client with them",
                    handoff.socket
                ));
            }
            Ok(())
        }
        Err(Errno::MSGSIZE) => Err(Refusal::DataTooLarge(handoff.data.len())),
        Err(Errno::AGAIN) => Err(Refusal::SendTimeout { path: path(), timeout: config.send_timeout() }),
        Err(Errno::BADF) => Err(Refusal::ConnectionEnding),
        Err(errno) => Err(Refusal::DaemonFailed { path: path(), errno }),
    }
}
