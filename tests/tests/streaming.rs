//! The whole way with the real daemon: PHP hands off, the daemon streams.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Apache, Builder, Client, Daemon, Ending, Mpm, PATIENCE, events, on_each_mpm, wait_until};

on_each_mpm! {
    many_more_streams_than_workers_run_at_once,
    a_killed_daemon_leaves_a_stream_visibly_incomplete_and_apache_healthy,
    an_http_1_0_client_gets_the_stream_without_chunks,
}

const STREAM: &str = "<?php
header('X-Socket-Handoff: ' . $_SERVER['RUN'] . '/d.sock');
header('X-Handoff-Data: ' . json_encode([
    'prompt' => str_repeat('word ', (int) $_GET['words']),
    'protocol' => $_SERVER['SERVER_PROTOCOL'],
]));";

fn php(mpm: Mpm) -> Builder {
    Apache::builder(mpm)
        .php_fpm(4)
        .config("SetEnv RUN ${RUN}")
        .file("stream.php", STREAM)
        .file("hello.txt", "hello\n")
}

fn start_daemon(apache: &Apache, delay_ms: &str) -> Daemon {
    Daemon::start(apache.socket_path("d.sock"), ["--delay", delay_ms])
}

fn is_complete(stream: &str) -> bool {
    events(stream).last().is_some_and(|event| event.name == "done")
}

fn many_more_streams_than_workers_run_at_once(mpm: Mpm) {
    const STREAMS: usize = 200;
    let apache = php(mpm).workers(4).start();
    let _daemon = start_daemon(&apache, "100");
    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (first_bytes, static_files) = thread::scope(|scope| {
        let clients: Vec<_> = (0..STREAMS)
            .map(|_| {
                scope.spawn(|| {
                    let start = Instant::now();
                    let mut client = Client::connect(apache.addr());
                    client.get("/stream.php?words=20");
                    let head = client.read_head();
                    let mut stream = String::from_utf8(client.read_chunk().expect("a first chunk")).unwrap();
                    let first_byte = start.elapsed();
                    begun.fetch_add(1, Ordering::Relaxed);
                    let (rest, ending) = client.read_body(&head);
                    ended.fetch_add(1, Ordering::Relaxed);
                    stream.push_str(std::str::from_utf8(&rest).unwrap());
                    assert_eq!((ending, stream.matches("word").count()), (Ending::Framed, 20));
                    assert!(is_complete(&stream), "{stream}");
                    first_byte
                })
            })
            .collect();
        wait_until(PATIENCE, "all streams to begin", || begun.load(Ordering::Relaxed) == STREAMS);
        assert_eq!(ended.load(Ordering::Relaxed), 0, "all run at once");
        let static_files: Vec<_> = (0..20)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(Client::fetch(apache.addr(), "/hello.txt").text(), "hello\n");
                start.elapsed()
            })
            .collect();
        assert!(ended.load(Ordering::Relaxed) < STREAMS, "the files were asked for while streams ran");
        let first_bytes: Vec<_> =
            clients.into_iter().map(|client| client.join().expect("a client")).collect();
        (first_bytes, static_files)
    });
    let (first_byte, static_file) = (slowest(first_bytes), slowest(static_files));
    println!(
        "{mpm}: {STREAMS} streams by 4 workers: first byte after at most {first_byte:?}, \
         a static file meanwhile in at most {static_file:?}"
    );
    assert!(first_byte < Duration::from_secs(1), "{first_byte:?}");
    assert!(static_file < Duration::from_millis(250), "{static_file:?}");
}

fn slowest(times: Vec<Duration>) -> Duration {
    times.into_iter().max().expect("times")
}

fn a_killed_daemon_leaves_a_stream_visibly_incomplete_and_apache_healthy(mpm: Mpm) {
    let apache = php(mpm).start();
    let children = apache.children();
    let mut daemon = start_daemon(&apache, "20");
    let mut client = Client::connect(apache.addr());
    client.get("/stream.php?words=1000");
    let head = client.read_head();
    assert_eq!(head.all("transfer-encoding"), ["chunked"]);
    for _ in 0..5 {
        assert!(!client.read_chunk().expect("a chunk").is_empty());
    }
    daemon.kill();
    let (_, ending) = client.read_body(&head);
    assert!(matches!(ending, Ending::Closed | Ending::Reset), "{ending:?}: it must not look complete");

    for _ in 0..3 {
        let response = Client::fetch(apache.addr(), "/stream.php?words=2");
        assert_eq!((response.status(), response.ending), (503, Ending::Framed));
        assert_eq!(response.head.all("retry-after"), ["1"]);
        assert_eq!(Client::fetch(apache.addr(), "/hello.txt").text(), "hello\n");
    }
    assert_eq!(apache.children(), children, "no child has ended");

    let _successor = start_daemon(&apache, "1");
    let response = Client::fetch(apache.addr(), "/stream.php?words=10");
    assert_eq!((response.status(), response.ending), (200, Ending::Framed));
    assert!(is_complete(response.text()), "{}", response.text());
}

fn an_http_1_0_client_gets_the_stream_without_chunks(mpm: Mpm) {
    let apache = php(mpm).start();
    let _daemon = start_daemon(&apache, "1");
    let mut client = Client::connect(apache.addr());
    client.send("GET /stream.php?words=3 HTTP/1.0\r\n\r\n");
    let response = client.read_response();
    assert_eq!(response.head.header("transfer-encoding"), None);
    assert_eq!(response.ending, Ending::Closed);
    assert!(is_complete(response.text()), "{}", response.text());
}
