//! Rule 10: a stream that was cut cannot pass for a complete one.

use mock_llm::Settings;
use tokio::io::AsyncReadExt;

use crate::common::response;
use crate::harness::{data, read_until, relayed_by_all};

#[tokio::test]
async fn who_speaks_http_1_1_gets_chunks_and_others_the_end_of_the_connection() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in ["chat", "responses1", "messages", "events"] {
        for (protocol, chunked) in [("HTTP/1.1", true), ("HTTP/1.0", false), ("HTTP/2.0", false)] {
            let data = format!(r#"{{"backend":"{backend}","prompt":"Hi","protocol":"{protocol}"}}"#);
            let response = relayed.ask(&data).await;
            assert_eq!(response.field("Transfer-Encoding"), chunked.then_some("chunked"));
            assert_eq!(response.field("Content-Length"), None);
            assert_eq!(response.field("Connection"), Some("close"));
            assert!(response.complete && response.body.contains("word020 "));
        }
    }
}

#[tokio::test]
async fn a_daemon_that_ends_in_the_middle_leaves_the_chunks_unfinished() {
    let mut relayed = relayed_by_all(Settings::default(), |config| {
        config.server.shutdown_timeout = std::time::Duration::from_millis(50);
    })
    .await;
    let mut client = relayed.daemon.hand_off(&data("chat", "stall:3", "text"));
    let mut received = read_until(&mut client, "word003").await;
    relayed.daemon.stop();
    client.read_to_string(&mut received).await.unwrap();
    let response = response::parse(received.as_bytes());
    assert!(!response.is_done(), "{}", response.body);
    let (kind, told) = response.events().pop().unwrap();
    assert!(kind == "error" && told.contains("shutting down"), "{}", response.body);
    // What has not ended at the API ends there too.
    assert!(relayed.api.until(|api| (api.streams(), api.cancelled()) == (0, 1)).await);
}
