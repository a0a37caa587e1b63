//! The handoff headers are between the application and Apache: no client ever sees one, on any path.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use e2e::{Apache, Builder, Client, Head, Mpm, PATIENCE, Receiver, on_each_mpm};

on_each_mpm! {
    a_handler_that_returns_an_error_or_not_modified_leaks_nothing,
    switched_off_the_response_passes_without_the_headers,
    a_head_request_is_answered_by_apache,
    data_without_a_socket_is_taken_off,
    a_refused_handoff_leaks_nothing,
    headers_of_a_failed_script_do_not_hand_off_the_error_document,
    a_proxied_upstream_is_not_trusted_unless_allowed,
    a_script_that_dies_after_setting_the_headers_leaks_nothing,
    what_the_configuration_hands_off_does_not_come_from_the_cache,
}

/// A handler that sets the headers in both tables and ends as the query says.
const LUA: &str = r#"
function handle(r)
    r.headers_out['X-Socket-Handoff'] = '/secret/a.sock'
    r.headers_out['X-Handoff-Data'] = 'secret data'
    r.err_headers_out['X-Socket-Handoff'] = '/secret/b.sock'
    r.err_headers_out['X-Handoff-Data'] = 'secret data'
    r.err_headers_out['X-Handoff-Data-From'] = 'secret'
    r.err_headers_out['X-Kept'] = 'yes'
    return tonumber(r.args)
end
"#;

const GO_PHP: &str = "<?php
header('X-Kept: yes');
header('X-Socket-Handoff: ' . ($_GET['to'] ?? '/secret/d.sock'));
header('X-Handoff-Data: secret data');
echo 'the body';";

fn php(mpm: Mpm) -> Builder {
    Apache::builder(mpm).php_fpm(2).file("go.php", GO_PHP)
}

#[track_caller]
fn assert_clean(head: &Head) {
    for name in ["x-socket-handoff", "x-handoff-data", "x-handoff-data-from"] {
        assert_eq!(head.header(name), None, "{name} leaked");
    }
}

fn a_handler_that_returns_an_error_or_not_modified_leaks_nothing(mpm: Mpm) {
    let apache = Apache::builder(mpm)
        .load("lua")
        .file("fail.lua", LUA)
        .vhost("LuaMapHandler ^/fail ${DOCROOT}/fail.lua handle")
        .start();
    for status in [304, 403, 404, 500, 503] {
        let response = Client::fetch(apache.addr(), &format!("/fail?{status}"));
        assert_eq!(response.status(), status);
        assert_clean(&response.head);
        assert!(!response.text().contains("secret"), "{}", response.text());
        assert_eq!(response.head.header("x-kept"), Some("yes"), "the rest of the response is as it was");
    }
}

fn switched_off_the_response_passes_without_the_headers(mpm: Mpm) {
    let apache = php(mpm)
        .config("<Location /go.php>\nSocketHandoffEnabled Off\n</Location>")
        .file("on.php", GO_PHP)
        .start();
    let response = Client::fetch(apache.addr(), "/go.php");
    assert_clean(&response.head);
    assert_eq!((response.status(), response.text()), (200, "the body"));
    assert_eq!(response.head.header("x-kept"), Some("yes"));
    let line = apache.wait_for_access_log("/go.php", PATIENCE);
    assert!(line.ends_with("handoff=ignored:switched-off"), "{line}");
    // Next door it is on: the path is refused.
    assert_eq!(Client::fetch(apache.addr(), "/on.php").status(), 403);
}

