//! What the module does at the points of a response where httpd calls it.
//!
//! Two filters share the work. The *collector* stands before all content filters (DEFLATE, mod_headers, mod_cache): it
//! finds the application's handoff headers and takes the body away, or keeps it if it is the daemon's data. The *taker*
//! stands after them: it sees the headers as the operator's configuration has made them, and carries the handoff out. It
//! is there only where a content filter is, which could change headers; without one the collector does its work. Two more
//! stand in on other paths: the *sink* swallows what is written after the request has been answered, the *stripper* takes
//! the headers off error responses.

use std::cell::{OnceCell, RefCell};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::config::{Daemon, Protocol};
use crate::execute;
use crate::headers::HandoffHeaders;
use crate::httpd::{
    Brigade, CollectError, Collected, FilterCall, FilterKind, Level, Request, Status, TableSnapshot,
};
use crate::plan::{HandOff, Ignored, Plan, plan};
use crate::refusal::Refusal;
use crate::scoreboard::{self, InFlight};

/// What has become of a request that carried handoff headers. Lives in the request's pool.
pub(crate) struct RequestState<'r> {
    phase: RefCell<Phase<'r>>,
    /// The response header tables before the content filters, to refuse with: what mod_headers adds to an error
    /// response would otherwise be there twice. Empty when only the taker has seen the headers.
    before_filters: OnceCell<TableSnapshot<'r>>,
    /// The filter that swallows the handler's output, and so sees it end.
    swallowed_by: FilterKind,
}

enum Phase<'r> {
    /// The response's body is the data, and so much of it has come.
    Collecting { socket: &'r Path, body: Vec<u8> },
    /// The collector has taken the body; the taker is to hand off.
    Planned(Planned<'r>),
    /// The handler failed with a part of the data: its error is the answer.
    HandlerFailed,
    /// Being handed off.
    HandingOff,
    /// An error response is due at the end of the handler's output. Not sooner: an error document may be a script for
    /// the same interpreter (mod_php), which must not be entered while it still runs.
    Refused(Refusal),
    /// The error response is being sent.
    Refusing,
    /// The client is the daemon's, or has got an error response. Whatever else is written is dropped.
    Answered,
}

/// A handoff whose data is complete.
struct Planned<'r> {
    socket: &'r Path,
    data: Data<'r>,
}

enum Data<'r> {
    Header(&'r [u8]),
    Body(Vec<u8>),
}

impl Planned<'_> {
    fn handoff(&self) -> HandOff<'_> {
        let data = match &self.data {
            Data::Header(data) => data,
            Data::Body(data) => data.as_slice(),
        };
        HandOff { socket: self.socket, data }
    }
}

