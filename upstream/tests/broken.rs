//! What breaks is an error soon, and what is idle or unwanted is closed.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::time::{Duration, Instant};

use common::{next, post, read, send, send_all, settings, until, upstream};
use mock_llm::frames::{Peer, Script, kind};
use mock_llm::{MockLlm, Settings as MockSettings};
use tokio::net::TcpListener;
use upstream::{SendError, Settings, SetupError, Upstream};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_peer_that_dies_ends_all_its_streams_at_once() {
    let mock = MockLlm::start(MockSettings::default()).await.unwrap();
    let api = upstream(&mock.base_url());
    let answers = send_all(&api, "stall-after-head", 50).await;
    drop(mock);
    for answer in answers {
        let error = read(answer).await.unwrap_err();
        assert_eq!(error.reason(), "broken", "{error}");
    }
    until(&api, |figures| (figures.connections, figures.streams) == (0, 0)).await;
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_gone() {
    let script = Script::new().requests(2).respond(1).data(1, "begun").ignore_pings();
    let peer = Peer::start([script]).await.unwrap();
    let api =
        Upstream::new(Settings { ping_interval: SHORT, ping_timeout: SHORT, ..settings(&peer.base_url()) })
            .unwrap();
    let begin = Instant::now();
    let (first, second) = tokio::join!(
        async {
            let mut answer = send(&api, "").await?;
            assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), "begun");
            Ok::<_, SendError>(next(answer.body_mut()).await.unwrap().unwrap_err())
        },
        send(&api, ""),
    );
    // The one whose head never came may have been processed, so it is not repeated.
    let (body, head) = match (first, second) {
        (Ok(body), Err(head)) => (body, head),
        (Err(head), Ok(answer)) => (read(answer).await.unwrap_err(), head),
        (first, second) => panic!("{first:?} {second:?}"),
    };
    assert!(body.to_string().contains("PING") && head.to_string().contains("PING"), "{body} / {head}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(peer.connections_total(), 1, "{:?} {body} {head}", api.figures());
    assert!(peer.until(|peer| peer.connections() == 0).await);
}

