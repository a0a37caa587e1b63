//! The chat page in a real browser: Chromium, headless, against Apache, php-fpm, the module and a daemon.
//!
//! A page of the test's own shows the chat page in a frame, uses it as a person would, and reports what it saw.

use std::io::Read;
use std::path::Path;

use e2e::{Apache, Builder, Daemon, Mpm, PATIENCE, Received, Receiver, Report, browse, uri_component};

const EXAMPLES: [&str; 8] = [
    "chat/index.html",
    "chat/chat.css",
    "chat/chat.js",
    "chat/stream.js",
    "chat/sse.js",
    "php/chat.php",
    "php/login.php",
    "php/stream.php",
];

#[test]
fn words_appear_one_by_one_with_event_source() {
    words_appear_one_by_one("get");
}

#[test]
fn words_appear_one_by_one_with_fetch() {
    words_appear_one_by_one("post");
}

fn words_appear_one_by_one(transport: &str) {
    let site = site();
    let _daemon = Daemon::start(site.socket_path("daemon.sock"), ["--delay", "50"]);
    let prompt = format!("  spaces  stay,\n größer 😀 {} ", "and so on ".repeat(5));
    let report = ask(&site, transport, &prompt, "");

    assert_eq!(report.line("state"), "done");
    assert_eq!(report.line("text"), uri_component(&format!("You said: {prompt}")));
    let times: Vec<f64> = report.line("changes").split(' ').map(|time| time.parse().unwrap()).collect();
    let mut separate = 1;
    let mut last = times[0];
    for time in times {
        if time - last >= 30.0 {
            separate += 1;
            last = time;
        }
    }
    assert!(separate >= 5, "{separate} changes at least 30 ms apart: {report:?}");

    // No reconnect: the one EventSource is closed (state 2), and one request was made and handed off.
    assert_eq!(report.line("sources"), if transport == "get" { "2" } else { "" });
    site.wait_for_access_log("/php/chat.php", PATIENCE);
    let log = site.access_log();
    let requests: Vec<&str> = log.lines().filter(|line| line.contains("/php/chat.php")).collect();
    assert_eq!(requests.len(), 1, "{requests:#?}");
    assert!(requests[0].ends_with("handoff=handed-off"), "{requests:#?}");
}

#[test]
fn a_cut_stream_is_shown_as_cut() {
    let site = site();
    let _daemon = Receiver::bind(site.socket_path("daemon.sock")).serve(|handoff| {
        handoff.respond("data: half an\n\ndata:  answer\n\n");
    });
    for transport in ["get", "post"] {
        let report = ask(&site, transport, "hello", "");
        assert_eq!(
            (report.line("state"), report.line("text")),
            ("cut", &*uri_component("half an answer")),
            "{transport}"
        );
        assert!(report.line("status").starts_with("Cut off before the answer was complete"), "{report:?}");
        assert_eq!(report.line("sources"), if transport == "get" { "2" } else { "" });
    }
}

#[test]
fn an_error_of_the_daemon_is_shown() {
    let site = site();
    let _daemon = Receiver::bind(site.socket_path("daemon.sock")).serve(|handoff| {
        handoff.respond(
            "data: begun\n\nevent: error\ndata: {\"error\":{\"message\":\"The model is gone.\"}}\n\n",
        );
    });
    for transport in ["get", "post"] {
        let report = ask(&site, transport, "hello", "");
        assert_eq!((report.line("state"), report.line("text")), ("error", "begun"), "{transport}");
        assert_eq!(report.line("status"), "The model is gone.");
        assert_eq!(report.line("sources"), if transport == "get" { "2" } else { "" });
    }
}

#[test]
fn an_error_of_the_application_is_shown() {
    let refuses = r#"<?php http_response_code(403); header('Content-Type: application/json'); exit('{"error":"This prompt is not allowed."}');"#;
    let site = builder().file("php/chat.php", refuses).start();
    let report = ask(&site, "post", "hello", "");
    assert_eq!((report.line("state"), report.line("text")), ("error", ""));
    assert_eq!(report.line("status"), "This prompt is not allowed.");
}

#[test]
fn an_error_of_apache_is_shown() {
    let site = site();
    // Nobody listens on the daemon's socket: Apache's own error page.
    let report = ask(&site, "post", "hello", "");
    assert_eq!(report.line("state"), "error");
    assert_eq!(report.line("status"), "The server answered 503 Service Unavailable.");
}

#[test]
fn stop_ends_the_connection() {
    let site = site();
    for transport in ["get", "post"] {
        let (ended, end) = std::sync::mpsc::channel();
        let _daemon = Receiver::bind(site.socket_path("daemon.sock")).serve(move |mut handoff: Received| {
            handoff.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: on\n\n",
            );
            handoff.client.set_read_timeout(Some(PATIENCE)).unwrap();
            ended.send(matches!(handoff.client.read(&mut [0]), Ok(0))).unwrap();
        });
        let report = ask(&site, transport, "hello", "stop");
        assert_eq!((report.line("state"), report.line("text")), ("stopped", "on"), "{transport}");
        assert_eq!(end.recv_timeout(PATIENCE), Ok(true), "{transport}: the daemon sees the client leave");
    }
}

#[test]
fn the_event_parser_follows_the_standard() {
    let site = site();
    let report = browse(&site, PARSER_PAGE, "");
    assert_eq!(report.line("failures"), "", "{report:?}");
    assert_eq!(report.line("vectors"), "21");
}

/// Apache with the examples at /chat/ and /php/, as in the demo, and no daemon yet.
fn site() -> Apache {
    builder().start()
}

