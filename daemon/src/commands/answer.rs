//! A daemon's answer, as it is read by `streaming-daemon send`. No IO.

/// Reads a response piece by piece.
#[derive(Debug, Default)]
pub(super) struct Answer {
    head: Vec<u8>,
    body: Option<Body>,
    /// The line of the body that is being read.
    line: Vec<u8>,
    done: bool,
}

#[derive(Debug)]
struct Body {
    status_is_ok: bool,
    /// `None`: the end of the connection is the end of the body.
    chunks: Option<Chunks>,
}

/// Where in the framing (RFC 9112, section 7.1) the next byte stands.
#[derive(Debug, Default)]
struct Chunks {
    size: Vec<u8>,
    left: usize,
    complete: bool,
}

impl Answer {
    /// Takes the next bytes; returns what of them is to be shown: the head as it is, the body without its framing.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        for byte in bytes {
            match &mut self.body {
                None => {
                    shown.push(*byte);
                    self.head.push(*byte);
                    if self.head.ends_with(b"\r\n\r\n") {
                        self.body = Some(Body::after(&self.head));
                    }
                }
                Some(body) => {
                    if body.chunks.as_mut().is_none_or(|chunks| chunks.take(*byte)) {
                        shown.push(*byte);
                        look_for_done(&mut self.line, &mut self.done, *byte);
                    }
                }
            }
        }
        shown
    }

    /// Whether the answer was complete, and if not what was wrong with it.
    pub(super) fn end(&self) -> Result<(), &'static str> {
        match &self.body {
            None if self.head.is_empty() => Err("the daemon has closed the connection without an answer"),
            None => Err("the answer was cut within its head"),
            Some(body) if !body.status_is_ok => Err("the daemon has refused the handoff"),
            Some(Body { chunks: Some(chunks), .. }) if !chunks.complete => {
                Err("the answer was cut: its last chunk is missing")
            }
            Some(_) if !self.done => Err("the answer has no \"done\" event: it is not complete"),
            Some(_) => Ok(()),
        }
    }
}

/// Remembers whether a line said `event: done`. Longer lines than that need no room.
fn look_for_done(line: &mut Vec<u8>, done: &mut bool, byte: u8) {
    const DONE: &[u8] = b"event: done";
    if byte == b'\n' {
        *done |= line == DONE;
        line.clear();
    } else if line.len() <= DONE.len() {
        line.push(byte);
    }
}

impl Body {
    fn after(head: &[u8]) -> Self {
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let chunked = head.lines().any(|line| line == "transfer-encoding: chunked");
        Self { status_is_ok: head.split(' ').nth(1) == Some("200"), chunks: chunked.then(Chunks::default) }
    }
}

impl Chunks {
    /// Whether `byte` is one of the body's.
    fn take(&mut self, byte: u8) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        if byte != b'\n' {
            self.size.push(byte);
            return false;
        }
        let line = String::from_utf8_lossy(&self.size).trim().to_owned();
        self.size.clear();
        // The empty line is the one that ends a chunk's data.
        if !line.is_empty() {
            self.left = usize::from_str_radix(&line, 16).unwrap_or(0);
            self.complete |= self.left == 0;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown and what is said at the end, with the bytes coming one by one.
    fn read(response: &str) -> (String, Result<(), &'static str>) {
        let mut answer = Answer::default();
        let shown = response.bytes().flat_map(|byte| answer.push(&[byte])).collect();
        (String::from_utf8(shown).unwrap(), answer.end())
    }

    const HEAD: &str = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn the_done_event_makes_it_complete() {
        let response = format!("{HEAD}data: x\n\nevent: done\ndata: [DONE]\n\n");
        assert_eq!(read(&response), (response.clone(), Ok(())));
    }

    #[test]
    fn text_that_looks_like_it_does_not() {
        for body in ["data: event: done\n\n", "event: done", "xevent: done\n\n", "event: done too\n\n"] {
            assert!(read(&format!("{HEAD}{body}")).1.is_err(), "{body}");
        }
    }

    #[test]
    fn chunks_are_taken_apart_and_their_end_is_needed() {
        let event = "event: done\ndata: [DONE]\n\n";
        let chunks = format!("5\r\nevent\r\n{:x}\r\n{}\r\n", event.len() - 5, &event[5..]);
        let (shown, end) = read(&format!("{CHUNKED}{chunks}0\r\n\r\n"));
        assert_eq!((shown, end), (format!("{CHUNKED}{event}"), Ok(())));
        assert!(read(&format!("{CHUNKED}{chunks}")).1.unwrap_err().contains("last chunk"));
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(read("").1.unwrap_err().contains("without an answer"));
        assert!(read("HTTP/1.1 200").1.unwrap_err().contains("within its head"));
        assert!(read("HTTP/1.1 503 X\r\n\r\nevent: done\n\n").1.unwrap_err().contains("refused"));
    }
}
