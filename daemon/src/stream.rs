//! One stream, from the module's connection to the log line: the task of each handoff.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::access_log::Finished;
use crate::backend::{Opening, Refusal, Usage};
use crate::client::ClientConn;
use crate::client::framing::Framing;
use crate::client::head::{self, Fields};
use crate::config::{Config, Format};
use crate::limits::Admission;
use crate::open_files::Room;
use crate::outcome::{Failure, Limit, Outcome};
use crate::places::Place;
use crate::receive::Handoff;
use crate::relay::{self, End, Relay};
use crate::request::{BadRequest, Request};
use crate::server::Shared;

/// When to ask again a daemon that is full. Streams end all the time.
pub(crate) const RETRY_WHEN_FULL: Duration = Duration::from_secs(1);

/// When to ask again for somebody who has many streams already: their own have to end first.
const RETRY_AT_LIMIT: Duration = Duration::from_secs(5);

/// What is told of a stream in the end, and what its head needs. On the heap: it is touched at both ends only.
struct Story {
    time: SystemTime,
    started: Instant,
    client: Option<IpAddr>,
    user_id: Option<String>,
    fields: Fields,
    status: u16,
    first_token: Option<Duration>,
    answered: Option<Answered>,
}

/// What is told of a backend's answer in the end.
#[derive(Clone, Copy)]
struct Answered {
    /// Index in the daemon's backends.
    backend: usize,
    usage: Usage,
    /// Pieces that came.
    pieces: u64,
}

/// Answers a client. `place` is its own already, if it was let in before.
///
/// This future is what a silent stream keeps in memory. So futures that hold a timer, and are not the relay, are boxed.
// Not `async fn`, which would keep what it is given twice (https://github.com/rust-lang/rust/issues/62958).
#[allow(clippy::manual_async_fn)]
pub fn answer(
    handoff: Handoff,
    place: Option<Place>,
    room: Room,
    shared: Arc<Shared>,
) -> impl Future<Output = ()> + Send {
    async move {
        // Dropped with what was moved here: after the client.
        let _room = &room;
        let config = shared.config.get();
        let mut client = match ClientConn::adopt(handoff.client) {
            Ok(client) => client.with_half_close(config.server.half_close),
            Err(error) => {
                return tracing::warn!(reason = "adopt", "a client's connection cannot be used: {error}");
            }
        };
        let _connected = shared.metrics.connected();
        // The data is not kept beside what was understood of it.
        let request = Request::parse(&handoff.data).map(|mut request| {
            if let Some(envelope) = &handoff.envelope {
                request.protocol = envelope.protocol.as_str().map(str::to_owned);
            }
            request
        });
        drop(handoff.data);

        let mut story = Box::new(Story::new(&client));
        let begun = request
            .map_err(|wrong| bad_request(&wrong))
            .and_then(|request| Begun::new(request, place, &mut story, &shared, &config));
        // Both count until the connection is closed.
        let mut _counted = None;
        let mut end = match begun {
            Ok(begun) => {
                _counted = Some((begun.place, begun.admission));
                let how = (begun.framing, begun.format);
                let mut relay =
                    Relay::new(&mut client, begun.opening, how, &story.fields, &config, &shared.metrics);
                // One token a stream: whatever ends it early, ends everything it waits for.
                let end = relay.run(&shared.cancel.child_token()).await;
                story.first_token = relay.first_token();
                story.answered =
                    Some(Answered { backend: begun.backend, usage: relay.usage(), pieces: relay.pieces() });
                end
            }
            Err(end) => end,
        };
        story.status = if client.sent() > 0 { 200 } else { 0 };
        if let Some(refusal) = end.refusal.take() {
            story.status = refusal.status;
            end.outcome = refuse(&mut client, &refusal, end.outcome, &story.fields, &shared, &config).await;
        }
        story.tell(&end, &client, &shared);
        // A client that has gone has nothing left to read.
        if end.outcome != Outcome::ClientGone {
            Box::pin(client.close_gently(config.server.close_timeout)).await;
        }
    }
}

/// An answer that has been asked for.
struct Begun<'a> {
    place: Place,
    admission: Admission<'a>,
    backend: usize,
    opening: Opening<'a>,
    framing: Framing,
    format: Format,
}

impl<'a> Begun<'a> {
    /// Asks the backend, if the limits allow it.
    fn new(
        mut request: Request,
        place: Option<Place>,
        story: &mut Story,
        shared: &'a Shared,
        config: &Config,
    ) -> Result<Self, End> {
        story.fields.request_id = request.request_id.take();
        story.fields.headers = std::mem::take(&mut request.response_headers);
        story.user_id.clone_from(&request.user_id);
        let (index, backend) =
            shared.backends.choose(request.backend.as_deref()).map_err(|wrong| bad_request(&wrong))?;
        let place = match place {
            Some(place) => place,
            None => {
                shared.places.try_take(config.server.max_connections).ok_or_else(|| at_limit(Limit::Total))?
            }
        };
        let admission =
            shared.limits.admit(&config.server, story.user_id.as_deref(), story.client).map_err(at_limit)?;
        let opening = backend.open(&request, &config.backend).map_err(|wrong| bad_request(&wrong))?;
        shared.metrics.backend_asked();
        let framing = Framing::for_protocol(request.protocol.as_deref());
        let format = backend.format(request.format.unwrap_or(config.sse.format));
        Ok(Self { place, admission, backend: index, opening, framing, format })
    }
}

