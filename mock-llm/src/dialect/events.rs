//! Events of no vendor, with all that the format has: for relays that pass them on as they are.

use super::{Event, Place, Said, quoted};

/// A comment, a reconnection time, then events with ids: every third is named and has two lines of data.
pub(crate) fn stream(said: &Said) -> Vec<Event> {
    let mut events = vec![
        Event::comment(Place::Lead, "welcome"),
        Event { place: Place::Lead, fields: vec![("retry", "3000".into())] },
    ];
    for (index, piece) in said.pieces.iter().enumerate() {
        let mut fields = vec![("id", (index + 1).to_string()), ("data", piece.clone())];
        if index % 3 == 2 {
            fields.insert(0, ("event", "note".into()));
            fields.push(("data", "second line".into()));
        }
        events.push(Event { place: Place::Content, fields });
    }
    events.push(Event::named(Place::End, "end", "{}"));
    events
}

/// An error in mid-stream.
pub(crate) fn error() -> Event {
    Event::named(Place::Tail, "error", format!(r#"{{"message":{}}}"#, quoted("the source failed")))
}
