//! One request on a connection of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How long an answer may take, also under a profiler.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks for `target` as an ordinary client does, which would keep the connection, and closes it after the answer.
///
/// # Errors
/// When the connection fails or the answer is not a whole 200.
pub fn fetch(addr: SocketAddr, target: &str) -> Result<()> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut buffer = [0; 1024];
    let mut length = 0;
    loop {
        let count = stream.read(&mut buffer[length..]).with_context(|| format!("reading {target}"))?;
        length += count;
        if count == 0 || is_complete(&buffer[..length]) {
            break;
        }
    }
    let answer = &buffer[..length];
    ensure!(
        answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(b"\n"),
        "{target} was answered with {:?}",
        String::from_utf8_lossy(answer)
    );
    Ok(())
}

/// Whether the body is as long as Content-Length says. Without one, the end of the connection is the end.
fn is_complete(answer: &[u8]) -> bool {
    let Ok(answer) = std::str::from_utf8(answer) else { return false };
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| body.len() >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_by_its_content_length_only() {
        assert!(is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"));
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"));
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"));
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\n\r\nab"));
    }
}
