//! The directives: what they take, where they may stand, and how virtual hosts and sections inherit them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use e2e::{Apache, Builder, Client, HungReceiver, Mpm, PATIENCE, Receiver, on_each_mpm};

on_each_mpm! {
    a_virtual_host_with_another_directive_keeps_the_servers_prefix,
    a_virtual_host_with_its_own_prefix_keeps_the_servers_timeout,
    a_virtual_hosts_value_wins_over_the_servers,
    enabled_can_be_switched_for_a_directory_and_for_a_location,
    a_section_that_sets_another_directive_inherits_enabled,
    allow_proxied_can_be_switched_for_a_location,
    directives_are_refused_in_htaccess,
}

/// Each directive, values that it takes, values that it refuses, and what is allowed in the words of the refusal.
const DIRECTIVES: [(&str, &[&str], &[&str], &str); 9] = [
    ("SocketHandoffEnabled", &["On", "off", "OFF"], &["yes", "1", "true"], "must be On or Off"),
    ("SocketHandoffAllowProxied", &["on", "Off"], &["no", "0", "All"], "must be On or Off"),
    (
        "SocketHandoffAllowedPrefix",
        &["/var/run", "/var/run/", "/srv/does not exist yet", "/run/..hidden"],
        &["run", "./run", "../run"],
        "must be an absolute directory",
    ),
    ("SocketHandoffConnectTimeoutMs", &["1", "500", "60000"], WRONG_MS, "a whole number from 1 to 60000"),
    ("SocketHandoffSendTimeoutMs", &["1", "200", "60000"], WRONG_MS, "a whole number from 1 to 60000"),
    (
        "SocketHandoffMaxRetries",
        &["0", "2", "10"],
        &["11", "-1", "two", "1.5"],
        "a whole number from 0 to 10",
    ),
    (
        "SocketHandoffDrainBytes",
        &["0", "65536", "64k", "1M", "2g"],
        &["-1", "1t", "m", "1 m", "1.5m", "1025g", "99999999999999999999"],
        "a number of bytes such as 65536, 64k or 1m",
    ),
    ("SocketHandoffDrainMs", &["1", "1000", "60000"], WRONG_MS, "a whole number from 1 to 60000"),
    (
        "SocketHandoffMaxDataSize",
        &["1", "16m", "1g"],
        &["0", "1025m", "-1", "1.5m"],
        "a number of bytes such as 65536, 64k or 1m, from 1 to 1g",
    ),
];

const WRONG_MS: &[&str] = &["0", "60001", "-5", "+5", "1s", "0x10", "soon", "99999999999999999999"];

/// A value as one argument.
fn quoted(value: &str) -> String {
    format!("\"{value}\"")
}

