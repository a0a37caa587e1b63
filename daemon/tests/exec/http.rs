//! `--http`: programs that only print text.

use super::harness::{line, script};

const HTTP_1_1: &str = r#"{"protocol":"HTTP/1.1"}"#;

#[test]
fn text_becomes_a_response() {
    let running = script(&["--http"], "echo hello; echo \"$HANDOFF_DATA\"");
    let answer = running.ask("data that is no JSON");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "hello\ndata that is no JSON\n");
    for field in ["HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Connection: close", "Date: "]
    {
        assert!(head.contains(field), "{head}");
    }
    assert!(!head.contains("chunked"));
}

#[test]
fn http_1_1_gets_chunks_and_the_last_one() {
    let running = script(&["--http", "--content-type", "text/event-stream"], "printf 'data: x\\n\\n'");
    let answer = running.ask(HTTP_1_1);
    assert!(answer.contains("Content-Type: text/event-stream\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n9\r\ndata: x\n\n\r\n0\r\n\r\n"), "{answer:?}");
}

#[test]
fn what_is_printed_goes_out_at_once() {
    let running = script(&["--http"], "echo first; read -r never </proc/self/fd/0; exec sleep 1000");
    let client = running.hand_off("{}");
    while line(&client) != "first" {}
}

#[test]
fn a_program_that_fails_before_its_first_word_is_a_502() {
    let running = script(&["--http"], "echo oops >&2; exit 1");
    let answer = running.ask(HTTP_1_1);
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    assert!(!answer.contains("oops"), "{answer}");
}

#[test]
fn a_program_that_fails_later_leaves_the_response_unfinished() {
    let running = script(&["--http"], "echo half; exit 1");
    let answer = running.ask(HTTP_1_1);
    assert!(answer.ends_with("5\r\nhalf\n\r\n"), "{answer:?}");
}

#[test]
fn a_program_that_prints_nothing_and_succeeds_is_an_empty_200() {
    let running = script(&["--http"], "true");
    let answer = running.ask(HTTP_1_1);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n0\r\n\r\n"), "{answer:?}");
}

#[test]
fn nothing_of_a_long_text_is_lost() {
    let running = script(&["--http"], "head -c 3000000 /dev/zero | tr '\\0' x");
    let answer = running.ask("{}");
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 3_000_000);
}

#[test]
fn a_process_in_the_background_does_not_hold_the_response() {
    let running = script(&["--http"], "echo x; sleep 1000 &");
    assert!(running.ask(HTTP_1_1).ends_with("0\r\n\r\n"));
}
