//! A handoff, from every kind of application and in every form of response.

use std::path::Path;

use e2e::{Apache, Builder, Client, Ending, Mpm, PATIENCE, Receiver, SocketType, on_each_mpm, wait_until};

on_each_mpm! {
    php_fpm_by_set_handler_hands_off,
    php_fpm_by_proxy_pass_match_hands_off,
    php_fpm_behind_a_balancer_hands_off,
    a_cgi_program_hands_off,
    a_cgi_program_that_nobody_reads_from_comes_to_its_end,
    a_handoff_without_data_sends_none,
    data_arrives_byte_for_byte,
    any_status_that_the_application_sets_is_handed_off,
    a_directory_index_and_a_rewritten_url_are_handed_off,
    an_error_document_can_hand_off,
    an_http_1_0_client_is_handed_off,
    the_operator_can_hand_off_by_configuration,
    the_operators_header_wins_over_the_applications,
    a_compressed_response_is_handed_off,
    a_handoff_is_never_cached,
    a_header_after_the_first_flush_leaves_the_response_whole,
    the_stream_begins_at_the_first_flush_not_at_the_end_of_the_script,
    a_subrequest_is_not_handed_off,
}

/// Hands off to the path in the query, with the data in the query.
const GO_PHP: &str = "<?php
header('X-Socket-Handoff: ' . $_REQUEST['to']);
if (isset($_REQUEST['data'])) header('X-Handoff-Data: ' . $_REQUEST['data']);
if (isset($_REQUEST['status'])) http_response_code((int) $_REQUEST['status']);
echo 'this body is never seen';
exit;";

/// Without this, mod_proxy_fcgi keeps what PHP flushes until the script ends or a buffer is full.
const FLUSH: &str = "<Proxy \"unix:${PHP_SOCKET}|fcgi://localhost\">\nProxySet flushpackets=on\n</Proxy>";

fn php(mpm: Mpm) -> Builder {
    Apache::builder(mpm).php_fpm(2).file("go.php", GO_PHP)
}

/// Asks for `target` with the daemon's path for `{to}`, and has the daemon answer. Returns the data that it got.
#[track_caller]
fn hand_off(apache: &Apache, target: &str) -> Vec<u8> {
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    client.get(&target.replace("{to}", daemon.path().to_str().unwrap()));
    let handoff = daemon.receive();
    apache.wait_until_idle(PATIENCE);
    let data = handoff.data.clone();
    handoff.respond("data: hi\n\n");
    let response = client.read_response();
    assert_eq!((response.status(), response.text(), response.ending), (200, "data: hi\n\n", Ending::Closed));
    assert_eq!(response.head.header("server"), None, "the response is the daemon's alone");
    data
}

fn php_fpm_by_set_handler_hands_off(mpm: Mpm) {
    let apache = php(mpm).start();
    assert_eq!(hand_off(&apache, "/go.php?to={to}&data=hello"), b"hello");
    let line = apache.wait_for_access_log("/go.php", PATIENCE);
    assert!(line.contains(" 200 0 - ") && line.ends_with("handoff=handed-off"), "{line}");
}

fn php_fpm_by_proxy_pass_match_hands_off(mpm: Mpm) {
    let apache = php(mpm)
        .vhost(
            "ProxyPassMatch \"^/app/(.*\\.php)$\" \"unix:${PHP_SOCKET}|fcgi://localhost${DOCROOT}/$1\" \
             enablereuse=off",
        )
        .start();
    assert_eq!(hand_off(&apache, "/app/go.php?to={to}&data=hello"), b"hello");
}

fn php_fpm_behind_a_balancer_hands_off(mpm: Mpm) {
    let apache = ["slotmem_shm", "proxy_balancer", "lbmethod_byrequests"]
        .into_iter()
        .fold(php(mpm), Builder::load)
        .vhost(
            "<Proxy balancer://php>\nBalancerMember \"unix:${PHP_SOCKET}|fcgi://localhost\"\n</Proxy>\n\
             ProxyPassMatch \"^/app/(.*\\.php)$\" \"balancer://php${DOCROOT}/$1\"",
        )
        .start();
    assert_eq!(hand_off(&apache, "/app/go.php?to={to}&data=hello"), b"hello");
}

fn a_cgi_program_hands_off(mpm: Mpm) {
    let script = "#!/bin/sh\nprintf 'X-Socket-Handoff: %s\\nX-Handoff-Data: from cgi\\nStatus: 404\\n\\nunseen' \
                  \"$QUERY_STRING\"\n";
    let apache = Apache::builder(mpm).cgi().file("go.cgi", script).start();
    assert_eq!(hand_off(&apache, "/go.cgi?{to}"), b"from cgi");
}

