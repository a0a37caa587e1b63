//! examples/handlers, as they are.

use super::harness::{Running, exec};

fn handler(options: &[&str], interpreter: &[&str], file: &str) -> Running {
    let file = format!("{}/../examples/handlers/{file}", env!("CARGO_MANIFEST_DIR"));
    exec(options, &[interpreter, &[&file]].concat())
}

/// The text of all messages, as a browser has it.
fn text(answer: &str) -> String {
    let (_, events) = answer.split_once("\r\n\r\n").unwrap();
    let messages = events.split("\n\n").filter(|event| !event.starts_with("event: "));
    let data =
        |event: &str| event.split('\n').map(|line| line[6..].to_owned()).collect::<Vec<_>>().join("\n");
    messages.filter(|event| !event.is_empty()).map(data).collect()
}

fn streams(interpreter: &[&str], file: &str) {
    let running = handler(&[], interpreter, file);
    let answer = running.ask("{\"prompt\":\"a  b\\nGr\u{fc}\u{df}e\"}");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream"), "{answer}");
    assert!(answer.ends_with("\n\nevent: done\ndata: [DONE]\n\n"), "{answer}");
    assert_eq!(text(&answer), "You said: a  b\nGr\u{fc}\u{df}e");
    assert_eq!(text(&running.ask("")), "You said: Hello");

    let long = "word ".repeat(30_000);
    assert_eq!(text(&running.ask(&format!("{{\"prompt\":\"{long}\"}}"))), format!("You said: {long}"));

    for wrong in ["no JSON", "[1]", "5"] {
        assert!(running.ask(wrong).starts_with("HTTP/1.1 400 "), "{wrong}");
        running.log_line("bad handoff data");
    }
}

#[test]
fn php() {
    streams(&["php"], "stream.php");
}

#[test]
fn python() {
    streams(&["python3"], "stream.py");
}

#[test]
fn a_shell_script_with_figlet() {
    let running = handler(&["--http"], &[], "figlet.sh");
    let answer = running.ask(r#"{"prompt":"Hi"}"#);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    // Large letters, or stars where there is no figlet.
    assert!(body.contains("|_|") || body == "*** Hi ***\n", "{body}");
    assert!(!running.ask(r#"{"prompt":"-v"}"#).contains("502"));
}
