//! HTTP/2 (RFC 9113): one task a connection, one a stream.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Request, Response, Version};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::wire::{Tampering, Wire};
use super::{LONGEST_BODY, Transport};
use crate::answer::{Answer, Step};
use crate::frames::{MAX_CONCURRENT_STREAMS, NO_ERROR, go_away, settings};
use crate::state::{Counted, RecordedRequest, State};

/// What a stream may hold that the connection has not sent yet: a client that does not read must not fill our memory.
const SEND_BUFFER: usize = 64 << 10;

/// How much of a request's body may be under way.
const WINDOW: u32 = 1 << 20;

/// A stream that the client began, or the connection's end.
type Accepted = Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>;

/// What streams ask of their connection.
enum Order {
    /// Told when all that was sent before has been handed to the socket, as far as that takes it.
    Flushed(oneshot::Sender<()>),
    Cut {
        reset: bool,
    },
    GoAway,
    /// GOAWAY with a last stream below this one.
    GoAwayBelow(u32),
    MaxStreams(u32),
}

/// Answers streams until the connection ends.
pub(super) async fn serve<T: Transport>(
    transport: T,
    read: BytesMut,
    state: Arc<State>,
    number: usize,
) -> io::Result<()> {
    let mut builder = h2::server::Builder::new();
    builder
        .max_send_buffer_size(SEND_BUFFER)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(16 << 20);
    // Clients that cancel a great many streams at once are what some tests are about.
    builder.max_concurrent_reset_streams(10_000).max_pending_accept_reset_streams(10_000);
    if let Some(limit) = state.settings.max_concurrent_streams {
        builder.max_concurrent_streams(limit);
    }
    let tampering = Arc::new(Tampering::default());
    let wire = Wire::new(transport, read, Arc::clone(&tampering));
    let mut connection = builder.handshake::<_, Bytes>(wire).await.map_err(io::Error::other)?;
    let (sender, mut orders) = mpsc::unbounded_channel();
    let accept = |accepted: Option<Accepted>| {
        let Some(accepted) = accepted else { return Ok(false) };
        let (request, respond) = accepted.map_err(io::Error::other)?;
        let stream = Stream { respond, body: None, orders: sender.clone() };
        tokio::spawn(serve_stream(request, stream, Arc::clone(&state), number));
        Ok::<_, io::Error>(true)
    };
    loop {
        let order = tokio::select! {
            accepted = connection.accept() => match accept(accepted)? {
                true => continue,
                false => return Ok(()),
            },
            Some(order) = orders.recv() => order,
        };
        // What the stream sent before its order goes out before it: accepting is what makes the connection write.
        loop {
            tokio::select! {
                biased;
                accepted = connection.accept() => if !accept(accepted)? {
                    return Ok(());
                },
                () = std::future::ready(()) => break,
            }
        }
        match order {
            // Whoever asked may have gone.
            Order::Flushed(done) => drop(done.send(())),
            Order::Cut { reset } => {
                tampering.cut(reset);
                return Ok(());
            }
            Order::GoAway => connection.graceful_shutdown(),
            Order::GoAwayBelow(stream) => tampering.inject(&go_away(stream.saturating_sub(2), NO_ERROR)),
            Order::MaxStreams(limit) => {
                tampering.replace_settings(settings(&[(MAX_CONCURRENT_STREAMS, limit)]));
                connection.set_initial_window_size(WINDOW).map_err(io::Error::other)?;
            }
        }
    }
}

/// Why a stream ended before its answer did.
enum Ended {
    /// RST_STREAM by the client.
    Reset(h2::Reason),
    /// The connection is broken.
    Broken,
    /// As planned.
    Cut,
}

async fn serve_stream(request: Request<RecvStream>, mut stream: Stream, state: Arc<State>, number: usize) {
    let counted = Counted::stream(&state);
    let ended = match read(request, number).await {
        Some(request) => stream.answer(&state.answer(&request)).await,
        None => Err(stream.gone().await),
    };
    if let Err(Ended::Reset(code)) = ended {
        state.reset_by_client(code.into());
    }
    state.add(if matches!(ended, Ok(()) | Err(Ended::Cut)) { &state.completed } else { &state.cancelled });
    drop(counted);
}