fn a_cgi_program_that_nobody_reads_from_comes_to_its_end(mpm: Mpm) {
    // More than a pipe holds.
    let script = "#!/usr/bin/env perl
        print \"X-Socket-Handoff: $ENV{QUERY_STRING}\\n\\n\", 'x' x 300_000;\n";
    let apache = Apache::builder(mpm).cgi().file("go.cgi", script).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    for socket in [daemon.path(), Path::new("/outside"), daemon.path()] {
        let mut client = Client::connect(apache.addr());
        client.get(&format!("/go.cgi?{}", socket.display()));
        if socket == daemon.path() {
            daemon.receive().respond("data: hi\n\n");
            assert_eq!(client.read_response().text(), "data: hi\n\n");
        } else {
            assert_eq!(client.read_response().status(), 403);
        }
        drop(client);
        // httpd's Timeout is as long as our patience.
        apache.wait_until_idle(PATIENCE / 4);
    }
}

#[test]
fn mod_php_hands_off() {
    let apache = Apache::builder(Mpm::Prefork).mod_php().file("go.php", GO_PHP).start();
    assert_eq!(hand_off(&apache, "/go.php?to={to}&data=hello"), b"hello");
}

fn a_handoff_without_data_sends_none(mpm: Mpm) {
    let apache = php(mpm).start();
    assert_eq!(hand_off(&apache, "/go.php?to={to}"), b"");
    assert_eq!(hand_off(&apache, "/go.php?to={to}&data="), b"");
}

fn data_arrives_byte_for_byte(mpm: Mpm) {
    let apache = php(mpm).start();
    assert_eq!(
        hand_off(&apache, "/go.php?to={to}&data=%7B%22a%22%3A%22%C3%A4%FF%09b%22%7D"),
        b"{\"a\":\"\xc3\xa4\xff\tb\"}"
    );
    let long = "x".repeat(8000);
    assert_eq!(hand_off(&apache, &format!("/go.php?to={{to}}&data={long}")).len(), 8000);
}

fn any_status_that_the_application_sets_is_handed_off(mpm: Mpm) {
    let apache = php(mpm).start();
    for status in [201, 204, 301, 304, 404, 503] {
        assert_eq!(hand_off(&apache, &format!("/go.php?to={{to}}&data={status}&status={status}")).len(), 3);
    }
}

fn a_directory_index_and_a_rewritten_url_are_handed_off(mpm: Mpm) {
    let apache = php(mpm)
        .load("rewrite")
        .file("dir/index.php", GO_PHP)
        .vhost("RewriteEngine On\nRewriteRule ^/pretty/(.*)$ /go.php?data=$1 [QSA]")
        .config("<Directory ${DOCROOT}/dir>\nRewriteEngine On\nRewriteRule ^old$ /dir/index.php [QSA]\n</Directory>")
        .start();
    assert_eq!(hand_off(&apache, "/dir/?to={to}&data=index"), b"index");
    assert_eq!(hand_off(&apache, "/pretty/url?to={to}"), b"url");
    assert_eq!(hand_off(&apache, "/dir/old?to={to}&data=redirected"), b"redirected");
}

fn an_error_document_can_hand_off(mpm: Mpm) {
    let page = "<?php header('X-Socket-Handoff: ' . $_SERVER['REDIRECT_QUERY_STRING']);";
    let apache = php(mpm).file("missing.php", page).vhost("ErrorDocument 404 /missing.php").start();
    assert_eq!(hand_off(&apache, "/nothing/here?{to}"), b"");
}

fn an_http_1_0_client_is_handed_off(mpm: Mpm) {
    let apache = php(mpm).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    client.send(format!("GET /go.php?to={} HTTP/1.0\r\n\r\n", daemon.path().display()));
    daemon.receive().respond("data: old\n\n");
    assert_eq!(client.read_response().text(), "data: old\n\n");
}

fn the_operator_can_hand_off_by_configuration(mpm: Mpm) {
    let apache = Apache::builder(mpm)
        .file("page.txt", "x".repeat(300_000))
        .vhost(
            "<Location /page.txt>\nHeader set X-Socket-Handoff \"${RUN}/d.sock\"\n\
             Header set X-Handoff-Data configured\n</Location>",
        )
        .start();
    assert_eq!(hand_off(&apache, "/page.txt"), b"configured");
}

fn the_operators_header_wins_over_the_applications(mpm: Mpm) {
    let apache = php(mpm)
        .vhost("<Location /go.php>\nHeader always set X-Socket-Handoff \"${RUN}/d.sock\"\n</Location>")
        .start();
    assert_eq!(hand_off(&apache, "/go.php?to=/nowhere&data=kept"), b"kept");
}

