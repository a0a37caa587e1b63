//! The examples of README.md, as they stand there: the PHP endpoint, and both JavaScript functions in a browser.

use std::fs;
use std::path::Path;

use e2e::{Apache, Client, Daemon, Ending, Mpm, PATIENCE, Receiver, Report, Response};
use e2e::{browse, events, uri_component, wait_until};

/// The socket in the README's PHP example.
const SOCKET: &str = "/var/run/streaming-daemon.sock";

/// A prompt of several lines, with characters of one to four bytes and with what JSON, HTML and URLs escape.
const PROMPT: &str =
    "  Two  spaces,\n\nan empty line,\r\n\ttab \"quoted\" <b>&amp;</b> 50% a+b größer 日本 😀\n";

/// What the page asks for when it has got the first piece of an answer.
const SHOWN: &str = "/shown.txt";

const JAVASCRIPT: [&str; 2] = ["event-source", "fetch"];

/// The code block that follows `<!-- test: NAME -->`.
#[track_caller]
fn example(name: &str) -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let mark = format!("<!-- test: {name} -->\n```");
    let (_, rest) = readme.split_once(&mark).unwrap_or_else(|| panic!("README.md has no {mark}"));
    let (_language, rest) = rest.split_once('\n').unwrap();
    rest.split_once("\n```\n").expect("the end of the block").0.to_owned()
}

/// Apache with the README's PHP as stream.php, a sign-in, and the README's JavaScript.
fn site() -> Apache {
    let builder = Apache::builder(Mpm::Event).php_fpm(2);
    let php = example("php");
    assert_eq!(php.matches(SOCKET).count(), 1, "{php}");
    let socket = builder.socket_path("daemon.sock");
    let php = php.replace(SOCKET, socket.to_str().unwrap());
    let mut builder = builder
        .file("stream.php", php)
        .file(&SHOWN[1..], "")
        .file("sign-in.php", "<?php session_start(); $_SESSION['user_id'] = 'Zoë';");
    for name in JAVASCRIPT {
        builder = builder.file(&format!("{name}.js"), example(name));
    }
    builder.start()
}

fn daemon(site: &Apache) -> Daemon {
    Daemon::start(site.socket_path("daemon.sock"), ["--delay", "1", "--debug"])
}

// ---- PHP ----

fn get(site: &Apache, target: &str, cookie: &str) -> Response {
    let mut client = Client::connect(site.addr());
    client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"));
    client.read_response()
}

fn post(site: &Apache, target: &str, cookie: &str, form: &str) -> Response {
    let mut client = Client::connect(site.addr());
    client.send(format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    ));
    client.read_response()
}

/// The cookie of a signed-in user.
fn sign_in(site: &Apache) -> String {
    let response = get(site, "/sign-in.php", "");
    let cookie = response.head.header("set-cookie").expect("a session cookie");
    cookie.split(';').next().unwrap_or_default().to_owned()
}

/// The text of a stream that has arrived whole.
#[track_caller]
fn text_of(response: &Response) -> String {
    assert_eq!((response.status(), response.ending), (200, Ending::Framed));
    let mut events = events(response.text());
    assert_eq!(events.pop().map(|event| event.name).as_deref(), Some("done"));
    events.into_iter().map(|event| event.data).collect()
}

/// What the mock backend answers, as a client of an event stream gets it: with one kind of line end.
fn answer(prompt: &str) -> String {
    format!("You said: {prompt}").replace("\r\n", "\n")
}

#[test]
fn the_php_example_streams_to_users_who_have_signed_in() {
    let site = site();
    let daemon = daemon(&site);
    let cookie = sign_in(&site);
    let form = format!("prompt={}", uri_component(PROMPT));
    assert_eq!(text_of(&get(&site, &format!("/stream.php?{form}"), &cookie)), answer(PROMPT));
    assert_eq!(text_of(&post(&site, "/stream.php", &cookie, &form)), answer(PROMPT));
    // Neither UTF-8 nor a reason to fail.
    assert_eq!(text_of(&post(&site, "/stream.php", &cookie, "prompt=a%FFb")), answer("a\u{FFFD}b"));
    // The daemon names the user in its debug log.
    daemon.wait_for_log("user_id=\"Zoë\"", PATIENCE);
}

#[test]
fn the_php_example_with_the_body_as_data_takes_long_histories_and_keeps_cookies() {
    let builder = Apache::builder(Mpm::Event).php_fpm(2);
    let socket = builder.socket_path("daemon.sock");
    let example = example("php-body").replace(SOCKET, socket.to_str().unwrap());
    let history =
        "setcookie('seen', '1'); $history = [['role' => 'user', 'content' => str_repeat('long', 75000)]];";
    let site = builder
        .daemon("daemon.sock", "protocol=2")
        .file("long.php", format!("<?php {history}\n{example}"))
        .start();
    let _daemon = daemon(&site);
    let response = get(&site, "/long.php", "");
    assert_eq!(text_of(&response), answer(&"long".repeat(75_000)));
    assert_eq!(response.head.header("set-cookie"), Some("seen=1"));
}

#[test]
fn the_php_example_refuses_strangers() {
    let site = site();
    let _daemon = daemon(&site);
    for response in [
        get(&site, "/stream.php?prompt=hello", ""),
        post(&site, "/stream.php", "PHPSESSID=made-up", "prompt=hello"),
    ] {
        assert_eq!((response.status(), response.text()), (401, "Please sign in."));
        for header in ["x-socket-handoff", "x-handoff-data"] {
            assert_eq!(response.head.header(header), None);
        }
    }
}

