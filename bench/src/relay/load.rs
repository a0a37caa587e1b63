//! Asking for streams: many at a certain pace, or a few at once, one after another.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::mock::Mock;
use crate::streams::clients::{self, Clients, hand_off, tcp_pair};
use crate::streams::process::Daemon;

/// Above it, connections are made when they are needed: until it is handed off, each takes two descriptors.
const MADE_BEFORE: usize = 5000;

/// What the application asks of the daemon.
const HANDOFF_DATA: &[u8] = br#"{"prompt":"Hello"}"#;

/// How a stream is asked for.
#[derive(Clone, Copy, Debug)]
enum Way<'a> {
    /// By handing a connection off to this socket.
    HandOff(&'a Path),
    /// By a request on a connection to this address.
    Ask(SocketAddr, &'a [u8]),
}

/// A source of streams.
#[derive(Debug)]
pub struct Load<'a> {
    way: Way<'a>,
    /// For connections that are handed off.
    listener: TcpListener,
    wanted: Option<Vec<u8>>,
    made_before: usize,
}

/// A client's connection; and the server's end of it, which is to be handed off.
type Connection = (TcpStream, Option<OwnedFd>);

impl<'a> Load<'a> {
    /// Streams that `daemon` relays from `mock`.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn relayed(daemon: &'a Daemon, mock: &Mock) -> Result<Self> {
        let wanted = Some(mock.relayed());
        Ok(Self {
            way: Way::HandOff(&daemon.socket),
            listener: clients::listener()?,
            wanted,
            made_before: MADE_BEFORE,
        })
    }

    /// Streams of the server at `address`, for each of which this request is sent.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn asked(address: SocketAddr, request: &'a [u8]) -> Result<Self> {
        Ok(Self {
            way: Way::Ask(address, request),
            listener: clients::listener()?,
            wanted: None,
            made_before: MADE_BEFORE,
        })
    }

    /// Each connection is made when its stream is asked for.
    #[must_use]
    pub fn connecting_late(mut self) -> Self {
        self.made_before = 0;
        self
    }

    /// Asks for `streams` streams, `per_second` new ones a second, and reads meanwhile. The connections exist before, unless
    /// they are too many.
    ///
    /// # Errors
    /// When a connection or a handoff fails.
    pub fn pile_up(&self, streams: usize, per_second: u32) -> Result<Clients> {
        let mut before: VecDeque<Connection> = match streams <= self.made_before {
            true => (0..streams).map(|_| self.connect()).collect::<Result<_>>()?,
            false => VecDeque::new(),
        };
        let mut clients = self.clients()?;
        let start = Instant::now();
        for time in starts(streams, per_second) {
            let connection = before.pop_front().map_or_else(|| self.connect(), Ok)?;
            clients.read_until(start + time)?;
            self.start(&mut clients, connection)?;
        }
        Ok(clients)
    }

    /// Asks for `streams` streams, `at_once` at a time, and reads them to their ends.
    ///
    /// # Errors
    /// When a connection or a handoff fails, or a stream hangs.
    pub fn one_after_another(&self, streams: usize, at_once: usize) -> Result<Clients> {
        let mut clients = self.clients()?;
        for _ in 0..streams {
            let connection = self.connect()?;
            clients.read_down_to(at_once - 1)?;
            self.start(&mut clients, connection)?;
        }
        clients.read_all()?;
        Ok(clients)
    }

    fn clients(&self) -> Result<Clients> {
        let mut clients = Clients::new(Vec::new())?;
        if let Some(wanted) = &self.wanted {
            clients.want(wanted.clone());
        }
        Ok(clients)
    }

    fn connect(&self) -> Result<Connection> {
        match self.way {
            Way::HandOff(_) => tcp_pair(&self.listener).map(|(client, server)| (client, Some(server))),
            Way::Ask(address, _) => {
                let connection = TcpStream::connect(address).context("connecting")?;
                connection.set_nodelay(true)?;
                Ok((connection, None))
            }
        }
    }

    /// Starts a client's clock and asks. What was handed off is closed here.
    fn start(&self, clients: &mut Clients, (client, server): Connection) -> Result<()> {
        let index = clients.add(client)?;
        clients.start(index);
        match (self.way, server) {
            (Way::HandOff(socket), Some(server)) => hand_off(socket, HANDOFF_DATA, &server),
            (Way::Ask(_, request), _) => {
                let mut client = clients.socket(index).context("it has just begun")?;
                Ok(client.write_all(request)?)
            }
            (Way::HandOff(_), None) => anyhow::bail!("there is nothing to hand off"),
        }
    }
}

/// When each stream begins: one in each interval, at any moment of it, as people do. It is the same in each run.
fn starts(streams: usize, per_second: u32) -> impl Iterator<Item = Duration> {
    let mut random = 1_u32;
    (0..streams).map(move |index| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let within = f64::from(random) / f64::from(u32::MAX);
        Duration::from_secs_f64((index as f64 + within) / f64::from(per_second))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_begin_one_in_each_interval() {
        let times: Vec<_> = starts(500, 500).collect();
        for (index, time) in times.iter().enumerate() {
            assert_eq!((time.as_secs_f64() * 500.0) as usize, index);
        }
        let halves = times.iter().filter(|time| time.subsec_micros() % 2000 < 1000).count();
        assert!((200..300).contains(&halves), "they do not begin together: {halves}");
    }
}
