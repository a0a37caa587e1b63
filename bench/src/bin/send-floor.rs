//! The floor of streaming: sends some bytes to each of N loopback TCP connections every so many milliseconds, and does
//! nothing else. `send-floor N MS ROUNDS BYTES PARTS` prints its port, waits for N connections, sends, and closes when its
//! standard input ends, so that its processor time can still be read. PARTS is 1 when all connections get their bytes
//! together; otherwise so many parts of them follow each other in the MS milliseconds.
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
        || numbers.next().context("usage: send-floor N MS ROUNDS BYTES PARTS")?.context("a number is needed");
    let (connections, interval, rounds) = (next()?, Duration::from_millis(next()?), next()?);
    let (length, parts) = (next()? as usize, next()? as u32);
    ensure!(parts > 0, "there is at least one part");
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
    let part = connections.len().div_ceil(parts as usize).max(1);
    for round in 0..rounds as u32 {
        for (index, connections) in (1..).zip(connections.chunks(part)) {
            for connection in connections {
                rustix::net::send(connection, event.as_bytes(), SendFlags::NOSIGNAL)?;
            }
            let next = interval * round + interval * index / parts;
            std::thread::sleep(next.saturating_sub(start.elapsed()));
        }
    }
    for connection in &connections {
        connection.shutdown(Shutdown::Write)?;
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
