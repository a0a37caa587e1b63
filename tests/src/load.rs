//! Many clients at once, each with one request after another, and what became of every single one.

use std::collections::HashMap;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::wait::{PATIENCE, wait_until};

/// A client does nothing but wait.
const STACK: usize = 128 * 1024;

/// How long a client waits when nobody listens before it tries again.
const NOBODY: Duration = Duration::from_millis(5);

/// What a client saw in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// A whole stream of a daemon, with the client's own token in it.
    Answered,
    /// A whole answer of another kind, with its status: a refusal.
    Refused(u16),
    /// An answer that began and is visibly cut: no last chunk, less than its length.
    Cut,
    /// Not a byte.
    Empty,
    /// Somebody else's stream, a second head, bytes after the end: never.
    Garbled,
    /// Nothing more for as long as a client waits: never.
    Waiting,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// In its target, and so in the logs; no other request has it.
    pub token: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What came.
    pub received: Vec<u8>,
}

/// Clients that ask until they are told to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    gauges: Arc<Gauges>,
    clients: Vec<JoinHandle<Vec<Request>>>,
}

#[derive(Debug, Default)]
struct Gauges {
    unanswered: AtomicUsize,
    streaming: AtomicUsize,
    ended: AtomicUsize,
}

impl Load {
    /// Starts `clients` clients, which ask `addr` for `target` with `{token}` replaced, each on a connection of its own.
    ///
    /// # Panics
    /// When the system has no more threads.
    #[must_use]
    pub fn start(addr: SocketAddr, clients: usize, target: &str) -> Self {
        Self::start_for(addr, clients, target, usize::MAX)
    }

    /// As [`Load::start`], with one request a client.
    #[must_use]
    pub fn once(addr: SocketAddr, clients: usize, target: &str) -> Self {
        Self::start_for(addr, clients, target, 1)
    }

    fn start_for(addr: SocketAddr, clients: usize, target: &str, most: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let gauges = Arc::new(Gauges::default());
        let client = |number: usize| {
            let (stop, gauges, target) = (Arc::clone(&stop), Arc::clone(&gauges), target.to_owned());
            let work = move || {
                let mut requests = Vec::new();
                while requests.len() < most && !stop.load(Ordering::Relaxed) {
                    let token = format!("t{number}-{}e", requests.len());
                    let Some(received) = ask(addr, &target.replace("{token}", &token), &gauges) else {
                        std::thread::sleep(NOBODY);
                        continue;
                    };
                    let (received, timed_out) = received;
                    let outcome = if timed_out { Outcome::Waiting } else { outcome(&received, &token) };
                    // The bytes of what went well are of no interest, and there are many of them.
                    let received = if outcome == Outcome::Answered { Vec::new() } else { received };
                    requests.push(Request { token, outcome, received });
                    gauges.ended.fetch_add(1, Ordering::Relaxed);
                }
                requests
            };
            std::thread::Builder::new().stack_size(STACK).spawn(work).expect("starting a client's thread")
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, gauges, clients }
    }

    /// Requests that have been sent and not got a byte yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.gauges.unanswered.load(Ordering::Relaxed)
    }

    /// Requests whose answer has begun and not ended.
    #[must_use]
    pub fn streaming(&self) -> usize {
        self.gauges.streaming.load(Ordering::Relaxed)
    }

    /// Requests that have ended.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.gauges.ended.load(Ordering::Relaxed)
    }

    /// Waits until `count` more requests have ended: things go on.
    ///
    /// # Panics
    /// When they don't.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        let end = self.ended() + count;
        wait_until(PATIENCE, &format!("{count} more requests to end"), || self.ended() >= end);
    }

    /// No new requests; waits for those that are under way.
    ///
    /// # Panics
    /// When a client has.
    #[must_use]
    pub fn finish(self) -> Requests {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.clients.into_iter().map(|client| client.join().expect("a client"));
        Requests(ended.flatten().collect())
    }
}

/// What became of all requests.
#[derive(Clone, Debug)]
pub struct Requests(pub Vec<Request>);

impl Requests {
    /// Each with its line of Apache's access log, as far as there is one.
    #[must_use]
    pub fn with_log<'a>(&'a self, log: &'a str) -> Vec<(&'a Request, Option<&'a str>)> {
        let lines: HashMap<&str, &str> =
            log.lines().filter_map(|line| Some((token_of(line)?, line))).collect();
        self.0.iter().map(|request| (request, lines.get(request.token.as_str()).copied())).collect()
    }

    /// How many ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.0.iter().filter(|request| request.outcome == outcome).count()
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut outcomes: Vec<Outcome> = self.0.iter().map(|request| request.outcome).collect();
        outcomes.sort_unstable();
        outcomes.dedup();
        write!(text, "{} requests:", self.0.len())?;
        outcomes.into_iter().try_for_each(|outcome| write!(text, " {outcome:?} {}", self.count(outcome)))
    }
}

/// The token in a line of a log: from `t` after `token=` to `e`.
fn token_of(line: &str) -> Option<&str> {
    let (_, token) = line.split_once("token=")?;
    token.split_once('e').map(|(start, _)| &token[..=start.len()])
}