fn a_compressed_response_is_handed_off(mpm: Mpm) {
    // The second is Debian's way: mod_filter then compresses before any filter of ours.
    for compress in ["SetOutputFilter DEFLATE", "AddOutputFilterByType DEFLATE text/html"] {
        let apache = php(mpm).load("filter").load("deflate").vhost(compress).start();
        let daemon = Receiver::bind(apache.socket_path("d.sock"));
        let get = |to: &str| {
            let mut client = Client::connect(apache.addr());
            client.send(format!("GET /go.php?to={to} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"));
            client
        };
        let mut client = get(daemon.path().to_str().unwrap());
        daemon.receive().respond("data: plain\n\n");
        assert_eq!(client.read_response().text(), "data: plain\n\n", "{compress}");

        // A refusal is one whole response, compressed once or not at all.
        let mut client = get("/outside");
        let refused = client.read_response();
        assert_eq!((refused.status(), refused.ending), (403, Ending::Framed), "{compress}");
        match refused.head.header("content-encoding") {
            None => assert!(refused.text().contains("403 Forbidden"), "{compress}"),
            Some(coding) => {
                assert_eq!((coding, &refused.body[..2]), ("gzip", &b"\x1f\x8b"[..]), "{compress}")
            }
        }
    }
}

fn a_handoff_is_never_cached(mpm: Mpm) {
    let apache = php(mpm)
        .load("cache")
        .load("cache_disk")
        .file(
            "cached.php",
            "<?php header('Cache-Control: public, max-age=600'); header('X-Socket-Handoff: ' . $_GET['to']);",
        )
        .vhost("CacheRoot \"${RUN}\"\nCacheEnable disk /\nCacheIgnoreCacheControl On")
        .start();
    for _ in 0..2 {
        hand_off(&apache, "/cached.php?to={to}");
    }
}

fn a_header_after_the_first_flush_leaves_the_response_whole(mpm: Mpm) {
    let script = "<?php echo 'first '; ob_end_flush(); flush(); header('X-Socket-Handoff: ' . $_GET['to']); echo 'second';";
    let apache = php(mpm).config(FLUSH).file("late.php", script).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let response = Client::fetch(apache.addr(), &format!("/late.php?to={}", daemon.path().display()));
    let text = response.text().to_owned();
    assert!(text.contains("first "), "{text}");
    assert!(text.ends_with("second"), "{text}");
    assert!(daemon.try_receive(std::time::Duration::ZERO).is_none());
}

fn the_stream_begins_at_the_first_flush_not_at_the_end_of_the_script(mpm: Mpm) {
    // The script ends only when the test lets it.
    let script = "<?php header('X-Socket-Handoff: ' . $_GET['to']); echo ' '; ob_end_flush(); flush();
                  while (!file_exists($_GET['until'])) { usleep(10000); clearstatcache(); }";
    let apache = php(mpm).config(FLUSH).file("slow.php", script).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let until = apache.socket_path("until");
    let mut client = Client::connect(apache.addr());
    client.get(&format!("/slow.php?to={}&until={}", daemon.path().display(), until.display()));
    daemon.receive().respond("data: early\n\n");
    assert_eq!(client.read_response().text(), "data: early\n\n");
    // PHP holds its worker until the script ends. Another one may still be closing the harness's own connection.
    wait_until(PATIENCE, "one worker to be busy", || apache.busy_workers() == 1);
    std::fs::write(&until, "").unwrap();
    apache.wait_until_idle(PATIENCE);
}

fn a_subrequest_is_not_handed_off(mpm: Mpm) {
    let apache = php(mpm)
        .load("include")
        .file("page.shtml", "before <!--#include virtual=\"/go.php?to=$RUN/d.sock\" --> after")
        .config("<Directory ${DOCROOT}>\nOptions +Includes\nAddOutputFilter INCLUDES .shtml\n</Directory>")
        .start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let response = Client::fetch(apache.addr(), "/page.shtml");
    assert_eq!(response.text(), "before this body is never seen after");
    assert_eq!(response.head.header("x-socket-handoff"), None);
    assert!(daemon.try_receive(std::time::Duration::ZERO).is_none());
}

/// Both types of daemon sockets, one after the other at the same path.
#[test]
fn a_stream_daemon_is_found_out() {
    let apache = php(Mpm::Event).start();
    for kind in [SocketType::Stream, SocketType::SeqPacket, SocketType::Stream, SocketType::Stream] {
        let daemon = Receiver::bind_as(apache.socket_path("d.sock"), kind);
        let mut client = Client::connect(apache.addr());
        client.get(&format!("/go.php?to={}&data=both", daemon.path().display()));
        let handoff = daemon.receive();
        assert_eq!(handoff.data, b"both");
        handoff.respond("data: hi\n\n");
        assert_eq!(client.read_response().text(), "data: hi\n\n");
        drop(daemon);
        wait_until(PATIENCE, "the socket to go", || !apache.socket_path("d.sock").exists());
    }
}