/// The request with its whole body.
async fn read(request: Request<RecvStream>, connection: usize) -> Option<RecordedRequest> {
    let (head, mut stream) = request.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data.ok()?;
        stream.flow_control().release_capacity(data.len()).ok()?;
        body.extend_from_slice(&data);
        if body.len() > LONGEST_BODY {
            return None;
        }
    }
    let mut headers = head.headers;
    if let Some(host) = head.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        headers.entry("host").or_insert(host);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).into();
    Some(RecordedRequest {
        method: head.method,
        path,
        headers,
        body: body.freeze(),
        version: Version::HTTP_2,
        connection,
    })
}

struct Stream {
    respond: SendResponse<Bytes>,
    /// From the head on.
    body: Option<SendStream<Bytes>>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Stream {
    async fn answer(&mut self, answer: &Answer) -> Result<(), Ended> {
        let mut now = Instant::now();
        for step in answer.before.iter() {
            self.step(step, &mut now).await?;
        }
        let mut head = Response::builder().status(answer.head.status);
        for (name, value) in &answer.head.fields {
            head = head.header(*name, value);
        }
        if let Some(length) = answer.length() {
            head = head.header("content-length", length);
        }
        let head = head.body(()).map_err(|_| Ended::Broken)?;
        self.body = Some(self.respond.send_response(head, false).map_err(|_| Ended::Broken)?);
        for step in answer.steps.iter() {
            self.step(step, &mut now).await?;
        }
        match &mut self.body {
            Some(body) => body.send_data(Bytes::new(), true).map_err(|_| Ended::Broken),
            None => Ok(()),
        }
    }

    async fn step(&mut self, step: &Step, now: &mut Instant) -> Result<(), Ended> {
        match step {
            Step::Send(piece) => return self.send(piece.clone()).await,
            Step::Wait(time) => {
                *now += *time;
                tokio::select! {
                    ended = self.gone() => return Err(ended),
                    () = sleep_until(*now) => {}
                }
            }
            Step::Stall => return Err(self.gone().await),
            Step::Cut { reset } => {
                self.order(Order::Cut { reset: *reset })?;
                // Dropped earlier, the stream would be reset, and what it has sent taken back.
                self.orders.closed().await;
                return Err(Ended::Cut);
            }
            Step::Reset(code) => {
                // A reset takes back what has not been sent.
                self.flushed().await?;
                let code = (*code).into();
                match &mut self.body {
                    Some(body) => body.send_reset(code),
                    None => self.respond.send_reset(code),
                }
                return Err(Ended::Cut);
            }
            Step::GoAway => self.order(Order::GoAway)?,
            Step::GoAwayBelow => self.order(Order::GoAwayBelow(self.respond.stream_id().as_u32()))?,
            Step::MaxStreams(limit) => self.order(Order::MaxStreams(*limit))?,
        }
        Ok(())
    }

    /// Sends as fast as the client's windows allow.
    async fn send(&mut self, mut piece: Bytes) -> Result<(), Ended> {
        let Some(body) = &mut self.body else { return Ok(()) };
        while !piece.is_empty() {
            body.reserve_capacity(piece.len());
            let mut capacity = body.capacity();
            while capacity == 0 {
                match poll_fn(|context| body.poll_capacity(context)).await {
                    Some(Ok(_)) => capacity = body.capacity(),
                    _ => return Err(self.gone().await),
                }
            }
            let part = piece.split_to(capacity.min(piece.len()));
            body.send_data(part, false).map_err(|_| Ended::Broken)?;
        }
        Ok(())
    }

    fn order(&self, order: Order) -> Result<(), Ended> {
        self.orders.send(order).map_err(|_| Ended::Broken)
    }

    async fn flushed(&self) -> Result<(), Ended> {
        let (done, flushed) = oneshot::channel();
        self.order(Order::Flushed(done))?;
        flushed.await.map_err(|_| Ended::Broken)
    }

    /// Waits until the client does not want the stream any more.
    async fn gone(&mut self) -> Ended {
        let ended = poll_fn(|context| match &mut self.body {
            Some(body) => body.poll_reset(context),
            None => self.respond.poll_reset(context),
        });
        match ended.await {
            Ok(reason) => Ended::Reset(reason),
            Err(error) => error.reason().filter(|_| error.is_reset()).map_or(Ended::Broken, Ended::Reset),
        }
    }
}
