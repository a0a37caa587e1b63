//! What the client has sent, or announced, beyond the request that is handed off: bodies, and further requests.

use std::time::{Duration, Instant};

use e2e::{Apache, Builder, Client, Ending, Mpm, PATIENCE, Receiver, on_each_mpm};

on_each_mpm! {
    an_earlier_pipelined_response_comes_first,
    a_posted_form_is_handed_off,
    an_unread_body_is_read_away_so_that_the_answer_is_not_reset,
    a_chunked_unread_body_is_read_away,
    a_body_that_never_comes_frees_the_worker_within_the_limit,
    a_refusal_does_not_wait_for_the_body,
    a_body_over_the_limit_is_413,
    a_malformed_body_is_400,
    a_client_that_expects_100_continue_is_handed_off_without_its_body,
    a_client_that_leaves_in_its_body_harms_nobody,
}

/// A handler that hands off without reading the request body, as a page that is not a script does.
const UNREAD: &str = "<Location /go.txt>\nHeader set X-Socket-Handoff \"${RUN}/d.sock\"\n</Location>";

fn unread(mpm: Mpm) -> Builder {
    // A handler that flushes before it ends: when the body is unread at its end, httpd itself waits for it.
    Apache::builder(mpm)
        .load("lua")
        .file("ok.lua", "function handle(r) r:puts('unseen') r:flush() return apache2.OK end")
        .vhost("LuaMapHandler ^/go.txt ${DOCROOT}/ok.lua handle")
        .config(UNREAD)
}

fn post(client: &mut Client, headers: &str, body: &[u8]) {
    client.send(format!("POST /go.txt HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
    client.send(body);
}

fn an_earlier_pipelined_response_comes_first(mpm: Mpm) {
    let apache = unread(mpm).file("first.txt", "first\n").start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    client.send("GET /first.txt HTTP/1.1\r\nHost: x\r\n\r\nGET /go.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    daemon.receive().respond("data: second\n\n");
    assert_eq!(client.read_response().text(), "first\n");
    let second = client.read_response();
    assert_eq!((second.text(), second.ending), ("data: second\n\n", Ending::Closed));
}

fn a_posted_form_is_handed_off(mpm: Mpm) {
    let script =
        "<?php header('X-Socket-Handoff: ' . $_POST['to']); header('X-Handoff-Data: ' . $_POST['data']);";
    let apache = Apache::builder(mpm).php_fpm(2).file("go.php", script).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    client.post("/go.php", &format!("to={}&data=posted", daemon.path().display()));
    let handoff = daemon.receive();
    assert_eq!(handoff.text(), "posted");
    handoff.respond("data: hi\n\n");
    assert_eq!(client.read_response().text(), "data: hi\n\n");
}

fn an_unread_body_is_read_away_so_that_the_answer_is_not_reset(mpm: Mpm) {
    let apache = unread(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    let body = vec![b'b'; 200_000];
    post(&mut client, &format!("Content-Length: {}\r\n", body.len()), &body);
    // The daemon closes at once, as a simple one does: with unread input in the socket that would be a reset.
    let answer = "x".repeat(200_000);
    daemon.receive().respond(&answer);
    let response = client.read_response();
    assert_eq!((response.body.len(), response.ending), (answer.len(), Ending::Closed));
}

fn a_chunked_unread_body_is_read_away(mpm: Mpm) {
    let apache = unread(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    post(&mut client, "Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n");
    assert!(daemon.try_receive(Duration::ZERO).is_none());
    client.send("3\r\nyou\r\n0\r\n\r\n");
    daemon.receive().respond("data: hi\n\n");
    let response = client.read_response();
    assert_eq!((response.text(), response.ending), ("data: hi\n\n", Ending::Closed));
}

fn a_body_that_never_comes_frees_the_worker_within_the_limit(mpm: Mpm) {
    let apache = unread(mpm).config("SocketHandoffDrainMs 300").start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    let start = Instant::now();
    post(&mut client, "Content-Length: 1000\r\n", b"only this");
    let response = client.read_response();
    assert_eq!(response.status(), 408);
    assert!(start.elapsed() >= Duration::from_millis(300), "gave up after {:?}", start.elapsed());
    // Apache's own ways to discard the body wait for Timeout, which is 20 s here.
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    drop(client);
    apache.wait_until_idle(PATIENCE);
    assert!(daemon.accept(Duration::ZERO).is_none_or(|connection| is_closed(&connection)));
    let line = apache.wait_for_access_log("/go.txt", PATIENCE);
    assert!(line.ends_with("handoff=refused:body-timeout"), "{line}");
}

fn a_refusal_does_not_wait_for_the_body(mpm: Mpm) {
    // Refused before the body is looked at; Timeout, for which httpd would wait, is 20 s here.
    let apache =
        unread(mpm).config("<Location /go.txt>\nHeader set X-Socket-Handoff relative\n</Location>").start();
    for announced in ["Content-Length: 1000\r\n", "Content-Length: 1000\r\nExpect: 100-continue\r\n"] {
        let mut client = Client::connect(apache.addr()).patience(Duration::from_secs(10));
        post(&mut client, announced, b"");
        assert_eq!(client.read_response().status(), 403, "{announced}");
        drop(client);
        apache.wait_until_idle(Duration::from_secs(10));
    }
}

/// Whether the other end closed without sending a message.
fn is_closed(connection: &std::os::fd::OwnedFd) -> bool {
    rustix::net::recv(connection, &mut [0_u8; 1][..], rustix::net::RecvFlags::empty())
        .is_ok_and(|(_, n)| n == 0)
}

fn a_body_over_the_limit_is_413(mpm: Mpm) {
    let apache = unread(mpm).config("SocketHandoffDrainBytes 64k").start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    post(&mut client, "Content-Length: 100000\r\n", &vec![b'b'; 100_000]);
    assert_eq!(client.read_response().status(), 413);
    assert!(daemon.accept(Duration::ZERO).is_none_or(|connection| is_closed(&connection)));
}

fn a_malformed_body_is_400(mpm: Mpm) {
    let apache = unread(mpm).start();
    let _daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    post(&mut client, "Transfer-Encoding: chunked\r\n", b"not a chunk size\r\n");
    assert_eq!(client.read_response().status(), 400);
}

fn a_client_that_expects_100_continue_is_handed_off_without_its_body(mpm: Mpm) {
    let apache = unread(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    post(&mut client, "Content-Length: 1000\r\nExpect: 100-continue\r\n", b"");
    daemon.receive().respond("data: no need\n\n");
    // The first thing that it gets is the daemon's response, no "100 Continue".
    let response = client.read_response();
    assert_eq!((response.status(), response.text()), (200, "data: no need\n\n"));
}

fn a_client_that_leaves_in_its_body_harms_nobody(mpm: Mpm) {
    let apache = unread(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    post(&mut client, "Content-Length: 1000\r\n", b"some");
    client.reset();
    apache.wait_for_access_log("/go.txt", PATIENCE);
    apache.wait_until_idle(PATIENCE);
    let mut client = Client::connect(apache.addr());
    while daemon.try_receive(Duration::ZERO).is_some() {}
    client.get("/go.txt");
    daemon.receive().respond("data: next\n\n");
    assert_eq!(client.read_response().text(), "data: next\n\n");
}
