//! The handoff headers of a response: finding them and taking them off.

use std::ffi::CStr;

use crate::httpd::Table;

/// The daemon's socket: what starts a handoff.
const SOCKET: &CStr = c"X-Socket-Handoff";
/// What the application tells the daemon.
const DATA: &CStr = c"X-Handoff-Data";
/// Where else the data is (the response body): for daemons that speak protocol 2.
const DATA_FROM: &CStr = c"X-Handoff-Data-From";

/// What an application (or `Header set` in the configuration) said about a handoff.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HandoffHeaders<'r> {
    /// Path of the daemon's Unix socket, without surrounding white space.
    pub(crate) socket: Option<&'r [u8]>,
    /// Handed to the daemon as it is.
    pub(crate) data: Option<&'r [u8]>,
    /// Where the data is, if not in the header.
    pub(crate) data_from: Option<&'r [u8]>,
    /// Name of a header that came twice with different values: which one was meant cannot be known.
    pub(crate) ambiguous: Option<&'static str>,
}

impl<'r> HandoffHeaders<'r> {
    /// Takes the handoff headers off `tables`, of which the first that has a header wins. `None`: there were none.
    ///
    /// This runs for every response of the server, so one without any name in X is done with at once.
    pub(crate) fn take(tables: [Table<'r>; 2]) -> Option<Self> {
        if tables.iter().all(|table| table.entries_from(b'X').next().is_none()) {
            return None;
        }
        Self::take_from(tables)
    }

    fn take_from(tables: [Table<'r>; 2]) -> Option<Self> {
        let mut found = None;
        for table in tables {
            let Some(here) = Self::find(table.entries_from(b'X')) else { continue };
            for name in [SOCKET, DATA, DATA_FROM] {
                table.unset(name);
            }
            found = Some(match found {
                None => here,
                Some(first) => Self::first_of(first, here),
            });
        }
        found
    }

    fn first_of(first: Self, second: Self) -> Self {
        Self {
            socket: first.socket.or(second.socket),
            data: first.data.or(second.data),
            data_from: first.data_from.or(second.data_from),
            ambiguous: first.ambiguous.or(second.ambiguous),
        }
    }

    fn find(entries: impl Iterator<Item = (&'r [u8], &'r [u8])>) -> Option<Self> {
        let mut found: Option<Self> = None;
        for (name, value) in entries {
            let is = |header: &CStr| name.eq_ignore_ascii_case(header.to_bytes());
            let (header, slot, value) = if is(SOCKET) {
                (SOCKET, &mut found.get_or_insert_default().socket, value.trim_ascii())
            } else if is(DATA) {
                (DATA, &mut found.get_or_insert_default().data, value)
            } else if is(DATA_FROM) {
                (DATA_FROM, &mut found.get_or_insert_default().data_from, value.trim_ascii())
            } else {
                continue;
            };
            match slot {
                None => *slot = Some(value),
                Some(first) if *first == value => {}
                Some(_) => found.get_or_insert_default().ambiguous = header.to_str().ok(),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(entries: &[(&'static str, &'static str)]) -> Option<HandoffHeaders<'static>> {
        HandoffHeaders::find(entries.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    #[test]
    fn ordinary_responses_have_none() {
        assert_eq!(find(&[]), None);
        assert_eq!(find(&[("Content-Type", "text/html"), ("X-Powered-By", "PHP"), ("X", "")]), None);
    }

    #[test]
    fn names_are_compared_without_regard_to_case() {
        let headers = find(&[("x-socket-handoff", " /run/d.sock\t"), ("X-HANDOFF-DATA", " {} ")]).unwrap();
        assert_eq!(headers.socket, Some(&b"/run/d.sock"[..]));
        assert_eq!(headers.data, Some(&b" {} "[..]), "data is handed on as it is");
        assert_eq!(headers.ambiguous, None);
    }

    #[test]
    fn data_alone_is_found_so_that_it_can_be_stripped() {
        let headers = find(&[("X-Handoff-Data", "secret")]).unwrap();
        assert_eq!(headers.socket, None);
    }

    #[test]
    fn two_different_values_are_ambiguous_and_two_equal_ones_are_not() {
        let twice = |second| find(&[("X-Socket-Handoff", "/run/a"), ("X-Socket-Handoff", second)]).unwrap();
        assert_eq!(twice("/run/b").ambiguous, Some("X-Socket-Handoff"));
        assert_eq!(twice("/run/a").ambiguous, None);
    }
}
