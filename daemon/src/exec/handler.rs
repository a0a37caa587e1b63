//! One client and its program, from the module's connection to the log line.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use handoff_protocol::v2::Envelope;
use rustix::net::sockopt::{self, Timeout};
use serde_json::Value;
use tokio::sync::SemaphorePermit;

use super::Http;
use super::cgi::Variables;
use super::output::Output;
use super::presence::Presence;
use super::program::{Program, Streams};
use super::server::Shared;
use crate::client::head::{self, Fields, Framing};
use crate::client::{ClientConn, WriteError};
use crate::config::Server;
use crate::open_files::Room;
use crate::receive::Handoff;
use crate::request::ResponseHeaders;

/// How a client's answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The program ended by itself.
    Ended,
    /// It did so with another exit code than 0, or by a signal.
    Failed,
    /// It could not be started.
    NotStarted,
    ClientGone,
    /// The client took nothing for the whole write deadline (with `--http`; else the program's own write fails).
    WriteTimeout,
    /// `--timeout` was over.
    TimeUp,
    Shutdown,
    /// No place became free: 503.
    Busy,
    /// Data or request cannot be put into an environment: 400.
    BadData,
}

impl Outcome {
    fn reason(self) -> &'static str {
        match self {
            Self::Ended => "done",
            Self::Failed => "failed",
            Self::NotStarted => "not_started",
            Self::ClientGone => "client_gone",
            Self::WriteTimeout => "write_timeout",
            Self::TimeUp => "timeout",
            Self::Shutdown => "shutdown",
            Self::Busy => "busy",
            Self::BadData => "bad_request",
        }
    }

    /// The response for a client that has got nothing yet.
    fn refusal(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Failed => Some((502, "the program that should answer has failed")),
            Self::NotStarted => Some((502, "the program that should answer cannot be started")),
            Self::TimeUp => Some((504, "the program that should answer took too long")),
            Self::Shutdown => Some((503, "the server is shutting down; please ask again")),
            Self::Busy => Some((503, "all programs that answer are busy; please ask again in a moment")),
            Self::BadData => {
                Some((400, "the handoff data holds a NUL byte, or a field of the request is too long"))
            }
            Self::Ended | Self::ClientGone | Self::WriteTimeout => None,
        }
    }
}

/// What a program is to answer.
#[derive(Clone, Copy)]
struct Task<'a> {
    data: &'a [u8],
    /// The protocol of the request, as far as it is known.
    protocol: Option<&'a str>,
    envelope: Option<&'a Envelope>,
    /// For a response that is ours.
    fields: &'a Fields,
}

impl Task<'_> {
    fn variables(&self) -> Option<Variables> {
        self.envelope.map(Variables::new)
    }
}

/// What is left when a client's answer has ended.
struct Answered {
    client: io::Result<ClientConn>,
    outcome: Outcome,
    /// Of the program, if there was one.
    end: Option<(i32, io::Result<ExitStatus>)>,
    /// Whether the program may have written to the client by itself.
    begun: bool,
}

/// Answers a client with a program.
pub(super) async fn serve(handoff: Handoff, _room: Room, shared: Arc<Shared>) {
    let timeouts = Server::default();
    let started = Instant::now();
    let about: Value = serde_json::from_slice(&handoff.data).unwrap_or(Value::Null);
    let envelope = handoff.envelope.as_deref();
    let protocol = match envelope {
        Some(envelope) => envelope.protocol.as_str(),
        None => about.get("protocol").and_then(Value::as_str),
    };
    // A browser shall not take text for something else.
    let fields = Fields::new(ResponseHeaders::one("X-Content-Type-Options", "nosniff"), None, envelope);
    let task = Task { data: &handoff.data, protocol, envelope, fields: &fields };
    let answered = match Presence::new(handoff.client) {
        Ok(client) => answer(client, task, &shared).await,
        Err(error) => return tracing::warn!("a client's connection cannot be watched: {error}"),
    };
    let Answered { client, mut outcome, end, begun } = answered;
    if let Ok(mut client) = client {
        if !begun && client.sent() == 0 {
            outcome = refuse(&mut client, outcome, &fields, timeouts.write_timeout).await;
        }
        if outcome != Outcome::ClientGone {
            client.close_gently(timeouts.close_timeout).await;
        }
    }
    tracing::info!(
        pid = end.as_ref().map(|(pid, _)| pid),
        request_id = about.get("request_id").map(tracing::field::display),
        unique_id = envelope.and_then(|envelope| envelope.id.as_ref()?.as_str()),
        outcome = outcome.reason(),
        status = end.as_ref().map(|(_, status)| describe(status)),
        duration_ms = (started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        "client finished"
    );
}

/// Waits for a place, starts the program and sees it to its end.
async fn answer(client: Presence, task: Task<'_>, shared: &Shared) -> Answered {
    let nothing = |client: Presence, outcome| Answered {
        client: ClientConn::adopt(client.into_inner()),
        outcome,
        end: None,
        begun: false,
    };
    if task.data.contains(&0) || task.variables().is_some_and(|variables| !variables.fit()) {
        return nothing(client, Outcome::BadData);
    }
    let _place = match place(&client, shared).await {
        Ok(place) => place,
        Err(outcome) => return nothing(client, outcome),
    };
    match &shared.options.http {
        None => with_socket(client, task, shared).await,
        Some(http) => match ClientConn::adopt(client.into_inner()) {
            Ok(client) => with_pipe(client, task, http, shared).await,
            Err(error) => {
                Answered { client: Err(error), outcome: Outcome::NotStarted, end: None, begun: false }
            }
        },
    }
}

async fn place<'a>(client: &Presence, shared: &'a Shared) -> Result<SemaphorePermit<'a>, Outcome> {
    tokio::select! {
        biased;
        () = client.gone() => Err(Outcome::ClientGone),
        place = shared.places.acquire() => place.map_err(|_| Outcome::Shutdown),
        () = shared.cancel.cancelled() => Err(Outcome::Shutdown),
        () = tokio::time::sleep(shared.options.wait_for_place) => Err(Outcome::Busy),
    }
}

