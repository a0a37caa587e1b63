//! What a program writes to standard error: into the log, line by line.

use std::io;
use std::process::ChildStderr;

use tokio::net::unix::pipe::Receiver;

/// Longer lines are logged in pieces of this many bytes.
const LONGEST_LINE: usize = 4096;

/// Logs what comes from `pipe` until its end, each line with `pid`.
pub(super) async fn log(pipe: Receiver, pid: i32) {
    let mut lines = Lines::default();
    let mut bytes = [0; 1024];
    // Quoted and escaped by the log's formatter: these are foreign.
    let write = |line: &str| tracing::warn!(pid, stderr = line);
    while pipe.readable().await.is_ok() {
        match pipe.try_read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => lines.push(&bytes[..read], write),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    lines.end(write);
}

/// The reading end, for the runtime.
pub(super) fn receiver(pipe: ChildStderr) -> io::Result<Receiver> {
    Receiver::from_owned_fd(pipe.into())
}

/// Splits bytes into lines. No IO.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while !bytes.is_empty() {
            let room = bytes.len().min(LONGEST_LINE - self.begun.len());
            match bytes[..room].iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.begun.extend_from_slice(&bytes[..end]);
                    self.flush(&mut line);
                    bytes = &bytes[end + 1..];
                }
                None => {
                    self.begun.extend_from_slice(&bytes[..room]);
                    bytes = &bytes[room..];
                    if self.begun.len() == LONGEST_LINE {
                        self.flush(&mut line);
                    }
                }
            }
        }
    }

    /// What came after the last line end.
    fn end(mut self, line: impl FnMut(&str)) {
        self.flush(line);
    }

    /// Empty lines are not logged.
    fn flush(&mut self, mut line: impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.begun);
        let text = text.trim_end_matches('\r');
        if !text.is_empty() {
            line(text);
        }
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for piece in pieces {
            lines.push(piece, |line| found.push(line.to_owned()));
        }
        lines.end(|line| found.push(line.to_owned()));
        found
    }

    #[test]
    fn a_line_may_come_in_pieces_and_the_last_one_without_its_end() {
        assert_eq!(lines(&[b"on", b"e\r\ntwo\n\nth", b"ree"]), ["one", "two", "three"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_nothing_of_it_lost() {
        let long = vec![b'x'; 2 * LONGEST_LINE + 5];
        let found = lines(&[&long, b"\n"]);
        assert_eq!(found.iter().map(String::len).collect::<Vec<_>>(), [LONGEST_LINE, LONGEST_LINE, 5]);
    }
}
