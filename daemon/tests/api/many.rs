//! Many streams at once over few connections.

use std::time::Duration;

use mock_llm::Settings;
use tokio::task::JoinSet;

use crate::common::response;
use crate::harness::{data, figure, relayed_by_all, serve_metrics};

/// Streams at once, with an event each `delay` on each.
async fn all_arrive_whole(streams: usize, connections: usize, delay: Duration) {
    let mut address = None;
    let settings = Settings { chunk_delay: delay, record: false, ..Settings::default() };
    let relayed = relayed_by_all(settings, |config| address = Some(serve_metrics(config))).await;
    let mut readers = JoinSet::new();
    for _ in 0..streams {
        let data = data("chat", "", "text");
        let client = tokio::task::block_in_place(|| relayed.daemon.hand_off(&data));
        readers.spawn(response::read(client));
    }
    let expected: String = (1..=20).map(|number| format!("word{number:03} ")).collect();
    while let Some(response) = readers.join_next().await {
        let response = response.unwrap();
        assert!(response.is_done() && response.complete, "{} {}", response.head, response.body);
        assert_eq!(response.text(), expected);
    }
    assert_eq!(relayed.api.connections_total(), connections);
    assert_eq!((relayed.api.completed(), relayed.api.cancelled()), (streams, 0));
    let metrics = address.unwrap();
    assert_eq!(figure(metrics, "daemon_stream_duration_seconds_count").await, streams as u64);
    assert_eq!(figure(metrics, "daemon_backend_errors").await, 0);
    assert!(figure(metrics, "daemon_connections_peak").await >= streams as u64 / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_over_ten_connections_arrive_whole() {
    all_arrive_whole(1_000, 10, Duration::from_millis(50)).await;
}

/// Three descriptors a stream in one process: `ulimit -n` has to allow 31,000.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute and 31,000 open files; `make bench` measures it"]
async fn ten_thousand_streams_arrive_whole() {
    all_arrive_whole(10_000, 100, Duration::from_secs(1)).await;
}
