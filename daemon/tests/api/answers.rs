//! What reaches the client of an answer that goes well.

use mock_llm::Settings;

use crate::harness::relayed;

#[tokio::test]
async fn the_text_of_an_answer_reaches_the_client() {
    let relayed = relayed(Settings { chunk_count: 50, ..Settings::default() }).await;
    let response = relayed.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#).await;
    assert_eq!(response.status(), 200);
    assert!(response.is_done() && response.complete, "{}", response.body);
    assert_eq!(response.events().len(), 51, "{}", response.body);
}
