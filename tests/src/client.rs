//! An HTTP/1.x client that can misbehave: it sends the bytes it is told to, and tells how a connection ended.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::wait::PATIENCE;

/// A connection to a server, with what has been received on it and not yet been read.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    patience: Duration,
}

/// How reading came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As the response's own framing says: Content-Length reached, last chunk seen, or a status without a body.
    Framed,
    /// The server closed (FIN).
    Closed,
    /// The server reset the connection (RST): what was in flight may be lost.
    Reset,
    /// Nothing for as long as the client waits.
    TimedOut,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// Status code.
    pub status: u16,
    /// Header fields, in the order and the spelling in which they came.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a field, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// All values of a field.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let mut parts = status_line.splitn(3, ' ');
        let version = parts.next().unwrap_or_default().to_owned();
        let status = parts.next().and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
        let headers = lines
            .filter(|line| !line.is_empty())
            .map(|line| line.split_once(':').unwrap_or_else(|| panic!("not a header field: {line:?}")))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Self { version, status, headers }
    }
}

/// A response, as far as it came.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status and header fields.
    pub head: Head,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// How it ended. A chunked body is complete only with [`Ending::Framed`].
    pub ending: Ending,
}

impl Response {
    /// Status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap_or_else(|error| panic!("connecting to {addr}: {error}"));
        stream.set_nodelay(true).expect("setting TCP_NODELAY");
        Self { stream, buffer: Vec::new(), patience: PATIENCE }
    }

    /// The response to one GET on a connection of its own.
    #[must_use]
    #[track_caller]
    pub fn fetch(addr: SocketAddr, target: &str) -> Response {
        let mut client = Self::connect(addr);
        client.get(target);
        client.read_response()
    }

    /// How long each wait for the server's next bytes may take, from now on.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The socket itself.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When the server has closed.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("sending to the server");
    }

    /// Sends an HTTP/1.1 GET without a body.
    #[track_caller]
    pub fn get(&mut self, target: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }

    /// Sends an HTTP/1.1 POST of a form.
    #[track_caller]
    pub fn post(&mut self, target: &str, form: &str) {
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        ));
    }

    /// Says that nothing more will be sent (FIN), and goes on reading.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("shutting down the sending side");
    }

    /// Ends the connection with a reset (RST).
    ///
    /// # Panics
    /// When the socket has no linger option.
    pub fn reset(self) {
        set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("setting SO_LINGER");
    }

    /// Reads one response, its body by its own framing. Interim responses (1xx) are passed over.
    ///
    /// # Panics
    /// When the connection ends before a head is complete.
    #[track_caller]
    pub fn read_response(&mut self) -> Response {
        let mut head = self.read_head();
        while head.status < 200 {
            head = self.read_head();
        }
        let (body, ending) = self.read_body(&head);
        Response { head, body, ending }
    }

    /// Reads the head of a response, interim ones too, and leaves its body for later.
    ///
    /// # Panics
    /// When the connection ends before it is complete.
    #[track_caller]
    pub fn read_head(&mut self) -> Head {
        let Ok(bytes) = self.take_through(b"\r\n\r\n") else {
            panic!("no complete response head, but {:?}", String::from_utf8_lossy(&self.buffer));
        };
        Head::parse(&String::from_utf8_lossy(&bytes))
    }

    /// Reads until `text` has come, and returns everything up to its end: raw bytes, chunk sizes included.
    ///
    /// # Panics
    /// When the connection ends first.
    #[track_caller]
    pub fn read_until(&mut self, text: &str) -> String {
        match self.take_through(text.as_bytes()) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(ending) => {
                panic!(
                    "{ending:?} while waiting for {text:?}; got {:?}",
                    String::from_utf8_lossy(&self.buffer)
                )
            }
        }
    }

    /// Reads raw bytes until the connection ends.
    pub fn read_to_end(&mut self) -> (Vec<u8>, Ending) {
        let ending = loop {
            if let Err(ending) = self.fill() {
                break ending;
            }
        };
        (std::mem::take(&mut self.buffer), ending)
    }

    /// Reads the body that belongs to `head` (the answer to anything but a HEAD request) by its framing.
    pub fn read_body(&mut self, head: &Head) -> (Vec<u8>, Ending) {
        if head.status == 204 || head.status == 304 {
            return (Vec::new(), Ending::Framed);
        }
        if head.all("Transfer-Encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks();
        }
        let Some(length) = head.header("Content-Length") else { return self.read_to_end() };
        let length = length.parse().unwrap_or_else(|_| panic!("Content-Length: {length}"));
        match self.take(length) {
            Ok(body) => (body, Ending::Framed),
            Err(ending) => (std::mem::take(&mut self.buffer), ending),
        }
    }

    fn read_chunks(&mut self) -> (Vec<u8>, Ending) {
        let mut body = Vec::new();
        loop {
            match self.read_chunk() {
                Ok(chunk) if chunk.is_empty() => return (body, Ending::Framed),
                Ok(chunk) => body.extend_from_slice(&chunk),
                Err(ending) => return (body, ending),
            }
        }
    }

    /// The next chunk of a chunked body; empty for the last one (RFC 9112, section 7.1, without trailers).
    ///
    /// # Errors
    /// How the connection ended before the chunk was complete.
    ///
    /// # Panics
    /// When what comes is not a chunk.
    pub fn read_chunk(&mut self) -> Result<Vec<u8>, Ending> {
        let line = self.take_through(b"\r\n")?;
        let line = String::from_utf8_lossy(&line);
        let size =
            usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("a chunk size: {line:?}"));
        let mut chunk = self.take(size + 2)?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk of {size} bytes does not end with CRLF");
        chunk.truncate(size);
        Ok(chunk)
    }

    /// The next bytes through the first `end`; without it, they stay in the buffer.
    fn take_through(&mut self, end: &[u8]) -> Result<Vec<u8>, Ending> {
        loop {
            if let Some(start) = self.buffer.windows(end.len()).position(|window| window == end) {
                return self.take(start + end.len());
            }
            self.fill()?;
        }
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>, Ending> {
        while self.buffer.len() < count {
            self.fill()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Appends what comes next to the buffer.
    fn fill(&mut self) -> Result<(), Ending> {
        let mut bytes = [0; 16 * 1024];
        let end = Instant::now() + self.patience;
        loop {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("setting a read timeout");
            return match self.stream.read(&mut bytes) {
                Ok(0) => Err(Ending::Closed),
                Ok(count) => {
                    self.buffer.extend_from_slice(&bytes[..count]);
                    Ok(())
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(Ending::TimedOut),
                    ErrorKind::ConnectionReset => Err(Ending::Reset),
                    _ => panic!("reading from the server: {error}"),
                },
            };
        }
    }
}