#[tokio::test]
async fn a_silent_stream_is_kept_while_its_peer_answers_pings() {
    let script = Script::new().requests(1).respond(1).wait(SHORT * 10).data(1, "late").end(1);
    let peer = Peer::start([script]).await.unwrap();
    let api =
        Upstream::new(Settings { ping_interval: SHORT, ping_timeout: SHORT, ..settings(&peer.base_url()) })
            .unwrap();
    assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"late");
    let pings = peer.frames().iter().filter(|frame| frame.kind == kind::PING && frame.flags == 0).count();
    assert!((2..=10).contains(&pings), "{pings} PINGs");
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let mock = MockLlm::start(MockSettings::default()).await.unwrap();
    let api = Upstream::new(Settings {
        idle_timeout: SHORT,
        streams_per_connection: 1,
        ..settings(&mock.base_url())
    })
    .unwrap();
    let busy = send(&api, "stall-after-head").await.unwrap();
    read(send(&api, "").await.unwrap()).await.unwrap();
    assert_eq!(mock.connections(), 2);
    assert!(mock.until(|mock| mock.connections() == 1).await);
    assert_eq!((mock.streams(), mock.cancelled()), (1, 0));
    drop(busy);
    assert!(mock.until(|mock| mock.connections() == 0).await);
    until(&api, |figures| figures.connections == 0).await;
    read(send(&api, "").await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_pool_that_nobody_has_closes_its_connections() {
    for http2 in [true, false] {
        let mock = MockLlm::start(MockSettings::default()).await.unwrap();
        let api = Upstream::new(Settings { http2, ..settings(&mock.base_url()) }).unwrap();
        read(send(&api, "").await.unwrap()).await.unwrap();
        let busy = send(&api, "stall:1").await.unwrap();
        drop(api.clone());
        assert!(mock.connections() > 0);
        drop(api);
        assert!(mock.until(|mock| (mock.connections(), mock.streams()) == (1, 1)).await, "a stream goes on");
        drop(busy);
        assert!(mock.until(|mock| mock.connections() == 0).await);
    }
}

#[tokio::test]
async fn a_request_cancelled_in_the_silence_before_the_head_is_reset() {
    for http2 in [true, false] {
        let mock = MockLlm::start(MockSettings::default()).await.unwrap();
        let api = Upstream::new(Settings { http2, ..settings(&mock.base_url()) }).unwrap();
        let task = tokio::spawn(api.send(post("stall-before-head")));
        assert!(mock.until(|mock| mock.streams() == 1).await);
        task.abort();
        assert!(mock.until(|mock| (mock.streams(), mock.cancelled()) == (0, 1)).await);
        until(&api, |figures| figures.streams == 0).await;
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_is_reset() {
    for http2 in [true, false] {
        let mock = MockLlm::start(MockSettings::default()).await.unwrap();
        let api = Upstream::new(Settings { http2, ..settings(&mock.base_url()) }).unwrap();
        let mut answer = send(&api, "stall:1").await.unwrap();
        next(answer.body_mut()).await.unwrap().unwrap();
        drop(answer);
        assert!(mock.until(|mock| (mock.streams(), mock.cancelled()) == (0, 1)).await);
    }
}

#[tokio::test]
async fn a_body_that_is_finished_is_not_reset() {
    for http2 in [true, false] {
        let mock = MockLlm::start(MockSettings::default()).await.unwrap();
        let api = Upstream::new(Settings { http2, ..settings(&mock.base_url()) }).unwrap();
        for _ in 0..3 {
            let mut answer = send(&api, "chunks:3,delay:10").await.unwrap();
            next(answer.body_mut()).await.unwrap().unwrap();
            answer.into_body().finish();
            until(&api, |figures| figures.streams == 0).await;
        }
        assert_eq!(
            (mock.completed(), mock.cancelled(), mock.connections_total()),
            (3, 0, 1),
            "{:?}",
            api.figures()
        );
    }
}

#[tokio::test]
async fn a_body_that_goes_on_after_its_end_is_not_read_for_ever() {
    let mock = MockLlm::start(MockSettings::default()).await.unwrap();
    let api = upstream(&mock.base_url());
    let answer = send(&api, "total:1000000,delta:1000").await.unwrap();
    answer.into_body().finish();
    assert!(mock.until(|mock| mock.cancelled() == 1).await);
    assert_eq!(api.figures().streams, 0);
}

#[tokio::test]
async fn a_refused_connection_is_an_error_at_once_for_all_that_wait() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let api = upstream(&format!("http://{address}/v1"));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..250).map(|_| tokio::spawn(api.send(post("")))).collect();
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert!(matches!(error, SendError::Connect { .. }), "{error}");
        assert!(error.to_string().contains(&address.to_string()) && error.to_string().contains("refused"));
    }
    assert!(begin.elapsed() < Duration::from_secs(2));
    let figures = api.figures();
    assert_eq!((figures.dials, figures.dial_failures, figures.waiting), (3, 3, 0));
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_an_error() {
    let error = send(&upstream("http://api.invalid/v1"), "").await.unwrap_err();
    assert!(matches!(error, SendError::Resolve { .. } | SendError::ConnectTimeout { .. }), "{error}");
    assert!(error.to_string().contains("api.invalid"), "{error}");
}

#[tokio::test]
async fn a_peer_that_never_says_anything_is_given_up() {
    // The kernel accepts; nobody reads.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for (base, insecure_ssl) in [("http", false), ("https", true)] {
        let base = format!("{base}://{address}");
        let api =
            Upstream::new(Settings { connect_timeout: SHORT * 2, insecure_ssl, ..settings(&base) }).unwrap();
        let error = send(&api, "").await.unwrap_err();
        assert!(matches!(error, SendError::ConnectTimeout { .. }), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert_eq!(api.figures().waiting, 0);
    }
}

#[test]
fn a_base_that_is_no_url_is_refused() {
    let error = Upstream::new(settings("api.openai.com/v1")).unwrap_err();
    assert!(matches!(error, SetupError::Base(_)), "{error}");
}
