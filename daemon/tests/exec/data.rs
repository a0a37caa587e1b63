//! The handoff data as a program finds it.

use std::io::Write;

use super::harness::{hand_off, line, script, whole};

const PRINT: &str = "printf '%s,%s' \"${HANDOFF_DATA-unset}\" \"${HANDOFF_DATA_FD-unset}\"";

#[test]
fn it_is_in_the_environment_byte_for_byte() {
    let running = script(&[], PRINT);
    let data = "{\"prompt\":\"Gr\u{fc}\u{df} 'dich' $HOME `id`\"}";
    assert_eq!(running.ask(data), format!("{data},unset"));
}

#[test]
fn without_data_the_variable_is_empty() {
    let running = script(&[], PRINT);
    assert_eq!(running.ask(""), ",unset");
}

#[test]
fn data_that_is_too_long_for_the_environment_is_in_a_sealed_file() {
    let running = script(
        &[],
        "printf '%s,' \"${HANDOFF_DATA-unset}\"
         echo more 2>/dev/null >&\"$HANDOFF_DATA_FD\" || printf sealed,
         cat <&\"$HANDOFF_DATA_FD\"",
    );
    let data = "x".repeat(150_000);
    let answer = running.ask(&data);
    assert_eq!(&answer[..13], "unset,sealed,");
    assert!(answer[13..] == data, "{} bytes", answer.len());
    // The next one does not depend on the first one's reading.
    assert_eq!(running.ask(&data).len(), answer.len());
}

#[test]
fn the_limit_is_100_kib() {
    let running = script(&[], "printf '%s %s' \"${#HANDOFF_DATA}\" \"${HANDOFF_DATA_FD+file}\"");
    assert_eq!(running.ask(&"x".repeat(102_400)), "102400 ");
    assert_eq!(running.ask(&"x".repeat(102_401)), "0 file");
}

#[test]
fn nobody_finds_the_file_of_another_client() {
    let running = script(&[], "ls -l /proc/self/fd; echo listed; read -r go");
    let mut first = running.hand_off(&"x".repeat(150_000));
    let mut seen = String::new();
    while !seen.ends_with("listed") {
        seen += &line(&first);
    }
    assert!(seen.contains("memfd:handoff-data"), "{seen}");
    let mut second = running.hand_off("{}");
    second.write_all(b"\n").unwrap();
    let seen = whole(second);
    assert!(seen.ends_with("listed\n") && !seen.contains("memfd"), "{seen}");
    first.write_all(b"\n").unwrap();
    assert_eq!(whole(first), "");
}

#[test]
fn a_nul_byte_is_a_bad_request() {
    let running = script(&[], "echo never");
    let answer = whole(hand_off(&running.path, b"a\0b"));
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}
