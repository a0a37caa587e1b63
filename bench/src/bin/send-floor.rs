//! The floor of streaming: sends some bytes to each of N loopback TCP connections every so many milliseconds, and does
//! nothing else. `send-floor N MS ROUNDS BYTES` prints its port, waits for N connections, sends, and closes when its
//! standard input ends, so that its processor time can still be read.
#![forbid(unsafe_code)]

use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::net::SendFlags;

/// Bytes of an event around its data.
const FRAME: usize = b"data: \n\n".len();

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u64>());
    let mut next =
        || numbers.next().context("usage: send-floor N MS ROUNDS BYTES")?.context("a number is needed");
    let (connections, interval, rounds) = (next()?, Duration::from_millis(next()?), next()?);
    let length = next()? as usize;
    ensure!(length > FRAME, "an event has more than {FRAME} bytes");

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    let accept = |_| {
        let (connection, _) = listener.accept()?;
        connection.set_nodelay(true)?;
        Ok(connection)
    };
    let connections: Vec<TcpStream> = (0..connections).map(accept).collect::<Result<_>>()?;

    let event = format!("data: {}\n\n", "w".repeat(length - FRAME));
    let start = Instant::now();
    for round in 1..=rounds {
        for connection in &connections {
            rustix::net::send(connection, event.as_bytes(), SendFlags::NOSIGNAL)?;
        }
        std::thread::sleep((interval * round as u32).saturating_sub(start.elapsed()));
    }
    for connection in &connections {
        connection.shutdown(Shutdown::Write)?;
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
