//! Writes lines on a thread of its own: whoever reads standard error may be slow, or have stopped, and a thread of the
//! runtime that waits for it would hold up a thousand streams. What does not fit into the queue is dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

/// Lines that may wait. At some 200 bytes a line this is 2 MB at most.
const QUEUE: usize = 10_000;

/// How long the end of the process waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    /// Everything before it is written: say so.
    Flush(SyncSender<()>),
}

/// The thread, and the way to it.
#[derive(Debug)]
pub(super) struct Writer {
    lines: Lines,
}

/// Takes lines and never waits. Each call of `write` is one line, as `tracing_subscriber` makes them.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread. Without one, which is when the system is out of memory, all lines are dropped.
    pub(super) fn start(out: impl Write + Send + 'static) -> Self {
        let (queue, items) = mpsc::sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = dropped.clone();
        let _ = thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&items, out, &counter));
        Self { lines: Lines { queue, dropped } }
    }

    pub(super) fn lines(&self) -> Lines {
        self.lines.clone()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.lines.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let (done, flushed) = mpsc::sync_channel(1);
        // With a full queue nobody is reading, and waiting is of no use.
        if self.lines.queue.try_send(Item::Flush(done)).is_ok() {
            let _ = flushed.recv_timeout(PATIENCE);
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(items: &Receiver<Item>, mut out: impl Write, dropped: &AtomicU64) {
    let mut told = 0;
    for item in items {
        // A log that cannot be written has nowhere to complain.
        let _ = match item {
            Item::Line(line) => out.write_all(&line),
            Item::Flush(done) => done.send(()).map_err(io::Error::other),
        };
        let now = dropped.load(Ordering::Relaxed);
        if now > told {
            let _ = writeln!(out, "WARN {} lines of the log were dropped: its reader is slow", now - told);
            told = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that takes a line only when told to.
    struct Slow {
        allowed: Receiver<()>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // The sender is gone: from now on at once.
            let _ = self.allowed.recv();
            let _ = self.written.send(line.to_vec());
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_stopped_holds_nobody_up_and_is_told_what_it_missed() {
        let (allow, allowed) = mpsc::channel();
        let (written, output) = mpsc::channel();
        let writer = Writer::start(Slow { allowed, written });
        let mut lines = writer.lines();
        for number in 0..QUEUE + 5 {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        // One line may already be with the reader.
        let dropped = writer.dropped();
        assert!(dropped == 4 || dropped == 5, "{dropped}");
        drop(allow);
        let text: Vec<u8> = output.iter().take(2 * QUEUE.min(10)).flatten().collect();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(&format!("WARN {dropped} lines of the log were dropped")), "{text}");
    }

    #[test]
    fn the_last_lines_are_written_before_the_end() {
        let (written, output) = mpsc::channel();
        let (allow, allowed) = mpsc::channel();
        drop(allow);
        let writer = Writer::start(Slow { allowed, written });
        writer.lines().write_all(b"last words").unwrap();
        drop(writer);
        assert_eq!(output.try_recv().unwrap(), b"last words");
    }
}
