//! Many streams over few connections.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod common;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use common::{next, post, read, send, send_all, settings, until, upstream};
use mock_llm::frames::{MAX_CONCURRENT_STREAMS, Peer, Script, kind};
use mock_llm::{MockLlm, Settings as MockSettings};
use upstream::{Settings, Upstream};

async fn mock(limit: u32) -> MockLlm {
    MockLlm::start(MockSettings { max_concurrent_streams: Some(limit), chunk_count: 2, ..Default::default() })
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_fill_their_connections() {
    let mock = mock(100).await;
    let api = upstream(&mock.base_url());
    let answers = send_all(&api, "stall:1", 3000).await;
    assert_eq!(api.figures().streams, 3000);
    assert!((30..=32).contains(&mock.connections_total()), "{} connections", mock.connections_total());
    println!("3,000 streams: {} connections, {:?}", mock.connections_total(), api.figures());
    drop(answers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_cancellations_leave_the_connections_alone() {
    let mock = mock(100).await;
    let api = upstream(&mock.base_url());
    let answers = send_all(&api, "stall:1", 3000).await;
    let connections = mock.connections_total();
    drop(answers);
    assert_eq!(api.figures().streams, 0);
    assert!(mock.until(|mock| mock.streams() == 0).await);
    assert_eq!(mock.cancelled(), 3000);
    assert!(mock.resets().iter().all(|&code| code == 8), "RST_STREAM CANCEL");
    // And the room is there again.
    let answers = send_all(&api, "stall:1", 3000).await;
    assert_eq!((mock.connections_total(), mock.connections()), (connections, connections));
    drop(answers);
}

/// A peer may write on a stream until it has read our RST_STREAM. However often: it is no reason to give up the
/// connection, which h2 does by default after 1,024 times.
#[tokio::test]
async fn cancelled_streams_that_still_talk_do_not_break_the_connection() {
    const STREAMS: usize = 1200;
    let mut script = Script::new().requests(STREAMS);
    for request in 1..=STREAMS {
        script = script.respond(request);
    }
    for request in 1..=STREAMS {
        script = script.await_reset(request).data(request, "too late");
    }
    let script = script.requests(STREAMS + 1).respond(STREAMS + 1).end(STREAMS + 1);
    let peer = Peer::start([script]).await.unwrap();
    let api =
        Upstream::new(Settings { streams_per_connection: STREAMS, ..settings(&peer.base_url()) }).unwrap();
    drop(send_all(&api, "", STREAMS).await);
    assert_eq!(read(send(&api, "").await.unwrap()).await.unwrap(), b"");
    assert_eq!((peer.connections_total(), api.figures().retries), (1, 0));
}

#[tokio::test]
async fn the_limit_of_the_first_settings_holds_from_the_first_request_on() {
    let mock = mock(10).await;
    let api = upstream(&mock.base_url());
    let answers = send_all(&api, "stall:1", 95).await;
    let requests = mock.requests();
    for connection in 1..=mock.connections_total() {
        let on_it = requests.iter().filter(|request| request.connection == connection).count();
        assert!(on_it <= 10, "{on_it} streams on connection {connection}");
    }
    assert!((10..=12).contains(&mock.connections_total()), "{}", mock.connections_total());
    assert_eq!(mock.cancelled(), 0);
    assert_eq!(api.figures().retries, 0, "none was refused");
    drop(answers);
}

#[tokio::test]
async fn the_setting_limits_the_streams_too() {
    let mock = mock(100).await;
    let api = Upstream::new(Settings { streams_per_connection: 4, ..settings(&mock.base_url()) }).unwrap();
    let answers = send_all(&api, "stall:1", 12).await;
    assert_eq!(mock.connections_total(), 3);
    drop(answers);
}

#[tokio::test]
async fn a_limit_that_is_lowered_is_kept() {
    let peer = Peer::start([
        Script::new()
            .requests(2)
            .respond(1)
            .respond(2)
            .setting(MAX_CONCURRENT_STREAMS, 2)
            .data(1, "lowered")
            .gate("full")
            .end(1)
            .requests(3)
            .respond(3)
            .data(3, "room"),
        Script::new().answer_all("elsewhere"),
    ])
    .await
    .unwrap();
    let api = upstream(&peer.base_url());
    let mut answers = send_all(&api, "", 2).await;
    // One of the two hears of the change; which one of our two was first, the peer does not say.
    let mut first = None;
    poll_fn(|context| {
        for (index, answer) in answers.iter_mut().enumerate() {
            if let Poll::Ready(Some(Ok(data))) = answer.body_mut().poll_data(context) {
                assert_eq!(data, "lowered");
                first = Some(index);
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
    // Two are allowed, two are there: the third goes elsewhere.
    let third = send(&api, "").await.unwrap();
    assert_eq!(read(third).await.unwrap(), b"elsewhere");
    assert_eq!((peer.requests(1), peer.requests(2)), (2, 1));
    // One ends, so there is room again, on the busier connection.
    peer.open("full");
    assert!(next(answers[first.unwrap()].body_mut()).await.is_none());
    let mut fourth = send(&api, "").await.unwrap();
    assert_eq!(next(fourth.body_mut()).await.unwrap().unwrap(), "room");
    assert_eq!((peer.requests(1), peer.requests(2)), (3, 1));
}

#[tokio::test]
async fn no_request_waits_for_the_end_of_another_stream() {
    let mock = mock(1).await;
    let api = upstream(&mock.base_url());
    let mut answers = Vec::new();
    for count in 1..=20 {
        answers.push(send(&api, "stall-after-head").await.unwrap());
        assert_eq!(mock.connections_total(), count);
    }
}

#[tokio::test]
async fn room_on_a_busy_connection_is_taken_before_an_idle_one() {
    let mock = mock(4).await;
    let api = upstream(&mock.base_url());
    let mut answers = send_all(&api, "stall:1", 8).await;
    assert_eq!(mock.connections_total(), 2);
    // One stream is left, so one of the connections is idle.
    answers.truncate(1);
    assert!(mock.until(|mock| mock.streams() == 1).await);
    let more = send_all(&api, "stall:1", 3).await;
    let used: BTreeSet<usize> = mock.requests()[8..].iter().map(|request| request.connection).collect();
    assert_eq!(used.len(), 1);
    // That was the busy one: it is full now, and the next goes to the idle one.
    let last = send(&api, "stall:1").await.unwrap();
    assert!(!used.contains(&mock.requests()[11].connection));
    assert_eq!(mock.connections_total(), 2);
    drop((answers, more, last));
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_its_window_and_holds_up_nobody() {
    let mock = mock(100).await;
    let api = upstream(&mock.base_url());
    // More than a window each, and 40 of them.
    let stalled = send_all(&api, "total:300000,delta:1000", 40).await;
    for _ in 0..3 {
        let answer = send(&api, "total:300000,delta:1000").await.unwrap();
        assert!(read(answer).await.unwrap().len() > 300_000);
    }
    assert_eq!((mock.connections_total(), mock.completed()), (1, 3), "the stalled ones are held up");
    for answer in stalled {
        assert!(read(answer).await.unwrap().len() > 300_000);
    }
}

/// h2 would end the connection for "too many small DATA frames" at its default.
#[tokio::test]
async fn a_window_of_small_frames_is_no_attack() {
    const FRAMES: usize = 3000;
    let mut script = Script::new().requests(1).respond(1).requests(2);
    for _ in 0..FRAMES {
        script = script.data(1, "data: a token!!\n\n");
    }
    let peer = Peer::start([script.respond(2).end(2).end(1)]).await.unwrap();
    let api = Upstream::new(Settings { streams_per_connection: 2, ..settings(&peer.base_url()) }).unwrap();
    let unread = send(&api, "").await.unwrap();
    // Its answer comes after all of the frames.
    read(send(&api, "").await.unwrap()).await.unwrap();
    assert_eq!(read(unread).await.unwrap().len(), 17 * FRAMES);
}

#[tokio::test]
async fn windows_are_opened_for_many_tokens_at_a_time() {
    const TOKENS: usize = 6000;
    let mut script = Script::new().requests(1).respond(1);
    for _ in 0..TOKENS {
        script = script.data(1, "data: 0123456789012345678901234567890123456789\n\n");
    }
    let peer = Peer::start([script.end(1)]).await.unwrap();
    let api = upstream(&peer.base_url());
    let answer = send(&api, "").await.unwrap();
    let length = read(answer).await.unwrap().len();
    let updates = peer.frames().iter().filter(|frame| frame.kind == kind::WINDOW_UPDATE).count();
    println!("{length} bytes in {TOKENS} frames: {updates} WINDOW_UPDATEs");
    assert!(length > 64 * 1024 * 4 && updates <= 2 + length / (20 * 1024), "{updates}");
}

#[tokio::test]
async fn requests_that_leave_the_queue_leave_nothing_behind() {
    let mock = mock(100).await;
    let api = upstream(&mock.base_url());
    let mut sending = Box::pin(api.send(post("")));
    poll_fn(|context| {
        assert!(sending.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    assert_eq!(api.figures().waiting, 1);
    drop(sending);
    assert_eq!(api.figures().waiting, 0);
    // The connection that was dialled for it serves the next.
    until(&api, |figures| figures.connections == 1).await;
    read(send(&api, "").await.unwrap()).await.unwrap();
    assert_eq!((mock.requests().len(), mock.connections_total()), (1, 1));
}

/// Whatever happens to streams: their room comes back, and nobody is forgotten in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_room_is_lost() {
    const PATTERNS: [&str; 8] = [
        "",
        "refused",
        "goaway-below",
        "abort-before-head",
        "stall-before-head",
        "abort:1",
        "goaway:1",
        "stall:1",
    ];
    for http2 in [true, false] {
        let mock = mock(7).await;
        let api = Upstream::new(Settings { http2, ..settings(&mock.base_url()) }).unwrap();
        let tasks: Vec<_> = (0..600)
            .map(|index| {
                let api = api.clone();
                tokio::spawn(async move {
                    let exchange = async {
                        let answer = api.send(post(PATTERNS[index % 8])).await;
                        if let Ok(answer) = answer {
                            let _ = read(answer).await;
                        }
                    };
                    let _ = tokio::time::timeout(Duration::from_millis(index as u64 % 61), exchange).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        until(&api, |figures| (figures.streams, figures.waiting) == (0, 0)).await;
        read(send(&api, "").await.unwrap()).await.unwrap();
        assert!(mock.until(|mock| mock.streams() == 0).await);
    }
}