/// How often each token stands in a daemon's log.
#[must_use]
pub fn tokens(log: &str) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for token in log.lines().filter_map(token_of) {
        *counts.entry(token).or_insert(0) += 1;
    }
    counts
}

/// All that comes back on a connection for one request, and whether the client then still waits; `None` when nobody
/// listens.
fn ask(addr: SocketAddr, target: &str, gauges: &Gauges) -> Option<(Vec<u8>, bool)> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("setting a read timeout");
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    if stream.write_all(request.as_bytes()).is_err() {
        return Some((Vec::new(), false));
    }
    gauges.unanswered.fetch_add(1, Ordering::Relaxed);
    let mut gauge = &gauges.unanswered;
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    let timed_out = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break false,
            Ok(count) => {
                if received.is_empty() {
                    gauge.fetch_sub(1, Ordering::Relaxed);
                    gauge = &gauges.streaming;
                    gauge.fetch_add(1, Ordering::Relaxed);
                }
                received.extend_from_slice(&buffer[..count]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break true,
            Err(_) => break false,
        }
    };
    gauge.fetch_sub(1, Ordering::Relaxed);
    let _ = stream.shutdown(Shutdown::Write);
    Some((received, timed_out))
}

fn outcome(received: &[u8], token: &str) -> Outcome {
    if received.is_empty() {
        return Outcome::Empty;
    }
    let text = String::from_utf8_lossy(received);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return if text.starts_with(&"HTTP/1.1 "[..text.len().min(9)]) {
            Outcome::Cut
        } else {
            Outcome::Garbled
        };
    };
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|head| head.get(..3)?.parse::<u16>().ok());
    let Some(status) = status else { return Outcome::Garbled };
    if body.contains("HTTP/1.") {
        return Outcome::Garbled;
    }
    let head = head.to_ascii_lowercase();
    let body = match head.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => match length.parse() {
            Ok(length) if body.len() == length => body.to_owned(),
            Ok(length) if body.len() < length => return Outcome::Cut,
            _ => return Outcome::Garbled,
        },
        None => match unchunk(body) {
            Ok(body) => body,
            Err(outcome) => return outcome,
        },
    };
    if status != 200 {
        return Outcome::Refused(status);
    }
    let said: String = crate::sse::events(&body).into_iter().map(|event| event.data).collect();
    // `done` or `[DONE]` comes last; before it, the words.
    match said.trim_end_matches("[DONE]").ends_with(token) && body.contains("event: done\n") {
        true => Outcome::Answered,
        false => Outcome::Garbled,
    }
}

/// The body without its chunks' sizes (RFC 9112, section 7.1, without trailers).
fn unchunk(mut rest: &str) -> Result<String, Outcome> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").ok_or(Outcome::Cut)?;
        let size = usize::from_str_radix(size, 16).map_err(|_| Outcome::Garbled)?;
        let chunk = after.get(..size).ok_or(Outcome::Cut)?;
        let end = &after[size..];
        if end.len() < 2 {
            return Err(Outcome::Cut);
        }
        rest = end.strip_prefix("\r\n").ok_or(Outcome::Garbled)?;
        body.push_str(chunk);
        if size == 0 {
            return if rest.is_empty() { Ok(body) } else { Err(Outcome::Garbled) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    fn chunks(parts: &[&str]) -> String {
        let chunk = |part: &&str| format!("{:x}\r\n{part}\r\n", part.len());
        HEAD.to_owned() + &parts.iter().map(chunk).collect::<String>()
    }

    #[test]
    fn outcomes_are_told_apart() {
        let whole = chunks(&["data: said \n\n", "data: t1e\n\n", "event: done\ndata: [DONE]\n\n", ""]);
        assert_eq!(outcome(whole.as_bytes(), "t1e"), Outcome::Answered);
        assert_eq!(outcome(whole.as_bytes(), "t2e"), Outcome::Garbled);
        assert_eq!(outcome((whole.clone() + "x").as_bytes(), "t1e"), Outcome::Garbled);
        assert_eq!(outcome((whole.clone() + &whole).as_bytes(), "t1e"), Outcome::Garbled);
        for end in 1..whole.len() {
            assert_eq!(outcome(&whole.as_bytes()[..end], "t1e"), Outcome::Cut, "{:?}", &whole[..end]);
        }
        assert_eq!(outcome(b"", "t1e"), Outcome::Empty);
        let refused = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno";
        assert_eq!(outcome(refused.as_bytes(), "t1e"), Outcome::Refused(503));
        assert_eq!(outcome(&refused.as_bytes()[..refused.len() - 1], "t1e"), Outcome::Cut);
        assert_eq!(outcome(chunks(&["event: error\ndata: x\n\n", ""]).as_bytes(), "t1e"), Outcome::Garbled);
    }

    #[test]
    fn tokens_are_found_in_logs() {
        let log = "127.0.0.1 \"GET /a?token=t1-2e&x HTTP/1.1\"\nGET /a?token=t1-2e\nother\n";
        assert_eq!(tokens(log), HashMap::from([("t1-2e", 2)]));
    }
}
