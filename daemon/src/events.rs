//! Where answers write: events for the client, in the format that the request asks for. No IO.

use sse::writer;

use crate::config::Format;

/// Events that are ready together go out in one write, up to this many bytes: enough to make the cost of the system
/// call small, and little to keep for a client that is slow to take it.
const WRITE_SIZE: usize = 16 * 1024;

/// The events of one write.
#[derive(Debug)]
pub struct Events<'a> {
    out: &'a mut Vec<u8>,
    /// Length of `out` at the beginning.
    start: usize,
    format: Format,
    pieces: u32,
    alive: bool,
}

impl<'a> Events<'a> {
    /// Appended to `out`.
    pub fn new(out: &'a mut Vec<u8>, format: Format) -> Self {
        Self { start: out.len(), out, format, pieces: 0, alive: false }
    }

    /// A piece of the answer's text. Empty text is no event.
    pub fn text(&mut self, text: &str) {
        match self.format {
            Format::Json => writer::json(self.out, text),
            Format::Text | Format::Raw => writer::text(self.out, text),
        }
        self.pieces += u32::from(!text.is_empty());
    }

    /// A whole event of the backend, as it stands, the empty line at its end included.
    pub fn verbatim(&mut self, event: &[u8]) {
        self.out.extend_from_slice(event);
        self.pieces += 1;
    }

    /// A comment of the backend, as it stands.
    pub fn comment(&mut self, comment: &[u8]) {
        self.out.extend_from_slice(comment);
    }

    /// The backend has sent something that is nothing for the client.
    pub fn alive(&mut self) {
        self.alive = true;
    }

    /// The answer is complete. Who reads the backend's own events knows the backend's own mark.
    pub fn done(&mut self) {
        if self.format != Format::Raw {
            writer::done(self.out);
        }
    }

    /// The answer ends here, unfinished.
    pub fn error(&mut self, message: &str) {
        writer::error(self.out, message);
    }

    /// Something for proxies that close silent connections.
    pub fn keep_alive(&mut self) {
        writer::keep_alive(self.out);
    }

    /// How pieces are written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether that is enough for one write.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.out.len() - self.start >= WRITE_SIZE
    }

    /// Pieces of the answer so far.
    #[must_use]
    pub fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Whether the backend has sent anything.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.alive || self.out.len() > self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_raw_events_gets_no_others() {
        let mut out = Vec::new();
        let mut events = Events::new(&mut out, Format::Raw);
        events.verbatim(b"data: [DONE]\r\n\r\n");
        events.done();
        assert_eq!(out, b"data: [DONE]\r\n\r\n");
    }

    #[test]
    fn only_text_is_a_piece() {
        let mut out = Vec::new();
        let mut events = Events::new(&mut out, Format::Json);
        events.text("");
        events.alive();
        assert!(events.pieces() == 0 && events.is_alive());
        events.text("a");
        assert_eq!(events.pieces(), 1);
        assert_eq!(out, b"data: {\"content\":\"a\"}\n\n");
    }
}
