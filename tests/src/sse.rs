//! Server-Sent Events as a client reads them (WHATWG HTML, "9.2.6 Interpreting an event stream").

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its type: `message` unless an `event` field says otherwise.
    pub name: String,
    /// Its data lines, joined with newlines.
    pub data: String,
    /// The last id that the stream had set when it came.
    pub id: String,
}

/// The events that `stream` dispatches. An event without the empty line that ends it is not one, as in a browser.
#[must_use]
pub fn events(stream: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let (mut name, mut data, mut id) = (String::new(), String::new(), String::new());
    let text = stream.replace("\r\n", "\n").replace('\r', "\n");
    // What follows the last newline is a line that has not ended.
    let Some((lines, _unfinished)) = text.rsplit_once('\n') else { return events };
    for line in lines.split('\n') {
        if line.is_empty() {
            if !data.is_empty() {
                data.pop();
                let kind = if name.is_empty() { "message".to_owned() } else { name.clone() };
                events.push(Event { name: kind, data: std::mem::take(&mut data), id: id.clone() });
            }
            name.clear();
            data.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" => value.clone_into(&mut id),
            // A comment begins with the colon; retry and unknown fields say nothing about events.
            _ => {}
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned(), id: String::new() }
    }

    #[test]
    fn data_lines_of_one_event_are_joined() {
        assert_eq!(
            events("data: a\ndata:  b\n\n: comment\ndata:c\n\n"),
            [event("message", "a\n b"), event("message", "c")]
        );
    }

    #[test]
    fn an_event_that_has_not_ended_is_none() {
        assert_eq!(events("event: done\ndata: [DONE]\n\ndata: rest\n"), [event("done", "[DONE]")]);
    }

    #[test]
    fn an_event_without_data_is_not_dispatched_and_its_name_forgotten() {
        assert_eq!(events("event: x\n\ndata: a\r\n\r\n"), [event("message", "a")]);
    }

    #[test]
    fn an_empty_data_line_is_an_event() {
        assert_eq!(events("data:\n\n"), [event("message", "")]);
    }
}
