//! Rule 8: when the client has gone, the API is told at once, whatever it is doing.

use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mock_llm::{MockLlm, Settings};
use tokio::net::TcpStream;

use crate::common::process::Process;
use crate::common::{eventually, hand_off};
use crate::harness::{ALL, data, read_until, relayed, relayed_by_all, serve_metrics, until_figure};

/// While a client waits for the head, for the first event, for the next one, and while events come.
const PHASES: [&str; 4] = ["stall-before-head", "stall-after-head", "stall:3", "chunks:1000,delay:5"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Leave {
    Close,
    Reset,
    /// What a browser's FIN means.
    HalfClose,
}

/// What is left of the client.
fn leave(client: TcpStream, how: Leave) -> Option<std::net::TcpStream> {
    match how {
        Leave::Close => None,
        Leave::Reset => {
            client.set_zero_linger().unwrap();
            None
        }
        Leave::HalfClose => {
            let client = client.into_std().unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            Some(client)
        }
    }
}

#[tokio::test]
async fn the_api_is_told_at_once_when_the_client_leaves() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    let mut gone = 0;
    for backend in ALL.into_iter().flat_map(|name| [name.to_owned(), format!("{name}1")]) {
        for phase in PHASES {
            for how in [Leave::Close, Leave::Reset, Leave::HalfClose] {
                let mut client = relayed.daemon.hand_off(&data(&backend, phase, "text"));
                if phase.starts_with("stall-") {
                    assert!(relayed.api.until(|api| api.streams() == 1).await);
                } else {
                    read_until(&mut client, "word003").await;
                }
                let begin = Instant::now();
                let _left = leave(client, how);
                gone += 1;
                let told = relayed.api.until(|api| (api.streams(), api.cancelled()) == (0, gone)).await;
                let (streams, cancelled) = (relayed.api.streams(), relayed.api.cancelled());
                assert!(
                    told,
                    "{backend} {phase} {how:?}: {streams} streams, {cancelled} of {gone} cancelled"
                );
                assert!(begin.elapsed() < Duration::from_secs(1), "{backend} {phase} {how:?}");
            }
        }
    }
    // RST_STREAM with CANCEL each time, on one connection that lives on.
    assert_eq!(relayed.api.resets(), vec![8; 48]);
    let answered = relayed.misled("chat", "", "text").await;
    assert!(answered.is_done());
    let connections = |version| {
        let of = relayed.api.requests().into_iter().filter(|request| request.version == version);
        of.map(|request| request.connection).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert!(connections(http::Version::HTTP_2) <= ALL.len(), "one for each profile");
}

#[tokio::test]
async fn of_many_clients_that_leave_together_none_is_forgotten() {
    let mut address = None;
    let relayed = relayed_by_all(Settings::default(), |config| address = Some(serve_metrics(config))).await;
    let clients: Vec<_> = (0..200)
        .map(|index| relayed.daemon.hand_off(&data(ALL[index % 4], PHASES[index / 4 % 3], "text")))
        .collect();
    assert!(relayed.api.until(|api| api.streams() == 200).await);
    drop(clients);
    assert!(relayed.api.until(|api| (api.streams(), api.cancelled()) == (0, 200)).await);
    let address = address.unwrap();
    until_figure(address, "daemon_stream_errors_total{reason=\"client_disconnected\"}", 200).await;
    until_figure(address, "daemon_connections_active", 0).await;
    until_figure(address, "daemon_upstream_streams{backend=\"chat\"}", 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_there_is_a_connection_leaves_nothing() {
    // It listens, and nobody accepts.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let base = format!("http://{}/v1", silent.local_addr().unwrap());
    let mut address = None;
    let profile = crate::harness::profile("api", streaming_daemon::config::DialectName::OpenAi, &base);
    let daemon = crate::harness::daemon(profile, |config| address = Some(serve_metrics(config)));
    let client = daemon.hand_off(r#"{"prompt":"Hi"}"#);
    let address = address.unwrap();
    until_figure(address, "daemon_backend_requests", 1).await;
    drop(client);
    until_figure(address, "daemon_connections_active", 0).await;
    until_figure(address, "daemon_stream_errors_total{reason=\"client_disconnected\"}", 1).await;
}

#[tokio::test]
async fn the_end_of_an_answer_is_no_cancellation() {
    let relayed = relayed(Settings::default()).await;
    for _ in 0..50 {
        assert!(relayed.misled("api", "", "text").await.is_done());
    }
    assert!(relayed.api.until(|api| (api.streams(), api.completed()) == (0, 50)).await);
    assert_eq!(
        (relayed.api.cancelled(), relayed.api.resets(), relayed.api.connections_total()),
        (0, vec![], 1)
    );
}

/// The real program, asking this API in Chat Completions.
fn process(api: &MockLlm, http2: bool) -> Process {
    let environment = [("OPENAI_API_BASE", api.base_url()), ("OPENAI_HTTP2_ENABLED", http2.to_string())];
    Process::start_with_environment(&["--backend", "openai"], &environment)
}

#[test]
fn a_client_that_leaves_a_silent_api_leaves_no_descriptor_behind() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for http2 in [true, false] {
        let api = runtime.block_on(MockLlm::start(Settings::default())).unwrap();
        let process = process(&api, http2);
        // What the first stream opens for all is none of the others' doing.
        hand_off(&process.path, data("openai", "", "text").as_bytes()).read_to_end(&mut Vec::new()).unwrap();
        assert!(runtime.block_on(api.until(|api| api.completed() == 1)), "the first answer");
        let before = process.open_files();
        for phase in &PHASES[..3] {
            let data = data("openai", phase, "text");
            let clients: Vec<_> = (0..50).map(|_| hand_off(&process.path, data.as_bytes())).collect();
            assert!(runtime.block_on(api.until(|api| api.streams() == 50)), "{phase}");
            let half: Vec<_> = clients
                .into_iter()
                .enumerate()
                .filter_map(|(index, client)| {
                    client.shutdown(Shutdown::Write).unwrap();
                    (index % 2 == 0).then_some(client)
                })
                .collect();
            // Of HTTP/2 the connections stay.
            let kept = if http2 { 2 } else { 0 };
            let all_closed = || process.open_files() <= before + kept;
            eventually(Duration::from_secs(2), &format!("every descriptor is closed: {phase}"), all_closed);
            drop(half);
            assert!(runtime.block_on(api.until(|api| api.streams() == 0)), "{phase}");
        }
        assert_eq!(api.cancelled(), 150);
    }
}

#[test]
fn a_burst_of_handoffs_makes_no_threads() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(MockLlm::start(Settings::default())).unwrap();
    let process = process(&api, true);
    let data = data("openai", "stall:1", "text");
    let clients: Vec<_> = (0..500).map(|_| hand_off(&process.path, data.as_bytes())).collect();
    assert!(runtime.block_on(api.until(|api| api.streams() == clients.len())));
    let cores = std::thread::available_parallelism().unwrap().get();
    // Workers, the program's first thread, and a few for the log and for names to be resolved.
    assert!(process.threads() <= 2 * cores + 4, "{} threads on {cores} cores", process.threads());
}
