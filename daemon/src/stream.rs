//! One stream, from the module's connection to the log line: the task of each handoff.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use handoff_protocol::v1::ReceiveError;
use tokio_util::sync::CancellationToken;

use crate::access_log::{Finished, Outcome};
use crate::backend::{BoxAnswer, Opening, Refusal};
use crate::client::head::{self, Framing};
use crate::client::{ClientConn, WriteError};
use crate::config::Config;
use crate::listener::Peer;
use crate::open_files::Room;
use crate::receive::{self, Failure};
use crate::relay;
use crate::request::Request;
use crate::server::Shared;

/// When to ask again a daemon that is full. Streams end all the time.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(1);

/// Receives a handoff from `peer` and answers it.
///
/// This future is what a silent stream keeps in memory. So futures that hold a timer, and are not the relay, are boxed.
pub async fn serve(peer: Peer, mut room: Room, shared: Arc<Shared>) {
    let config = shared.config.get();
    let handoff = match receive::receive(peer, config.server.handoff_timeout).await {
        Ok(handoff) => handoff,
        Err(failure) => return log_failure(&failure),
    };
    room.one_closed();
    let started = Instant::now();
    let mut client = match ClientConn::adopt(handoff.client) {
        Ok(client) => client,
        Err(error) => {
            return tracing::warn!(reason = "adopt", "a client's connection cannot be used: {error}");
        }
    };
    // The data is not kept beside what was understood of it.
    let request = Request::parse(&handoff.data);
    drop(handoff.data);

    let (request_id, user_id) = match &request {
        Ok(request) => (request.request_id.clone(), request.user_id.clone()),
        Err(_) => (None, None),
    };
    // One token a stream: whatever ends it early, ends everything it waits for.
    let cancel = shared.cancel.child_token();
    // Counts until the connection is closed.
    let place = shared.places.try_take(config.server.max_connections);
    let outcome = match request {
        Err(wrong) => {
            tracing::warn!(reason = "bad_request", "{wrong}");
            let refusal = Refusal { status: 400, message: wrong.to_string(), retry_after: None };
            refuse(&mut client, &refusal, Outcome::BadRequest, &config).await
        }
        Ok(_) if place.is_none() => {
            let message = "all connections are in use; please ask again in a moment".to_owned();
            let refusal = Refusal { status: 503, message, retry_after: Some(RETRY_WHEN_FULL) };
            refuse(&mut client, &refusal, Outcome::AtCapacity, &config).await
        }
        Ok(request) => {
            let framing = Framing::for_protocol(request.protocol.as_deref());
            answer(&mut client, shared.backend.open(request, &config.backend), framing, &config, &cancel)
                .await
        }
    };

    let finished = Finished {
        request_id,
        user_id,
        outcome,
        bytes: client.sent(),
        started,
        first_byte: client.first_byte(),
        duration: started.elapsed(),
    };
    // A client that has gone has nothing left to read.
    if outcome != Outcome::ClientGone {
        Box::pin(client.close_gently(config.server.close_timeout)).await;
    }
    finished.log();
}

/// Waits for the backend and relays its answer.
async fn answer(
    client: &mut ClientConn,
    opening: Opening<'_>,
    framing: Framing,
    config: &Config,
    cancel: &CancellationToken,
) -> Outcome {
    match open(client, opening, cancel).await {
        Ok(answer) => relay::relay(client, answer, framing, config.server.write_timeout, cancel).await,
        Err(NoAnswer::ClientGone) => Outcome::ClientGone,
        Err(NoAnswer::Refused(refusal, outcome)) => refuse(client, &refusal, outcome, config).await,
    }
}

/// Why there is nothing to relay.
enum NoAnswer {
    ClientGone,
    Refused(Refusal, Outcome),
}

/// Waits for the backend, and for the client to go, and for the shutdown.
async fn open(
    client: &mut ClientConn,
    opening: Opening<'_>,
    cancel: &CancellationToken,
) -> Result<BoxAnswer, NoAnswer> {
    tokio::select! {
        biased;
        () = std::future::poll_fn(|context| client.poll_gone(context)) => Err(NoAnswer::ClientGone),
        result = opening => result.map_err(|refusal| NoAnswer::Refused(refusal, Outcome::Refused)),
        () = cancel.cancelled() => {
            let message = "the server is shutting down; please ask again".to_owned();
            let refusal = Refusal { status: 503, message, retry_after: Some(RETRY_WHEN_FULL) };
            Err(NoAnswer::Refused(refusal, Outcome::Shutdown))
        }
    }
}

/// Sends a whole response instead of a stream.
async fn refuse(client: &mut ClientConn, refusal: &Refusal, outcome: Outcome, config: &Config) -> Outcome {
    let response = head::refusal(refusal.status, &refusal.message, refusal.retry_after, SystemTime::now());
    match Box::pin(client.write(response.as_bytes(), config.server.write_timeout)).await {
        Ok(()) => outcome,
        Err(WriteError::Gone) => Outcome::ClientGone,
        Err(WriteError::Deadline) => Outcome::WriteTimeout,
    }
}

fn log_failure(failure: &Failure) {
    match failure {
        // A health check, or another daemon that looks whether this one lives.
        Failure::Message(ReceiveError::Empty) => tracing::debug!(reason = failure.reason(), "{failure}"),
        _ => tracing::warn!(reason = failure.reason(), "no handoff: {failure}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Notifier;
    use crate::open_files::OpenFiles;

    /// The task is what a silent stream costs, beside the answer and what kernel and runtime keep.
    #[tokio::test]
    async fn the_task_of_a_stream_stays_small() {
        let shared = Arc::new(Shared::new(Config::default(), Notifier::default()));
        let room = OpenFiles::new().unwrap().room().await;
        let connection = std::fs::File::open("/dev/null").unwrap().into();
        let peer = Peer { connection, socket_type: handoff_protocol::SocketType::SeqPacket };
        let size = size_of_val(&serve(peer, room, shared));
        assert!(size <= 1024, "{size} bytes");
    }
}
