//! One function for each figure.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::clients::{self, Clients, hand_off, tcp_pair};
use super::process::{Daemon, Process, sibling};

/// New streams a second while streams pile up.
pub const NEW_PER_SECOND: u32 = 1500;

/// Streams of the paced measurements, and of the floor.
pub const PACED_STREAMS: usize = 500;
/// An event of each stream every so many milliseconds.
pub const PACED_INTERVAL_MS: u64 = 20;
/// Events of each stream: about ten seconds of them.
pub const PACED_EVENTS: usize = 500;
/// Bytes of an event of the mock backend here, and of the floor that it is compared with.
pub const EVENT_BYTES: usize = 60;

/// Streams one after the other in the measurement without delay, a few at a time.
const FAST_STREAMS: usize = 20_000;
const FAST_AT_ONCE: usize = 16;

/// What so many streams at once cost.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// How many.
    pub streams: usize,
    /// (RSS with them - RSS without) / their number.
    pub kib_per_stream: f64,
    /// From handing the connection over to the first byte of the answer.
    pub ttfb: Percentiles,
}

/// Of times, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Percentiles {
    /// The median.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
}

impl Percentiles {
    /// Of times in ascending order; without any, not numbers.
    #[must_use]
    pub fn of(sorted: &[Duration]) -> Self {
        if sorted.is_empty() {
            return Self { p50_ms: f64::NAN, p99_ms: f64::NAN };
        }
        let percentile =
            |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        Self { p50_ms: percentile(0.50), p99_ms: percentile(0.99) }
    }
}

/// A prompt that the mock backend answers with `words` events and `done`, its own words included.
fn prompt(words: usize, length: usize) -> String {
    let said = "You said:".split(' ').count();
    let word = "w".repeat(length);
    // Nothing in it needs to be escaped.
    format!("{{\"prompt\":\"{}\"}}", vec![word; words - said].join(" "))
}

/// A question of 80 characters: 18 words and the end are 19 events.
fn short_prompt() -> String {
    prompt(18, 4)
}

/// Opens `streams` streams that say a word a second, 1,500 new ones a second.
///
/// # Errors
/// When something fails.
pub fn level(directory: &Path, streams: usize) -> Result<Level> {
    let daemon = Daemon::start(directory, 1000)?;
    let connections = connections(streams)?;
    let idle = daemon.process.resident_kib()?;
    let start = Instant::now();
    let clients = pile_up(&daemon.socket, connections)?;
    let full = daemon.process.resident_kib()?;
    ensure!(
        start.elapsed() < Duration::from_secs(18),
        "this machine is too slow: the first streams have ended"
    );
    Ok(Level {
        streams,
        kib_per_stream: (full - idle) / streams as f64,
        ttfb: Percentiles::of(&clients.first_bytes()),
    })
}

/// Times to the first byte when a thread answers at once that has nothing else to do: what this machine takes at this
/// moment.
///
/// # Errors
/// When something fails.
pub fn ttfb_floor(directory: &Path) -> Result<Percentiles> {
    let socket = directory.join("floor.sock");
    let _receiver = crate::daemon::Daemon::start(socket.clone());
    let clients = pile_up(&socket, connections(2 * NEW_PER_SECOND as usize)?)?;
    Ok(Percentiles::of(&clients.first_bytes()))
}

/// Connections that stand already: their making is not measured.
fn connections(count: usize) -> Result<Vec<(TcpStream, OwnedFd)>> {
    let listener = clients::listener()?;
    (0..count).map(|_| tcp_pair(&listener)).collect()
}

/// Hands all connections off, 1,500 a second, and waits for the first byte of each.
fn pile_up(socket: &Path, connections: Vec<(TcpStream, OwnedFd)>) -> Result<Clients> {
    let (sockets, connections): (Vec<_>, Vec<_>) = connections.into_iter().unzip();
    let mut clients = Clients::new(sockets)?;
    let data = short_prompt();
    let start = Instant::now();
    for (index, connection) in connections.into_iter().enumerate() {
        clients.read_until(start + Duration::from_secs(1) * index as u32 / NEW_PER_SECOND)?;
        clients.start(index);
        hand_off(socket, data.as_bytes(), &connection)?;
    }
    clients.read_first_bytes()?;
    Ok(clients)
}

/// The daemon's processor time for a stream of 19 events that come at once, in microseconds.
///
/// # Errors
/// When something fails.
pub fn cpu_us_per_fast_stream(directory: &Path) -> Result<f64> {
    let daemon = Daemon::start(directory, 0)?;
    let listener = clients::listener()?;
    let data = short_prompt();
    let before = daemon.process.cpu_seconds();
    for _ in 0..FAST_STREAMS / FAST_AT_ONCE {
        let mut sockets = Vec::with_capacity(FAST_AT_ONCE);
        for _ in 0..FAST_AT_ONCE {
            let (socket, connection) = tcp_pair(&listener)?;
            hand_off(&daemon.socket, data.as_bytes(), &connection)?;
            sockets.push(socket);
        }
        let mut clients = Clients::new(sockets)?;
        clients.read_all()?;
        ensure!(clients.events() == 19 * FAST_AT_ONCE as u64, "{} events", clients.events());
    }
    Ok((daemon.process.cpu_seconds() - before) * 1e6 / FAST_STREAMS as f64)
}

/// The daemon's processor time for a million events of streams that say a word every 20 ms, in seconds.
///
/// # Errors
/// When something fails.
pub fn cpu_s_per_million_paced(directory: &Path) -> Result<f64> {
    let daemon = Daemon::start(directory, PACED_INTERVAL_MS)?;
    let listener = clients::listener()?;
    let data = prompt(PACED_EVENTS, EVENT_BYTES - "data:  \n\n".len());
    let mut sockets = Vec::with_capacity(PACED_STREAMS);
    let before = daemon.process.cpu_seconds();
    for _ in 0..PACED_STREAMS {
        let (socket, connection) = tcp_pair(&listener)?;
        hand_off(&daemon.socket, data.as_bytes(), &connection)?;
        sockets.push(socket);
    }
    read_paced(Clients::new(sockets)?, &daemon.process, before)
}

/// The same for a process that does nothing but send `event_bytes` at a time, to all connections together or to `parts`
/// of them in turn.
///
/// # Errors
/// When something fails.
pub fn floor(event_bytes: usize, parts: usize) -> Result<f64> {
    let mut command = Command::new(sibling("send-floor")?);
    command.stdin(Stdio::piped());
    let numbers = [PACED_STREAMS, PACED_INTERVAL_MS as usize, PACED_EVENTS, event_bytes, parts];
    command.args(numbers.map(|number| number.to_string()));
    let mut floor = Process::start(command.stdout(Stdio::piped()))?;
    let mut port = String::new();
    BufReader::new(floor.output().context("its output")?).read_line(&mut port)?;
    let address = (Ipv4Addr::LOCALHOST, port.trim().parse()?);
    let sockets = (0..PACED_STREAMS).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    read_paced(Clients::new(sockets)?, &floor, 0.0)
}

/// Reads everything. Processor time is taken at the end, when the process has no more to do but still lives.
fn read_paced(mut clients: Clients, process: &Process, before: f64) -> Result<f64> {
    clients.read_all()?;
    let events = clients.events();
    ensure!(events >= (PACED_STREAMS * PACED_EVENTS) as u64, "{events} events only");
    Ok((process.cpu_seconds() - before) * 1e6 / events as f64)
}