/// What to do with a response that asks for a handoff.
enum Decision<'r> {
    HandOff(Planned<'r>),
    /// When its body is complete, and with it.
    HandOffWithBody(&'r Path),
    Refuse(Refusal),
}

/// A handler is about to run: put the filters in its way.
pub(crate) fn insert_filters(request: Request<'_>) {
    if request.is_subrequest() {
        return;
    }
    if let Some(previous) = request.previous() {
        if is_answered(previous) {
            request.add_filter(FilterKind::Sink);
            return;
        }
        // Leftovers of the request before: an error document must not be handed off since the failed script wanted to.
        HandoffHeaders::take(request.response_tables());
    }
    request.add_filter(FilterKind::Collector);
}

/// An error response is about to be sent, past the filters above.
pub(crate) fn insert_error_filters(request: Request<'_>) {
    request.add_filter(if is_answered(request) { FilterKind::Sink } else { FilterKind::Stripper });
}

/// Swallows the body of a response that will be handed off, and passes on an end of stream only.
pub(crate) fn collect(call: FilterCall<'_>, brigade: Brigade<'_>) -> Status {
    let request = call.request();
    let Some(state) = request.state() else {
        let Some(headers) = HandoffHeaders::take(request.response_tables()) else {
            return leave_alone(call, brigade);
        };
        return collect_first(call, brigade, &headers);
    };
    if matches!(*state.phase.borrow(), Phase::Collecting { .. }) {
        return collect_data(call, brigade, state);
    }
    settle(request, FilterKind::Collector, brigade.has_end_of_stream());
    brigade.clear();
    Status::OK
}

/// What most responses come to, and so a path of its own: nothing of a handoff in them.
fn leave_alone(call: FilterCall<'_>, brigade: Brigade<'_>) -> Status {
    if call.is_before_content_filter() {
        call.request().add_filter(FilterKind::Taker);
    }
    call.remove();
    call.pass(brigade)
}

/// The first part of a response with handoff headers.
fn collect_first<'r>(call: FilterCall<'r>, brigade: Brigade<'_>, headers: &HandoffHeaders<'r>) -> Status {
    let request = call.request();
    match decide(request, headers, brigade) {
        None => leave_alone(call, brigade),
        Some(Decision::HandOffWithBody(_)) if request.has_content_coding() => {
            conclude(call, brigade, Err(Refusal::DataCompressed))
        }
        Some(Decision::HandOffWithBody(socket)) => {
            request.forbid_caching();
            let phase = Phase::Collecting { socket, body: Vec::new() };
            let state = enter(request, phase, FilterKind::Collector);
            collect_data(call, brigade, state)
        }
        Some(Decision::HandOff(planned)) => conclude(call, brigade, Ok(planned)),
        Some(Decision::Refuse(refusal)) => conclude(call, brigade, Err(refusal)),
    }
}

/// A part of a body that is the daemon's data.
fn collect_data<'r>(call: FilterCall<'r>, brigade: Brigade<'_>, state: &RequestState<'r>) -> Status {
    let request = call.request();
    if brigade.has_error() {
        state.phase.replace(Phase::HandlerFailed);
        log_failed_handler(request);
        call.remove();
        return call.pass(brigade);
    }
    let Phase::Collecting { socket, mut body } = state.phase.replace(Phase::HandingOff) else {
        return Status::OK;
    };
    let limit = request.server_config().max_data_size();
    match brigade.collect_into(&mut body, usize::try_from(limit).unwrap_or(usize::MAX)) {
        Ok(Collected::Part) => {
            state.phase.replace(Phase::Collecting { socket, body });
            Status::OK
        }
        Ok(Collected::Whole) => conclude(call, brigade, Ok(Planned { socket, data: Data::Body(body) })),
        Err(error) => {
            drop(body);
            let refusal = match error {
                CollectError::TooLong => Refusal::DataOverLimit(limit),
                CollectError::Unreadable(status) => Refusal::DataBroken(status),
            };
            conclude(call, brigade, Err(refusal))
        }
    }
}

/// The collector is done with headers and data: hands off, or leaves that to the taker.
fn conclude<'r>(
    call: FilterCall<'r>,
    brigade: Brigade<'_>,
    decision: Result<Planned<'r>, Refusal>,
) -> Status {
    let request = call.request();
    let ended = brigade.has_end_of_stream();
    match decision {
        Ok(planned) if call.is_before_content_filter() => {
            request.forbid_caching();
            let state = enter(request, Phase::Planned(planned), FilterKind::Collector);
            let _ = state.before_filters.set(request.snapshot_response_tables());
            request.add_filter(FilterKind::Taker);
            call.pass_end_of_stream();
        }
        // Nothing can change the headers any more: the taker's work is done here.
        decision => {
            enter(request, carry_out(request, decision), FilterKind::Collector);
        }
    }
    settle(request, FilterKind::Collector, ended);
    brigade.clear();
    Status::OK
}

/// Hands off what the collector planned, or what the operator's `Header set` asks for.
pub(crate) fn take(call: FilterCall<'_>, brigade: Brigade<'_>) -> Status {
    let request = call.request();
    let planned = match request.state() {
        None => Some(None),
        Some(state) if matches!(*state.phase.borrow(), Phase::Planned(_)) => {
            match state.phase.replace(Phase::HandingOff) {
                Phase::Planned(planned) => Some(Some(planned)),
                _ => None,
            }
        }
        Some(_) => None,
    };
    if let Some(planned) = planned {
        let Some(decision) = final_decision(request, planned, brigade) else {
            call.remove();
            return call.pass(brigade);
        };
        enter(request, carry_out(request, decision), FilterKind::Taker);
    }
    settle(request, FilterKind::Taker, brigade.has_end_of_stream());
    brigade.clear();
    Status::OK
}

