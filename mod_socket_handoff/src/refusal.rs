//! Why a handoff did not happen, and the HTTP response that says so.

use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

use crate::plan::Ignored;

/// A handoff that was asked for and is not carried out. Everything here is decided before the message is sent: the
/// client is still Apache's, and gets a real response.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0} was sent twice with different values; send it once")]
    AmbiguousHeader(&'static str),
    #[error("X-Handoff-Data-From can only be \"body\"")]
    DataFromUnknown,
    #[error("X-Handoff-Data and X-Handoff-Data-From were both sent; which one holds the data?")]
    DataTwice,
    #[error("X-Handoff-Data-From in Apache's configuration comes too late; the application has to send it")]
    DataFromTooLate,
    #[error(
        "a response body goes to declared daemons only; declare this one: SocketHandoffDaemon {} protocol=2",
        .0.display()
    )]
    BodyToUndeclared(PathBuf),
    #[error("the response body is data for a daemon, which nobody gets: {}", .0.explanation())]
    DataForNobody(Ignored),
    #[error(
        "the response body that is the daemon's data is compressed; switch off what does that, such as PHP's \
         zlib.output_compression, for this URL"
    )]
    DataCompressed,
    #[error("the response body that is the daemon's data is longer than SocketHandoffMaxDataSize {0}")]
    DataOverLimit(u64),
    #[error("the response body that is the daemon's data could not be read (apr_status_t {0})")]
    DataBroken(i32),
    #[error("the path in X-Socket-Handoff is empty")]
    PathEmpty,
    #[error("the path {0:?} in X-Socket-Handoff is not absolute")]
    PathRelative(PathBuf),
    #[error("{path:?} is not below SocketHandoffAllowedPrefix {prefix:?}")]
    PathOutsidePrefix { path: PathBuf, prefix: PathBuf },
    #[error("{0:?} is not a socket")]
    NotASocket(PathBuf),
    #[error("a CONNECT request cannot be handed off")]
    Connect,
    #[error(
        "an HTTP/2 stream cannot be handed off: it has no socket of its own; serve this URL over HTTP/1.1"
    )]
    SecondaryConnection,
    #[error("a TLS connection cannot be handed off; terminate TLS in front of Apache for this URL")]
    Tls,
    #[error("Apache is closing this connection")]
    ConnectionEnding,
    #[error("the daemon is not there: {path:?} does not exist, after {attempts} attempt(s); is it running?")]
    DaemonMissing { path: PathBuf, attempts: u32 },
    #[error("nobody listens on {path:?}, after {attempts} attempt(s); has the daemon died?")]
    DaemonRefused { path: PathBuf, attempts: u32 },
    #[error("no permission to connect to {0:?}; give Apache's user access to the socket and its directory")]
    PermissionDenied(PathBuf),
    #[error("{path:?} did not accept within {timeout:?}; the daemon is overloaded or hangs")]
    ConnectTimeout { path: PathBuf, timeout: Duration },
    #[error("{path:?} did not take the message within {timeout:?}; the daemon is overloaded or hangs")]
    SendTimeout { path: PathBuf, timeout: Duration },
    #[error("the daemon at {path:?} could not be reached: {errno}")]
    DaemonFailed { path: PathBuf, errno: Errno },
    #[error(
        "{0:?} is declared with protocol=2, which needs a SOCK_SEQPACKET socket, and it is of another type; \
         change the daemon, or declare protocol=1"
    )]
    NotSeqPacket(PathBuf),
    #[error(
        "{path:?} is the socket of user id {uid}, and SocketHandoffDaemon demands user={expected}; \
         nothing was sent to it"
    )]
    WrongUser { path: PathBuf, expected: String, uid: u32 },
    #[error("{0:?} is a fallback and is declared without protocol=2 itself; nothing was sent to it")]
    FallbackWithoutAnswer(PathBuf),
    #[error(
        "the message to {0:?} was refused by the kernel: more sockets are on their way to daemons, not yet received, \
         than one user may have open; raise LimitNOFILE of Apache's service, or see why a daemon does not receive"
    )]
    TooManyInFlight(PathBuf),
    #[error(
        "the daemon at {0:?} ended its connection without an answer: it has died, or Apache's user may not hand off to \
         it (see its log)"
    )]
    DaemonClosed(PathBuf),
    #[error(
        "the daemon at {path:?} did not answer within ack_timeout_ms {timeout:?}; it is overloaded or hangs"
    )]
    NoAnswer { path: PathBuf, timeout: Duration },
    #[error("the daemon at {0:?} has sent what is no answer of protocol 2; is protocol=2 right for it?")]
    NotAnAnswer(PathBuf),
    #[error("the daemon at {path:?} is busy, and asks to come again in {retry_after:?}: {reason}")]
    Busy { path: PathBuf, retry_after: Duration, reason: String },
    #[error("the daemon at {0:?} is ending, and no other one has taken its place")]
    Draining(PathBuf),
    #[error("the daemon at {path:?} does not understand the message: {reason}")]
    BadMessage { path: PathBuf, reason: String },
    #[error("the message could not be put into a file in memory, as is done with long ones: {0}")]
    NoMemoryFile(Errno),
    #[error("X-Handoff-Data of {0} bytes is more than one message to the daemon can hold")]
    DataTooLarge(usize),
    #[error("the unread request body is longer than SocketHandoffDrainBytes {0}")]
    BodyTooLarge(u64),
    #[error("the request body did not arrive within SocketHandoffDrainMs {0:?}")]
    BodyTimeout(Duration),
    #[error("the request body could not be read (status {0})")]
    BodyBroken(u16),
    #[error("the response to an earlier request on this connection could not be sent")]
    EarlierResponse,
    #[error("this child process could not open its dead socket; see the error log at its start")]
    NoDeadSocket,
    #[error("the module failed (a bug): see the line above")]
    Panic,
}

