//! Handoff data that is not understood is answered with 400 and a reason, never with an answer to something else.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use common::{Daemon, hand_off, response};

#[tokio::test]
async fn wrong_data_is_a_400_that_says_what_is_wrong() {
    let daemon = Daemon::start(|_| {});
    let cases: &[(&[u8], &str)] = &[
        (b"Hello", "not JSON: expected value at line 1 column 1"),
        (b"{\"prompt\":\"cut of", "line 1 column 17"),
        (b"{'prompt':'x'}", "line 1 column 2"),
        (b"{\"prompt\":\"\xff\"}", "not UTF-8: byte 11"),
        (b"[\"prompt\"]", "an array; send a JSON object"),
        (b"\"prompt\"", "a string; send a JSON object"),
        (b"null", "null; send a JSON object"),
        (b"{\"prompt\":5}", "\"prompt\" of the handoff data is a number; send a string"),
        (b"{\"prompt\":[\"x\"]}", "\"prompt\" of the handoff data is an array"),
        (b"{\"prompt\":\"x\",\"user_id\":[1]}", "\"user_id\" of the handoff data is an array"),
        (b"{\"prompt\":\"x\",\"request_id\":{}}", "\"request_id\""),
        (b"{\"prompt\":\"x\",\"model\":1}", "\"model\""),
        (b"{\"prompt\":\"x\",\"protocol\":1.1}", "\"protocol\""),
    ];
    for (data, expected) in cases {
        let client = hand_off(&daemon.path, data);
        client.set_nonblocking(true).unwrap();
        let response = response::read(tokio::net::TcpStream::from_std(client).unwrap()).await;
        assert_eq!(response.status(), 400);
        assert_eq!(response.field("Content-Type"), Some("application/json"));
        assert_eq!(response.field("Content-Length"), Some(response.body.len().to_string().as_str()));
        assert_eq!(response.field("Connection"), Some("close"));
        let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(expected), "{message:?} does not tell {expected:?}");
    }
}
