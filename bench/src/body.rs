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
    /// The daemon gets it, and the client the daemon's stream.
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
        .config("LogLevel warn")
        .start();
    let daemon = Daemon::start(apache.socket_path("d.sock"), ["--delay", "0"]);
    let plain = format!("/ask.php?length={LENGTH}");
    let handoff = format!("{plain}&to={}", daemon.socket().display());
    let (mut plain_ms, mut handoff_ms) = (Samples::default(), Samples::default());
    for number in 0..WARM_UP + REQUESTS {
        let (time, length) = fetch(apache.addr(), &plain)?;
        ensure!(length > LENGTH, "the plain body has {length} bytes only");
        let (handed_off, length) = fetch(apache.addr(), &handoff)?;
        ensure!(length < 2048, "the daemon's stream has {length} bytes");
        if number >= WARM_UP {
            plain_ms.push(time.as_secs_f64() * 1e3);
            handoff_ms.push(handed_off.as_secs_f64() * 1e3);
        }
    }
    Ok(Bodies { plain_ms: plain_ms.median(), handoff_ms: handoff_ms.median() })
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
