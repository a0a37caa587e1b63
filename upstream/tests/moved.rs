//! Requests that a connection did not process go to another; those that it may have processed do not.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use common::{next, post, read, send, upstream};
use mock_llm::frames::{
    CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, MAX_CONCURRENT_STREAMS, NO_ERROR, Peer, REFUSED_STREAM, Script,
};
use upstream::SendError;

async fn peer<const N: usize>(scripts: [Script; N]) -> Peer {
    Peer::start(scripts).await.unwrap()
}

#[tokio::test]
async fn a_connection_that_goes_away_finishes_its_streams_and_gets_no_new_ones() {
    let peer = peer([
        Script::new()
            .requests(1)
            .respond(1)
            .go_away(usize::MAX, NO_ERROR)
            .data(1, "going away")
            .gate("moved")
            .data(1, "the rest")
            .end(1),
        Script::new().answer_all("elsewhere"),
    ])
    .await;
    let api = upstream(&peer.base_url());
    let mut old = send(&api, "").await.unwrap();
    assert_eq!(next(old.body_mut()).await.unwrap().unwrap(), "going away");
    assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"elsewhere");
    assert_eq!((peer.requests(1), peer.requests(2)), (1, 1));
    peer.open("moved");
    assert_eq!(read(old).await.unwrap(), b"the rest");
    // And then it is closed.
    assert!(peer.until(|peer| peer.connections() == 1).await);
    assert_eq!(api.figures().retries, 0);
}

#[tokio::test]
async fn streams_above_the_last_of_a_go_away_are_moved() {
    let peer = peer([
        Script::new().requests(2).respond(1).go_away(1, NO_ERROR).data(1, "kept").end(1),
        Script::new().answer_all("moved"),
    ])
    .await;
    let api = upstream(&peer.base_url());
    let two = common::send_all(&api, "", 2).await;
    let mut texts = Vec::new();
    for answer in two {
        texts.push(read(answer).await.unwrap());
    }
    texts.sort();
    assert_eq!(texts, [b"kept".to_vec(), b"moved".to_vec()]);
    assert_eq!((peer.requests(1), peer.requests(2)), (2, 1));
    assert_eq!(api.figures().retries, 1);
}

#[tokio::test]
async fn a_go_away_with_an_error_moves_what_was_not_processed_too() {
    let peer = peer([
        Script::new().requests(1).go_away(0, ENHANCE_YOUR_CALM).close(),
        Script::new().answer_all("moved"),
    ])
    .await;
    let api = upstream(&peer.base_url());
    assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"moved");
}

#[tokio::test]
async fn a_refused_stream_is_moved_to_another_connection() {
    let peer = peer([
        Script::new().requests(1).reset(1, REFUSED_STREAM).requests(2).respond(2).data(2, "first").end(2),
        Script::new().answer_all("second"),
    ])
    .await;
    let api = upstream(&peer.base_url());
    assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"second");
    assert_eq!((peer.requests(1), peer.requests(2)), (1, 1));
    assert_eq!(api.figures().retries, 1);
}

#[tokio::test]
async fn a_request_that_is_refused_everywhere_is_an_error() {
    let peer = peer([Script::new().requests(1).reset(1, REFUSED_STREAM)]).await;
    let api = upstream(&peer.base_url());
    let error = send(&api, "").await.unwrap_err();
    assert!(matches!(error, SendError::Refused { .. }), "{error}");
    assert_eq!((error.reason(), api.figures().retries), ("refused", 3));
    let requests: usize = (1..=peer.connections_total()).map(|connection| peer.requests(connection)).sum();
    assert_eq!(requests, 4);
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_not_repeated() {
    let scripts = [
        ("reset", Script::new().requests(1).reset(1, INTERNAL_ERROR)),
        ("reset", Script::new().requests(1).reset(1, CANCEL)),
        ("broken", Script::new().requests(1).close()),
        ("broken", Script::new().requests(1).abort()),
        // It was the last one that was processed.
        ("broken", Script::new().requests(1).go_away(1, NO_ERROR).close()),
    ];
    for (reason, script) in scripts {
        let peer = peer([script.clone(), Script::new().answer_all("again")]).await;
        let api = upstream(&peer.base_url());
        let error = send(&api, "").await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}: {script:?}");
        assert_eq!((peer.connections_total(), peer.requests(1)), (1, 1), "{script:?}");
        assert_eq!(api.figures().retries, 0);
    }
}

