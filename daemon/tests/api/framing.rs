//! Rule 10: a stream that was cut cannot pass for a complete one; and a daemon that ends cuts none that can end well.

use mock_llm::Settings;
use mock_llm::frames::{Peer, Script};
use streaming_daemon::config::DialectName;
use tokio::io::AsyncReadExt;

use crate::common::response;
use crate::harness::{daemon, data, profile, read_until, relayed_by_all};

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

#[tokio::test]
async fn a_daemon_that_is_told_to_end_lets_answers_end_first() {
    let begin = "data: {\"choices\":[{\"delta\":{\"content\":\"begin\"}}]}\n\n";
    let rest = "data: {\"choices\":[{\"delta\":{\"content\":\" rest\"}}]}\n\ndata: [DONE]\n\n";
    let script = Script::new().requests(1).respond(1).data(1, begin).gate("told").data(1, rest).end(1);
    let peer = Peer::start([script]).await.unwrap();
    let mut daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |_| {});
    let mut client = daemon.hand_off(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#);
    let mut received = read_until(&mut client, "begin").await;
    daemon.stop();
    crate::harness::until("the socket's file is removed", async || !daemon.path.exists()).await;
    peer.open("told");
    client.read_to_string(&mut received).await.unwrap();
    let response = response::parse(received.as_bytes());
    assert!(response.is_done() && response.complete);
    assert_eq!(response.text(), "begin rest");
    drop(client);
    daemon.ended().await;
}
