//! What examples/ has for developers to copy: the receivers, and the PHP endpoints.

mod offers;
mod php;
mod receivers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Apache, Ending, Event, Mpm, Response, events};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path)
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run: make setup"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn the_shipped_configuration_is_valid_with_what_it_has_in_comments() {
    let shipped = fs::read_to_string(example("../conf/socket_handoff.conf")).unwrap();
    let mut everything = shipped.replace("${APACHE_LOG_DIR}", "${ROOT}/logs");
    for directive in ["LogFormat", "CustomLog", "LogLevel"] {
        assert!(everything.contains(&format!("#{directive} ")), "{directive}");
        everything = everything.replace(&format!("#{directive} "), &format!("{directive} "));
    }
    for text in [shipped, everything] {
        let output = Apache::builder(Mpm::Event).config(&text).configtest();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The text of a complete stream: `done` is its last event, and nothing was lost on the way.
#[track_caller]
fn text_of(response: &Response) -> String {
    assert_eq!(response.status(), 200, "{}", String::from_utf8_lossy(&response.body));
    assert_eq!(response.head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(matches!(response.ending, Ending::Closed | Ending::Framed), "{:?}", response.ending);
    let mut events = events(response.text());
    let last = events.pop().expect("at least one event");
    assert_eq!(last, Event { name: "done".to_owned(), data: "[DONE]".to_owned(), id: String::new() });
    assert!(events.iter().all(|event| event.name == "message"), "{events:?}");
    events.into_iter().map(|event| event.data).collect()
}
