//! Rule 6: a request is repeated only when the API has not processed it, and nothing has gone to the client.

use std::time::Duration;

use mock_llm::Settings;
use mock_llm::frames::{NO_ERROR, Peer, REFUSED_STREAM, Script};
use streaming_daemon::config::DialectName;

use crate::harness::{
    LLM, Relayed, daemon, data, error_event, figure, profile, read_until, refusal, relayed_by_all,
    serve_metrics,
};

const ANSWER: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"whole\"}}]}\n\ndata: [DONE]\n\n";

#[tokio::test]
async fn a_request_that_was_not_processed_is_repeated_unseen() {
    for (first, requests) in [
        (Script::new().requests(1).reset(1, REFUSED_STREAM), 1),
        (Script::new().requests(1).go_away(0, NO_ERROR), 1),
        (Script::new().requests(1).go_away(0, NO_ERROR).close(), 1),
    ] {
        let peer = Peer::start([first, Script::new().answer_all(ANSWER)]).await.unwrap();
        let mut address = None;
        let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |config| {
            address = Some(serve_metrics(config));
        });
        let response = daemon.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#).await;
        assert_eq!(response.text(), "whole");
        assert!(response.is_done() && response.complete);
        assert_eq!((peer.requests(1), peer.requests(2)), (requests, 1));
        assert_eq!(figure(address.unwrap(), "daemon_upstream_retries_total{backend=\"api\"}").await, 1);
    }
}

#[tokio::test]
async fn a_stream_above_the_last_of_a_go_away_moves_and_those_below_go_on() {
    let begin = "data: {\"choices\":[{\"delta\":{\"content\":\"below\"}}]}\n\n";
    let first = Script::new()
        .requests(2)
        .respond(1)
        .data(1, begin)
        .go_away(1, NO_ERROR)
        .gate("moved")
        .data(1, "data: [DONE]\n\n")
        .end(1);
    let peer = Peer::start([first, Script::new().answer_all(ANSWER)]).await.unwrap();
    let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |_| {});
    let ask = || daemon.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#);
    let (one, two, ()) = tokio::join!(ask(), ask(), async {
        assert!(peer.until(|peer| peer.requests(2) == 1).await);
        peer.open("moved");
    });
    let mut texts = [one.text(), two.text()];
    texts.sort();
    assert_eq!(texts, ["below", "whole"]);
    assert!(one.is_done() && two.is_done());
}

#[tokio::test]
async fn a_stale_connection_is_replaced_and_the_client_sees_nothing_of_it() {
    let Relayed { daemon, api } = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in ["chat1", "responses1", "messages1"] {
        let requests = api.requests().len();
        // The second one comes on the connection of the first, which ends under it.
        assert!(daemon.ask(&data(backend, "stale", "text")).await.is_done());
        let response = daemon.ask(&data(backend, "", "text")).await;
        assert_eq!(response.status(), 200, "{}", response.body);
        assert!(response.is_done() && response.complete);
        assert_eq!(api.requests().len() - requests, 2, "the API took no request twice");
        assert!(daemon.ask(&data(backend, "close-silently", "text")).await.is_done());
        assert!(daemon.ask(&data(backend, "", "text")).await.is_done());
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_not_repeated() {
    let Relayed { daemon, api } = relayed_by_all(Settings::default(), |_| {}).await;
    let mut requests = 0;
    for backend in LLM.into_iter().flat_map(|name| [name.to_owned(), format!("{name}1")]) {
        for pattern in
            ["abort-before-head", "abort:0", "tcp-reset:0", "status:500", "status:503", "status:429"]
        {
            let response = daemon.ask(&data(&backend, pattern, "text")).await;
            requests += 1;
            if response.status() == 200 {
                // What leads in had come.
                assert!(pattern.ends_with(":0"), "{backend} {pattern}");
                error_event(&response);
            } else {
                refusal(&response);
            }
            assert_eq!(api.requests().len(), requests, "{backend} {pattern}");
        }
    }
}

#[tokio::test]
async fn nothing_is_repeated_after_the_first_byte() {
    let begin = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    // Although the code says that it was not processed: the client has seen otherwise.
    let first = Script::new().requests(1).respond(1).data(1, begin).gate("seen").reset(1, REFUSED_STREAM);
    let peer = Peer::start([first, Script::new().answer_all(ANSWER)]).await.unwrap();
    let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |_| {});
    let mut client = daemon.hand_off(r#"{"prompt":"Hi"}"#);
    let seen = read_until(&mut client, "data: a\n\n").await;
    assert!(seen.ends_with("data: a\n\n"), "{seen}");
    peer.open("seen");
    let mut rest = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut client, &mut rest).await.unwrap();
    assert!(rest.starts_with("event: error\n") && !rest.contains("whole"), "{rest}");
    assert_eq!(peer.connections_total(), 1);
}

#[tokio::test]
async fn after_a_heartbeat_a_request_may_still_move() {
    let first = Script::new().requests(1).gate("late").go_away(0, NO_ERROR);
    let peer = Peer::start([first, Script::new().answer_all(ANSWER)]).await.unwrap();
    let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |config| {
        config.server.heartbeat = Some(Duration::from_millis(30));
    });
    let mut client = daemon.hand_off(r#"{"prompt":"Hi"}"#);
    read_until(&mut client, ": keep-alive\n\n").await;
    peer.open("late");
    // Nothing of an answer had been sent.
    let rest = read_until(&mut client, "[DONE]\n\n").await;
    assert!(rest.contains("data: whole\n\nevent: done\n"), "{rest}");
}
