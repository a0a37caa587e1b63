//! The thread that writes the access log.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Finished, line};
use crate::config::AccessLogFormat;

/// How often a lasting problem is told, at most.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Message {
    /// A line.
    Line(Box<Finished>),
    /// To open its file anew.
    Reopen,
    /// To tell when everything before this is written.
    Flush(oneshot::Sender<()>),
}

/// Where lines go.
pub(super) struct Writer {
    out: BufWriter<Box<dyn Write + Send>>,
    /// None: standard output.
    path: Option<PathBuf>,
    told: Option<Instant>,
}

impl Writer {
    pub(super) fn stdout() -> Self {
        Self { out: BufWriter::new(Box::new(io::stdout())), path: None, told: None }
    }

    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let file: Box<dyn Write + Send> = Box::new(append(path)?);
        Ok(Self { out: BufWriter::new(file), path: Some(path.to_owned()), told: None })
    }

    /// Writes until nobody can send any more. What waits together is written together.
    pub(super) fn run(mut self, messages: &Receiver<Message>, format: AccessLogFormat) {
        let mut text = String::new();
        while let Ok(first) = messages.recv() {
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Line(finished) => {
                        text.clear();
                        line::write(&mut text, &finished, format);
                        let written = self.out.write_all(text.as_bytes());
                        self.check(written);
                    }
                    Message::Reopen => self.reopen(),
                    Message::Flush(done) => {
                        self.flush();
                        // Whoever asked may have lost patience.
                        let _ = done.send(());
                    }
                }
                next = messages.try_recv().ok();
            }
            self.flush();
        }
    }

    fn flush(&mut self) {
        let flushed = self.out.flush();
        self.check(flushed);
    }

    /// The old file stays when the new one cannot be opened.
    fn reopen(&mut self) {
        let Some(path) = self.path.clone() else { return };
        self.flush();
        match append(&path) {
            Ok(file) => self.out = BufWriter::new(Box::new(file)),
            Err(error) => tracing::warn!("the access log {} is not reopened: {error}", path.display()),
        }
    }

    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && self.told.is_none_or(|at| at.elapsed() >= TELL_INTERVAL)
        {
            self.told = Some(Instant::now());
            tracing::warn!("the access log cannot be written: {error}");
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}
