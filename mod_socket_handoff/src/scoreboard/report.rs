//! The section of /server-status.

use std::borrow::Cow;
use std::fmt::Write;

use super::Row;

const OTHERS: &str = "other";

/// For people. Without `tables`, one line a daemon.
pub(crate) fn html(rows: &[Row], tables: bool) -> String {
    let mut text = "<hr />\n<h1>Handoffs to daemons</h1>\n".to_owned();
    let (head, tail) = if tables {
        (
            "<table border=\"0\">\n<tr><th>Daemon</th><th>Handed off</th><th>In flight</th><th>Refused</th></tr>\n",
            "</table>\n",
        )
    } else {
        ("<ul>\n", "</ul>\n")
    };
    text.push_str(head);
    for row in rows {
        let (path, handed_off, in_flight) = (escaped(row), row.handed_off, row.in_flight);
        let reasons: Vec<String> =
            row.refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let refused = if reasons.is_empty() { "0".to_owned() } else { reasons.join(", ") };
        // Writing to a String does not fail.
        let _ = if tables {
            writeln!(
                text,
                "<tr><td>{path}</td><td>{handed_off}</td><td>{in_flight}</td><td>{refused}</td></tr>"
            )
        } else {
            writeln!(
                text,
                "<li>{path}: {handed_off} handed off, {in_flight} in flight, refused: {refused}</li>"
            )
        };
    }
    text.push_str(tail);
    text
}

/// For programs: `?auto`. In the manner of mod_proxy, with a number for each daemon.
pub(crate) fn plain(rows: &[Row]) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let path =
            row.path.as_ref().map_or(Cow::Borrowed(OTHERS), |path| path.escape_ascii().to_string().into());
        let refused: u64 = row.refused.iter().map(|(_, count)| count).sum();
        for (name, value) in [
            ("Path", path),
            ("HandedOff", row.handed_off.to_string().into()),
            ("InFlight", row.in_flight.to_string().into()),
            ("Refused", refused.to_string().into()),
        ] {
            let _ = writeln!(text, "SocketHandoffDaemon[{number}]{name}: {value}");
        }
        for (reason, count) in &row.refused {
            let _ = writeln!(text, "SocketHandoffDaemon[{number}]Refused[{reason}]: {count}");
        }
    }
    text
}

/// A path as text of an HTML document.
fn escaped(row: &Row) -> Cow<'static, str> {
    let Some(path) = &row.path else { return OTHERS.into() };
    let mut text = String::with_capacity(path.len());
    for character in String::from_utf8_lossy(path).chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            _ if character.is_control() => text.push(char::REPLACEMENT_CHARACTER),
            _ => text.push(character),
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [Row; 2] {
        [
            Row {
                path: Some(b"/run/<a>&\"'\n\xff.sock".into()),
                handed_off: 3,
                in_flight: 1,
                refused: vec![("busy", 2), ("no-answer", 1)],
            },
            Row { path: None, handed_off: 0, in_flight: 0, refused: Vec::new() },
        ]
    }

    #[test]
    fn people_get_a_table() {
        let text = html(&rows(), true);
        assert!(text.contains(
            "<tr><td>/run/&lt;a&gt;&amp;&quot;&#39;\u{fffd}\u{fffd}.sock</td><td>3</td><td>1</td><td>busy 2, no-answer 1</td></tr>\n\
             <tr><td>other</td><td>0</td><td>0</td><td>0</td></tr>\n</table>"
        ), "{text}");
        let text = html(&rows(), false);
        assert!(text.contains("<li>other: 0 handed off, 0 in flight, refused: 0</li>"), "{text}");
        assert!(!text.contains("<t"), "{text}");
    }

    #[test]
    fn programs_get_lines_with_a_name_and_a_value() {
        assert_eq!(
            plain(&rows()),
            "SocketHandoffDaemon[0]Path: /run/<a>&\\\"\\'\\n\\xff.sock\n\
             SocketHandoffDaemon[0]HandedOff: 3\n\
             SocketHandoffDaemon[0]InFlight: 1\n\
             SocketHandoffDaemon[0]Refused: 3\n\
             SocketHandoffDaemon[0]Refused[busy]: 2\n\
             SocketHandoffDaemon[0]Refused[no-answer]: 1\n\
             SocketHandoffDaemon[1]Path: other\n\
             SocketHandoffDaemon[1]HandedOff: 0\n\
             SocketHandoffDaemon[1]InFlight: 0\n\
             SocketHandoffDaemon[1]Refused: 0\n"
        );
    }
}
