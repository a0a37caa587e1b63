//! What tests with real faults share: handoffs without a script, for many of them a second, and the verdict on each.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::apache::{Apache, Builder};
use crate::load::{Load, Outcome, Request, Requests, tokens};
use crate::mpm::Mpm;
use crate::wait::{PATIENCE, wait_until};

/// What [`hand_off`]'s Apache is asked for.
pub const TARGET: &str = "/hello.txt?token={token}";

/// A page that the operator hands off to the daemon at `${RUN}/d.sock`, by protocol 2. The mock backend says the token
/// last, and the daemon logs it as the request's id. `settings` are the daemon's, after `protocol=2`.
///
/// # Panics
/// When the limit of open files can't be raised.
#[must_use]
pub fn hand_off(mpm: Mpm, settings: &str) -> Builder {
    // For a thousand clients, and for the servers that inherit it.
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    setrlimit(Resource::Nofile, raised).expect("raising the limit of open files");
    Apache::builder(mpm).file("hello.txt", "hello\n").daemon("d.sock", &format!("protocol=2 {settings}")).vhost(
        "<Location /hello.txt>\nHeader set X-Socket-Handoff ${RUN}/d.sock\n\
         Header set X-Handoff-Data \"expr={\\\"request_id\\\":\\\"%{QUERY_STRING}\\\",\\\"prompt\\\":\\\"one %{QUERY_STRING}\\\"}\"\n\
         </Location>",
    )
}

/// Lets `time` pass: a random moment is what these tests are about.
pub fn pass(time: Duration) {
    thread::sleep(time);
}

/// What may have happened to a request.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Nobody has taken it: 503.
    pub refused: bool,
    /// The daemon died after it had accepted: a cut stream, or nothing at all.
    pub owner_died: bool,
    /// The Apache child died, before it has logged the request: nothing at all.
    pub child_died: bool,
}

impl Allowed {
    /// Nothing but whole answers.
    pub const NOTHING: Self = Self { refused: false, owner_died: false, child_died: false };
}

/// How many requests ended how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// All.
    pub requests: usize,
    /// Whole streams of the daemon that was named.
    pub answered: usize,
    /// Whole streams of another daemon.
    pub by_fallback: usize,
    /// 503: nobody had taken it.
    pub refused: usize,
    /// Accepted, the stream began, and its owner died.
    pub cut: usize,
    /// Accepted, and its owner died before it said anything.
    pub silent: usize,
    /// The Apache child died, and with it the request.
    pub child_died: usize,
    /// In the daemons' own logs. What a daemon that is killed had not yet written is not there.
    pub logged: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            text,
            "{} requests: {} answered, {} by the fallback, {} refused; owner died after accepting: {} cut, {} silent; \
             {} lost with their Apache child; {} in the daemons' logs",
            self.requests,
            self.answered,
            self.by_fallback,
            self.refused,
            self.cut,
            self.silent,
            self.child_died,
            self.logged
        )
    }
}

/// Ends the load and judges every request by what its client saw and what Apache's access log says. `logs` are those of
/// the daemons: no request may stand there twice.
///
/// # Panics
/// With the requests that ended as they must not.
#[track_caller]
pub fn judge(load: Load, apache: &Apache, logs: impl Fn() -> String, allowed: Allowed) -> Tally {
    let requests = load.finish();
    let log = complete_log(apache, &requests, allowed);
    if !allowed.owner_died {
        let answered = requests.count(Outcome::Answered);
        let complete = || tokens(&logs()).values().sum::<usize>() >= answered;
        wait_until(PATIENCE, "the daemons to have logged what they answered", complete);
    }
    let logs = logs();
    let owners = tokens(&logs);
    let mut tally = Tally { requests: requests.0.len(), logged: owners.len(), ..Tally::default() };
    let mut wrong = Vec::new();
    for (request, line) in requests.with_log(&log) {
        let owners = owners.get(request.token.as_str()).copied().unwrap_or(0);
        // A 503 of Apache's is an owner as well.
        let owners = owners + usize::from(matches!(request.outcome, Outcome::Refused(_)));
        if owners > 1 || count(request, line, allowed, &mut tally).is_none() {
            wrong.push(describe(request, line, owners));
        }
    }
    let shown = wrong[..wrong.len().min(12)].join("\n");
    assert!(wrong.is_empty(), "{} of {requests} have ended wrong:\n{shown}\n{tally}", wrong.len());
    tally
}