#[test]
fn the_socket_of_the_php_example_is_the_one_that_is_installed() {
    // Debian's /var/run is a link to /run.
    let installed = SOCKET.strip_prefix("/var").unwrap();
    let unit = include_str!("../../conf/streaming-daemon.socket");
    assert!(unit.contains(&format!("\nListenSequentialPacket={installed}\n")));
    assert!(include_str!("../../README.md").contains(&format!("streaming-daemon send -s {installed} ")));
    let help = std::process::Command::new(e2e::build_dir().join("streaming-daemon")).arg("--help").output();
    assert!(String::from_utf8(help.unwrap().stdout).unwrap().contains(&format!("[default: {SOCKET}]")));
}

// ---- JavaScript ----

/// Calls the README's `ask` of `script` for `user`, who is signed in if they are one.
#[track_caller]
fn ask(site: &Apache, script: &str, user: bool, prompt: &str) -> Report {
    let page = ASK_PAGE.replace("SCRIPT", script).replace("SIGN_IN", if user { "true" } else { "false" });
    let report = browse(site, &page, &uri_component(prompt));
    assert_eq!(report.line("errors"), "", "{script}: {report:?}");
    // No reconnect: the one EventSource is closed (state 2).
    assert_eq!(report.line("sources"), if script == "event-source" { "2" } else { "" });
    report
}

#[test]
fn the_javascript_examples_show_the_answer_piece_by_piece() {
    let site = site();
    let _daemon = daemon(&site);
    for script in JAVASCRIPT {
        let report = ask(&site, script, true, PROMPT);
        assert_eq!(report.line("text"), uri_component(&answer(PROMPT)), "{script}");
        let pieces: usize = report.line("pieces").parse().unwrap();
        assert!(pieces > 10, "{script}: {report:?}");
        assert_eq!(report.line("end"), "done", "{script}");
    }
    let log = site.access_log();
    assert_eq!(log.matches("/stream.php").count(), JAVASCRIPT.len(), "one request each: {log}");
}

#[test]
fn the_javascript_examples_tell_why_there_is_no_answer() {
    let site = site();
    // Not signed in; and no daemon. EventSource does not say what the server answered.
    for (user, reason) in [(false, "Please sign in."), (true, "503 Service Unavailable")] {
        let end = ask(&site, "fetch", user, "hello").line("end").to_owned();
        assert!(end.starts_with("error: ") && end.contains(reason), "{end}");
        let report = ask(&site, "event-source", user, "hello");
        assert_eq!(report.line("end"), "error: The connection was lost.");
    }
}

#[test]
fn the_javascript_examples_tell_a_cut_answer_from_a_complete_one() {
    let site = site();
    // A daemon that dies in the middle: no `done`, and, with chunks, no last chunk.
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n";
    let plain = format!("{head}\r\ndata: half\n\n");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\nc\r\ndata: half\n\n\r\n");
    let receiver = Receiver::bind(site.socket_path("daemon.sock"));
    for (response, script) in [plain, chunked].iter().flat_map(|response| JAVASCRIPT.map(|js| (response, js)))
    {
        let report = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut handoff = receiver.receive();
                let shown = site.access_log().matches(SHOWN).count();
                handoff.send(response);
                // A browser may drop what has arrived when the connection breaks before it was read.
                wait_until(PATIENCE, "the page to show the first piece", || {
                    site.access_log().matches(SHOWN).count() > shown
                });
                handoff.close();
            });
            ask(&site, script, true, "hello")
        });
        assert_eq!((report.line("text"), report.line("end")), ("half", "error: The connection was lost."));
    }
}

#[test]
fn the_javascript_examples_pass_on_what_the_daemon_says_went_wrong() {
    let site = site();
    let _daemon = Receiver::bind(site.socket_path("daemon.sock"))
        .serve(|handoff| handoff.respond("data: begun\n\nevent: error\ndata: The model is gone.\n\n"));
    for script in JAVASCRIPT {
        let report = ask(&site, script, true, "hello");
        assert_eq!((report.line("text"), report.line("end")), ("begun", "error: The model is gone."));
    }
}

/// Signs in if it shall, asks what is in the fragment, and reports when `onDone` is called.
const ASK_PAGE: &str = r#"<!DOCTYPE html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<script>
const errors = [];
addEventListener('error', (event) => errors.push(event.message));
addEventListener('unhandledrejection', (event) => errors.push(String(event.reason)));
const sources = [];
window.EventSource = class extends EventSource {
    constructor(url) {
        super(url);
        sources.push(this);
    }
};
</script>
<script src="SCRIPT.js"></script>
<script type="module">
if (SIGN_IN) await fetch('sign-in.php');

const pieces = [];
const end = await new Promise((resolve) => {
    ask(decodeURIComponent(location.hash.slice(1)), (text) => {
        if (pieces.push(text) === 1) fetch('/shown.txt');
    }, (...error) => {
        resolve(error.length === 0 || error[0] === undefined ? 'done' : `error: ${error[0]}`);
    });
    addEventListener('unhandledrejection', () => resolve('rejected'));
    addEventListener('error', () => resolve('failed'));
});
const encode = (text) => encodeURIComponent(text).replace(/[-_.!~*'()]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());

await fetch('/report.php', { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: [
    `text ${encode(pieces.join(''))}`,
    `pieces ${pieces.length}`,
    `end ${end.replaceAll('\n', ' ')}`,
    `errors ${errors.join(' ')}`,
    `sources ${sources.map((source) => source.readyState).join(' ')}`,
].join('\n') });
</script>
"#;
