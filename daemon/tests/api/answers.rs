//! What reaches the client of an answer that goes well.

use mock_llm::Settings;
use mock_llm::frames::{Peer, Script};
use streaming_daemon::config::DialectName;

use crate::harness::{daemon, profile, read_until, relayed};

#[tokio::test]
async fn the_text_of_an_answer_reaches_the_client() {
    let relayed = relayed(Settings { chunk_count: 50, ..Settings::default() }).await;
    let response = relayed.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#).await;
    assert_eq!(response.status(), 200);
    assert!(response.is_done() && response.complete, "{}", response.body);
    assert_eq!(response.events().len(), 51, "{}", response.body);
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    let event = |text| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let script = Script::new().requests(1).respond(1).data(1, event("one"));
    let script = script.gate("one").data(1, event("two")).gate("two").data(1, "data: [DONE]\n\n").end(1);
    for format in ["text", "json", "raw"] {
        let peer = Peer::start([script.clone()]).await.unwrap();
        let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |_| {});
        let mut client = daemon.hand_off(&format!(r#"{{"prompt":"Hi","format":"{format}"}}"#));
        for word in ["one", "two"] {
            read_until(&mut client, word).await;
            peer.open(word);
        }
        read_until(&mut client, "data: [DONE]\n\n").await;
    }
}
