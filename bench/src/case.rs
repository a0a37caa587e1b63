//! What is compared: one handler, four ways.

use std::fmt;
use std::path::Path;

use e2e::{Apache, Builder, Mpm};

/// A request to measure, on a server with or without the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A short 200 of an Apache without the module: what the others are compared with.
    Plain,
    /// The same with the module loaded, which finds nothing to do.
    Untouched,
    /// A response with the headers of a handoff, by protocol 1.
    Handoff,
    /// The same by protocol 2: the daemon has accepted it when Apache lets go of the client.
    Acknowledged,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Untouched, Self::Handoff, Self::Acknowledged];

    /// Whether a daemon gets the client.
    #[must_use]
    pub fn hands_off(self) -> bool {
        matches!(self, Self::Handoff | Self::Acknowledged)
    }

    /// The request's target.
    #[must_use]
    pub fn target(self) -> &'static str {
        match self {
            Self::Plain | Self::Untouched => "/plain",
            Self::Handoff | Self::Acknowledged => "/handoff",
        }
    }

    /// A short name for files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Untouched => "untouched",
            Self::Handoff => "handoff",
            Self::Acknowledged => "acknowledged",
        }
    }

    /// An Apache for this case, whose `bench-handoff` names the socket `daemon.sock` of its sandbox.
    #[must_use]
    pub fn apache(self, mpm: Mpm, handler: &Path) -> Builder {
        let builder = Apache::builder(mpm);
        let builder = match self {
            // One section more, since the harness has one of its own for the module: sections cost instructions.
            Self::Plain => {
                builder.without_socket_handoff().config("<Location \"/server-status\">\n</Location>")
            }
            Self::Untouched | Self::Handoff => builder,
            Self::Acknowledged => builder.daemon("daemon.sock", "protocol=2 ack_timeout_ms=20000"),
        };
        let socket = builder.socket_path("daemon.sock");
        builder.config(&format!(
            "LogLevel warn\n\
             LoadModule bench_handler_module \"{}\"\n\
             BenchHandoffSocket \"{}\"\n\
             <Location \"/plain\">\nSetHandler bench-plain\nRequire all granted\n</Location>\n\
             <Location \"/handoff\">\nSetHandler bench-handoff\nRequire all granted\n</Location>",
            handler.display(),
            socket.display(),
        ))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain 200, no module",
            Self::Untouched => "plain 200, module loaded",
            Self::Handoff => "handoff, protocol 1",
            Self::Acknowledged => "handoff, protocol 2, acknowledged",
        })
    }
}