/// Takes the handoff headers off an error response.
pub(crate) fn strip(call: FilterCall<'_>, brigade: Brigade<'_>) -> Status {
    HandoffHeaders::take(call.request().response_tables());
    call.remove();
    call.pass(brigade)
}

/// Drops what is written after the request has been answered.
pub(crate) fn swallow(brigade: Brigade<'_>) -> Status {
    brigade.clear();
    Status::OK
}

/// `None`: the response passes through, without the handoff headers.
fn decide<'r>(
    request: Request<'r>,
    headers: &HandoffHeaders<'r>,
    brigade: Brigade<'_>,
) -> Option<Decision<'r>> {
    if brigade.has_error() {
        log_failed_handler(request);
        return None;
    }
    let speaks_2 = |path: &Path| {
        request.server_config().daemon(path).is_some_and(|daemon| daemon.protocol() == Protocol::Two)
    };
    let decision = match plan(request.facts(), headers, request.directory_config(), speaks_2) {
        Plan::PassThrough(ignored) => {
            let level = match ignored {
                Ignored::Head => Level::Debug,
                Ignored::SwitchedOff => Level::Info,
                Ignored::Proxied | Ignored::NoSocket => Level::Warning,
            };
            request
                .log(level, format_args!("handoff headers removed and ignored: {}", ignored.explanation()));
            request.note(ignored.note());
            return None;
        }
        Plan::Refuse(refusal) => Decision::Refuse(refusal),
        Plan::HandOffWithBody(socket) => Decision::HandOffWithBody(socket),
        Plan::HandOff(HandOff { socket, data }) => {
            #[cfg(feature = "panic-drill")]
            assert_ne!(socket.as_os_str(), "/panic", "panic drill");
            Decision::HandOff(Planned { socket, data: Data::Header(data) })
        }
    };
    Some(decision)
}

/// The handler failed after the application had set the headers: its error is the answer.
fn log_failed_handler(request: Request<'_>) {
    request
        .log(Level::Warning, format_args!("no handoff: the handler failed after it had set handoff headers"));
}

/// The plan, with what the operator's configuration has added: for each header that it gives, its word is the last.
fn final_decision<'r>(
    request: Request<'r>,
    planned: Option<Planned<'r>>,
    brigade: Brigade<'_>,
) -> Option<Result<Planned<'r>, Refusal>> {
    let from_operator = HandoffHeaders::take(request.response_tables());
    let (headers, body) = match (from_operator, planned) {
        (None, None) => return None,
        (None, Some(planned)) => return Some(Ok(planned)),
        (Some(headers), None) => (headers, None),
        (Some(mut headers), Some(Planned { socket, data })) => {
            headers.socket = headers.socket.or(Some(socket.as_os_str().as_bytes()));
            let body = match data {
                Data::Header(data) => {
                    headers.data = headers.data.or(Some(data));
                    None
                }
                Data::Body(_) if headers.data.is_some() => None,
                Data::Body(body) => {
                    headers.data_from = headers.data_from.or(Some(b"body"));
                    Some(body)
                }
            };
            (headers, body)
        }
    };
    Some(match decide(request, &headers, brigade)? {
        Decision::HandOff(planned) => Ok(planned),
        Decision::HandOffWithBody(socket) => match body {
            Some(body) => Ok(Planned { socket, data: Data::Body(body) }),
            None => Err(Refusal::DataFromTooLate),
        },
        Decision::Refuse(refusal) => Err(refusal),
    })
}