/// The program reads from the client's connection and writes to it.
async fn with_socket(client: Presence, task: Task<'_>, shared: &Shared) -> Answered {
    let started = lend(&client).and_then(|streams| start(streams, task, shared));
    let (outcome, end) = match started {
        Ok(program) => {
            let work = async {
                tokio::select! {
                    biased;
                    () = program.ended() => Outcome::Ended,
                    () = client.gone() => Outcome::ClientGone,
                }
            };
            let outcome = in_time(work, shared).await;
            let end = (program.pid(), program.end(shared.options.grace).await);
            (judge(outcome, &end.1), Some(end))
        }
        Err(outcome) => (outcome, None),
    };
    let begun = end.is_some();
    Answered { client: ClientConn::adopt(client.into_inner()), outcome, end, begun }
}

/// The program writes into a pipe, and we write the response.
async fn with_pipe(mut client: ClientConn, task: Task<'_>, http: &Http, shared: &Shared) -> Answered {
    let framing = Framing::for_protocol(task.protocol);
    let write_deadline = Server::default().write_timeout;
    let mut output = Output { client: &mut client, framing, http, fields: task.fields, write_deadline };
    if task.fields.head_only {
        let outcome = output.head_alone().await.map_or_else(failed, |()| Outcome::Ended);
        return Answered { client: Ok(client), outcome, end: None, begun: false };
    }
    let mut program = match start(Streams::Piped, task, shared) {
        Ok(program) => program,
        Err(outcome) => return Answered { client: Ok(client), outcome, end: None, begun: false },
    };
    let pipe = program.output();
    let work = async {
        match pipe {
            Some(pipe) => output.relay(&program, pipe).await.map_or_else(failed, |()| Outcome::Ended),
            None => Outcome::NotStarted,
        }
    };
    let outcome = in_time(work, shared).await;
    let end = (program.pid(), program.end(shared.options.grace).await);
    let mut outcome = judge(outcome, &end.1);
    // A program that fails after its first words leaves the response without its last chunk: the client sees the cut.
    if outcome == Outcome::Ended {
        outcome = output.finish().await.map_or_else(failed, |()| Outcome::Ended);
    }
    Answered { client: Ok(client), outcome, end: Some(end), begun: false }
}

async fn in_time(work: impl Future<Output = Outcome>, shared: &Shared) -> Outcome {
    let time_up = async {
        match shared.options.time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        outcome = work => outcome,
        () = time_up => Outcome::TimeUp,
        () = shared.cancel.cancelled() => Outcome::Shutdown,
    }
}

/// The client's connection as a program expects its standard input and output.
fn lend(client: &Presence) -> Result<Streams, Outcome> {
    let lent = || {
        // A status of the open connection, which all its descriptors share. Few programs know what EAGAIN means.
        rustix::io::ioctl_fionbio(client, false)?;
        // A client that takes nothing makes the program's write fail at last. Best effort, as it may be no TCP.
        let _ = sockopt::set_socket_timeout(client, Timeout::Send, Some(Server::default().write_timeout));
        let client = client.as_fd();
        Ok(Streams::Client { input: client.try_clone_to_owned()?, output: client.try_clone_to_owned()? })
    };
    lent().map_err(|error: io::Error| {
        tracing::error!("a client's connection cannot be given to a program: {error}");
        Outcome::NotStarted
    })
}

fn start(streams: Streams, task: Task<'_>, shared: &Shared) -> Result<Program, Outcome> {
    let command = &shared.options.command;
    Program::start(command, streams, task.data, task.variables(), &shared.slot).map_err(|error| {
        tracing::error!("{:?} cannot be started: {error}", command[0]);
        Outcome::NotStarted
    })
}

fn judge(outcome: Outcome, status: &io::Result<ExitStatus>) -> Outcome {
    match status {
        Ok(status) if status.success() => outcome,
        _ if outcome == Outcome::Ended => Outcome::Failed,
        _ => outcome,
    }
}

fn failed(error: WriteError) -> Outcome {
    match error {
        WriteError::Gone => Outcome::ClientGone,
        WriteError::Deadline => Outcome::WriteTimeout,
    }
}

/// Sends a whole response to a client that has got nothing.
async fn refuse(client: &mut ClientConn, outcome: Outcome, fields: &Fields, deadline: Duration) -> Outcome {
    let Some((status, message)) = outcome.refusal() else { return outcome };
    let retry_after = (status == 503).then_some(Duration::from_secs(1));
    let response = head::refusal(status, message, retry_after, fields, SystemTime::now());
    client.write(&response, deadline).await.map_or_else(failed, |()| outcome)
}

/// `exit status: 1`, `signal: 15 (SIGTERM)`.
fn describe(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}
