//! A long prompt from php-fpm, as the data of a handoff and as a plain body: the same script, the same megabyte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::{Apache, Daemon, Mpm};

use crate::relay::samples::Samples;

/// Bytes of the earlier messages in the prompt; its last one is short, and the mock backend says that back.
const LENGTH: usize = 1 << 20;

/// Requests of each kind, one after the other, in turn.
const REQUESTS: usize = 200;
const WARM_UP: usize = 20;

const SCRIPT: &str = "<?php
if (isset($_GET['to'])) {
    header('X-Socket-Handoff: ' . $_GET['to']);
    header('X-Handoff-Data-From: body');
}
$said = str_repeat('What was said before. ', intdiv((int) $_GET['length'], 22));
echo json_encode(['messages' => [['role' => 'user', 'content' => $said], ['role' => 'user', 'content' => 'Hello']]]);";

/// Median times from connecting to the end of the answer, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Bodies {
    /// The client gets the megabyte.
    pub plain_ms: f64,
    /// A daemon gets it that answers at once, whatever it is.
    pub received_ms: f64,
    /// The streaming daemon gets it, and the client its stream.
    pub handoff_ms: f64,
}

/// Measures both on the event MPM.
///
/// # Errors
/// When a request fails.
pub fn measure() -> Result<Bodies> {
    let apache = Apache::builder(Mpm::Event)
        .php_fpm(2)
        .file("ask.php", SCRIPT)
        .daemon("d.sock", "protocol=2 ack_timeout_ms=20000")
        .daemon("r.sock", "protocol=2 ack_timeout_ms=20000")
        .config("LogLevel warn")
        .start();
    let daemon = Daemon::start(apache.socket_path("d.sock"), ["--delay", "0"]);
    let receiver = crate::daemon::Daemon::start(apache.socket_path("r.sock"));
    let plain = format!("/ask.php?length={LENGTH}");
    let handoff = format!("{plain}&to={}", daemon.socket().display());
    let received = format!("{plain}&to={}", apache.socket_path("r.sock").display());
    let [mut plain_ms, mut received_ms, mut handoff_ms] = [const { Vec::new() }; 3];
    for number in 0..WARM_UP + REQUESTS {
        let kinds = [(&plain, &mut plain_ms), (&received, &mut received_ms), (&handoff, &mut handoff_ms)];
        for (target, times) in kinds {
            let (time, length) = fetch(apache.addr(), target)?;
            ensure!((length > LENGTH) == (*target == plain), "{target}: {length} bytes came");
            if number >= WARM_UP {
                times.push(time.as_secs_f64() * 1e3);
            }
        }
    }
    ensure!(receiver.count() == WARM_UP + REQUESTS, "the receiver has got {}", receiver.count());
    let [plain_ms, received_ms, handoff_ms] =
        [plain_ms, received_ms, handoff_ms].map(|times| times.into_iter().collect::<Samples>().median());
    Ok(Bodies { plain_ms, received_ms, handoff_ms })
}

/// The whole answer on a connection of its own: how long it took, and its length in bytes.
fn fetch(addr: SocketAddr, target: &str) -> Result<(Duration, usize)> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::with_capacity(2 * LENGTH);
    stream.read_to_end(&mut answer)?;
    let time = start.elapsed();
    ensure!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "{target} was answered with {:?}",
        String::from_utf8_lossy(&answer[..answer.len().min(300)])
    );
    Ok((time, answer.len()))
}
