//! A peer that speaks HTTP/2 by a script, frame by frame: for what no server library sends.
//!
//! Without TLS, with prior knowledge. A connection plays its script, and answers SETTINGS and PING by itself meanwhile.
//! Nothing is checked: frames go out in the order of the script, whatever the client's windows and limits are.
//!
//! Requests are named by their order on the connection: the first is 1, whatever its stream's number.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use mock_llm::frames::{NO_ERROR, Peer, Script};
//!
//! let peer = Peer::start([
//!     // The first connection: two requests come, the second is told that it was not processed, the first ends well.
//!     Script::new()
//!         .requests(2)
//!         .respond(1)
//!         .data(1, "data: one\n\n")
//!         .go_away(1, NO_ERROR)
//!         .gate("the test has looked")
//!         .data(1, "data: two\n\n")
//!         .end(1),
//!     // The second and all others: each request gets a whole answer.
//!     Script::new().answer_all("data: moved\n\n"),
//! ])
//! .await?;
//! // … the client under test sends two requests to peer.base_url() …
//! peer.open("the test has looked");
//! assert!(peer.until(|peer| peer.connections() == 0).await);
//! # Ok(())
//! # }
//! ```

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::connection::PREFACE;
use crate::state::lock;
use crate::waiting::holds;

/// Error codes (RFC 9113, section 7).
pub const NO_ERROR: u32 = 0x0;
/// The peer found a mistake that has no code of its own.
pub const PROTOCOL_ERROR: u32 = 0x1;
/// Something is wrong inside the peer.
pub const INTERNAL_ERROR: u32 = 0x2;
/// Not processed at all: safe to send again.
pub const REFUSED_STREAM: u32 = 0x7;
/// Not needed any more.
pub const CANCEL: u32 = 0x8;
/// The client asks too much.
pub const ENHANCE_YOUR_CALM: u32 = 0xb;

/// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, section 6.5.2).
pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;

/// Frame types (RFC 9113, section 6).
pub mod kind {
    #![allow(missing_docs, reason = "the names of the RFC")]
    pub const DATA: u8 = 0x0;
    pub const HEADERS: u8 = 0x1;
    pub const RST_STREAM: u8 = 0x3;
    pub const SETTINGS: u8 = 0x4;
    pub const PING: u8 = 0x6;
    pub const GOAWAY: u8 = 0x7;
    pub const WINDOW_UPDATE: u8 = 0x8;
}

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A frame that the client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The connection's number, from 1.
    pub connection: usize,
    /// See [`kind`].
    pub kind: u8,
    /// Flags, by kind.
    pub flags: u8,
    /// The stream's identifier; 0: the connection.
    pub stream: u32,
    /// What follows the frame's head.
    pub payload: Bytes,
}

impl Frame {
    /// The error code of RST_STREAM.
    pub fn code(&self) -> Option<u32> {
        (self.kind == kind::RST_STREAM).then(|| number(&self.payload))
    }
}

#[derive(Clone, Debug)]
enum Action {
    Requests(usize),
    Respond(usize, u16),
    Data(usize, Bytes),
    End(usize),
    Reset(usize, u32),
    AwaitReset(usize),
    GoAway(usize, u32),
    Settings(u16, u32),
    Pings(bool),
    Gate(String),
    Wait(Duration),
    Raw(Bytes),
    AnswerAll(Bytes),
    Close { reset: bool },
}

/// What one connection does, step by step. After the last step it stays open, and silent, until the client closes it.
#[derive(Clone, Debug, Default)]
pub struct Script {
    first_settings: Vec<(u16, u32)>,
    actions: Vec<Action>,
}

impl Script {
    /// Sends empty SETTINGS at first: no limit of streams.
    pub fn new() -> Self {
        Self::default()
    }

    /// A setting in the first SETTINGS frame.
    pub fn first_setting(mut self, identifier: u16, value: u32) -> Self {
        self.first_settings.push((identifier, value));
        self
    }

