//! How streams end.

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer was sent.
    Done,
    /// The client closed before the end.
    ClientGone,
    /// The client took nothing for the whole write deadline.
    WriteTimeout,
    /// The backend was silent for too long.
    BackendTimeout,
    /// The stream took longer than any may.
    StreamTimeout,
    /// The backend's answer ended before its end.
    BackendBroken(Failure),
    /// The backend gave no answer: an error status.
    Refused(Failure),
    /// The daemon's shutdown deadline came first.
    Shutdown,
    /// The handoff data was wrong: 400.
    BadRequest,
    /// A limit of streams was reached: 503 or 429.
    Rejected(Limit),
}

/// What went wrong behind the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It took too long.
    Timeout,
    /// The answer ended without its mark of the end.
    Truncated,
    /// The connection could not be made, or broke.
    Network,
    /// The backend says that the request is wrong.
    BadRequest,
    /// Anything else, such as an error that the backend reports.
    Other,
}

/// The limits of streams at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// All streams.
    Total,
    /// Those of one `user_id`.
    User,
    /// Those of one client address.
    Client,
}

/// The reasons of errors, as the metrics have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client left.
    ClientDisconnected,
    /// A deadline was over.
    Timeout,
    /// The daemon was told to end.
    Canceled,
    /// An answer ended without its mark of the end.
    Truncated,
    /// A connection to a backend.
    Network,
    /// Data that is not understood.
    BadRequest,
    /// Anything else.
    Other,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::ClientDisconnected,
        Self::Timeout,
        Self::Canceled,
        Self::Truncated,
        Self::Network,
        Self::BadRequest,
        Self::Other,
    ];

    /// Its name as a label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientDisconnected => "client_disconnected",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Truncated => "truncated",
            Self::Network => "network",
            Self::BadRequest => "bad_request",
            Self::Other => "other",
        }
    }
}

impl Limit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Total, Self::User, Self::Client];

    /// Its name as a label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::User => "user",
            Self::Client => "client",
        }
    }
}

impl Outcome {
    /// A short constant name for logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::ClientGone => "client_gone",
            Self::WriteTimeout => "write_timeout",
            Self::BackendTimeout => "backend_timeout",
            Self::StreamTimeout => "stream_timeout",
            Self::BackendBroken(_) => "backend_broken",
            Self::Refused(_) => "refused",
            Self::Shutdown => "shutdown",
            Self::BadRequest => "bad_request",
            Self::Rejected(Limit::Total) => "at_capacity",
            Self::Rejected(Limit::User) => "user_limit",
            Self::Rejected(Limit::Client) => "client_limit",
        }
    }

    /// The error that this counts as. A limit that does its work is none: it has a counter of its own.
    #[must_use]
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Done | Self::Rejected(_) => None,
            Self::ClientGone => Some(Reason::ClientDisconnected),
            Self::WriteTimeout | Self::BackendTimeout | Self::StreamTimeout => Some(Reason::Timeout),
            Self::BackendBroken(failure) | Self::Refused(failure) => Some(failure.reason()),
            Self::Shutdown => Some(Reason::Canceled),
            Self::BadRequest => Some(Reason::BadRequest),
        }
    }

    /// Whether the backend is what failed.
    #[must_use]
    pub fn is_backend_error(self) -> bool {
        matches!(self, Self::BackendTimeout | Self::BackendBroken(_) | Self::Refused(_))
    }

    /// Whose doing it was; for the log.
    #[must_use]
    pub fn place(self) -> &'static str {
        match self {
            Self::Done | Self::ClientGone | Self::WriteTimeout => "client",
            Self::BackendTimeout | Self::BackendBroken(_) | Self::Refused(_) => "backend",
            Self::BadRequest => "handoff data",
            Self::StreamTimeout | Self::Shutdown | Self::Rejected(_) => "daemon",
        }
    }
}

impl Failure {
    fn reason(self) -> Reason {
        match self {
            Self::Timeout => Reason::Timeout,
            Self::Truncated => Reason::Truncated,
            Self::Network => Reason::Network,
            Self::BadRequest => Reason::BadRequest,
            Self::Other => Reason::Other,
        }
    }
}
