//! Writes events.

/// A comment, which clients skip: it keeps proxies from closing a connection that is silent.
pub fn keep_alive(out: &mut Vec<u8>) {
    out.extend_from_slice(b": keep-alive\n\n");
}

/// A piece of the answer: `data: {"content":"<text>"}`. Empty text is no event.
pub fn json(out: &mut Vec<u8>, text: &str) {
    if !text.is_empty() {
        out.extend_from_slice(b"data: {\"content\":");
        // Writing text to memory does not fail.
        let _ = serde_json::to_writer(&mut *out, text);
        out.extend_from_slice(b"}\n\n");
    }
}

/// A piece of the answer: `data: <text>`. Text of several lines (LF, CR or CRLF) becomes one event of several `data`
/// lines, which the client joins with LF again. Empty text is no event.
pub fn text(out: &mut Vec<u8>, text: &str) {
    if !text.is_empty() {
        data_lines(out, text);
        out.push(b'\n');
    }
}

/// The answer is complete: one event of type `done`, after which the client must not reconnect.
pub fn done(out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: done\ndata: [DONE]\n\n");
}

/// The answer ends here, unfinished: one event of type `error` whose data is `{"error":{"message":…}}`.
pub fn error(out: &mut Vec<u8>, message: &str) {
    out.extend_from_slice(b"event: error\n");
    data_lines(out, &serde_json::json!({ "error": { "message": message } }).to_string());
    out.push(b'\n');
}

fn data_lines(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    loop {
        let end = rest.bytes().position(|byte| byte == b'\n' || byte == b'\r');
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&rest.as_bytes()[..end.unwrap_or(rest.len())]);
        out.push(b'\n');
        let Some(end) = end else { return };
        let line_end = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + line_end..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn event(text: &str) -> String {
        let mut out = Vec::new();
        super::text(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_line_is_one_data_line() {
        assert_eq!(event("Hello"), "data: Hello\n\n");
        assert_eq!(event(" world"), "data:  world\n\n");
        assert_eq!(event(": x"), "data: : x\n\n");
    }

    #[test]
    fn each_kind_of_line_end_starts_another_data_line() {
        assert_eq!(event("a\nb\rc\r\nd"), "data: a\ndata: b\ndata: c\ndata: d\n\n");
        assert_eq!(event("\n"), "data: \ndata: \n\n");
        assert_eq!(event("a\n\r"), "data: a\ndata: \ndata: \n\n");
    }

    #[test]
    fn no_text_is_no_event() {
        assert_eq!(event(""), "");
        let mut out = Vec::new();
        super::json(&mut out, "");
        assert!(out.is_empty());
    }

    #[test]
    fn json_is_one_line_whatever_is_in_it() {
        let mut out = Vec::new();
        super::json(&mut out, "a\r\n\"ü\u{1}\u{2028}");
        let expected = "data: {\"content\":\"a\\r\\n\\\"ü\\u0001\u{2028}\"}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_comment_is_no_event() {
        let mut out = Vec::new();
        super::keep_alive(&mut out);
        assert_eq!(out, b": keep-alive\n\n");
    }

    #[test]
    fn the_end_is_one_event() {
        let mut out = Vec::new();
        super::done(&mut out);
        assert_eq!(out, b"event: done\ndata: [DONE]\n\n");
    }

    #[test]
    fn an_error_is_one_event_of_json() {
        let mut out = Vec::new();
        super::error(&mut out, "the \"backend\"\nis gone");
        let expected = r#"{"error":{"message":"the \"backend\"\nis gone"}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("event: error\ndata: {expected}\n\n"));
    }

    /// What a browser makes of one event, by the letter of the specification.
    fn browser(event: &str) -> String {
        let mut data = String::new();
        for line in event.strip_suffix("\n\n").unwrap().split('\n') {
            let value = line.strip_prefix("data:").unwrap();
            data.push_str(value.strip_prefix(' ').unwrap_or(value));
            data.push('\n');
        }
        data.pop();
        data
    }

    proptest! {
        #[test]
        fn a_browser_reads_back_what_was_written(text in "[ :a-c\u{e9}\r\n]{1,40}") {
            let expected = text.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(browser(&event(&text)), expected);
        }
    }
}