    fn then(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    /// Waits until `count` requests in total have come on this connection, with their bodies.
    pub fn requests(self, count: usize) -> Self {
        self.then(Action::Requests(count))
    }

    /// The head of an answer: 200, `text/event-stream`.
    pub fn respond(self, request: usize) -> Self {
        self.respond_status(request, 200)
    }

    /// The head of an answer with another status (three digits).
    pub fn respond_status(self, request: usize, status: u16) -> Self {
        self.then(Action::Respond(request, status))
    }

    /// A piece of an answer's body, in one DATA frame; at most 16,384 bytes, which every client takes.
    pub fn data(self, request: usize, piece: impl Into<Bytes>) -> Self {
        self.then(Action::Data(request, piece.into()))
    }

    /// The end of an answer: END_STREAM.
    pub fn end(self, request: usize) -> Self {
        self.then(Action::End(request))
    }

    /// RST_STREAM with this code.
    pub fn reset(self, request: usize, code: u32) -> Self {
        self.then(Action::Reset(request, code))
    }

    /// Waits until the client resets the stream of this request.
    pub fn await_reset(self, request: usize) -> Self {
        self.then(Action::AwaitReset(request))
    }

    /// GOAWAY: `last` is the last request that was processed; 0: none was. `usize::MAX`: the identifier is 2^31-1,
    /// which warns before another GOAWAY (RFC 9113, section 6.8).
    pub fn go_away(self, last: usize, code: u32) -> Self {
        self.then(Action::GoAway(last, code))
    }

    /// A SETTINGS frame with one setting.
    pub fn setting(self, identifier: u16, value: u32) -> Self {
        self.then(Action::Settings(identifier, value))
    }

    /// From here on PINGs get no answer.
    pub fn ignore_pings(self) -> Self {
        self.then(Action::Pings(false))
    }

    /// From here on PINGs get their answer, as at the start.
    pub fn answer_pings(self) -> Self {
        self.then(Action::Pings(true))
    }

    /// Waits until the test calls [`Peer::open`] with this name.
    pub fn gate(self, name: &str) -> Self {
        self.then(Action::Gate(name.into()))
    }

    /// Waits.
    pub fn wait(self, time: Duration) -> Self {
        self.then(Action::Wait(time))
    }

    /// Any bytes.
    pub fn raw(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Action::Raw(bytes.into()))
    }

    /// From here on each request that has no answer yet, and each that comes, gets 200 with this body. The last step.
    pub fn answer_all(self, body: impl Into<Bytes>) -> Self {
        self.then(Action::AnswerAll(body.into()))
    }

    /// Closes the connection: FIN.
    pub fn close(self) -> Self {
        self.then(Action::Close { reset: false })
    }

    /// Cuts the connection: RST.
    pub fn abort(self) -> Self {
        self.then(Action::Close { reset: true })
    }
}

#[derive(Default)]
struct Seen {
    frames: Vec<Frame>,
    total: usize,
    open: usize,
    gates: HashSet<String>,
    /// Connections and streams that a script has dealt with.
    answered: HashSet<(usize, u32)>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Notify,
}

impl Shared {
    fn change<R>(&self, change: impl FnOnce(&mut Seen) -> R) -> R {
        let result = change(&mut lock(&self.seen));
        self.changed.notify_waiters();
        result
    }

    /// This stream needs no answer by [`Script::answer_all`] any more.
    fn answers(&self, connection: usize, stream: u32) -> u32 {
        self.change(|seen| seen.answered.insert((connection, stream)));
        stream
    }

    async fn until(&self, condition: impl Fn(&Seen) -> bool) {
        holds(&self.changed, || condition(&lock(&self.seen))).await;
    }
}

/// A scripted peer that listens. Dropping it ends it, with its connections.
pub struct Peer {
    shared: Arc<Shared>,
    address: SocketAddr,
    _ended: DropGuard,
}