/// What `configtest` says to `directives`, if it refuses them.
fn refusal(directives: &str) -> Option<String> {
    let output = Apache::builder(Mpm::Event).config(directives).configtest();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_wrong_value_stops_configtest_with_a_sentence_that_says_what_is_allowed() {
    for (name, _, wrong, allowed) in DIRECTIVES {
        for value in wrong {
            let said = refusal(&format!("{name} {}", quoted(value)));
            let said = said.unwrap_or_else(|| panic!("{name} {value} is accepted"));
            let sentence = said.lines().find(|line| line.starts_with(name));
            let sentence = sentence.unwrap_or_else(|| panic!("no sentence about {name} {value}: {said}"));
            assert!(sentence.contains(allowed), "{name} {value}: {sentence}");
            assert!(sentence.contains(&format!("'{}'", value)), "{name} {value}: {sentence}");
            assert!(said.contains("httpd.conf:"), "it names the place: {said}");
        }
    }
}

#[test]
fn a_prefix_that_allows_everything_or_climbs_is_refused() {
    for value in ["/", "//", "/./", "/."] {
        let said = refusal(&format!("SocketHandoffAllowedPrefix {value}")).expect(value);
        assert!(said.contains("must name a directory below '/'"), "{value}: {said}");
    }
    for value in ["/run/..", "/run/../etc", "/.."] {
        let said = refusal(&format!("SocketHandoffAllowedPrefix {value}")).expect(value);
        assert!(said.contains("must not contain '..'"), "{value}: {said}");
    }
}

#[test]
fn what_is_wrong_with_a_declared_daemon_is_said() {
    for (words, allowed) in [
        ("", "SocketHandoffDaemon must be followed by the path of a daemon's socket"),
        ("daemon.sock protocol=2", "SocketHandoffDaemon must be an absolute path"),
        ("/run/d.sock protocol=3", "SocketHandoffDaemon protocol= must be 1 or 2, not '3'"),
        ("/run/d.sock protocol=2 pol=3", "SocketHandoffDaemon takes settings protocol=, fallback=,"),
        ("/run/d.sock user=nobody-of-this-name", "must be a user of this system, or # and a user id"),
        ("/run/d.sock fallback=/run/e.sock", "fallback= needs protocol=2"),
        ("/run/d.sock protocol=2 ack_timeout_ms=0", "ack_timeout_ms= must be a whole number from 1 to 60000"),
        (
            "/run/d.sock\nSocketHandoffDaemon /run/d.sock",
            "is there twice for '/run/d.sock' in the same server",
        ),
    ] {
        let said = refusal(&format!("SocketHandoffDaemon {words}")).expect(words);
        assert!(said.contains(allowed), "{words}: {said}");
        assert!(said.contains("httpd.conf:"), "it names the place: {said}");
    }
    let said = refusal("<Location />\nSocketHandoffDaemon /run/d.sock\n</Location>").unwrap();
    assert!(said.contains("SocketHandoffDaemon not allowed"), "{said}");
}

#[test]
fn daemons_are_declared_in_the_server_and_again_in_a_virtual_host() {
    let root = "SocketHandoffDaemon /run/d.sock protocol=2 user=root\n\
                SocketHandoffDaemon /run/other.sock \"fallback=/run/with space.sock\" protocol=2 pool=0";
    let output = Apache::builder(Mpm::Event)
        .config(root)
        .vhost("SocketHandoffDaemon /run/d.sock protocol=2 user=#0 ack_timeout_ms=5")
        .configtest();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn right_values_pass_in_the_server_and_in_a_virtual_host() {
    let most = DIRECTIVES.iter().map(|(_, right, _, _)| right.len()).max().unwrap();
    for round in 0..most {
        let lines: String = DIRECTIVES
            .iter()
            .map(|(name, right, _, _)| format!("{name} {}\n", quoted(right[round % right.len()])))
            .collect();
        let output = Apache::builder(Mpm::Event).config(&lines).vhost(&lines).configtest();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{lines}{said}");
    }
}

#[test]
fn each_directive_takes_exactly_one_value() {
    for (name, right, _, _) in DIRECTIVES {
        for arguments in [String::new(), "\"\"".to_owned(), format!("{0} {0}", quoted(right[0]))] {
            let said = refusal(&format!("{name} {arguments}")).expect(name);
            assert!(said.contains(&format!("{name} takes one argument")), "{said}");
        }
    }
}

#[test]
fn only_what_makes_sense_for_a_directory_may_stand_in_one() {
    for (name, right, _, _) in DIRECTIVES {
        let for_directories = matches!(name, "SocketHandoffEnabled" | "SocketHandoffAllowProxied");
        for (open, close) in [
            ("<Directory /srv>", "</Directory>"),
            ("<Location /app>", "</Location>"),
            ("<Files index.php>", "</Files>"),
        ] {
            let said = refusal(&format!("{open}\n{name} {}\n{close}", quoted(right[0])));
            match said {
                None => assert!(for_directories, "{name} is accepted in {open}"),
                Some(said) => {
                    assert!(!for_directories, "{said}");
                    assert!(said.contains(&format!("{name} not allowed")), "{said}");
                }
            }
        }
    }
}

fn directives_are_refused_in_htaccess(mpm: Mpm) {
    let builder = Apache::builder(mpm).config("<Directory \"${DOCROOT}\">\nAllowOverride All\n</Directory>");
    let builder = DIRECTIVES.iter().fold(builder, |builder, (name, right, _, _)| {
        builder
            .file(&format!("{name}/.htaccess"), format!("{name} {}\n", quoted(right[0])))
            .file(&format!("{name}/page.txt"), "page\n")
    });
    let apache = builder.start();
    for (name, ..) in DIRECTIVES {
        assert_eq!(Client::fetch(apache.addr(), &format!("/{name}/page.txt")).status(), 500, "{name}");
        apache.wait_for_error_log(&format!("{name} not allowed here"), PATIENCE);
    }
}

const HAND_OFF: &str = "<?php
header('X-Socket-Handoff: ' . $_GET['to']);
echo 'from Apache';";

fn php(mpm: Mpm) -> Builder {
    Apache::builder(mpm).php_fpm(2).file("go.php", HAND_OFF)
}

fn target(daemon: &Path) -> String {
    format!("/go.php?to={}", daemon.display())
}

#[track_caller]
fn assert_handed_off(apache: &Apache, target: &str, daemon: &Receiver) {
    let mut client = Client::connect(apache.addr());
    client.get(target);
    daemon.receive().respond("data: hi\n\n");
    assert_eq!(client.read_response().text(), "data: hi\n\n");
}

#[track_caller]
fn assert_answered_by_apache(apache: &Apache, target: &str, note: &str) {
    let response = Client::fetch(apache.addr(), target);
    assert_eq!((response.status(), response.text()), (200, "from Apache"));
    assert_eq!(response.head.header("x-socket-handoff"), None);
    let line = apache.wait_for_access_log(target, PATIENCE);
    assert!(line.ends_with(&format!("handoff=ignored:{note}")), "{line}");
}

fn outside(apache: &Apache, name: &str) -> std::path::PathBuf {
    let directory = apache.root().join("outside");
    fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

fn a_virtual_host_with_another_directive_keeps_the_servers_prefix(mpm: Mpm) {
    let apache = php(mpm).vhost("SocketHandoffMaxRetries 1\nSocketHandoffEnabled On").start();
    let inside = Receiver::bind(apache.socket_path("d.sock"));
    assert_handed_off(&apache, &target(inside.path()), &inside);
    let outside = Receiver::bind(outside(&apache, "d.sock"));
    assert_eq!(Client::fetch(apache.addr(), &target(outside.path())).status(), 403);
    assert!(outside.accept(Duration::ZERO).is_none());
}

fn a_virtual_host_with_its_own_prefix_keeps_the_servers_timeout(mpm: Mpm) {
    let apache = php(mpm)
        .config("SocketHandoffConnectTimeoutMs 111")
        .vhost("SocketHandoffAllowedPrefix ${ROOT}/outside")
        .start();
    let hung = HungReceiver::bind(outside(&apache, "hung.sock"));
    assert_eq!(Client::fetch(apache.addr(), &target(hung.path())).status(), 504);
    apache.wait_for_error_log("did not accept within 111ms", PATIENCE);
    let servers = Receiver::bind(apache.socket_path("d.sock"));
    assert_eq!(Client::fetch(apache.addr(), &target(servers.path())).status(), 403, "the server's prefix");
}

fn a_virtual_hosts_value_wins_over_the_servers(mpm: Mpm) {
    let apache = php(mpm).config("SocketHandoffMaxRetries 7").vhost("SocketHandoffMaxRetries 1").start();
    let missing = apache.socket_path("missing.sock");
    assert_eq!(Client::fetch(apache.addr(), &target(&missing)).status(), 503);
    apache.wait_for_error_log("after 2 attempt(s)", PATIENCE);
}

fn enabled_can_be_switched_for_a_directory_and_for_a_location(mpm: Mpm) {
    let apache = php(mpm)
        .vhost("<Directory \"${DOCROOT}/off\">\nSocketHandoffEnabled Off\n</Directory>")
        .vhost("<Location /off/on>\nSocketHandoffEnabled On\n</Location>")
        .file("off/go.php", HAND_OFF)
        .file("off/on/go.php", HAND_OFF)
        .start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let target = target(daemon.path());
    assert_handed_off(&apache, &target, &daemon);
    assert_answered_by_apache(&apache, &format!("/off{target}"), "switched-off");
    assert_handed_off(&apache, &format!("/off/on{target}"), &daemon);
}

fn a_section_that_sets_another_directive_inherits_enabled(mpm: Mpm) {
    let apache = php(mpm)
        .config("SocketHandoffEnabled Off")
        .vhost("SocketHandoffAllowProxied On")
        .vhost("<Location />\nSocketHandoffAllowProxied Off\n</Location>")
        .start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    assert_answered_by_apache(&apache, &target(daemon.path()), "switched-off");
    assert!(daemon.accept(Duration::ZERO).is_none());
}

fn allow_proxied_can_be_switched_for_a_location(mpm: Mpm) {
    let builder = Apache::builder(mpm).load("proxy_http");
    let daemon = Receiver::bind(builder.socket_path("d.sock"));
    let apache = builder
        .vhost(&format!(
            "ProxyPass /by-default http://{0}/\nProxyPass /trusted http://{0}/",
            upstream(daemon.path())
        ))
        .vhost("<Location /trusted>\nSocketHandoffAllowProxied On\n</Location>")
        .vhost("<Location /trusted/not>\nSocketHandoffAllowProxied Off\n</Location>")
        .start();
    assert_answered_by_apache(&apache, "/by-default", "proxied");
    assert_handed_off(&apache, "/trusted", &daemon);
    assert_answered_by_apache(&apache, "/trusted/not", "proxied");
}

/// An upstream that answers three requests, each with a handoff to `daemon`.
fn upstream(daemon: &Path) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let response = format!(
        "HTTP/1.1 200 OK\r\nX-Socket-Handoff: {}\r\nContent-Length: 11\r\nConnection: close\r\n\r\nfrom Apache",
        daemon.display()
    );
    std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut bytes = [0; 4096];
            while !request.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut bytes).unwrap();
                assert_ne!(count, 0, "the whole request");
                request.extend_from_slice(&bytes[..count]);
            }
            stream.write_all(response.as_bytes()).unwrap();
        }
    });
    address
}
