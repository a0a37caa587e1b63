//! A refused handoff is a real response: its status, its headers once each, its error document.

use e2e::{Apache, Builder, Client, Mpm, PATIENCE, on_each_mpm};

on_each_mpm! {
    a_refusal_has_the_operators_headers_once_each,
    a_refusal_of_an_operators_handoff_has_them_once_each,
    a_refusal_keeps_the_applications_error_headers,
    an_error_document_can_be_text,
    an_error_document_can_be_a_page,
    an_error_document_can_be_a_php_script,
    the_rest_of_a_long_body_is_dropped,
    the_connection_serves_the_next_request,
    an_ambiguous_header_is_not_guessed,
    a_body_does_not_go_to_a_daemon_that_is_not_declared,
}

/// Hands off to a daemon that is not there.
const GO_PHP: &str = "<?php
header('X-Socket-Handoff: ' . ($_GET['to'] ?? $_SERVER['RUN'] . '/nobody.sock'));
header('Set-Cookie: session=1');
echo str_repeat('long body ', 50000);";

fn php(mpm: Mpm) -> Builder {
    Apache::builder(mpm)
        .php_fpm(2)
        .config("SocketHandoffMaxRetries 0\nSetEnv RUN ${RUN}")
        .file("go.php", GO_PHP)
        .file("unused.txt", "ok\n")
}

const ALWAYS: &str = "Header always set Access-Control-Allow-Origin *\nHeader set X-On-Success yes\n\
    Header always append X-Appended once";

#[track_caller]
fn assert_refused_with_headers_once(apache: &Apache, target: &str) {
    let response = Client::fetch(apache.addr(), target);
    assert_eq!(response.status(), 503);
    assert_eq!(response.head.all("access-control-allow-origin"), ["*"]);
    assert_eq!(response.head.all("x-appended"), ["once"]);
    assert_eq!(response.head.all("retry-after"), ["1"]);
    assert!(!response.text().contains("nobody.sock"), "the path is not the client's business");
    let line = apache.wait_for_access_log(target, PATIENCE);
    assert!(line.contains(" 503 ") && line.ends_with("handoff=refused:daemon-missing"), "{line}");
}

fn a_refusal_has_the_operators_headers_once_each(mpm: Mpm) {
    let apache = php(mpm).vhost(ALWAYS).start();
    assert_refused_with_headers_once(&apache, "/go.php");
}

fn a_refusal_of_an_operators_handoff_has_them_once_each(mpm: Mpm) {
    let apache = php(mpm)
        .vhost(ALWAYS)
        .vhost("<Location /unused.txt>\nHeader set X-Socket-Handoff ${RUN}/nobody.sock\n</Location>")
        .start();
    assert_refused_with_headers_once(&apache, "/unused.txt");
}

fn a_refusal_keeps_the_applications_error_headers(mpm: Mpm) {
    let apache = php(mpm).vhost(ALWAYS).start();
    let response = Client::fetch(apache.addr(), "/go.php");
    assert_eq!(response.head.all("set-cookie"), ["session=1"], "php-fpm's headers are for all responses");
}

fn an_error_document_can_be_text(mpm: Mpm) {
    let apache = php(mpm).vhost(ALWAYS).vhost("ErrorDocument 503 \"come back later\"").start();
    assert_eq!(Client::fetch(apache.addr(), "/go.php").text(), "come back later");
    assert_refused_with_headers_once(&apache, "/go.php?again");
}

fn an_error_document_can_be_a_page(mpm: Mpm) {
    let apache = php(mpm).vhost(ALWAYS).vhost("ErrorDocument 503 /unused.txt").start();
    assert_eq!(Client::fetch(apache.addr(), "/go.php").text(), "ok\n");
    assert_refused_with_headers_once(&apache, "/go.php?again");
}

const SORRY_PHP: &str =
    "<?php echo 'sorry, ', $_SERVER['REDIRECT_STATUS'], ' for ', $_SERVER['REDIRECT_URL'];";

fn an_error_document_can_be_a_php_script(mpm: Mpm) {
    let apache =
        php(mpm).file("sorry.php", SORRY_PHP).vhost(ALWAYS).vhost("ErrorDocument 503 /sorry.php").start();
    assert_eq!(Client::fetch(apache.addr(), "/go.php").text(), "sorry, 503 for /go.php");
    assert_refused_with_headers_once(&apache, "/go.php?again");
}

/// mod_php runs the error document in the same process while the first script's request is ending.
#[test]
fn an_error_document_can_be_a_php_script_under_mod_php() {
    let apache = Apache::builder(Mpm::Prefork)
        .mod_php()
        .config("SocketHandoffMaxRetries 0\nSetEnv RUN ${RUN}")
        .file("go.php", GO_PHP)
        .file("short.php", "<?php header('X-Socket-Handoff: ' . $_SERVER['RUN'] . '/nobody.sock');")
        .file("sorry.php", SORRY_PHP)
        .vhost(ALWAYS)
        .vhost("ErrorDocument 503 /sorry.php")
        .start();
    for script in ["/short.php", "/go.php"] {
        let response = Client::fetch(apache.addr(), script);
        assert_eq!((response.status(), response.text()), (503, format!("sorry, 503 for {script}").as_str()));
        assert_refused_with_headers_once(&apache, &format!("{script}?again"));
    }
}

fn the_rest_of_a_long_body_is_dropped(mpm: Mpm) {
    let apache = php(mpm).start();
    let response = Client::fetch(apache.addr(), "/go.php");
    assert_eq!(response.status(), 503);
    assert!(!response.text().contains("long body"), "{}", response.text());
    assert!(response.body.len() < 1000, "{} bytes", response.body.len());
}

fn the_connection_serves_the_next_request(mpm: Mpm) {
    let apache = php(mpm).start();
    let mut client = Client::connect(apache.addr());
    // A 403 keeps the connection, as with any other 403.
    client.get("/go.php?to=/etc/passwd");
    assert_eq!(client.read_response().status(), 403);
    client.get("/unused.txt");
    assert_eq!(client.read_response().text(), "ok\n");
}

fn an_ambiguous_header_is_not_guessed(mpm: Mpm) {
    let apache = php(mpm)
        .vhost(
            "<Location /unused.txt>\nHeader add X-Socket-Handoff ${RUN}/a.sock\n\
             Header add X-Socket-Handoff ${RUN}/b.sock\n</Location>",
        )
        .start();
    assert_eq!(Client::fetch(apache.addr(), "/unused.txt").status(), 502);
    apache.wait_for_error_log("X-Socket-Handoff was sent twice", PATIENCE);
    // httpd joins what a script sends twice, to a path that does not exist.
    let script =
        "<?php header('X-Socket-Handoff: /run/a.sock'); header('X-Socket-Handoff: /run/b.sock', false);";
    apache.write("twice.php", script);
    assert_eq!(Client::fetch(apache.addr(), "/twice.php").status(), 403);
}

fn a_body_does_not_go_to_a_daemon_that_is_not_declared(mpm: Mpm) {
    let script =
        "<?php header('X-Socket-Handoff: /run/a.sock'); header('X-Handoff-Data-From: body'); echo 'prompt';";
    let apache = php(mpm).file("body.php", script).start();
    let response = Client::fetch(apache.addr(), "/body.php");
    assert_eq!(response.status(), 502);
    assert!(!response.text().contains("prompt"));
    apache.wait_for_error_log("SocketHandoffDaemon /run/a.sock protocol=2", PATIENCE);
}
