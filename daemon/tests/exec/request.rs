//! What programs learn of the request by protocol 2.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use handoff_protocol::scm::Wait;
use handoff_protocol::v2::answer::MOST_ANSWER;
use handoff_protocol::v2::{Answer, Outgoing};
use rustix::net::RecvFlags;

use super::harness::{BINARY, Running, connect, line, script, start, tcp_pair, whole};

/// Hands a client over on the module's connection, which is kept, and returns the client's end.
fn offer(module: &OwnedFd, envelope: &str, data: &[u8]) -> std::net::TcpStream {
    let (client, connection) = tcp_pair();
    let message = Outgoing::new(envelope.as_bytes(), data, b"").unwrap();
    message.send(module, connection.as_fd(), Wait::Yes).unwrap();
    let mut bytes = [0; MOST_ANSWER];
    let (length, _) = rustix::net::recv(module, &mut bytes, RecvFlags::empty()).unwrap();
    assert_eq!(Answer::decode(&bytes[..length]), Ok(Answer::Accepted));
    client
}

fn ask(running: &Running, envelope: &str) -> String {
    whole(offer(&connect(&running.path), envelope, b""))
}

const REQUEST: &str = r#"{"method":"POST","target":"/chat?q=1","protocol":"HTTP/1.1","client":"192.0.2.1:5000",
    "local":"192.0.2.9:80","id":"u1","request_headers":[["Host","example.org"],["Last-Event-ID","7"],
    ["X-Latin","caf\u00e9"],["Proxy","http://evil"]]}"#;

#[test]
fn the_request_is_in_the_environment_as_for_cgi() {
    let running = script(
        &[],
        "echo \"$REQUEST_METHOD $REQUEST_URI $QUERY_STRING $SERVER_PROTOCOL $REMOTE_ADDR:$REMOTE_PORT \
         $SERVER_ADDR:$SERVER_PORT $UNIQUE_ID $HTTP_HOST $HTTP_LAST_EVENT_ID ${HTTP_PROXY-none}\"; \
         printf '%s' \"$HTTP_X_LATIN\" | od -An -tx1",
    );
    let answer = ask(&running, REQUEST);
    assert_eq!(
        answer.lines().collect::<Vec<_>>(),
        ["POST /chat?q=1 q=1 HTTP/1.1 192.0.2.1:5000 192.0.2.9:80 u1 example.org 7 none", " 63 61 66 e9"]
    );
}

#[test]
fn one_connection_of_the_module_brings_one_client_after_another() {
    let running = script(&[], "echo \"$QUERY_STRING $HANDOFF_DATA\"; exec sleep 1000");
    let module = connect(&running.path);
    let request = |query: &str| REQUEST.replace("q=1", query);
    let first = offer(&module, &request("first"), b"a");
    let second = offer(&module, &request("second"), b"b");
    assert_eq!((line(&first).as_str(), line(&second).as_str()), ("first a", "second b"));
}

#[test]
fn what_the_daemons_own_environment_says_of_requests_is_not_passed_on() {
    let running = start(|path| {
        let mut command = Command::new(BINARY);
        command.arg("exec").arg("-s").arg(path).args(["--", "sh", "-c"]);
        command.arg("echo \"${REMOTE_USER-none} ${HTTP_COOKIE-none} ${HTTP_PROXY-none}\"");
        command.envs([("REMOTE_USER", "root"), ("HTTP_COOKIE", "stale"), ("HTTP_PROXY", "http://proxy")]);
        command
    });
    assert_eq!(ask(&running, REQUEST), "none none http://proxy\n");
}

#[test]
fn the_request_says_which_framing_the_client_understands() {
    let running = script(&["--http"], "echo hello");
    let chunked = ask(&running, REQUEST);
    assert!(chunked.ends_with("6\r\nhello\n\r\n0\r\n\r\n"), "{chunked:?}");
    let old = ask(&running, &REQUEST.replace("HTTP/1.1", "HTTP/1.0"));
    assert!(old.ends_with("\r\n\r\nhello\n") && !old.contains("chunked"), "{old:?}");
}

#[test]
fn head_gets_the_head_and_starts_no_program() {
    let running = script(&["--http"], "echo started >&2; echo hello");
    let answer = ask(&running, &REQUEST.replace("POST", "HEAD"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer:?}");
    assert!(answer.contains("Transfer-Encoding: chunked\r\n"), "as GET would have: {answer:?}");
    let finished = running.log_line("client finished");
    assert!(finished.contains("unique_id=\"u1\"") && !finished.contains("pid="), "{finished}");
}

#[test]
fn the_applications_answer_travels_around_what_the_program_prints() {
    let request = REQUEST.replace(
        "\"id\":",
        r#""status":201,"response_headers":[["Set-Cookie","a=1"],["Set-Cookie","b=2"],["Content-Length","9"],
           ["X-Content-Type-Options","none"]],"id":"#,
    );
    let printed = ask(&script(&["--http"], "echo hello"), &request);
    assert!(printed.starts_with("HTTP/1.1 201 Created\r\n"), "{printed}");
    let failed = ask(&script(&["--http"], "exit 1"), &request);
    assert!(failed.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{failed}");
    for answer in [printed, failed] {
        for field in ["\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n", "\r\nX-Content-Type-Options: nosniff\r\n"]
        {
            assert!(answer.contains(field), "{answer}");
        }
        assert!(!answer.contains("Content-Length: 9") && !answer.contains("none"), "{answer}");
    }
}

#[test]
fn a_nul_in_the_request_is_a_400() {
    let running = script(&[], "echo hello");
    let answer = ask(&running, &REQUEST.replace("example.org", "a\\u0000b"));
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("NUL"), "{answer}");
}
