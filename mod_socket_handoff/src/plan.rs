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
    /// Apache answers as if the handoff headers had never been there. Not if the body is a daemon's data.
    PassThrough(Ignored),
    /// Answer with an error.
    Refuse(Refusal),
    /// Pass the client's connection to the daemon.
    HandOff(HandOff<'r>),
    /// The same with the response's body as data, when it is complete.
    HandOffWithBody(&'r Path),
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
    /// A daemon that speaks protocol 2 is told.
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

/// Decides. Refusals come only where a handoff was really asked for. `speaks_2` tells whether the daemon at a path is
/// declared as one that speaks protocol 2.
pub(crate) fn plan<'r>(
    facts: Facts,
    headers: &HandoffHeaders<'r>,
    config: &DirectoryConfig,
    speaks_2: impl Fn(&Path) -> bool,
) -> Plan<'r> {
    let body_is_data = headers.data_from.is_some_and(|from| from.eq_ignore_ascii_case(b"body"));
    let ignore = |ignored| {
        // What is meant for a daemon is not for the client, as little as X-Handoff-Data is.
        if body_is_data && facts.method != Method::Head {
            Plan::Refuse(Refusal::DataForNobody(ignored))
        } else {
            Plan::PassThrough(ignored)
        }
    };
    if !config.enabled() {
        return ignore(Ignored::SwitchedOff);
    }
    if facts.proxied && !config.allow_proxied() {
        return ignore(Ignored::Proxied);
    }
    let socket = headers.socket.map(|socket| Path::new(OsStr::from_bytes(socket)));
    if facts.method == Method::Head && !socket.is_some_and(&speaks_2) {
        return ignore(Ignored::Head);
    }
    let Some(socket) = socket else {
        return ignore(Ignored::NoSocket);
    };
    let refusal = if let Some(name) = headers.ambiguous {
        Refusal::AmbiguousHeader(name)
    } else if headers.data_from.is_some() && !body_is_data {
        Refusal::DataFromUnknown
    } else if headers.data_from.is_some() && headers.data.is_some() {
        Refusal::DataTwice
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
    } else if headers.data_from.is_none() {
        return Plan::HandOff(HandOff { socket, data: headers.data.unwrap_or_default() });
    } else if speaks_2(socket) {
        return Plan::HandOffWithBody(socket);
    } else {
        // Undeclared, it may be anything that listens, and a body, unlike a header value, can hold any bytes.
        Refusal::BodyToUndeclared(socket.to_owned())
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

    /// The plan where `/run/2.sock` is declared as a daemon that speaks protocol 2.
    fn planned(facts: Facts, headers: &HandoffHeaders<'static>) -> Plan<'static> {
        plan(facts, headers, &DirectoryConfig::default(), |path| path == Path::new("/run/2.sock"))
    }

    #[test]
    fn a_path_and_data_are_handed_off() {
        let expected = HandOff { socket: Path::new("/run/d.sock"), data: b"{}" };
        assert_eq!(planned(PLAIN, &headers("/run/d.sock")), Plan::HandOff(expected));
    }

    #[test]
    fn proxied_and_head_pass_through_before_anything_is_refused() {
        for (facts, ignored) in [
            (Facts { proxied: true, ..PLAIN }, Ignored::Proxied),
            (Facts { method: Method::Head, ..PLAIN }, Ignored::Head),
        ] {
            let facts = Facts { tls: true, secondary_connection: true, ..facts };
            assert_eq!(planned(facts, &headers("")), Plan::PassThrough(ignored));
        }
    }

    #[test]
    fn data_alone_passes_through() {
        let headers = HandoffHeaders { data: Some(b"{}"), ..HandoffHeaders::default() };
        assert_eq!(planned(PLAIN, &headers), Plan::PassThrough(Ignored::NoSocket));
    }

    #[test]
    fn what_has_no_socket_of_its_own_is_refused() {
        for (facts, refusal) in [
            (Facts { secondary_connection: true, tls: true, ..PLAIN }, Refusal::SecondaryConnection),
            (Facts { tls: true, ..PLAIN }, Refusal::Tls),
            (Facts { method: Method::Connect, ..PLAIN }, Refusal::Connect),
        ] {
            assert_eq!(planned(facts, &headers("/run/d.sock")), Plan::Refuse(refusal));
        }
    }

    #[test]
    fn a_path_must_be_absolute() {
        assert_eq!(planned(PLAIN, &headers("")), Plan::Refuse(Refusal::PathEmpty));
        let relative = Refusal::PathRelative("run/d.sock".into());
        assert_eq!(planned(PLAIN, &headers("run/d.sock")), Plan::Refuse(relative));
    }

    #[test]
    fn what_cannot_be_known_is_not_guessed() {
        let ambiguous = HandoffHeaders { ambiguous: Some("X-Handoff-Data"), ..headers("/run/d.sock") };
        let refusal = Refusal::AmbiguousHeader("X-Handoff-Data");
        assert_eq!(planned(PLAIN, &ambiguous), Plan::Refuse(refusal));
        let both = HandoffHeaders { data_from: Some(b"body"), ..headers("/run/2.sock") };
        assert_eq!(planned(PLAIN, &both), Plan::Refuse(Refusal::DataTwice));
    }

    fn body(socket: &'static str, from: &'static str) -> HandoffHeaders<'static> {
        HandoffHeaders { data: None, data_from: Some(from.as_bytes()), ..headers(socket) }
    }

    #[test]
    fn a_body_goes_to_daemons_that_are_declared() {
        for from in ["body", "BODY", "Body"] {
            let expected = Plan::HandOffWithBody(Path::new("/run/2.sock"));
            assert_eq!(planned(PLAIN, &body("/run/2.sock", from)), expected);
        }
        for from in ["", "bodies", "file", "body, body"] {
            let expected = Plan::Refuse(Refusal::DataFromUnknown);
            assert_eq!(planned(PLAIN, &body("/run/2.sock", from)), expected, "{from}");
        }
        let refusal = Refusal::BodyToUndeclared("/run/d.sock".into());
        assert!(refusal.to_string().ends_with(": SocketHandoffDaemon /run/d.sock protocol=2"), "{refusal}");
        assert_eq!(planned(PLAIN, &body("/run/d.sock", "body")), Plan::Refuse(refusal));
    }

    #[test]
    fn a_body_that_is_data_does_not_go_to_the_client() {
        let plan = |facts, headers: &HandoffHeaders<'static>, enabled| {
            let config = DirectoryConfig::test(enabled);
            plan(facts, headers, &config, |path| path == Path::new("/run/2.sock"))
        };
        let proxied = Facts { proxied: true, ..PLAIN };
        let headers = body("/run/2.sock", "Body");
        let alone = HandoffHeaders { socket: None, ..headers };
        for (facts, headers, enabled, why) in [
            (PLAIN, &headers, false, Ignored::SwitchedOff),
            (proxied, &headers, true, Ignored::Proxied),
            (PLAIN, &alone, true, Ignored::NoSocket),
        ] {
            assert_eq!(plan(facts, headers, enabled), Plan::Refuse(Refusal::DataForNobody(why)));
            let head = Facts { method: Method::Head, ..facts };
            assert!(matches!(plan(head, headers, enabled), Plan::PassThrough(_)), "it has no body");
        }
    }

    #[test]
    fn head_is_handed_off_to_a_daemon_that_is_told_so() {
        let head = Facts { method: Method::Head, ..PLAIN };
        let expected = HandOff { socket: Path::new("/run/2.sock"), data: b"{}" };
        assert_eq!(planned(head, &headers("/run/2.sock")), Plan::HandOff(expected));
        assert_eq!(planned(head, &headers("/run/d.sock")), Plan::PassThrough(Ignored::Head));
        assert_eq!(planned(head, &HandoffHeaders::default()), Plan::PassThrough(Ignored::Head));
    }
}
