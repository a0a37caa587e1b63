//! Fields of the client's request that go on to the backend: where a stream was cut, and whose part of a trace it is.

use handoff_protocol::v2::Envelope;
use http::{HeaderName, HeaderValue};

use super::response_headers::is_value;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Those of the request that `envelope` tells of. What is not as it has to be is left out.
#[must_use]
pub(super) fn passed_on(envelope: &Envelope) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = Vec::new();
    let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).ok();
    let id = envelope.request_header(LAST_EVENT_ID.as_str()).map(|id| id.as_bytes());
    // An empty one says that there was no event (HTML, 9.2.4).
    fields
        .extend(id.filter(|id| !id.is_empty() && is_value(id)).and_then(value).map(|id| (LAST_EVENT_ID, id)));
    let parents = all(envelope, TRACEPARENT.as_str());
    // Of several, none is to be trusted (Trace Context, 3.2.1).
    if let [parent] = parents.as_slice()
        && is_traceparent(parent)
    {
        fields.extend(value(parent).map(|parent| (TRACEPARENT, parent)));
        let state = all(envelope, TRACESTATE.as_str()).join(&b","[..]);
        let state = Some(state).filter(|state| !state.is_empty() && is_value(state));
        fields.extend(state.and_then(|state| value(&state)).map(|state| (TRACESTATE, state)));
    }
    fields
}

fn all<'e>(envelope: &'e Envelope, name: &str) -> Vec<&'e [u8]> {
    let is = |field: &[u8]| field.eq_ignore_ascii_case(name.as_bytes());
    let fields = envelope.request_headers.iter().filter(|(field, _)| is(field.as_bytes()));
    fields.map(|(_, value)| value.as_bytes()).collect()
}

/// W3C Trace Context, sections 3.2.2 and 4.3: `version-trace-parent-flags`, in lower case hexadecimal digits. What
/// follows the flags is for later versions.
fn is_traceparent(value: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let set = |part: &[u8]| hex(part) && part.iter().any(|byte| *byte != b'0');
    let mut parts = value.splitn(5, |byte| *byte == b'-');
    let [version, trace, parent, flags] = [(); 4].map(|()| parts.next().unwrap_or_default());
    let length = [version, trace, parent, flags].map(<[u8]>::len) == [2, 32, 16, 2];
    let known = version != b"ff" && (version != b"00" || parts.next().is_none());
    length && known && hex(version) && set(trace) && set(parent) && hex(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn passed(fields: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
        let text = r#"{"method":"GET","target":"/","protocol":"HTTP/1.1"}"#;
        let mut envelope = Envelope::decode(text.as_bytes()).unwrap();
        envelope.request_headers =
            fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let fields = super::passed_on(&envelope).into_iter();
        fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn the_last_event_and_the_trace_go_on_and_nothing_else() {
        let fields = passed(&[
            ("Cookie", b"secret"),
            ("Last-Event-ID", "42-ü".as_bytes()),
            ("Traceparent", PARENT.as_bytes()),
            ("tracestate", b"a=1"),
            ("TraceState", b"b=2"),
        ]);
        let expected: [(&str, &[u8]); 3] = [
            ("last-event-id", "42-ü".as_bytes()),
            ("traceparent", PARENT.as_bytes()),
            ("tracestate", b"a=1,b=2"),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_vec())));
    }

    #[test]
    fn what_is_not_as_it_has_to_be_is_left_out() {
        assert_eq!(passed(&[("Last-Event-ID", b"1\r\nX-Evil: 1")]), []);
        assert_eq!(passed(&[("Last-Event-ID", b"")]), []);
        assert_eq!(passed(&[("tracestate", b"a=1")]), [], "without a parent it means nothing");
        assert_eq!(passed(&[("traceparent", PARENT.as_bytes()), ("traceparent", PARENT.as_bytes())]), []);
        assert_eq!(passed(&[("traceparent", PARENT.as_bytes()), ("tracestate", b"\0")]).len(), 1);
    }

    #[test]
    fn the_parent_of_a_trace_has_its_form() {
        assert!(is_traceparent(PARENT.as_bytes()));
        assert!(is_traceparent(PARENT.replacen("00", "cc", 1).as_bytes()));
        assert!(is_traceparent(
            format!("{}-what-later-versions-add", PARENT.replacen("00", "01", 1)).as_bytes()
        ));
        for wrong in [
            "",
            "00",
            &format!("{PARENT}-more"),
            &format!("{PARENT}-"),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.to_uppercase(),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &PARENT[..54],
            &PARENT.replace('7', "g"),
        ] {
            assert!(!is_traceparent(wrong.as_bytes()), "{wrong}");
        }
    }
}
