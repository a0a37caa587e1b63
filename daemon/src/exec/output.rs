//! `--http`: what a program prints, as the body of an HTTP response.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ChildStdout;
use std::time::{Duration, SystemTime};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Http;
use super::program::Program;
use crate::client::head::{self, Fields, Framing};
use crate::client::{ClientConn, WriteError};
use crate::watched::watch;

/// Bytes that are read and sent at a time.
const PIECE: usize = 16 * 1024;

/// Reads what a program prints and sends it to the client.
#[derive(Debug)]
pub(super) struct Output<'a> {
    pub(super) client: &'a mut ClientConn,
    pub(super) framing: Framing,
    pub(super) http: &'a Http,
    pub(super) fields: &'a Fields,
    pub(super) write_deadline: Duration,
}

impl Output<'_> {
    /// Sends everything up to the program's end. The head goes out with the first bytes: as long as there are none, the
    /// response can still be an error.
    ///
    /// # Errors
    /// When the client goes or takes nothing any more.
    pub(super) async fn relay(&mut self, program: &Program, pipe: ChildStdout) -> Result<(), WriteError> {
        let Ok(pipe) = non_blocking(pipe.into()) else { return Ok(()) };
        loop {
            // None: the program has ended.
            let readable = tokio::select! {
                biased;
                () = std::future::poll_fn(|context| self.client.poll_gone(context)) => {
                    return Err(WriteError::Gone);
                }
                readable = pipe.readable() => readable.ok(),
                () = program.ended() => None,
            };
            match (self.pass_on(pipe.get_ref()).await?, readable) {
                (Pass::Some, _) => {}
                // The program may go on without its output.
                (Pass::End, _) => return self.wait(program).await,
                // Nothing more can come from the program; a process it has left behind does not count.
                (Pass::Nothing, None) => return Ok(()),
                (Pass::Nothing, Some(mut readable)) => readable.clear_ready(),
            }
        }
    }

    /// The answer to HEAD, for which no program is started.
    pub(super) async fn head_alone(&mut self) -> Result<(), WriteError> {
        let mut out = Vec::new();
        self.head(&mut out);
        self.client.write(&out, self.write_deadline).await
    }

    /// What follows the whole output of a program that has succeeded.
    pub(super) async fn finish(&mut self) -> Result<(), WriteError> {
        let mut out = Vec::new();
        self.head(&mut out);
        self.framing.write_end(&mut out);
        self.client.write(&out, self.write_deadline).await
    }

    /// Asks the kernel, not the runtime: the news of a program's end can be here before that of its last words.
    async fn pass_on(&mut self, pipe: &OwnedFd) -> Result<Pass, WriteError> {
        let mut piece = Vec::with_capacity(PIECE);
        match rustix::io::retry_on_intr(|| rustix::io::read(pipe, spare_capacity(&mut piece))) {
            Ok(0) => Ok(Pass::End),
            Ok(_) => {
                let mut out = Vec::new();
                self.head(&mut out);
                self.framing.write(&mut out, &piece);
                self.client.write(&out, self.write_deadline).await?;
                Ok(Pass::Some)
            }
            Err(Errno::AGAIN) => Ok(Pass::Nothing),
            Err(_) => Ok(Pass::End),
        }
    }

    async fn wait(&mut self, program: &Program) -> Result<(), WriteError> {
        tokio::select! {
            biased;
            () = program.ended() => Ok(()),
            () = std::future::poll_fn(|context| self.client.poll_gone(context)) => Err(WriteError::Gone),
        }
    }

    /// Appends the head, unless it was sent.
    fn head(&self, out: &mut Vec<u8>) {
        if self.client.sent() > 0 {
            return;
        }
        out.extend(head::stream(&self.http.content_type, self.framing, self.fields, SystemTime::now()));
    }
}

fn non_blocking(pipe: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    watch(pipe, Interest::READABLE)
}

enum Pass {
    Some,
    Nothing,
    End,
}
