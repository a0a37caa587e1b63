//! What the module does at the points of a response where httpd calls it.
//!
//! Two filters share the work. The *collector* stands before all content filters (DEFLATE, mod_headers, mod_cache): it
//! finds the application's handoff headers and takes the body away. The *taker* stands after them: it sees headers that
//! the operator's configuration added, and carries the handoff out. Two more stand in on other paths: the *sink* swallows
//! what is written after the request has been answered, the *stripper* takes the headers off error responses.

use std::cell::Cell;

use crate::execute;
use crate::headers::HandoffHeaders;
use crate::httpd::{Brigade, FilterCall, FilterKind, Level, Request, Status, TableSnapshot};
use crate::plan::{HandOff, Ignored, Plan, plan};
use crate::refusal::Refusal;

/// What has become of a request that carried handoff headers. Lives in the request's pool.
pub(crate) struct RequestState<'r> {
    phase: Cell<Phase<'r>>,
    /// The response header tables before the content filters, to refuse with: what mod_headers adds to an error
    /// response would otherwise be there twice.
    before_filters: Option<TableSnapshot<'r>>,
}

#[derive(Clone, Copy)]
enum Phase<'r> {
    /// The collector has taken the body; the taker is to hand off.
    Planned(HandOff<'r>),
    /// The client is the daemon's, or has got an error response. Whatever else is written is dropped.
    Answered,
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
    request.add_filter(FilterKind::Taker);
}

/// An error response is about to be sent, past the filters above.
pub(crate) fn insert_error_filters(request: Request<'_>) {
    request.add_filter(if is_answered(request) { FilterKind::Sink } else { FilterKind::Stripper });
}

/// Swallows the body of a response that will be handed off, and passes on an end of stream only.
pub(crate) fn collect(call: FilterCall<'_>, brigade: Brigade<'_>) -> Status {
    let request = call.request();
    if request.state().is_some() {
        brigade.clear();
        return Status::OK;
    }
    let Some(headers) = HandoffHeaders::take(request.response_tables()) else {
        call.remove();
        return call.pass(brigade);
    };
    match decide(request, &headers, brigade) {
        None => {
            call.remove();
            call.pass(brigade)
        }
        Some(Err(refusal)) => {
            refuse(request, &refusal);
            brigade.clear();
            Status::OK
        }
        Some(Ok(handoff)) => {
            request.forbid_caching();
            request.set_state(RequestState {
                phase: Cell::new(Phase::Planned(handoff)),
                before_filters: Some(request.snapshot_response_tables()),
            });
            brigade.clear();
            brigade.append_end_of_stream();
            call.pass(brigade)
        }
    }
}

/// Hands off what the collector planned, or what the operator's `Header set` asks for.
pub(crate) fn take(call: FilterCall<'_>, brigade: Brigade<'_>) -> Status {
    let request = call.request();
    let from_operator = HandoffHeaders::take(request.response_tables());
    let planned = request.state().map(|state| state.phase.get());
    let decision = match (planned, from_operator) {
        (Some(Phase::Answered), _) => {
            brigade.clear();
            return Status::OK;
        }
        (Some(Phase::Planned(handoff)), None) => Some(Ok(handoff)),
        (Some(Phase::Planned(handoff)), Some(mut headers)) => {
            headers.data = headers.data.or(Some(handoff.data));
            match headers.socket {
                Some(_) => decide(request, &headers, brigade),
                None => Some(Ok(HandOff { data: headers.data.unwrap_or_default(), ..handoff })),
            }
        }
        (None, Some(headers)) => decide(request, &headers, brigade),
        (None, None) => None,
    };
    let Some(decision) = decision else {
        call.remove();
        return call.pass(brigade);
    };
    brigade.clear();
    match decision.and_then(|handoff| {
        execute::hand_off(request, handoff, request.server_config())?;
        Ok(handoff)
    }) {
        Ok(handoff) => {
            set_answered(request);
            request.note("handed-off");
            let (path, bytes) = (handoff.socket, handoff.data.len());
            request.log(Level::Info, format_args!("handed off to {path:?} with {bytes} bytes of data"));
        }
        Err(refusal) => {
            if planned.is_none() {
                // There is no snapshot: drop what mod_headers has added, since it will do so again.
                request.clear_error_table();
            }
            refuse(request, &refusal);
        }
    }
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
) -> Option<Result<HandOff<'r>, Refusal>> {
    if brigade.has_error() {
        // The handler failed after the application had set the headers: its error is the answer.
        request.log(
            Level::Warning,
            format_args!("no handoff: the handler failed after it had set handoff headers"),
        );
        return None;
    }
    match plan(request.facts(), headers, request.directory_config()) {
        Plan::PassThrough(ignored) => {
            let level = match ignored {
                Ignored::Head => Level::Debug,
                Ignored::SwitchedOff => Level::Info,
                Ignored::Proxied | Ignored::NoSocket => Level::Warning,
            };
            request
                .log(level, format_args!("handoff headers removed and ignored: {}", ignored.explanation()));
            request.note(ignored.note());
            None
        }
        Plan::Refuse(refusal) => Some(Err(refusal)),
        Plan::HandOff(handoff) => {
            #[cfg(feature = "panic-drill")]
            assert_ne!(handoff.socket.as_os_str(), "/panic", "panic drill");
            Some(Ok(handoff))
        }
    }
}

/// Answers with an error response in place of the handoff.
///
/// An ERROR bucket would lose Retry-After, and an error status would make handlers log noise of their own: the response
/// is sent from here (`ap_die`), and a sink takes the rest of the handler's output.
pub(crate) fn refuse(request: Request<'_>, refusal: &Refusal) {
    request.log(Level::Error, format_args!("handoff refused with {}: {refusal}", refusal.status()));
    if is_answered(request) {
        return;
    }
    if let Some(tables) = request.state().and_then(|state| state.before_filters.as_ref()) {
        request.restore_response_tables(tables);
    }
    if refusal.closes_connection() {
        request.connection().close_after_this_request();
    }
    if let Some(seconds) = refusal.retry_after() {
        request.set_error_header("Retry-After", seconds);
    }
    request.note(refusal.note());
    request.die(refusal.status());
    // The redirect to an error document has notes of its own, and is what the access log shows.
    request.note_on_last_redirect(refusal.note());
    set_answered(request);
    request.add_filter(FilterKind::Sink);
}

fn is_answered(request: Request<'_>) -> bool {
    request.state().is_some_and(|state| matches!(state.phase.get(), Phase::Answered))
}

fn set_answered(request: Request<'_>) {
    match request.state() {
        Some(state) => state.phase.set(Phase::Answered),
        None => request.set_state(RequestState { phase: Cell::new(Phase::Answered), before_filters: None }),
    }
}
