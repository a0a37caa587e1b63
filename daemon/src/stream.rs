//! One stream, from the module's connection to the log line: the task of each handoff.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use handoff_protocol::v2::Envelope;

use crate::access_log::{Asked, Finished};
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
    asked: Option<Box<Asked>>,
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
        let (mut story, begun) = begin(&client, handoff.data, handoff.envelope, place, &shared, &config);
        // Both count until the connection is closed.
        let mut _counted = None;
        let mut end = match begun {
            Ok(Begun { place, admission, opening: None, framing, .. }) => {
                _counted = Some((place, admission));
                Box::pin(send_head(&mut client, framing, &story.fields, &shared, &config)).await
            }
            Ok(Begun { place, admission, backend, opening: Some(opening), framing, format }) => {
                _counted = Some((place, admission));
                let how = (framing, format);
                let mut relay =
                    Relay::new(&mut client, opening, how, &story.fields, &config, &shared.metrics);
                // One token a stream: whatever ends it early, ends everything it waits for.
                let end = relay.run(&shared.cancel.child_token()).await;
                story.first_token = relay.first_token();
                story.answered = Some(Answered { backend, usage: relay.usage(), pieces: relay.pieces() });
                end
            }
            Err(end) => end,
        };
        story.status = if client.sent() > 0 { story.fields.status() } else { 0 };
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

/// Understands what was handed over, and keeps no more of it than is told in the end. A function of its own, since the
/// stream's future would keep the room for all that is borrowed on the way.
fn begin<'a>(
    client: &ClientConn,
    data: Vec<u8>,
    envelope: Option<Box<Envelope>>,
    place: Option<Place>,
    shared: &'a Shared,
    config: &Config,
) -> (Box<Story>, Result<Begun<'a>, End>) {
    let mut request = Request::of(&data, envelope.as_deref());
    let has_data = !data.is_empty();
    drop(data);
    let logged = shared.access_log.is_on();
    let mut story = Box::new(Story::new(client, &mut request, envelope.as_deref(), logged));
    let begun = request
        .map_err(|wrong| bad_request(&wrong))
        .and_then(|request| Begun::new(&request, has_data, place, &mut story, shared, config));
    (story, begun)
}

/// An answer that has been asked for.
struct Begun<'a> {
    place: Place,
    admission: Admission<'a>,
    backend: usize,
    /// None: the client wants no more than the head, and nobody was asked.
    opening: Option<Opening<'a>>,
    framing: Framing,
    format: Format,
}

impl<'a> Begun<'a> {
    /// Asks the backend, if the limits allow it.
    fn new(
        request: &Request,
        has_data: bool,
        place: Option<Place>,
        story: &mut Story,
        shared: &'a Shared,
        config: &Config,
    ) -> Result<Self, End> {
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
        let head_only = story.fields.head_only;
        // PHP prints no body for HEAD. Where that is the data there is none, and nothing to find fault with.
        let opening = if head_only && !has_data {
            None
        } else {
            let opening = backend.open(request, &config.backend).map_err(|wrong| bad_request(&wrong))?;
            // One that is dropped has asked nobody.
            (!head_only).then_some(opening)
        };
        if opening.is_some() {
            shared.metrics.backend_asked();
        }
        let framing = Framing::for_protocol(request.protocol.as_deref());
        let format = backend.format(request.format.unwrap_or(config.sse.format));
        Ok(Self { place, admission, backend: index, opening, framing, format })
    }
}

impl Story {
    /// `logged`: a line of the access log will tell it.
    fn new(
        client: &ClientConn,
        request: &mut Result<Request, BadRequest>,
        envelope: Option<&Envelope>,
        logged: bool,
    ) -> Self {
        let (headers, request_id) = match request {
            Ok(request) => (std::mem::take(&mut request.response_headers), request.request_id.take()),
            Err(_) => Default::default(),
        };
        let told = envelope.and_then(|told| told.useragent.or(told.client.map(|client| client.ip())));
        Self {
            time: SystemTime::now(),
            started: Instant::now(),
            client: told.map(|address| address.to_canonical()).or_else(|| client.address()),
            asked: envelope.filter(|_| logged).map(|envelope| Box::new(Asked::of(envelope))),
            user_id: None,
            fields: Fields::new(headers, request_id, envelope),
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
            asked: self.asked.take(),
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

/// Sends the head that a stream would have, to a client that has asked for no more.
async fn send_head(
    client: &mut ClientConn,
    framing: Framing,
    fields: &Fields,
    shared: &Shared,
    config: &Config,
) -> End {
    let head = head::event_stream(framing, fields, SystemTime::now());
    let result = client.write(&head, config.server.write_timeout).await;
    shared.metrics.sent(usize::try_from(client.sent()).unwrap_or_default(), 0);
    result.map_or_else(relay::outcome, |()| Outcome::Done).into()
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
    let response = head::refusal(*status, message, *retry_after, fields, SystemTime::now());
    let result = Box::pin(client.write(&response, config.server.write_timeout)).await;
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