impl Story {
    fn new(client: &ClientConn) -> Self {
        Self {
            time: SystemTime::now(),
            started: Instant::now(),
            client: client.address(),
            user_id: None,
            fields: Fields::default(),
            status: 0,
            first_token: None,
            answered: None,
        }
    }

    /// Counts and logs how it ended.
    fn tell(&mut self, end: &End, client: &ClientConn, shared: &Shared) {
        let duration = self.started.elapsed();
        let request_id = self.fields.request_id.take();
        shared.metrics.finished(end.outcome, duration, request_id.as_deref());
        let answered = self.answered.take();
        if let Some(Answered { backend, usage, pieces }) = answered {
            shared.metrics.answered(backend, end.outcome, usage, pieces);
        }
        if let Some(first_token) = self.first_token {
            shared.metrics.first_token(first_token, request_id.as_deref());
        }
        let finished = Finished {
            time: self.time,
            client: self.client,
            request_id,
            user_id: self.user_id.take(),
            status: self.status,
            outcome: end.outcome,
            bytes: client.sent(),
            duration,
            first_token: self.first_token,
            backend: answered.map(|answered| shared.backends.all()[answered.backend].name.clone()),
            usage: answered.map(|answered| answered.usage).unwrap_or_default(),
        };
        log_end(&finished, end.cause.as_deref());
        shared.access_log.log(|| finished);
    }
}

fn bad_request(wrong: &BadRequest) -> End {
    let message = wrong.to_string();
    End::refused(Outcome::BadRequest, Refusal::new(400, message, Failure::BadRequest))
}

fn at_limit(limit: Limit) -> End {
    let (status, retry_after, message) = match limit {
        Limit::Total => (503, RETRY_WHEN_FULL, "all connections are in use; please ask again in a moment"),
        Limit::User => (429, RETRY_AT_LIMIT, "this user has as many streams as allowed; end one or wait"),
        Limit::Client => {
            (429, RETRY_AT_LIMIT, "this address has as many streams as allowed; end one or wait")
        }
    };
    let refusal = Refusal { retry_after: Some(retry_after), ..Refusal::new(status, message, Failure::Other) };
    End::refused(Outcome::Rejected(limit), refusal)
}

/// Sends a whole response instead of a stream.
async fn refuse(
    client: &mut ClientConn,
    refusal: &Refusal,
    outcome: Outcome,
    fields: &Fields,
    shared: &Shared,
    config: &Config,
) -> Outcome {
    let Refusal { status, message, retry_after, .. } = refusal;
    let response = head::refusal_with(*status, message, *retry_after, fields, SystemTime::now());
    let result = Box::pin(client.write(response.as_bytes(), config.server.write_timeout)).await;
    shared.metrics.sent(usize::try_from(client.sent()).unwrap_or_default(), 0);
    result.map_or_else(relay::outcome, |()| outcome)
}

/// One line says how it ended, and for one that failed where and why.
fn log_end(finished: &Finished, cause: Option<&str>) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                // Quoted and escaped by the formatter: these are foreign.
                request_id = finished.request_id.as_deref().unwrap_or("-"),
                user_id = finished.user_id.as_deref().unwrap_or("-"),
                outcome = finished.outcome.name(),
                at = finished.outcome.place(),
                cause,
                status = finished.status,
                bytes = finished.bytes,
                duration_ms = u64::try_from(finished.duration.as_millis()).unwrap_or(u64::MAX),
                "stream finished"
            )
        };
    }
    match finished.outcome {
        // The access log is the place for these.
        Outcome::Done => line!(debug),
        // What users do every day.
        Outcome::ClientGone => line!(info),
        _ => line!(warn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Peer;
    use crate::notify::Notifier;
    use crate::open_files::OpenFiles;
    use crate::receive;

    /// The task is what a silent stream costs, beside the answer and what kernel and runtime keep.
    #[tokio::test]
    async fn the_task_of_a_stream_stays_small() {
        let shared = Arc::new(Shared::new(Config::default(), Notifier::default()).unwrap());
        let room = OpenFiles::new().unwrap().room().await;
        let connection = std::fs::File::open("/dev/null").unwrap().into();
        let peer = Peer { connection, socket_type: handoff_protocol::SocketType::SeqPacket };
        let size = size_of_val(&receive::serve(peer, room, shared));
        assert!(size <= 1024, "{size} bytes");
    }
}
