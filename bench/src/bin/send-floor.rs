//! The floor of streaming: sends 60 bytes to each of N loopback TCP connections every so many milliseconds, and does
//! nothing else. `send-floor N MS ROUNDS` prints its port, waits for N connections, sends, and closes when its standard
//! input ends, so that its processor time can still be read.
#![forbid(unsafe_code)]

use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bench::streams::measure::EVENT_BYTES;
use rustix::net::SendFlags;

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u64>());
    let mut next = || numbers.next().context("usage: send-floor N MS ROUNDS")?.context("a number is needed");
    let (connections, interval, rounds) = (next()?, Duration::from_millis(next()?), next()?);

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    let accept = |_| {
        let (connection, _) = listener.accept()?;
        connection.set_nodelay(true)?;
        Ok(connection)
    };
    let connections: Vec<TcpStream> = (0..connections).map(accept).collect::<Result<_>>()?;

    let mut event = [b'w'; EVENT_BYTES];
    event[..6].copy_from_slice(b"data: ");
    event[EVENT_BYTES - 2..].copy_from_slice(b"\n\n");
    let start = Instant::now();
    for round in 1..=rounds {
        for connection in &connections {
            rustix::net::send(connection, &event, SendFlags::NOSIGNAL)?;
        }
        std::thread::sleep((interval * round as u32).saturating_sub(start.elapsed()));
    }
    for connection in &connections {
        connection.shutdown(Shutdown::Write)?;
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