impl Peer {
    /// Listens on a free port of 127.0.0.1. The first connection plays the first script, and so on; those after the last
    /// script play it again.
    ///
    /// # Errors
    /// There is no free port, or no script.
    pub async fn start(scripts: impl IntoIterator<Item = Script>) -> io::Result<Self> {
        let scripts: Vec<Script> = scripts.into_iter().collect();
        let last = scripts.last().cloned().ok_or_else(|| io::Error::other("there is no script"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let ended = CancellationToken::new();
        let accepting = {
            let (shared, ended) = (Arc::clone(&shared), ended.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let number = shared.change(|seen| {
                        seen.total += 1;
                        seen.open += 1;
                        seen.total
                    });
                    let script = scripts.get(number - 1).unwrap_or(&last).clone();
                    let open = Open(Arc::clone(&shared));
                    tokio::spawn(ended.clone().run_until_cancelled_owned(async move {
                        // How it ended is seen from the outside.
                        let _ = play(stream, script, &open.0, number).await;
                    }));
                }
            }
        };
        tokio::spawn(ended.clone().run_until_cancelled_owned(accepting));
        Ok(Self { shared, address, _ended: ended.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT/v1`
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        lock(&self.shared.seen).open
    }

    /// Connections accepted since the start.
    pub fn connections_total(&self) -> usize {
        lock(&self.shared.seen).total
    }

    /// All frames that clients have sent, in the order of their arrival.
    pub fn frames(&self) -> Vec<Frame> {
        lock(&self.shared.seen).frames.clone()
    }

    /// How many requests have begun on a connection (from 1).
    pub fn requests(&self, connection: usize) -> usize {
        streams(&lock(&self.shared.seen), connection).len()
    }

    /// Lets scripts pass a gate of this name, now and from now on.
    pub fn open(&self, gate: &str) {
        self.shared.change(|seen| seen.gates.insert(gate.into()));
    }

    /// Waits until `condition` holds, and says whether it came to hold within ten seconds.
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) -> bool {
        crate::waiting::in_time(holds(&self.shared.changed, || condition(self))).await
    }
}

/// A connection that is open.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.change(|seen| seen.open -= 1);
    }
}

/// Frames go out whole, from the script and from the reader's answers.
type Writer = tokio::sync::Mutex<OwnedWriteHalf>;

async fn play(stream: TcpStream, script: Script, shared: &Shared, number: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let writer = Writer::new(writer);
    let pings = std::sync::atomic::AtomicBool::new(true);
    let acting = async {
        write(&writer, &settings(&script.first_settings)).await?;
        for action in &script.actions {
            if let Action::Pings(answer) = action {
                pings.store(*answer, std::sync::atomic::Ordering::SeqCst);
            }
            if act(action, shared, number, &writer).await?.is_break() {
                return Ok(());
            }
        }
        std::future::pending().await
    };
    let played = tokio::select! {
        result = acting => result,
        result = listen(reader, shared, number, &writer, &pings) => result,
    };
    // Dropped, it would send FIN; a script that ends with a cut wants none, and the others have sent theirs.
    writer.into_inner().forget();
    played
}

async fn act(
    action: &Action,
    shared: &Shared,
    connection: usize,
    writer: &Writer,
) -> io::Result<std::ops::ControlFlow<()>> {
    let stream = |request| stream_of(shared, connection, request);
    match action {
        Action::Requests(count) => shared.until(|seen| complete(seen, connection).len() >= *count).await,
        Action::Respond(request, status) => {
            write(writer, &head(shared.answers(connection, stream(*request)?), *status)).await?
        }
        Action::Data(request, piece) => {
            write(writer, &frame(kind::DATA, 0, stream(*request)?, piece)).await?
        }
        Action::End(request) => write(writer, &frame(kind::DATA, END_STREAM, stream(*request)?, b"")).await?,
        Action::Reset(request, code) => {
            let stream = shared.answers(connection, stream(*request)?);
            write(writer, &frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())).await?;
        }
        Action::AwaitReset(request) => {
            let stream = stream(*request)?;
            shared
                .until(|seen| of(seen, connection, kind::RST_STREAM).any(|frame| frame.stream == stream))
                .await;
        }
        Action::GoAway(last, code) => {
            let last = match *last {
                0 => 0,
                usize::MAX => u32::MAX >> 1,
                request => stream(request)?,
            };
            write(writer, &go_away(last, *code)).await?;
        }
        Action::Settings(identifier, value) => write(writer, &settings(&[(*identifier, *value)])).await?,
        Action::Pings(_) => {}
        Action::Gate(name) => shared.until(|seen| seen.gates.contains(name)).await,
        Action::Wait(time) => tokio::time::sleep(*time).await,
        Action::Raw(bytes) => write(writer, bytes).await?,
        Action::AnswerAll(body) => answer_all(body, shared, connection, writer).await?,
        Action::Close { reset } => {
            let mut writer = writer.lock().await;
            if *reset {
                writer.as_ref().set_zero_linger()?;
            } else {
                writer.shutdown().await?;
            }
            return Ok(std::ops::ControlFlow::Break(()));
        }
    }
    Ok(std::ops::ControlFlow::Continue(()))
}

async fn answer_all(body: &Bytes, shared: &Shared, connection: usize, writer: &Writer) -> io::Result<()> {
    let waiting = |seen: &Seen| {
        complete(seen, connection).into_iter().find(|stream| !seen.answered.contains(&(connection, *stream)))
    };
    loop {
        shared.until(|seen| waiting(seen).is_some()).await;
        let Some(stream) = waiting(&lock(&shared.seen)) else { continue };
        write(writer, &head(shared.answers(connection, stream), 200)).await?;
        write(writer, &frame(kind::DATA, END_STREAM, stream, body)).await?;
    }
}

/// Reads frames until the client closes the connection, and answers those that need an answer.
async fn listen(
    reader: OwnedReadHalf,
    shared: &Shared,
    connection: usize,
    writer: &Writer,
    pings: &std::sync::atomic::AtomicBool,
) -> io::Result<()> {
    let mut reader = tokio::io::BufReader::new(reader);
    let mut preface = [0; PREFACE.len()];
    reader.read_exact(&mut preface).await?;
    if preface != PREFACE {
        return Err(io::Error::other("this is not HTTP/2"));
    }
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head).await?;
        let length = number(&head[..3]) as usize;
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload).await?;
        let (kind, flags, stream) = (head[3], head[4], number(&head[5..]) & (u32::MAX >> 1));
        let answer = match kind {
            kind::SETTINGS if flags & ACK == 0 => frame(kind, ACK, 0, b""),
            kind::PING if flags & ACK == 0 && pings.load(std::sync::atomic::Ordering::SeqCst) => {
                frame(kind, ACK, 0, &payload)
            }
            // The connection's window stays as it was; bodies of requests fit into their streams'.
            kind::DATA if length > 0 => frame(kind::WINDOW_UPDATE, 0, 0, &(length as u32).to_be_bytes()),
            _ => Vec::new(),
        };
        shared.change(|seen| {
            seen.frames.push(Frame { connection, kind, flags, stream, payload: payload.into() })
        });
        if !answer.is_empty() {
            write(writer, &answer).await?;
        }
    }
}

async fn write(writer: &Writer, bytes: &[u8]) -> io::Result<()> {
    writer.lock().await.write_all(bytes).await
}

fn of(seen: &Seen, connection: usize, kind: u8) -> impl Iterator<Item = &Frame> {
    seen.frames.iter().filter(move |frame| frame.connection == connection && frame.kind == kind)
}

/// The streams on which requests have begun, in order.
fn streams(seen: &Seen, connection: usize) -> Vec<u32> {
    of(seen, connection, kind::HEADERS).map(|frame| frame.stream).collect()
}

/// The streams on which requests are complete.
fn complete(seen: &Seen, connection: usize) -> Vec<u32> {
    let ended = |stream: &u32| {
        seen.frames.iter().any(|frame| {
            frame.connection == connection
                && frame.stream == *stream
                && matches!(frame.kind, kind::HEADERS | kind::DATA)
                && frame.flags & END_STREAM != 0
        })
    };
    streams(seen, connection).into_iter().filter(ended).collect()
}

fn stream_of(shared: &Shared, connection: usize, request: usize) -> io::Result<u32> {
    let streams = streams(&lock(&shared.seen), connection);
    let missing = || io::Error::other(format!("the script names request {request}, which has not come"));
    request.checked_sub(1).and_then(|index| streams.get(index).copied()).ok_or_else(missing)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + payload.len());
    out.put_uint(payload.len() as u64, 3);
    out.put_slice(&[kind, flags]);
    out.put_u32(stream);
    out.put_slice(payload);
    out
}

pub(crate) fn go_away(last: u32, code: u32) -> Vec<u8> {
    frame(kind::GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (identifier, value) in settings {
        payload.put_u16(*identifier);
        payload.put_u32(*value);
    }
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// HEADERS by HPACK's static table alone (RFC 7541, appendix A): literals without indexing, so that frames need no state.
fn head(stream: u32, status: u16) -> Vec<u8> {
    let mut block = Vec::new();
    let mut literal = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    };
    literal(&[0x08], &format!("{status:03}"));
    literal(&[0x0f, 0x10], "text/event-stream");
    frame(kind::HEADERS, END_HEADERS, stream, &block)
}