impl Refusal {
    /// The response's status code.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::PathEmpty
            | Self::PathRelative(_)
            | Self::PathOutsidePrefix { .. }
            | Self::NotASocket(_) => 403,
            Self::AmbiguousHeader(_)
            | Self::DataFromUnknown
            | Self::DataTwice
            | Self::DataFromTooLate
            | Self::BodyToUndeclared(_)
            | Self::DataForNobody(_)
            | Self::DataCompressed
            | Self::DataBroken(_)
            | Self::Connect
            | Self::BadMessage { .. } => 502,
            Self::SecondaryConnection
            | Self::Tls
            | Self::ConnectionEnding
            | Self::DaemonMissing { .. }
            | Self::DaemonRefused { .. }
            | Self::PermissionDenied(_)
            | Self::DaemonFailed { .. }
            | Self::NotSeqPacket(_)
            | Self::WrongUser { .. }
            | Self::FallbackWithoutAnswer(_)
            | Self::TooManyInFlight(_)
            | Self::DaemonClosed(_)
            | Self::NoAnswer { .. }
            | Self::NotAnAnswer(_)
            | Self::Busy { .. }
            | Self::Draining(_)
            | Self::NoMemoryFile(_)
            | Self::EarlierResponse => 503,
            Self::ConnectTimeout { .. } | Self::SendTimeout { .. } => 504,
            Self::DataTooLarge(_) | Self::DataOverLimit(_) | Self::BodyTooLarge(_) => 413,
            Self::BodyTimeout(_) => 408,
            Self::BodyBroken(status) => *status,
            Self::NoDeadSocket | Self::Panic => 500,
        }
    }

    /// Seconds for a Retry-After field (RFC 9110, section 10.2.3), where trying again can help.
    pub(crate) fn retry_after(&self) -> Option<CString> {
        let seconds = match self {
            // Never "at once".
            Self::Busy { retry_after, .. } => retry_after.as_secs().max(1),
            Self::ConnectionEnding
            | Self::DaemonMissing { .. }
            | Self::DaemonRefused { .. }
            | Self::DaemonFailed { .. }
            | Self::ConnectTimeout { .. }
            | Self::SendTimeout { .. }
            | Self::TooManyInFlight(_)
            | Self::DaemonClosed(_)
            | Self::NoAnswer { .. }
            | Self::NotAnAnswer(_)
            | Self::Draining(_)
            | Self::NoMemoryFile(_) => 1,
            _ => return None,
        };
        CString::new(seconds.to_string()).ok()
    }
}

/// Writes `note` and the list of all notes from one table.
macro_rules! notes {
    ($($refusal:pat => $note:literal,)+) => {
        impl Refusal {
            /// The value of the note and environment variable HANDOFF, for the access log.
            pub(crate) fn note(&self) -> &'static CStr {
                match self {
                    $($refusal => $note,)+
                }
            }

            /// All notes.
            pub(crate) const NOTES: &[&'static CStr] = &[$($note),+];
        }
    };
}

notes! {
    Self::AmbiguousHeader(_) => c"refused:ambiguous-header",
    Self::DataFromUnknown => c"refused:data-from-unknown",
    Self::DataTwice => c"refused:data-twice",
    Self::DataFromTooLate => c"refused:data-from-too-late",
    Self::BodyToUndeclared(_) => c"refused:body-to-undeclared",
    Self::DataForNobody(_) => c"refused:data-for-nobody",
    Self::DataCompressed => c"refused:data-compressed",
    Self::DataOverLimit(_) => c"refused:data-over-limit",
    Self::DataBroken(_) => c"refused:data-broken",
    Self::PathEmpty => c"refused:path-empty",
    Self::PathRelative(_) => c"refused:path-relative",
    Self::PathOutsidePrefix { .. } => c"refused:path-outside-prefix",
    Self::NotASocket(_) => c"refused:not-a-socket",
    Self::Connect => c"refused:connect-method",
    Self::SecondaryConnection => c"refused:http2",
    Self::Tls => c"refused:tls",
    Self::ConnectionEnding => c"refused:connection-ending",
    Self::DaemonMissing { .. } => c"refused:daemon-missing",
    Self::DaemonRefused { .. } => c"refused:daemon-refused",
    Self::PermissionDenied(_) => c"refused:permission-denied",
    Self::ConnectTimeout { .. } => c"refused:connect-timeout",
    Self::SendTimeout { .. } => c"refused:send-timeout",
    Self::DaemonFailed { .. } => c"refused:daemon-failed",
    Self::NotSeqPacket(_) => c"refused:not-seqpacket",
    Self::WrongUser { .. } => c"refused:wrong-user",
    Self::FallbackWithoutAnswer(_) => c"refused:fallback-without-answer",
    Self::TooManyInFlight(_) => c"refused:too-many-in-flight",
    Self::DaemonClosed(_) => c"refused:daemon-closed",
    Self::NoAnswer { .. } => c"refused:no-answer",
    Self::NotAnAnswer(_) => c"refused:not-an-answer",
    Self::Busy { .. } => c"refused:busy",
    Self::Draining(_) => c"refused:draining",
    Self::BadMessage { .. } => c"refused:bad-message",
    Self::NoMemoryFile(_) => c"refused:no-memory-file",
    Self::DataTooLarge(_) => c"refused:data-too-large",
    Self::BodyTooLarge(_) => c"refused:body-too-large",
    Self::BodyTimeout(_) => c"refused:body-timeout",
    Self::BodyBroken(_) => c"refused:body-broken",
    Self::EarlierResponse => c"refused:earlier-response",
    Self::NoDeadSocket => c"refused:no-dead-socket",
    Self::Panic => c"refused:panic",
}
