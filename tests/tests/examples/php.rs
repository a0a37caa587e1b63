//! The PHP endpoints.

use std::fs;
use std::process::Command;

use e2e::{Apache, Client, Daemon, Ending, Mpm, PATIENCE, Response};

use crate::{example, run, text_of};

const SCRIPTS: [&str; 3] = ["stream.php", "chat.php", "login.php"];

#[test]
fn every_php_file_is_free_of_syntax_errors() {
    let mut found: Vec<_> =
        fs::read_dir(example("php")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert_eq!(found.len(), SCRIPTS.len(), "{found:?}");
    for path in found {
        run(Command::new("php").arg("-l").arg(path));
    }
}

/// Apache with the PHP examples at /php/, and the daemon.
struct Site {
    apache: Apache,
    _daemon: Daemon,
}

impl Site {
    fn start() -> Self {
        let mut builder = Apache::builder(Mpm::Event).php_fpm(2);
        for name in SCRIPTS {
            builder = builder.file(&format!("php/{name}"), fs::read(example("php").join(name)).unwrap());
        }
        let apache = builder
            .config(
                "SetEnv HANDOFF_SOCKET ${RUN}/streaming-daemon.sock\n\
                 SocketHandoffDaemon ${RUN}/streaming-daemon.sock protocol=2",
            )
            .start();
        let daemon = Daemon::start(apache.socket_path("streaming-daemon.sock"), ["--delay", "1"]);
        Self { apache, _daemon: daemon }
    }

    fn get(&self, target: &str, cookie: &str) -> Response {
        let mut client = Client::connect(self.apache.addr());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"));
        client.read_response()
    }

    fn post(&self, target: &str, cookie: &str, form: &str) -> Response {
        let mut client = Client::connect(self.apache.addr());
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ));
        client.read_response()
    }

    /// The session cookie of a user who has signed in.
    fn sign_in(&self) -> String {
        let response = self.post("/php/login.php", "", "");
        assert_eq!((response.status(), response.text()), (200, r#"{"user":"demo"}"#));
        let cookie = response.head.header("set-cookie").expect("a session cookie");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        cookie.split(';').next().unwrap_or_default().to_owned()
    }
}

#[track_caller]
fn assert_refused(response: &Response, status: u16, message: &str) {
    assert_eq!((response.status(), response.head.header("content-type")), (status, Some("application/json")));
    assert_eq!(response.text(), format!(r#"{{"error":"{message}"}}"#));
    assert!(
        response.head.header("x-socket-handoff").is_none()
            && response.head.header("x-handoff-data").is_none()
    );
}

/// "Größe 😀 & more", with leading and trailing spaces.
const ENCODED: &str = "%20%20Gr%C3%B6%C3%9Fe%20%F0%9F%98%80%20%26%20more%20%20";
const DECODED: &str = "  Größe 😀 & more  ";

#[test]
fn stream_php_streams_the_prompt_back() {
    let site = Site::start();
    let by_get = site.get(&format!("/php/stream.php?prompt={ENCODED}"), "");
    assert_eq!(text_of(&by_get), format!("You said: {DECODED}"));
    assert_eq!(by_get.ending, Ending::Framed, "chunked, since it tells the daemon the client's protocol");
    let by_post = site.post("/php/stream.php", "", &format!("prompt={ENCODED}"));
    assert_eq!(text_of(&by_post), format!("You said: {DECODED}"));
}

#[test]
fn chat_php_streams_to_users_who_have_signed_in() {
    let site = Site::start();
    let cookie = site.sign_in();
    assert_eq!(site.get("/php/login.php", &cookie).text(), r#"{"user":"demo"}"#);
    let by_get = site.get(&format!("/php/chat.php?prompt={ENCODED}"), &cookie);
    assert_eq!(text_of(&by_get), format!("You said: {DECODED}"));
    assert_eq!(by_get.ending, Ending::Framed);
    let by_post = site.post("/php/chat.php", &cookie, &format!("prompt={ENCODED}"));
    assert_eq!(text_of(&by_post), format!("You said: {DECODED}"));
    for request in ["GET /php/chat.php", "POST /php/chat.php"] {
        let line = site.apache.wait_for_access_log(request, PATIENCE);
        assert!(line.ends_with("handoff=handed-off"), "{line}");
    }
}

#[test]
fn chat_php_refuses_strangers_in_json() {
    let site = Site::start();
    assert_refused(&site.get("/php/chat.php?prompt=hello", ""), 401, "Please sign in.");
    assert_refused(&site.post("/php/chat.php", "PHPSESSID=made-up", "prompt=hello"), 401, "Please sign in.");
    assert_eq!(site.get("/php/login.php", "").text(), r#"{"user":null}"#);
}

#[test]
fn chat_php_refuses_bad_prompts_in_json() {
    let site = Site::start();
    let cookie = site.sign_in();
    for target in
        ["/php/chat.php", "/php/chat.php?prompt=", "/php/chat.php?prompt=%20%0A", "/php/chat.php?prompt[]=x"]
    {
        assert_refused(&site.get(target, &cookie), 400, "The prompt is missing.");
    }
    assert_refused(&site.get("/php/chat.php?prompt=%FF", &cookie), 400, "The prompt is not valid UTF-8.");
}

#[test]
fn chat_php_takes_prompts_of_any_length() {
    let site = Site::start();
    let cookie = site.sign_in();
    // The first lengths that one header line cannot hold, and one that is far beyond.
    for length in (8_000..8_200).step_by(20).chain([300_000]) {
        let prompt = "x".repeat(length);
        let streamed = site.post("/php/chat.php", &cookie, &format!("prompt={prompt}"));
        assert_eq!(text_of(&streamed), format!("You said: {prompt}"), "{length} bytes");
    }
}

#[test]
fn line_breaks_and_control_characters_survive_the_header() {
    let site = Site::start();
    let response = site.get("/php/stream.php?prompt=a%0D%0Ab%00%7F%1F%E2%80%A8c", "");
    assert_eq!(text_of(&response), "You said: a\nb\0\u{7f}\u{1f}\u{2028}c");
}
