//! The decision: what to do with a response that carries handoff headers. A function from plain data to a plan.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::config::DirectoryConfig;
use crate::headers::HandoffHeaders;
use crate::refusal::Refusal;

/// What the decision needs to know about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) method: Method,
    /// The response comes from a proxied upstream, not from the application itself (php-fpm is the application).
    pub(crate) proxied: bool,
    /// The connection is an HTTP/2 stream, or was upgraded to HTTP/2.
    pub(crate) secondary_connection: bool,
    pub(crate) tls: bool,
}

/// The methods that make a difference here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Head,
    Connect,
    Other,
}

/// What to do with the response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan<'r> {
    /// Apache answers as if the handoff headers had never been there.
    PassThrough(Ignored),
    /// Answer with an error.
    Refuse(Refusal),
    /// Pass the client's connection to the daemon.
    HandOff(HandOff<'r>),
}

/// A handoff to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandOff<'r> {
    /// Absolute path of the daemon's socket, not yet checked against the prefix.
    pub(crate) socket: &'r Path,
    /// Empty for none.
    pub(crate) data: &'r [u8],
}

/// Why handoff headers were taken off and otherwise ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ignored {
    SwitchedOff,
    Proxied,
    /// Protocol 1 cannot tell the daemon the method, and the response to HEAD has no body: Apache sends the headers.
    Head,
    /// X-Handoff-Data without X-Socket-Handoff.
    NoSocket,
}

impl Ignored {
    /// The value of the note and environment variable HANDOFF, for the access log.
    pub(crate) fn note(self) -> &'static CStr {
        match self {
            Self::SwitchedOff => c"ignored:switched-off",
            Self::Proxied => c"ignored:proxied",
            Self::Head => c"ignored:head",
            Self::NoSocket => c"ignored:no-socket",
        }
    }

    /// For the error log.
    pub(crate) fn explanation(self) -> &'static str {
        match self {
            Self::SwitchedOff => "SocketHandoffEnabled is Off here",
            Self::Proxied => "they come from a proxied upstream and SocketHandoffAllowProxied is Off here",
            Self::Head => "the request method is HEAD",
            Self::NoSocket => "X-Socket-Handoff is missing",
        }
    }
}

/// Decides. Refusals come only where a handoff was really asked for.
pub(crate) fn plan<'r>(facts: Facts, headers: &HandoffHeaders<'r>, config: &DirectoryConfig) -> Plan<'r> {
    if !config.enabled() {
        return Plan::PassThrough(Ignored::SwitchedOff);
    }
    if facts.proxied && !config.allow_proxied() {
        return Plan::PassThrough(Ignored::Proxied);
    }
    if facts.method == Method::Head {
        return Plan::PassThrough(Ignored::Head);
    }
    let Some(socket) = headers.socket else {
        return Plan::PassThrough(Ignored::NoSocket);
    };
    let socket = Path::new(OsStr::from_bytes(socket));
    let refusal = if let Some(name) = headers.ambiguous {
        Refusal::AmbiguousHeader(name)
    } else if headers.data_from.is_some() {
        Refusal::DataFromUnsupported
    } else if facts.method == Method::Connect {
        Refusal::Connect
    } else if facts.secondary_connection {
        Refusal::SecondaryConnection
    } else if facts.tls {
        Refusal::Tls
    } else if socket.as_os_str().is_empty() {
        Refusal::PathEmpty
    } else if !socket.is_absolute() {
        Refusal::PathRelative(socket.to_owned())
    } else {
        return Plan::HandOff(HandOff { socket, data: headers.data.unwrap_or_default() });
    };
    Plan::Refuse(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Facts =
        Facts { method: Method::Other, proxied: false, secondary_connection: false, tls: false };

    fn headers(socket: &'static str) -> HandoffHeaders<'static> {
        HandoffHeaders { socket: Some(socket.as_bytes()), data: Some(b"{}"), ..HandoffHeaders::default() }
    }

    fn on() -> DirectoryConfig {
        DirectoryConfig::default()
    }

    #[test]
    fn a_path_and_data_are_handed_off() {
        let expected = HandOff { socket: Path::new("/run/d.sock"), data: b"{}" };
        assert_eq!(plan(PLAIN, &headers("/run/d.sock"), &on()), Plan::HandOff(expected));
    }

    #[test]
    fn proxied_and_head_pass_through_before_anything_is_refused() {
        for (facts, ignored) in [
            (Facts { proxied: true, ..PLAIN }, Ignored::Proxied),
            (Facts { method: Method::Head, ..PLAIN }, Ignored::Head),
        ] {
            let facts = Facts { tls: true, secondary_connection: true, ..facts };
            assert_eq!(plan(facts, &headers(""), &on()), Plan::PassThrough(ignored));
        }
    }

    #[test]
    fn data_alone_passes_through() {
        let headers = HandoffHeaders { data: Some(b"{}"), ..HandoffHeaders::default() };
        assert_eq!(plan(PLAIN, &headers, &on()), Plan::PassThrough(Ignored::NoSocket));
    }

    #[test]
    fn what_has_no_socket_of_its_own_is_refused() {
        for (facts, refusal) in [
            (Facts { secondary_connection: true, tls: true, ..PLAIN }, Refusal::SecondaryConnection),
            (Facts { tls: true, ..PLAIN }, Refusal::Tls),
            (Facts { method: Method::Connect, ..PLAIN }, Refusal::Connect),
        ] {
            assert_eq!(plan(facts, &headers("/run/d.sock"), &on()), Plan::Refuse(refusal));
        }
    }

    #[test]
    fn a_path_must_be_absolute() {
        assert_eq!(plan(PLAIN, &headers(""), &on()), Plan::Refuse(Refusal::PathEmpty));
        let relative = Refusal::PathRelative("run/d.sock".into());
        assert_eq!(plan(PLAIN, &headers("run/d.sock"), &on()), Plan::Refuse(relative));
    }

    #[test]
    fn what_cannot_be_known_is_not_guessed() {
        let ambiguous = HandoffHeaders { ambiguous: Some("X-Handoff-Data"), ..headers("/run/d.sock") };
        let refusal = Refusal::AmbiguousHeader("X-Handoff-Data");
        assert_eq!(plan(PLAIN, &ambiguous, &on()), Plan::Refuse(refusal));
        let body = HandoffHeaders { data_from: Some(b"body"), ..headers("/run/d.sock") };
        assert_eq!(plan(PLAIN, &body, &on()), Plan::Refuse(Refusal::DataFromUnsupported));
    }
}