#[tokio::test]
async fn a_stream_whose_response_began_is_not_moved() {
    let peer = peer([
        Script::new().requests(1).respond(1).data(1, "begun").reset(1, REFUSED_STREAM),
        Script::new().answer_all("again"),
    ])
    .await;
    let api = upstream(&peer.base_url());
    let mut answer = send(&api, "").await.unwrap();
    let mut last = None;
    while let Some(data) = next(answer.body_mut()).await {
        last = Some(data);
    }
    let error = last.unwrap().unwrap_err();
    assert_eq!(error.reason(), "reset", "{error}");
    assert_eq!(peer.connections_total(), 1);
    assert!(next(answer.body_mut()).await.is_none(), "after the error there is nothing");
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_not_used() {
    let peer = peer([
        Script::new().requests(1).respond(1).data(1, "first").end(1).go_away(1, NO_ERROR).close(),
        Script::new().answer_all("second"),
    ])
    .await;
    let api = upstream(&peer.base_url());
    assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"first");
    assert!(peer.until(|peer| peer.connections() == 0).await);
    assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"second");
    assert_eq!(peer.requests(1), 1);
}

#[tokio::test]
async fn the_answer_of_a_request_that_is_not_wanted_to_its_end_is_whole() {
    // RFC 9113, section 8.1: the rest of the request is not wanted.
    let peer = peer([Script::new().requests(1).respond(1).data(1, "whole").end(1).reset(1, NO_ERROR)]).await;
    let api = upstream(&peer.base_url());
    assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"whole");
}

/// Some proxies end streams so whose API has failed.
#[tokio::test]
async fn a_reset_without_an_error_is_no_end() {
    let script = Script::new().requests(1).respond(1).data(1, "half").gate("seen").reset(1, NO_ERROR);
    let peer = peer([script]).await;
    let mut answer = send(&upstream(&peer.base_url()), "").await.unwrap();
    assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), "half");
    peer.open("seen");
    let error = next(answer.body_mut()).await.expect("no end").unwrap_err();
    assert_eq!(error.reason(), "reset", "{error}");
}

#[tokio::test]
async fn a_peer_that_allows_no_streams_is_an_error_at_once() {
    let peer = peer([Script::new().first_setting(MAX_CONCURRENT_STREAMS, 0)]).await;
    let api = upstream(&peer.base_url());
    let tasks: Vec<_> = (0..3).map(|_| tokio::spawn(api.send(post("")))).collect();
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert!(matches!(error, SendError::NoStreams { .. }), "{error}");
    }
    assert_eq!(api.figures().dials, 1);
}

/// The peer leaves, and a request is given to the connection before we hear of it.
#[test]
fn a_request_that_crosses_the_end_of_its_connection_is_moved() {
    let first = || Script::new().requests(1).respond(1).end(1).gate("over");
    // The request leaves, and GOAWAY says that it came too late; or its write fails, so that not a byte of it leaves.
    for script in [first().go_away(1, NO_ERROR).close(), first().abort()] {
        let elsewhere =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let peer = elsewhere.block_on(peer([script.clone(), Script::new().answer_all("moved")]));
        let here = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        here.block_on(async {
            let api = upstream(&peer.base_url());
            assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"");
            peer.open("over");
            // Nothing of ours runs while this thread waits.
            let begin = std::time::Instant::now();
            while peer.connections() > 0 {
                assert!(begin.elapsed() < common::PATIENCE);
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"moved", "{script:?}");
            assert_eq!((peer.requests(2), api.figures().retries), (1, 1), "{script:?}");
        });
    }
}