/// Hands off, if that is the decision, and tells how it went.
fn carry_out<'r>(request: Request<'r>, decision: Result<Planned<'r>, Refusal>) -> Phase<'r> {
    let outcome = match decision {
        Ok(planned) => hand_off(request, planned.handoff()),
        Err(refusal) => {
            scoreboard::refused(&refusal);
            Err(refusal)
        }
    };
    match outcome {
        Ok(()) => Phase::Answered,
        Err(refusal) => {
            if request.has_body() {
                // What is unread of it httpd would wait for when the handler has returned, for as long as Timeout says.
                request.connection().close_after_this_request();
            }
            Phase::Refused(refusal)
        }
    }
}

fn hand_off(request: Request<'_>, handoff: HandOff<'_>) -> Result<(), Refusal> {
    let HandOff { socket, data } = handoff;
    let config = request.server_config();
    let in_flight = InFlight::begin(socket, || config.daemon(socket).map(Daemon::path));
    match execute::hand_off(request, handoff, config) {
        Ok(taken_by) => {
            request.note(taken_by.note());
            let (path, bytes) = (taken_by.fallback().unwrap_or(socket), data.len());
            in_flight.handed_off(path);
            request.log(Level::Info, format_args!("handed off to {path:?} with {bytes} bytes of data"));
            Ok(())
        }
        Err(refusal) => {
            in_flight.refused(&refusal);
            Err(refusal)
        }
    }
}

/// Sends the error response that is due, if any, once the handler's output has ended. Only the filter that swallows this
/// output knows when that is.
fn settle(request: Request<'_>, filter: FilterKind, ended: bool) {
    let Some(state) = request.state() else { return };
    if state.swallowed_by != filter || !matches!(*state.phase.borrow(), Phase::Refused(_)) {
        return;
    }
    if !ended {
        // The end of stream that was passed on was not the handler's. Should the handler leave it to httpd to send one,
        // httpd must not think that it has.
        request.expect_end_of_stream();
        return;
    }
    if let Phase::Refused(refusal) = state.phase.replace(Phase::Refusing) {
        match state.before_filters.get() {
            Some(tables) => request.restore_response_tables(tables),
            // What mod_headers has added is dropped, since it will do so again.
            None if filter == FilterKind::Taker => request.clear_error_table(),
            None => {}
        }
        refuse(request, &refusal);
    }
}

/// Answers with an error response in place of the handoff.
///
/// An ERROR bucket would lose Retry-After, and an error status would make handlers log noise of their own: the response
/// is sent from here (`ap_die`), and a sink takes the rest of the handler's output.
fn refuse(request: Request<'_>, refusal: &Refusal) {
    request.log(Level::Error, format_args!("handoff refused with {}: {refusal}", refusal.status()));
    if let Some(seconds) = refusal.retry_after() {
        request.set_error_header(c"Retry-After", &seconds);
    }
    request.note(refusal.note());
    request.forget_content_coding();
    request.die(refusal.status());
    // The redirect to an error document has notes of its own, and is what the access log shows.
    request.note_on_last_redirect(refusal.note());
    enter(request, Phase::Answered, FilterKind::Sink);
    request.add_filter(FilterKind::Sink);
}

/// Answers with 500 after a panic, unless the client has been answered.
pub(crate) fn refuse_after_panic(request: Request<'_>) {
    if !is_answered(request) {
        scoreboard::refused(&Refusal::Panic);
        enter(request, Phase::Refusing, FilterKind::Sink);
        refuse(request, &Refusal::Panic);
    }
}

fn is_answered(request: Request<'_>) -> bool {
    request.state().is_some_and(|state| matches!(*state.phase.borrow(), Phase::Answered))
}

/// Enters a phase. `swallowed_by` counts if nothing was known of the request so far.
fn enter<'r>(request: Request<'r>, phase: Phase<'r>, swallowed_by: FilterKind) -> &'r RequestState<'r> {
    match request.state() {
        Some(state) => {
            state.phase.replace(phase);
            state
        }
        None => request.set_state(RequestState {
            phase: RefCell::new(phase),
            before_filters: OnceCell::new(),
            swallowed_by,
        }),
    }
}