fn builder() -> Builder {
    let mut builder = Apache::builder(Mpm::Event).php_fpm(2);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for name in EXAMPLES {
        builder = builder.file(name, std::fs::read(examples.join(name)).unwrap());
    }
    builder.config("SetEnv HANDOFF_SOCKET ${RUN}/daemon.sock")
}

/// Sends `prompt` on the chat page, which signs in by itself, and presses the button `then` at the first word, if one is named.
#[track_caller]
fn ask(site: &Apache, transport: &str, prompt: &str, then: &str) -> Report {
    browse(site, CHAT_PAGE, &format!("transport={transport}&then={then}&prompt={}", uri_component(prompt)))
}

/// Uses the chat page in a frame of the same origin. Times are milliseconds.
const CHAT_PAGE: &str = r#"<!DOCTYPE html>
<link rel="icon" href="data:,">
<iframe src="/chat/" style="width: 800px; height: 600px"></iframe>
<script type="module">
const wanted = new URLSearchParams(location.hash.slice(1));
const frame = document.querySelector('iframe');
if (frame.contentDocument.URL === 'about:blank' || frame.contentDocument.readyState !== 'complete') {
    await new Promise((loaded) => frame.addEventListener('load', loaded));
}
const page = frame.contentDocument;

/** Resolves as soon as `condition` holds; looks at each change of the page. */
const until = (condition) => new Promise((resolve) => {
    const look = () => condition() && (observer.disconnect(), resolve());
    const observer = new MutationObserver(look);
    observer.observe(page, { subtree: true, childList: true, attributes: true });
    look();
});

const sources = [];
frame.contentWindow.EventSource = class extends frame.contentWindow.EventSource {
    constructor(url) {
        super(url);
        sources.push(this);
    }
};

const changes = [];
new MutationObserver((records) => {
    if (records.some((record) => record.target.matches('.answer'))) changes.push(performance.now().toFixed(1));
}).observe(page.getElementById('turns'), { subtree: true, childList: true });

page.querySelector(`input[value="${wanted.get('transport')}"]`).click();
page.getElementById('prompt').value = wanted.get('prompt');
page.getElementById('send').click();
const answer = () => page.querySelector('.answer');
if (wanted.get('then')) {
    await until(() => answer()?.textContent);
    page.getElementById(wanted.get('then')).click();
}
await until(() => answer() && answer().dataset.state !== 'streaming');

await fetch('/report.php', { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: [
    `state ${answer().dataset.state}`,
    `status ${page.querySelector('.status').textContent}`,
    `text ${encodeURIComponent(answer().textContent)}`,
    `changes ${changes.join(' ')}`,
    `sources ${sources.map((source) => source.readyState).join(' ')}`,
].join('\n') });
</script>
"#;

/// Feeds the page's event parser with each vector: whole, split at each byte, and byte by byte.
const PARSER_PAGE: &str = r#"<!DOCTYPE html>
<link rel="icon" href="data:,">
<script type="module">
import { EventParser } from '/chat/sse.js';

const message = (data) => ['message', data];
const vectors = [
    ['data: a\n\n', [message('a')]],
    ['data: a\r\r', [message('a')]],
    ['data: a\r\n\r\n', [message('a')]],
    ['data: a\r\n\ndata: b\n\r\n', [message('a'), message('b')]],
    ['data: a\r\ndata: b\rdata: c\ndata: d\n\n', [message('a\nb\nc\nd')]],
    ['\uFEFFdata: a\n\n', [message('a')]],
    ['data: a\n\n\uFEFFdata: b\n\n', [message('a')]],
    ['data:a\n\n', [message('a')]],
    ['data:  a \n\n', [message(' a ')]],
    ['data\n\n', [message('')]],
    ['data:\n\n', [message('')]],
    ['data\ndata\n\n', [message('\n')]],
    [': comment\ndata: a\n:\n\n', [message('a')]],
    ['event: x\n\ndata: a\n\n', [message('a')]],
    ['event: x\ndata: a\n\ndata: b\n\n', [['x', 'a'], message('b')]],
    ['event: done\ndata: [DONE]\n\n', [['done', '[DONE]']]],
    ['data: a: b:c\n\n', [message('a: b:c')]],
    ['id: 1\nretry: 10\nunknown: x\n data: no\nDATA: no\ndata: a\n\n', [message('a')]],
    ['data: a\n\ndata: unfinished\n', [message('a')]],
    ['data: größer 😀\n\n', [message('größer 😀')]],
    ['\n\r\n\r\n\n', []],
];

const parse = (pieces) => {
    const decoder = new TextDecoder();
    const parser = new EventParser();
    const events = pieces.flatMap((piece) => parser.push(decoder.decode(piece, { stream: true })));
    return JSON.stringify(events.map(({ type, data }) => [type, data]));
};

const failures = [];
for (const [text, events] of vectors) {
    const bytes = new TextEncoder().encode(text);
    const ways = [[bytes], [...bytes].map((byte) => Uint8Array.of(byte))];
    for (let i = 1; i < bytes.length; i += 1) ways.push([bytes.slice(0, i), bytes.slice(i)]);
    for (const pieces of ways) {
        if (parse(pieces) !== JSON.stringify(events)) {
            failures.push(JSON.stringify([text, pieces.map((piece) => piece.length), parse(pieces)]));
        }
    }
}
await fetch('/report.php', { method: 'POST', headers: { 'Content-Type': 'text/plain' },
    body: `vectors ${vectors.length}\nfailures ${failures.join(' ')}\n` });
</script>
"#;
