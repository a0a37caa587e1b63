//! What a client sees when an application hands it to the streaming daemon by protocol 2: the application's answer, with
//! the stream as its body.

use e2e::{Apache, Builder, Client, Daemon, Ending, Head, Mpm, events, on_each_mpm};

on_each_mpm! {
    the_client_gets_the_applications_headers_each_once,
    a_refusal_of_the_daemon_keeps_cookies_and_cors,
    the_applications_status_is_that_of_the_stream,
    head_gets_the_head_that_get_would,
    a_long_conversation_goes_through_php_fpm_as_a_body,
}

const PHP: &str = "<?php
header('X-Socket-Handoff: ' . $_SERVER['D_SOCK']);
header('X-Handoff-Data: ' . ($_GET['data'] ?? '{\"prompt\":\"Hi\"}'));
http_response_code((int) ($_GET['status'] ?? 200));
header('Set-Cookie: a=1; HttpOnly');
header('Set-Cookie: b=2', false);
header('Access-Control-Allow-Origin: https://a.example');
header('Content-Type: application/json');
header('ETag: \"unsent\"');
echo 'unseen';";

const BODY: &str = "<?php
header('X-Socket-Handoff: ' . $_SERVER['D_SOCK']);
header('X-Handoff-Data-From: body');
echo json_encode(['prompt' => str_repeat('long ', 50000) . 'end']);";

fn apache(mpm: Mpm) -> Apache {
    configured(Apache::builder(mpm).php_fpm(2)).start()
}

fn configured(builder: Builder) -> Builder {
    builder.file("go.php", PHP).file("body.php", BODY).daemon("d.sock", "protocol=2").vhost(
        "SetEnv D_SOCK ${RUN}/d.sock\nHeader always set X-Frame-Options DENY\n\
         Header set Content-Security-Policy \"default-src 'self'\"\nHeader add Set-Cookie c=3",
    )
}

fn daemon(apache: &Apache) -> Daemon {
    Daemon::start(apache.socket_path("d.sock"), ["--delay", "0"])
}

#[track_caller]
fn assert_applications(head: &Head) {
    assert_eq!(sorted(head, "Set-Cookie"), ["a=1; HttpOnly", "b=2", "c=3"]);
    assert_eq!(head.all("Access-Control-Allow-Origin"), ["https://a.example"]);
    assert_eq!(head.all("X-Frame-Options"), ["DENY"]);
    assert_eq!(head.all("Content-Security-Policy"), ["default-src 'self'"]);
    assert_eq!(head.header("ETag"), None);
    for name in ["X-Socket-Handoff", "X-Handoff-Data", "X-Handoff-Data-From"] {
        assert_eq!(head.header(name), None, "{name}");
    }
}

fn sorted<'h>(head: &'h Head, name: &str) -> Vec<&'h str> {
    let mut values = head.all(name);
    values.sort_unstable();
    values
}

#[track_caller]
fn assert_stream(head: &Head) {
    assert_eq!(head.all("Content-Type"), ["text/event-stream; charset=utf-8"]);
    assert_eq!(head.all("Cache-Control"), ["no-cache"]);
    assert_eq!(head.all("Transfer-Encoding"), ["chunked"]);
    assert_eq!(head.all("Date").len(), 1);
}

fn the_client_gets_the_applications_headers_each_once(mpm: Mpm) {
    let apache = apache(mpm);
    let _daemon = daemon(&apache);
    let response = Client::fetch(apache.addr(), "/go.php");
    assert_eq!((response.status(), response.ending), (200, Ending::Framed));
    assert_applications(&response.head);
    assert_stream(&response.head);
    assert_eq!(events(response.text()).last().map(|event| event.name.clone()), Some("done".into()));
}

fn a_refusal_of_the_daemon_keeps_cookies_and_cors(mpm: Mpm) {
    let apache = apache(mpm);
    let _daemon = daemon(&apache);
    let response = Client::fetch(apache.addr(), "/go.php?data=%5B%5D&status=201");
    assert_eq!(response.status(), 400);
    assert_applications(&response.head);
}

fn the_applications_status_is_that_of_the_stream(mpm: Mpm) {
    let apache = apache(mpm);
    let _daemon = daemon(&apache);
    for (applications, expected) in [(201, 201), (404, 404), (204, 200), (304, 200)] {
        let response = Client::fetch(apache.addr(), &format!("/go.php?status={applications}"));
        assert_eq!((response.status(), response.ending), (expected, Ending::Framed));
        assert_stream(&response.head);
    }
}

fn head_gets_the_head_that_get_would(mpm: Mpm) {
    let apache = apache(mpm);
    let _daemon = daemon(&apache);
    let mut client = Client::connect(apache.addr());
    client.send("HEAD /go.php HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.read_head();
    assert_eq!(head.status, 200);
    assert_applications(&head);
    assert_stream(&head);
    assert_eq!(client.read_to_end(), (Vec::new(), Ending::Closed));
}

fn a_long_conversation_goes_through_php_fpm_as_a_body(mpm: Mpm) {
    let apache = apache(mpm);
    let _daemon = daemon(&apache);
    let response = Client::fetch(apache.addr(), "/body.php");
    assert_eq!((response.status(), response.ending), (200, Ending::Framed));
    assert_stream(&response.head);
    let answer = events(response.text());
    let (done, words) = answer.split_last().expect("an answer");
    assert_eq!(done.name, "done");
    let text: String = words.iter().map(|event| event.data.as_str()).collect();
    assert!(text.ends_with("long long end"), "{} bytes", text.len());
}