/// `None`: it must not end so.
fn count(request: &Request, line: Option<&str>, allowed: Allowed, tally: &mut Tally) -> Option<()> {
    let note = line.and_then(|line| line.rsplit_once("handoff=")).map(|(_, note)| note);
    let accepted = note.is_some_and(|note| note.starts_with("handed-off"));
    let counter = match request.outcome {
        Outcome::Answered if note == Some("handed-off:fallback") => &mut tally.by_fallback,
        Outcome::Answered if accepted || (line.is_none() && allowed.child_died) => &mut tally.answered,
        Outcome::Refused(503) if !accepted && allowed.refused && is_clean(request) => &mut tally.refused,
        Outcome::Cut if accepted && allowed.owner_died => &mut tally.cut,
        Outcome::Empty if accepted && allowed.owner_died => &mut tally.silent,
        Outcome::Empty if line.is_none() && allowed.child_died => &mut tally.child_died,
        _ => return None,
    };
    *counter += 1;
    Some(())
}

/// A 503 that tells the client when to ask again.
fn is_clean(request: &Request) -> bool {
    String::from_utf8_lossy(&request.received).contains("\r\nRetry-After: ")
}

fn describe(request: &Request, line: Option<&str>, owners: usize) -> String {
    let received = String::from_utf8_lossy(&request.received).into_owned();
    format!(
        "{} {:?}, {owners} owner(s), access log {line:?}, got {received:?}",
        request.token, request.outcome
    )
}

/// Apache writes a line when the client has its answer already.
fn complete_log(apache: &Apache, requests: &Requests, allowed: Allowed) -> String {
    let mut log = String::new();
    let complete = || {
        log = apache.access_log();
        requests.with_log(&log).iter().all(|(_, line)| line.is_some())
    };
    if allowed.child_died {
        apache.wait_until_idle(PATIENCE);
        log = apache.access_log();
    } else {
        wait_until(PATIENCE, "the access log to be complete", complete);
    }
    log
}

/// How many handoffs were in flight at the moments of the faults.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Vec<(usize, usize)>);

impl InFlight {
    /// Notes how many there are now.
    pub fn note(&mut self, load: &Load) {
        self.0.push((load.unanswered(), load.streaming()));
    }

    /// Moments so far.
    #[must_use]
    pub fn moments(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for InFlight {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.0.iter().map(|(waiting, streaming)| waiting + streaming).max().unwrap_or(0);
        write!(text, "{} faults; in flight (no byte yet + streaming), at most {most}:", self.0.len())?;
        self.0.iter().try_for_each(|(waiting, streaming)| write!(text, " {waiting}+{streaming}"))
    }
}

/// How many faults a test makes: by `TEST_FAULTS`, or as few as `default`.
///
/// # Panics
/// When `TEST_FAULTS` is not a number.
#[must_use]
pub fn faults(default: usize) -> usize {
    std::env::var("TEST_FAULTS").map_or(default, |count| count.parse().expect("TEST_FAULTS is a number"))
}

/// Prints what a test has found out, with its duration: `cargo test -- --nocapture` shows it.
pub fn report(name: &str, mpm: Mpm, start: Instant, in_flight: &InFlight, tally: &Tally) {
    println!("{name} on {mpm}, {:.1} s: {tally}. {in_flight}", start.elapsed().as_secs_f64());
}
