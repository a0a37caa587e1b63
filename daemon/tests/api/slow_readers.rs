//! Rule 9: a slow client slows the API down, and nothing of the answer is kept meanwhile but a little.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mock_llm::{MockLlm, Settings};
use rustix::net::sockopt;
use tokio::io::AsyncReadExt as _;

use crate::common::process::Process;
use crate::common::{hand_off_connection, response, tcp_pair};
use crate::harness::{data, relayed_by_all};

/// Of each answer.
const TOTAL: usize = 3_000_000;

/// What a stream may hold in the daemon while its client takes nothing, in bytes.
const HELD: usize = 600_000;

/// Of both socket buffers of a narrow client, in bytes. Smaller ones make the kernel pause.
const BUFFER: usize = 64 * 1024;

/// An answer that does not fit into the buffers of kernel and daemon: with HTTP/2 the window of a stream is small, with
/// HTTP/1.1 the kernel takes megabytes.
fn long(backend: &str) -> (usize, String) {
    let total = if backend.ends_with('1') { 16_000_000 } else { 1_000_000 };
    (total, data(backend, &format!("total:{total},delta:1000"), "text"))
}

/// A client for whom little fits into the kernel's buffers.
fn narrow_client(path: &std::path::Path, data: &str) -> TcpStream {
    let (client, connection) = tcp_pair();
    sockopt::set_socket_recv_buffer_size(&client, BUFFER).unwrap();
    sockopt::set_socket_send_buffer_size(&connection, BUFFER).unwrap();
    hand_off_connection(path, data.as_bytes(), connection);
    client
}

#[test]
fn what_a_slow_client_does_not_take_stays_with_the_api() {
    little_is_held(true, "delta:1000");
}

#[test]
fn what_a_slow_client_does_not_take_of_large_events_stays_with_the_api() {
    little_is_held(true, "delta:100000");
}

#[test]
fn what_a_slow_client_does_not_take_stays_with_the_api_over_http_1_1() {
    little_is_held(false, "delta:1000");
}

fn little_is_held(http2: bool, pattern: &str) {
    const STREAMS: usize = 8;
    let pattern = format!("total:{TOTAL},{pattern}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(MockLlm::start(Settings::default())).unwrap();
    let environment = [
        ("OPENAI_API_BASE", api.base_url()),
        ("OPENAI_API_KEY", "sk-test".to_owned()),
        ("OPENAI_HTTP2_ENABLED", http2.to_string()),
    ];
    let process = Process::start_with_environment(&["--backend", "openai"], &environment);
    // What the first stream allocates for all is none of the others' doing.
    let mut warm = String::new();
    narrow_client(&process.path, &data("openai", "chunks:100", "text")).read_to_string(&mut warm).unwrap();
    let before = process.resident();
    assert!(runtime.block_on(api.until(|api| api.completed() == 1)));

    let begin = Instant::now();
    let clients: Vec<_> =
        (0..STREAMS).map(|_| narrow_client(&process.path, &data("openai", &pattern, "text"))).collect();
    assert!(runtime.block_on(api.until(|api| api.requests().len() == STREAMS + 1)));
    let mut most = 0;
    // The clients' own pause is what is tested.
    while begin.elapsed() < Duration::from_secs(3) {
        most = most.max(process.resident());
        std::thread::sleep(Duration::from_millis(50));
    }
    // With HTTP/1.1 the kernel takes all of it.
    assert!(!http2 || api.completed() == 1, "somebody has taken a whole answer in");
    let held = most.saturating_sub(before) / STREAMS;
    assert!(held < HELD, "{held} bytes a stream ({pattern}, HTTP/2: {http2})");

    // And all of it arrives.
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                let mut received = Vec::new();
                client.read_to_end(&mut received).unwrap();
                received
            })
        })
        .collect();
    for reader in readers {
        let response = response::parse(&reader.join().unwrap());
        assert!(response.complete && response.is_done());
        assert_eq!(response.text().len(), TOTAL);
    }
}

#[tokio::test]
async fn a_slow_client_slows_nobody_else_down() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in ["chat", "chat1"] {
        // More of them than windows of streams fit into the window of a connection with the usual size.
        let (total, data) = long(backend);
        let count = if backend == "chat" { 20 } else { 3 };
        let slow: Vec<_> = (0..count).map(|_| narrow_client(&relayed.daemon.path, &data)).collect();
        assert!(relayed.api.until(|api| api.streams() == slow.len()).await);
        let response = relayed.misled(backend, "chunks:500", "text").await;
        assert!(response.is_done() && response.complete, "{backend}");
        assert_eq!(relayed.api.streams(), slow.len());
        for client in slow {
            client.set_nonblocking(true).unwrap();
            let response = response::read(tokio::net::TcpStream::from_std(client).unwrap()).await;
            assert!(response.is_done() && response.complete, "{backend}");
            assert_eq!(response.text().len(), total);
        }
    }
}

#[tokio::test]
async fn time_that_the_client_takes_is_not_the_apis() {
    // The client takes nothing for longer than the API may be silent, and for many heartbeats.
    let relayed = relayed_by_all(Settings::default(), |config| {
        config.backend.timeout = Duration::from_millis(200);
        config.server.heartbeat = Some(Duration::from_millis(50));
    })
    .await;
    for backend in ["chat", "chat1"] {
        let (total, data) = long(backend);
        let client = narrow_client(&relayed.daemon.path, &data);
        tokio::time::sleep(Duration::from_millis(600)).await;
        client.set_nonblocking(true).unwrap();
        let response = response::read(tokio::net::TcpStream::from_std(client).unwrap()).await;
        assert!(response.is_done() && response.complete, "{backend}");
        assert_eq!(response.text().len(), total);
    }
}

/// Rule 11: the close is gentle, so that the tail arrives although the client has sent what nobody read.
#[tokio::test]
async fn unread_input_does_not_cost_the_client_the_tail() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in ["chat", "messages1"] {
        let client = narrow_client(&relayed.daemon.path, &data(backend, "total:100000,delta:500", "text"));
        client.set_nonblocking(true).unwrap();
        let mut client = tokio::net::TcpStream::from_std(client).unwrap();
        let (mut received, mut piece) = (Vec::new(), [0; 5000]);
        loop {
            // Not awaited: what does not fit is not sent.
            let _ = client.try_write(b"GET /next HTTP/1.1\r\n\r\n");
            match client.read(&mut piece).await.expect("no reset") {
                0 => break,
                length => received.extend_from_slice(&piece[..length]),
            }
        }
        let response = response::parse(&received);
        assert!(response.is_done() && response.complete, "{backend}");
        assert_eq!(response.text().len(), 100_000);
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_slow_cancels_as_well() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for (gone, backend) in ["chat", "chat1"].into_iter().enumerate() {
        let client = narrow_client(&relayed.daemon.path, &long(backend).1);
        assert!(relayed.api.until(|api| api.streams() == 1).await);
        client.set_nonblocking(true).unwrap();
        let mut client = tokio::net::TcpStream::from_std(client).unwrap();
        client.read_exact(&mut [0; 5000]).await.unwrap();
        // Unread bytes make this a reset.
        drop(client);
        assert!(
            relayed.api.until(|api| (api.streams(), api.cancelled()) == (0, gone + 1)).await,
            "{backend}"
        );
    }
}
