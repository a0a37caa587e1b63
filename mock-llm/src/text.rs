//! Events as text: well-written or strangely, but always with the same meaning.

use crate::dialect::Event;
use crate::faults::Text;

/// The bytes of an event, its blank line included.
pub(crate) fn write(out: &mut String, event: &Event, text: &Text) {
    if text.comments {
        out.extend([": between events", text.line_end, text.line_end]);
    }
    for &(name, ref value) in &event.fields {
        if text.comments {
            out.extend([":", text.line_end]);
        }
        let value = if name == "data" { json(value, text) } else { value.clone() };
        for line in value.split('\n') {
            out.extend([name, if text.no_space { ":" } else { ": " }, line, text.line_end]);
        }
    }
    out.push_str(text.line_end);
}

/// JSON written as `text` says. What is no JSON object stays.
fn json(json: &str, text: &Text) -> String {
    if !json.starts_with('{') || !(text.order || text.spaces || text.multi_line || text.escapes) {
        return json.into();
    }
    let sorted = || Some(serde_json::from_str::<serde_json::Value>(json).ok()?.to_string());
    let json = if text.order { sorted().unwrap_or_else(|| json.into()) } else { json.into() };
    let mut out = String::with_capacity(2 * json.len());
    let mut characters = json.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => string(&mut out, &mut characters, text.escapes),
            '{' | ',' if text.multi_line => out.extend([character, '\n']),
            '}' if text.multi_line => out.extend(['\n', character]),
            ':' | ',' | '[' | '{' if text.spaces => out.extend([character, ' ']),
            ']' | '}' if text.spaces => out.extend([' ', character]),
            _ => out.push(character),
        }
    }
    out
}

/// A string, whose first quotation mark has been read.
fn string(out: &mut String, characters: &mut std::str::Chars<'_>, escapes: bool) {
    let rest = characters.as_str();
    let mut escaped = false;
    let end = rest.find(|character| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    });
    let (inside, rest) = rest.split_at(end.unwrap_or(rest.len()));
    *characters = rest.chars();
    characters.next();
    let plain = || serde_json::from_str::<String>(&format!("\"{inside}\"")).ok();
    out.push('"');
    match plain().filter(|_| escapes) {
        Some(plain) => out.extend(plain.encode_utf16().map(|unit| format!("\\u{unit:04x}"))),
        None => out.push_str(inside),
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Place;

    fn written(text: Text) -> String {
        let json = r#"{"b":"a, \"{é🙂","a":[1]}"#.to_owned();
        let mut out = String::new();
        write(
            &mut out,
            &Event { place: Place::Content, fields: vec![("event", "x".into()), ("data", json)] },
            &text,
        );
        out
    }

    #[test]
    fn every_style_means_the_same() {
        let meant: serde_json::Value = serde_json::json!({"b": "a, \"{é🙂", "a": [1]});
        for style in 0..16 {
            let on = |bit: u8| style & bit != 0;
            let text = written(Text {
                spaces: on(1),
                order: on(2),
                escapes: on(4),
                multi_line: on(8),
                ..Text::default()
            });
            let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&data.join("\n")).unwrap(), meant, "{text}");
            assert_eq!(data.len() > 1, on(8));
        }
    }

    #[test]
    fn each_style_shows() {
        let text = |text| written(text);
        assert_eq!(text(Text::default()), "event: x\ndata: {\"b\":\"a, \\\"{é🙂\",\"a\":[1]}\n\n");
        assert!(
            text(Text { escapes: true, ..Text::default() })
                .contains(r#""\u0062":"\u0061\u002c\u0020\u0022\u007b\u00e9\ud83d\ude42""#)
        );
        assert!(text(Text { order: true, ..Text::default() }).contains(r#"{"a":[1],"b""#));
        assert!(text(Text { spaces: true, ..Text::default() }).contains(r#"{ "b": "a, "#));
        assert!(
            text(Text { line_end: "\r", no_space: true, ..Text::default() }).starts_with("event:x\rdata:{")
        );
        let commented = text(Text { comments: true, ..Text::default() });
        assert!(commented.starts_with(": between events\n\n:\nevent: x\n:\ndata: "), "{commented}");
    }
}
