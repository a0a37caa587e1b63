//! HTTP/2 (RFC 9113): one task a connection, one a stream.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Request, Response, Version};
use tokio::time::{Instant, sleep_until};

use super::wire::Wire;
use super::{LONGEST_BODY, Transport};
use crate::answer::{Answer, Step};
use crate::state::{Counted, RecordedRequest, State};

/// What a stream may hold that the connection has not sent yet: a client that does not read must not fill our memory.
const SEND_BUFFER: usize = 64 << 10;

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
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20);
    // Clients that cancel a great many streams at once are what some tests are about.
    builder.max_concurrent_reset_streams(10_000).max_pending_accept_reset_streams(10_000);
    if let Some(limit) = state.settings.max_concurrent_streams {
        builder.max_concurrent_streams(limit);
    }
    let mut connection =
        builder.handshake::<_, Bytes>(Wire::new(transport, read)).await.map_err(io::Error::other)?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted.map_err(io::Error::other)?;
        tokio::spawn(serve_stream(request, respond, Arc::clone(&state), number));
    }
    Ok(())
}

/// Why a stream ended before its answer did.
enum Gone {
    /// RST_STREAM by the client.
    Reset(h2::Reason),
    /// The connection is broken.
    Broken,
}

async fn serve_stream(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    state: Arc<State>,
    number: usize,
) {
    let _stream = Counted::stream(&state);
    let answered = match read(request, number).await {
        Some(request) => {
            state.record(&request);
            let answer = state.prepared.answer(&request);
            answer_stream(&mut respond, &answer).await
        }
        None => Err(reset(poll_fn(|context| respond.poll_reset(context)).await)),
    };
    match answered {
        Ok(()) => state.add(&state.completed),
        Err(gone) => {
            if let Gone::Reset(code) = gone {
                state.reset_by_client(code.into());
            }
            state.add(&state.cancelled);
        }
    }
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

async fn answer_stream(respond: &mut SendResponse<Bytes>, answer: &Answer) -> Result<(), Gone> {
    let mut head = Response::builder().status(answer.head.status);
    for (name, value) in &answer.head.fields {
        head = head.header(*name, value);
    }
    if let Some(length) = answer.length() {
        head = head.header("content-length", length);
    }
    let head = head.body(()).map_err(|_| Gone::Broken)?;
    let mut stream = respond.send_response(head, false).map_err(|_| Gone::Broken)?;
    let mut now = Instant::now();
    for step in answer.steps.iter() {
        match step {
            Step::Send(piece) => send(&mut stream, piece.clone()).await?,
            Step::Wait(time) => {
                now += *time;
                wait_until(&mut stream, now).await?;
            }
        }
    }
    stream.send_data(Bytes::new(), true).map_err(|_| Gone::Broken)
}

/// Sends as fast as the client's windows allow.
async fn send(stream: &mut SendStream<Bytes>, mut piece: Bytes) -> Result<(), Gone> {
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let mut capacity = stream.capacity();
        while capacity == 0 {
            match poll_fn(|context| stream.poll_capacity(context)).await {
                Some(Ok(_)) => capacity = stream.capacity(),
                _ => return Err(reset(poll_fn(|context| stream.poll_reset(context)).await)),
            }
        }
        let part = piece.split_to(capacity.min(piece.len()));
        stream.send_data(part, false).map_err(|_| Gone::Broken)?;
    }
    Ok(())
}

async fn wait_until(stream: &mut SendStream<Bytes>, time: Instant) -> Result<(), Gone> {
    tokio::select! {
        end = poll_fn(|context| stream.poll_reset(context)) => Err(reset(end)),
        () = sleep_until(time) => Ok(()),
    }
}

fn reset(end: Result<h2::Reason, h2::Error>) -> Gone {
    match end {
        Ok(reason) => Gone::Reset(reason),
        Err(error) => error.reason().filter(|_| error.is_reset()).map_or(Gone::Broken, Gone::Reset),
    }
}
