//! HTTP/1.1 (RFC 9112), written out by hand: what a well-behaved server library does not let one do is the point.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

use super::{LONGEST_BODY, Transport};
use crate::answer::{Answer, Step};
use crate::faults::Framing;
use crate::state::{Counted, RecordedRequest, State};

/// The longest request head.
const LONGEST_HEAD: usize = 64 << 10;

/// Answers requests, one after another, until the connection ends.
pub(super) async fn serve<T: Transport>(
    transport: T,
    read: BytesMut,
    state: Arc<State>,
    number: usize,
) -> io::Result<()> {
    let mut connection = Connection { transport, read, number };
    while let Some(request) = connection.request().await? {
        let stream = Counted::stream(&state);
        let answer = state.answer(&request);
        let close =
            says(&request.headers, "connection", "close") || answer.framing == Framing::ConnectionClose;
        let ended = connection.answer(&answer, close).await;
        state.add(if matches!(ended, Err(Ended::Gone(_))) { &state.cancelled } else { &state.completed });
        drop(stream);
        match ended {
            Err(Ended::Gone(error)) => return Err(error),
            Err(Ended::Cut) => return Ok(()),
            Ok(()) if close => return connection.transport.shutdown().await,
            Ok(()) => {}
        }
        match answer.framing {
            Framing::Kept | Framing::ConnectionClose => {}
            Framing::CloseDelimited | Framing::CloseSilently => return connection.transport.shutdown().await,
            Framing::Stale => {
                // Another request, which the connection ends under.
                if connection.read.is_empty() {
                    connection.transport.read_buf(&mut connection.read).await?;
                }
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Why an answer was not carried on.
enum Ended {
    /// The client has gone.
    Gone(io::Error),
    /// As planned.
    Cut,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

struct Connection<T> {
    transport: T,
    /// What was read and not yet taken.
    read: BytesMut,
    number: usize,
}

impl<T: Transport> Connection<T> {
    /// The next request with its body. None: the client closed the connection between two requests.
    async fn request(&mut self) -> io::Result<Option<RecordedRequest>> {
        let length = loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            if self.read.len() > LONGEST_HEAD {
                return self.refuse("431 Request Header Fields Too Large").await;
            }
            if self.transport.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        };
        let head = self.read.split_to(length);
        let Some((method, path, headers)) = parse(&head) else {
            return self.refuse("400 Bad Request").await;
        };
        if says(&headers, "expect", "100-continue") {
            self.transport.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = if says(&headers, "transfer-encoding", "chunked") {
            self.chunked_body().await?
        } else {
            let length = headers
                .get("content-length")
                .and_then(|value| value.to_str().ok()?.parse().ok())
                .unwrap_or(0);
            self.body(length).await?
        };
        let connection = self.number;
        Ok(Some(RecordedRequest { method, path, headers, body, version: Version::HTTP_11, connection }))
    }

    async fn refuse<A>(&mut self, status: &str) -> io::Result<Option<A>> {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        self.transport.write_all(answer.as_bytes()).await?;
        self.transport.shutdown().await?;
        Ok(None)
    }

    async fn body(&mut self, length: usize) -> io::Result<Bytes> {
        if length > LONGEST_BODY {
            return Err(io::Error::other("the body is too long"));
        }
        while self.read.len() < length {
            self.more().await?;
        }
        Ok(self.read.split_to(length).freeze())
    }

    async fn chunked_body(&mut self) -> io::Result<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let line = self.line().await?;
            let digits = line[..].split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let length =
                std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
            match length {
                Some(0) => break,
                Some(length) if body.len() + length <= LONGEST_BODY => {
                    body.extend_from_slice(&self.body(length).await?);
                    self.line().await?;
                }
                _ => return Err(io::Error::other("a chunk's length is wrong")),
            }
        }
        while !self.line().await?.is_empty() {}
        Ok(body.freeze())
    }

    async fn line(&mut self) -> io::Result<BytesMut> {
        loop {
            if let Some(end) = self.read.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = self.read.split_to(end);
                self.read.advance(2);
                return Ok(line);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.transport.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Carries an answer out.
    async fn answer(&mut self, answer: &Answer, close: bool) -> Result<(), Ended> {
        let mut now = Instant::now();
        let mut out = Vec::with_capacity(1024);
        for step in answer.before.iter() {
            self.step(step, &mut out, false, &mut now).await?;
        }
        let chunked = !answer.sized && answer.framing != Framing::CloseDelimited;
        head(&mut out, answer, close)?;
        for step in answer.steps.iter() {
            self.step(step, &mut out, chunked, &mut now).await?;
        }
        if chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        self.transport.write_all(&out).await?;
        Ok(self.transport.flush().await?)
    }

    /// One step. `out` is what goes out first: the head waits for what is ready with it.
    async fn step(
        &mut self,
        step: &Step,
        out: &mut Vec<u8>,
        chunked: bool,
        now: &mut Instant,
    ) -> Result<(), Ended> {
        match step {
            Step::Send(piece) if chunked => chunk(out, piece),
            Step::Send(piece) => out.extend_from_slice(piece),
            _ => {}
        }
        self.transport.write_all(out).await?;
        self.transport.flush().await?;
        out.clear();
        match step {
            Step::Wait(time) => {
                *now += *time;
                self.wait(sleep_until(*now)).await?;
            }
            Step::Stall => self.wait(std::future::pending()).await?,
            Step::Cut { reset } => {
                self.transport.cut(*reset);
                return Err(Ended::Cut);
            }
            Step::Reset(_) => {
                self.transport.cut(false);
                return Err(Ended::Cut);
            }
            Step::Send(_) | Step::GoAway | Step::GoAwayBelow | Step::MaxStreams(_) => {}
        }
        Ok(())
    }

    /// Waits, and watches the client meanwhile.
    async fn wait(&mut self, what: impl Future<Output = ()>) -> io::Result<()> {
        tokio::pin!(what);
        loop {
            // What the client sends early is kept, up to a bound.
            let listens = self.read.len() < LONGEST_HEAD;
            tokio::select! {
                () = &mut what => return Ok(()),
                read = self.transport.read_buf(&mut self.read), if listens => {
                    if read? == 0 {
                        return Err(io::ErrorKind::ConnectionReset.into());
                    }
                }
            }
        }
    }
}

fn head(out: &mut Vec<u8>, answer: &Answer, close: bool) -> io::Result<()> {
    let status = http::StatusCode::from_u16(answer.head.status).unwrap_or_default();
    write!(out, "HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("Unknown"))?;
    for (name, value) in &answer.head.fields {
        write!(out, "{name}: {value}\r\n")?;
    }
    match answer.length() {
        _ if answer.framing == Framing::CloseDelimited => {}
        Some(length) => write!(out, "content-length: {length}\r\n")?,
        None => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn chunk(out: &mut Vec<u8>, piece: &[u8]) {
    // Writing to memory does not fail.
    let _ = write!(out, "{:x}\r\n", piece.len());
    out.extend_from_slice(piece);
    out.extend_from_slice(b"\r\n");
}

fn parse(head: &[u8]) -> Option<(Method, String, HeaderMap)> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let method = words.next()?.parse().ok()?;
    let path = words.next()?;
    // With a proxy's absolute form, the path is what counts.
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
        None => path,
    };
    if words.next()? != "HTTP/1.1" {
        return None;
    }
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        headers.append(name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?);
    }
    Some((method, path.into(), headers))
}

/// Whether a list of words in a header field has this one.
fn says(headers: &HeaderMap, name: &str, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|found| found.trim().eq_ignore_ascii_case(word)))
}
