//! Connections without a plain socket of their own: HTTP/2 streams and TLS. A handoff there is a clean 503 that says why,
//! and the connection lives on.

use std::process::Command;

use e2e::{Apache, Builder, Mpm, PATIENCE, Receiver, on_each_mpm};

on_each_mpm! {
    a_tls_connection_is_refused_and_lives_on,
}

/// mod_http2 does not run on prefork.
mod on_threads {
    use e2e::Mpm;

    #[test]
    fn an_http2_stream_is_refused_and_its_neighbours_live_on() {
        for mpm in [Mpm::Event, Mpm::Worker] {
            super::an_http2_stream_is_refused_and_its_neighbours_live_on(mpm);
        }
    }

    #[test]
    fn http2_in_clear_text_is_refused() {
        for mpm in [Mpm::Event, Mpm::Worker] {
            super::http2_in_clear_text_is_refused(mpm);
        }
    }

    #[test]
    fn a_connection_upgraded_to_http2_is_refused() {
        for mpm in [Mpm::Event, Mpm::Worker] {
            super::a_connection_upgraded_to_http2_is_refused(mpm);
        }
    }
}

fn site(mpm: Mpm) -> Builder {
    Apache::builder(mpm)
        .php_fpm(4)
        .file(
            "go.php",
            "<?php header('X-Socket-Handoff: ' . $_GET['to']); header('X-Handoff-Data: secret'); echo 'body';",
        )
        .file("neighbour.txt", "neighbour\n")
        .vhost("Header always set X-Always yes")
}

/// What curl prints: for each URL its body, then a line of status, HTTP version and new connections.
#[track_caller]
fn curl(arguments: &[&str]) -> String {
    let format =
        "%{http_code} HTTP/%{http_version} %{num_connects} %header{x-always} %header{x-handoff-data}\\n";
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--max-time", "20", "--write-out", format])
        .args(arguments)
        .output()
        .expect("running curl; run: make setup");
    assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("curl's output in UTF-8")
}

#[track_caller]
fn assert_nothing_came(daemon: &Receiver) {
    assert!(daemon.try_receive(std::time::Duration::ZERO).is_none(), "something was handed off");
}

fn a_tls_connection_is_refused_and_lives_on(mpm: Mpm) {
    let apache = site(mpm).tls().start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let origin = format!("https://{}", apache.tls_addr());
    let refused = format!("{origin}/go.php?to={}", daemon.path().display());
    let output = curl(&["--http1.1", "--output", "/dev/null", &refused, &format!("{origin}/neighbour.txt")]);
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[0], "503 HTTP/1.1 1 yes ", "{output}");
    assert_eq!(lines[1], "neighbour", "{output}");
    assert!(lines[2].starts_with("200 HTTP/1.1"), "{output}");
    apache.wait_for_error_log("a TLS connection cannot be handed off", PATIENCE);
    let line = apache.wait_for_access_log("/go.php", PATIENCE);
    assert!(line.ends_with("handoff=refused:tls"), "{line}");
    assert_nothing_came(&daemon);
}

fn an_http2_stream_is_refused_and_its_neighbours_live_on(mpm: Mpm) {
    // The neighbour is being answered while the other stream is refused, and ends after it.
    let neighbour = "<?php echo 'begun '; ob_end_flush(); flush();
        while (!file_exists($_GET['until'])) { usleep(5000); clearstatcache(); } echo 'ended';";
    let apache =
        site(mpm).load("http2").tls().vhost("Protocols h2 http/1.1").file("slow.php", neighbour).start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let until = apache.socket_path("until");
    let origin = format!("https://{}", apache.tls_addr());
    let slow = format!("{origin}/slow.php?until={}", until.display());
    let go = format!("{origin}/go.php?to={}", daemon.path().display());
    let output = std::thread::scope(|scope| {
        let curl = scope.spawn(|| curl(&["--http2", "--parallel", &slow, &go]));
        apache.wait_for_error_log("an HTTP/2 stream cannot be handed off", PATIENCE);
        std::fs::write(&until, "").unwrap();
        curl.join().unwrap()
    });
    assert!(output.contains("503 HTTP/2 "), "{output}");
    // In which order curl prints the parts of the two is up to it.
    assert!(output.contains("begun ") && output.contains("ended200 HTTP/2 "), "{output}");
    let connections: u32 =
        output.split(" HTTP/2 ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<u32>().ok()).sum();
    assert_eq!(connections, 1, "both streams were on one connection: {output}");
    let line = apache.wait_for_access_log("/go.php", PATIENCE);
    assert!(line.ends_with("handoff=refused:http2"), "{line}");
    assert_nothing_came(&daemon);
}

fn http2_in_clear_text_is_refused(mpm: Mpm) {
    let apache = site(mpm).load("http2").vhost("Protocols h2c http/1.1").start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let go = format!("{}{}", apache.url("/go.php?to="), daemon.path().display());
    let output = curl(&["--http2-prior-knowledge", &go]);
    assert!(output.ends_with("503 HTTP/2 1 yes \n"), "{output}");
    assert_nothing_came(&daemon);
}

fn a_connection_upgraded_to_http2_is_refused(mpm: Mpm) {
    let apache = site(mpm).load("http2").vhost("Protocols h2c http/1.1\nH2Upgrade on").start();
    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let go = format!("{}{}", apache.url("/go.php?to="), daemon.path().display());
    let output = curl(&["--http2", &go]);
    assert!(output.ends_with("503 HTTP/2 1 yes \n"), "{output}");
    assert_nothing_came(&daemon);
}
