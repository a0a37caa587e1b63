//! One line for each finished stream, since Apache's access log ends with the handoff.
//!
//! A thread of its own writes them. Streams never wait for it: when it cannot keep up, lines are dropped and counted.

mod asked;
mod line;
mod time;
mod writer;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::backend::Usage;
use crate::config;
use crate::outcome::Outcome;
pub use asked::Asked;
use writer::{Message, Writer};

/// Lines that may wait for the writer.
const WAITING: usize = 4096;

/// What a line tells.
#[derive(Clone, Debug)]
pub struct Finished {
    /// When the handoff had arrived.
    pub time: SystemTime,
    /// The client's address: behind trusted proxies if Apache tells it, else that of its connection, if that has one.
    pub client: Option<IpAddr>,
    /// Its request, if Apache tells of it.
    pub asked: Option<Box<Asked>>,
    /// From the handoff data, as is `user_id`.
    pub request_id: Option<String>,
    /// The application's user.
    pub user_id: Option<String>,
    /// The response's status; 0 when none was sent.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes that the kernel took, head and framing included.
    pub bytes: u64,
    /// From the handoff to the end of the response, the closing not included.
    pub duration: Duration,
    /// From the handoff to the first piece of the answer.
    pub first_token: Option<Duration>,
    /// Who answered; none if nobody was asked.
    pub backend: Option<Arc<str>>,
    /// What the backend has counted, as far as it has told.
    pub usage: Usage,
}

/// The access log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "the access log {path} cannot be opened: {source}; create its directory for the daemon's user, or set [logging] \
     access_log = \"off\"",
    path = path.display()
)]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// The way to the writer.
#[derive(Debug)]
pub struct AccessLog {
    /// None: off.
    writer: Option<SyncSender<Message>>,
    lost: AtomicU64,
}

impl AccessLog {
    /// Opens the log and starts its writer, unless it is off.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: &config::Logging) -> Result<Self, OpenError> {
        let writer = match &config.access_log {
            config::AccessLog::Off => None,
            config::AccessLog::Stdout => Some(Writer::stdout()),
            config::AccessLog::File(path) => {
                Some(Writer::file(path).map_err(|source| OpenError { path: path.clone(), source })?)
            }
        };
        let start = |writer: Writer| {
            let (sender, receiver) = mpsc::sync_channel(WAITING);
            let format = config.access_log_format;
            std::thread::spawn(move || writer.run(&receiver, format));
            sender
        };
        Ok(Self { writer: writer.map(start), lost: AtomicU64::new(0) })
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// Writes a line, soon.
    pub fn log(&self, finished: impl FnOnce() -> Finished) {
        if let Some(writer) = &self.writer {
            self.count(writer.try_send(Message::Line(Box::new(finished()))));
        }
    }

    /// Opens the file anew: what SIGHUP asks for after the old one was renamed.
    pub fn reopen(&self) {
        if let Some(writer) = &self.writer {
            // A queue that is full has the request of a moment ago, or will have lines that are dropped and counted.
            let _ = writer.try_send(Message::Reopen);
        }
    }

    /// Waits until what was logged so far is written, at most for `patience`.
    pub async fn flush(&self, patience: Duration) {
        let Some(writer) = &self.writer else { return };
        let (done, written) = oneshot::channel();
        if writer.try_send(Message::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(patience, written).await;
        }
    }

    /// Lines that were dropped.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn count(&self, result: Result<(), TrySendError<Message>>) {
        if result.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(request_id: &str) -> Finished {
        Finished {
            time: SystemTime::UNIX_EPOCH,
            client: None,
            asked: None,
            request_id: Some(request_id.to_owned()),
            user_id: None,
            status: 200,
            outcome: Outcome::Done,
            bytes: 1,
            duration: Duration::ZERO,
            first_token: None,
            backend: None,
            usage: Usage::default(),
        }
    }

    fn config(path: PathBuf) -> config::Logging {
        config::Logging { access_log: config::AccessLog::File(path), ..Default::default() }
    }

    #[tokio::test]
    async fn a_renamed_file_is_replaced_when_reopened() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
        let log = AccessLog::open(&config(path.clone())).unwrap();
        log.log(|| finished("first"));
        log.flush(Duration::from_secs(10)).await;
        std::fs::rename(&path, &old).unwrap();
        log.log(|| finished("second"));
        log.reopen();
        log.log(|| finished("third"));
        log.flush(Duration::from_secs(10)).await;
        let old = std::fs::read_to_string(old).unwrap();
        assert!(old.contains("first") && old.contains("second") && !old.contains("third"), "{old}");
        let new = std::fs::read_to_string(path).unwrap();
        assert!(new.contains("third") && new.lines().count() == 1, "{new}");
    }

    #[tokio::test]
    async fn lines_that_cannot_be_written_in_time_are_dropped_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        // A pipe that is full, as is a disk that hangs.
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let log = AccessLog::open(&config(path)).unwrap();
        let id = "x".repeat(250);
        for _ in 0..3 * WAITING {
            log.log(|| finished(&id));
        }
        assert!(log.lost() > 0, "nothing was dropped");
        drop(reader);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_with_a_cure() {
        let error = AccessLog::open(&config("/no/such/directory/access.log".into())).unwrap_err();
        assert!(error.to_string().contains("/no/such/directory/access.log"), "{error}");
        assert!(error.to_string().contains("access_log = \"off\""), "{error}");
    }
}
