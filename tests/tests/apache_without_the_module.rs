//! The harness itself, on Apache without our module: what the other tests rely on.

use std::time::Duration;

use e2e::{Apache, Client, Ending, Mpm, PATIENCE, on_each_mpm};

on_each_mpm! {
    a_static_file_is_served,
    php_fpm_answers,
    a_graceful_restart_brings_new_children,
    a_worker_with_a_half_sent_request_is_busy,
    nothing_is_left_behind,
    a_reset_client_does_no_harm,
}

fn plain(mpm: Mpm) -> e2e::Builder {
    Apache::builder(mpm).without_socket_handoff().file("hello.txt", "hello\n")
}

fn a_static_file_is_served(mpm: Mpm) {
    let apache = plain(mpm).start();
    let response = Client::fetch(apache.addr(), "/hello.txt");
    assert_eq!((response.status(), response.text(), response.ending), (200, "hello\n", Ending::Framed));
    assert_eq!(response.head.header("content-type"), Some("text/plain"));
    let line = apache.wait_for_access_log("/hello.txt", PATIENCE);
    assert!(line.ends_with("handoff=-"), "{line}");
}

fn php_fpm_answers(mpm: Mpm) {
    let apache = plain(mpm).php_fpm(1).file("id.php", "<?php echo PHP_SAPI, ' ', $_GET['q'];").start();
    assert_eq!(Client::fetch(apache.addr(), "/id.php?q=yes").text(), "fpm-fcgi yes");
}

fn a_graceful_restart_brings_new_children(mpm: Mpm) {
    let mut apache = plain(mpm).start();
    let before = apache.children();
    apache.graceful_restart();
    assert_ne!(apache.children(), before);
    assert_eq!(Client::fetch(apache.addr(), "/hello.txt").status(), 200);
    assert!(apache.graceful_stop(PATIENCE).success());
}

fn a_worker_with_a_half_sent_request_is_busy(mpm: Mpm) {
    let apache = plain(mpm)
        .php_fpm(1)
        .file("body.php", "<?php echo strlen(file_get_contents('php://input'));")
        .start();
    apache.wait_until_idle(PATIENCE);
    let mut client = Client::connect(apache.addr());
    client.send("POST /body.php HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345");
    e2e::wait_until(PATIENCE, "a busy worker", || apache.busy_workers() == 1);
    client.send("67890");
    assert_eq!(client.read_response().text(), "10");
    apache.wait_until_idle(PATIENCE);
}

fn nothing_is_left_behind(mpm: Mpm) {
    let apache = plain(mpm).cgi().php_fpm(2).start();
    let mut processes = apache.children();
    processes.extend(apache.php().server().children());
    processes.extend([apache.server().pid(), apache.php().server().pid()]);
    let root = apache.root().to_owned();
    drop(apache);
    assert!(!root.exists(), "{}", root.display());
    for pid in processes {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "still running: {stat}");
    }
}

fn a_reset_client_does_no_harm(mpm: Mpm) {
    let apache = plain(mpm).start();
    let mut client = Client::connect(apache.addr());
    client.send("GET /hello.txt HTTP/1.1\r\nHo");
    client.reset();
    apache.wait_until_idle(PATIENCE);
    assert_eq!(Client::fetch(apache.addr(), "/hello.txt").status(), 200);
}

#[test]
fn a_cgi_script_runs() {
    for mpm in Mpm::ALL {
        let script = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\ncgi'\n";
        let apache = plain(mpm).cgi().file("run.cgi", script).start();
        assert_eq!(Client::fetch(apache.addr(), "/run.cgi").text(), "cgi", "{mpm}");
    }
}

#[test]
fn mod_php_answers() {
    let apache = plain(Mpm::Prefork).mod_php().file("id.php", "<?php echo PHP_SAPI;").start();
    assert_eq!(Client::fetch(apache.addr(), "/id.php").text(), "apache2handler");
}

#[test]
fn pipelined_responses_come_one_by_one() {
    let apache = plain(Mpm::Event).file("second.txt", "second\n").start();
    let mut client = Client::connect(apache.addr());
    client.get("/hello.txt");
    client.get("/second.txt");
    assert_eq!(client.read_response().text(), "hello\n");
    assert_eq!(client.read_response().text(), "second\n");
}

#[test]
fn a_client_that_waits_too_long_is_told() {
    let apache = plain(Mpm::Event).start();
    let mut client = Client::connect(apache.addr()).patience(Duration::from_millis(50));
    client.send("GET /");
    assert_eq!(client.read_to_end(), (Vec::new(), Ending::TimedOut));
}

#[test]
fn tls_answers() {
    let apache = plain(Mpm::Event).tls().start();
    let output = std::process::Command::new("curl")
        .args(["-sk", &format!("https://{}/hello.txt", apache.tls_addr())])
        .output()
        .expect("running curl");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
}

#[test]
fn a_wrong_directive_fails_the_configtest() {
    assert!(plain(Mpm::Event).configtest().status.success());
    let output = plain(Mpm::Event).config("NoSuchDirective On").configtest();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("NoSuchDirective"));
}
