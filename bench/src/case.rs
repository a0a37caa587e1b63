//! What is compared: one handler, three ways.

use std::fmt;
use std::path::Path;

use e2e::{Apache, Builder, Mpm};

/// A request to measure, on a server with or without the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A short 200 of an Apache without the module: what the other two are compared with.
    Plain,
    /// The same with the module loaded, which finds nothing to do.
    Untouched,
    /// A response with the headers of a handoff.
    Handoff,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Untouched, Self::Handoff];

    /// The request's target.
    #[must_use]
    pub fn target(self) -> &'static str {
        match self {
            Self::Plain | Self::Untouched => "/plain",
            Self::Handoff => "/handoff",
        }
    }

    /// A short name for files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Untouched => "untouched",
            Self::Handoff => "handoff",
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
            Self::Handoff => "handoff",
        })
    }
}