fn a_head_request_is_answered_by_apache(mpm: Mpm) {
    let apache = php(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    let target = format!("/go.php?to={}", daemon.path().display());
    client.send(format!("HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let head = client.read_head();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("x-kept"), Some("yes"));
    assert_clean(&head);
    assert!(daemon.try_receive(Duration::ZERO).is_none());
    // The connection lives on, and its next request is handed off.
    client.get(&target);
    daemon.receive().respond("data: hi\n\n");
    assert_eq!(client.read_response().text(), "data: hi\n\n");
}

fn data_without_a_socket_is_taken_off(mpm: Mpm) {
    let apache = Apache::builder(mpm)
        .php_fpm(2)
        .file("data.php", "<?php header('X-Handoff-Data: secret'); echo 'the body';")
        .start();
    let response = Client::fetch(apache.addr(), "/data.php");
    assert_clean(&response.head);
    assert_eq!((response.status(), response.text()), (200, "the body"));
    apache.wait_for_error_log("X-Socket-Handoff is missing", PATIENCE);
}

fn a_refused_handoff_leaks_nothing(mpm: Mpm) {
    let apache = php(mpm)
        .config("<Location /go.php>\nHeader set X-Handoff-Data \"secret of the operator\"\n</Location>")
        .start();
    for target in ["/go.php", "/go.php?to=", "/go.php?to=relative"] {
        let response = Client::fetch(apache.addr(), target);
        assert_eq!(response.status(), 403, "{target}");
        assert_clean(&response.head);
        assert!(!response.text().contains("secret"), "{}", response.text());
    }
}

fn headers_of_a_failed_script_do_not_hand_off_the_error_document(mpm: Mpm) {
    let apache = Apache::builder(mpm)
        .load("lua")
        .file("fail.lua", "function handle(r) r.err_headers_out['X-Socket-Handoff'] = r.args return 503 end")
        .file("sorry.html", "sorry")
        .vhost("LuaMapHandler ^/fail ${DOCROOT}/fail.lua handle\nErrorDocument 503 /sorry.html")
        .start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let response = Client::fetch(apache.addr(), &format!("/fail?{}", daemon.path().display()));
    assert_eq!((response.status(), response.text()), (503, "sorry"));
    assert_clean(&response.head);
    assert!(daemon.try_receive(Duration::ZERO).is_none());
}

fn a_proxied_upstream_is_not_trusted_unless_allowed(mpm: Mpm) {
    let builder = Apache::builder(mpm).load("proxy_http");
    let path = builder.socket_path("d.sock");
    let upstream =
        Upstream::start(&format!("X-Socket-Handoff: {}\r\nX-Handoff-Data: secret data\r\n", path.display()));
    let apache = builder
        .vhost(&format!(
            "ProxyPass /distrusted http://{0}/\nProxyPass /trusted http://{0}/\n\
             <Location /trusted>\nSocketHandoffAllowProxied On\n</Location>",
            upstream.addr
        ))
        .start();
    let daemon = Receiver::bind(&path);

    let response = Client::fetch(apache.addr(), "/distrusted");
    assert_eq!((response.status(), response.text()), (200, "upstream"));
    assert_clean(&response.head);
    assert!(daemon.try_receive(Duration::ZERO).is_none());
    apache.wait_for_error_log("SocketHandoffAllowProxied is Off", PATIENCE);

    let mut client = Client::connect(apache.addr());
    client.get("/trusted");
    daemon.receive().respond("data: hi\n\n");
    assert_eq!(client.read_response().text(), "data: hi\n\n");
}

/// An HTTP server that gives every connection the same answer.
struct Upstream {
    addr: SocketAddr,
}

impl Upstream {
    /// Serves until the test's process ends.
    fn start(headers: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let response =
            format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 8\r\nConnection: close\r\n\r\nupstream");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                stream.write_all(response.as_bytes()).unwrap();
            }
        });
        Self { addr }
    }
}

fn a_script_that_dies_after_setting_the_headers_leaks_nothing(mpm: Mpm) {
    // Killed by a signal in mid-response: php-fpm sends no end of the request.
    let script = "<?php header('X-Socket-Handoff: ' . $_GET['to']); header('X-Handoff-Data: secret');
                  posix_kill(getmypid(), 9);";
    let apache = Apache::builder(mpm).php_fpm(2).file("die.php", script).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let response = Client::fetch(apache.addr(), &format!("/die.php?to={}", daemon.path().display()));
    assert!(response.status() >= 500, "{}", response.status());
    assert_clean(&response.head);
    assert!(daemon.try_receive(Duration::ZERO).is_none());
}

fn what_the_configuration_hands_off_does_not_come_from_the_cache(mpm: Mpm) {
    let apache = Apache::builder(mpm)
        .load("cache")
        .load("cache_socache")
        .load("socache_shmcb")
        .file("go.txt", "of this file the client sees nothing")
        .file("plain.txt", "cached")
        .vhost(
            "CacheSocache shmcb:${ROOT}/cache(512000)\nCacheEnable socache /\nCacheMinExpire 3600\nCacheHeader On\n\
             <Location /go.txt>\nHeader set X-Socket-Handoff ${RUN}/d.sock\n\
             Header set X-Handoff-Data \"expr=%{req:X-User}\"\n</Location>",
        )
        .start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    // Other files are cached.
    let [_, cached] = [(); 2].map(|()| Client::fetch(apache.addr(), "/plain.txt").head);
    assert!(cached.header("x-cache").is_some_and(|value| value.starts_with("HIT")), "{cached:?}");
    for user in ["alice", "bob"] {
        let mut client = Client::connect(apache.addr());
        client.send(format!("GET /go.txt HTTP/1.1\r\nHost: x\r\nX-User: {user}\r\n\r\n"));
        let handoff = daemon.receive();
        assert_eq!(handoff.text(), user);
        handoff.respond("data: hi\n\n");
        assert_eq!(client.read_response().text(), "data: hi\n\n");
    }
}
