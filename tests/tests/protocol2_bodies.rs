//! `X-Handoff-Data-From: body`: the response's body is what the daemon gets as data, whole or not at all.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use e2e::{Apache, Builder, Client, Ending, Mpm, Offers, PATIENCE, Taken, on_each_mpm};

on_each_mpm! {
    php_fpm_sends_its_body_of_any_length_up_to_the_limit,
    a_cgi_program_sends_its_body_of_any_length_up_to_the_limit,
    a_body_that_is_flushed_in_pieces_arrives_whole,
    a_megabyte_arrives_as_it_was_sent,
    what_compresses_responses_does_not_compress_data,
    a_body_that_php_has_compressed_is_refused_with_the_settings_name,
    a_script_that_dies_amid_its_body_hands_nothing_off,
    an_upstream_that_breaks_off_its_body_hands_nothing_off,
    a_body_beside_data_in_the_header_is_refused,
    the_operator_can_choose_the_daemon_and_replace_the_data,
    an_operator_who_asks_for_the_body_is_told_that_it_is_too_late,
    a_body_is_for_a_head_request_too,
    data_does_not_go_to_the_client_where_handoffs_are_off,
}

const LIMIT: usize = 100_000;

/// So many bytes, each four of which tell where they are.
const PHP: &str = "<?php
header('X-Socket-Handoff: ' . $_GET['to']);
header('X-Handoff-Data-From: ' . ($_GET['from'] ?? 'body'));
if (isset($_GET['data'])) header('X-Handoff-Data: ' . $_GET['data']);
$bytes = (int) $_GET['bytes'];
$body = substr(pack('N*', ...range(0, intdiv($bytes, 4))), 0, $bytes);
if (!isset($_GET['piece'])) { echo $body; return; }
while (ob_get_level()) ob_end_clean();
foreach (str_split($body, (int) $_GET['piece']) as $number => $piece) {
    echo $piece;
    flush();
    if ($number == ($_GET['die'] ?? -1)) posix_kill(getmypid(), 9);
}";

fn expected(bytes: usize) -> Vec<u8> {
    (0..).flat_map(u32::to_be_bytes).take(bytes).collect()
}

/// Without this, mod_proxy_fcgi keeps what PHP flushes until the script ends or a buffer is full.
const FLUSH: &str = "<Proxy \"unix:${PHP_SOCKET}|fcgi://localhost\">\nProxySet flushpackets=on\n</Proxy>";

fn declared(builder: Builder) -> Builder {
    builder.daemon("d.sock", "protocol=2").vhost("SocketHandoffMaxDataSize 100000")
}

fn php(mpm: Mpm) -> Builder {
    declared(Apache::builder(mpm).php_fpm(2).file("go.php", PHP))
}

fn daemon(apache: &Apache) -> Offers {
    Offers::bind(apache.socket_path("d.sock"))
}

/// Asks for `target` with the daemon's path for `{to}`, in a request with these header fields too.
fn ask(apache: &Apache, daemon: &Offers, target: &str, fields: &str) -> Client {
    let target = target.replace("{to}", daemon.path().to_str().unwrap());
    let mut client = Client::connect(apache.addr());
    client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
    client
}

/// The handoff that the answer to `target` becomes. The client then gets the daemon's response, and nothing else.
#[track_caller]
fn hand_off(apache: &Apache, target: &str, fields: &str) -> Vec<u8> {
    let daemon = daemon(apache);
    let mut client = ask(apache, &daemon, target, fields);
    let taken = daemon.take();
    assert_eq!(names(&taken), Vec::<String>::new(), "of a body that nobody sends");
    let data = taken.handoff.data.clone();
    taken.respond("data: hi\n\n");
    let response = client.read_response();
    assert_eq!((response.status(), response.text(), response.ending), (200, "data: hi\n\n", Ending::Closed));
    data
}

/// Fields of the application that begin with "Content-".
fn names(taken: &Taken) -> Vec<String> {
    let fields = taken.envelope.response_headers.iter();
    let names = fields.map(|(name, _)| name.as_str().unwrap().to_lowercase());
    names.filter(|name| name.starts_with("content-")).collect()
}

/// The refusal that the answer to `target` becomes, with this sentence in the log. No daemon hears of it.
#[track_caller]
fn refused(apache: &Apache, target: &str, fields: &str, status: u16, sentence: &str) {
    let daemon = daemon(apache);
    let response = ask(apache, &daemon, target, fields).read_response();
    assert_eq!((response.status(), response.ending), (status, Ending::Framed), "{target}");
    assert_eq!(response.head.header("content-encoding"), None);
    assert!(response.text().starts_with("<!DOCTYPE HTML"), "{}", response.text());
    apache.wait_for_error_log(sentence, PATIENCE);
    assert!(daemon.try_receive(Duration::ZERO).is_none());
}

#[track_caller]
fn assert_lengths(apache: &Apache, target: &str) {
    for bytes in [0, 1, 8191, 8192, 8193, LIMIT - 1, LIMIT] {
        let data = hand_off(apache, &format!("{target}{bytes}"), "");
        assert!(data == expected(bytes), "{bytes} bytes came as {}", data.len());
    }
    for bytes in [LIMIT + 1, 10 * LIMIT] {
        let sentence = "longer than SocketHandoffMaxDataSize 100000";
        refused(apache, &format!("{target}{bytes}"), "", 413, sentence);
    }
    // A program that nobody reads from would hold its worker for as long as Timeout says.
    apache.wait_until_idle(PATIENCE / 4);
    // Whatever became of it, the next one is whole.
    assert!(hand_off(apache, &format!("{target}50000"), "") == expected(50_000));
}

fn php_fpm_sends_its_body_of_any_length_up_to_the_limit(mpm: Mpm) {
    // With a filter between collector and taker, and without.
    for config in ["", "Header always set X-Frame-Options DENY"] {
        assert_lengths(&php(mpm).vhost(config).start(), "/go.php?to={to}&bytes=");
    }
}

#[test]
fn mod_php_sends_its_body_of_any_length_up_to_the_limit() {
    let apache = declared(Apache::builder(Mpm::Prefork).mod_php().file("go.php", PHP)).start();
    assert_lengths(&apache, "/go.php?to={to}&bytes=");
}

#[test]
fn what_mod_php_flushes_arrives_whole_and_what_it_compresses_is_refused() {
    let script = PHP.replace("<?php", "<?php ini_set('zlib.output_compression', 'On');");
    let builder = Apache::builder(Mpm::Prefork).mod_php().file("go.php", PHP).file("gzip.php", script);
    let apache = declared(builder).start();
    let data = hand_off(&apache, "/go.php?to={to}&bytes=20000&piece=777", "");
    assert!(data == expected(20_000), "{} bytes", data.len());
    let target = "/go.php?to={to}&bytes=200000&piece=7777";
    refused(&apache, target, "", 413, "longer than SocketHandoffMaxDataSize 100000");
    let gzip = "Accept-Encoding: gzip\r\n";
    refused(&apache, "/gzip.php?to={to}&bytes=20000", gzip, 502, "zlib.output_compression");
}

fn a_cgi_program_sends_its_body_of_any_length_up_to_the_limit(mpm: Mpm) {
    let script = "#!/usr/bin/env perl
        my ($to, $bytes) = split /:/, $ENV{QUERY_STRING};
        print \"X-Socket-Handoff: $to\\nX-Handoff-Data-From: body\\nContent-Type: text/plain\\n\\n\";
        print substr(pack('N*', 0 .. $bytes / 4), 0, $bytes);\n";
    let apache = declared(Apache::builder(mpm).cgi().file("go.cgi", script)).start();
    assert_lengths(&apache, "/go.cgi?{to}:");
}

fn a_body_that_is_flushed_in_pieces_arrives_whole(mpm: Mpm) {
    let apache = php(mpm).config(FLUSH).start();
    let data = hand_off(&apache, "/go.php?to={to}&bytes=20000&piece=777", "");
    assert!(data == expected(20_000), "{} bytes", data.len());
    let target = "/go.php?to={to}&bytes=200000&piece=7777";
    refused(&apache, target, "", 413, "longer than SocketHandoffMaxDataSize 100000");
}

fn a_megabyte_arrives_as_it_was_sent(mpm: Mpm) {
    let builder = Apache::builder(mpm).php_fpm(2).file("go.php", PHP).daemon("d.sock", "protocol=2");
    let data = hand_off(&builder.start(), "/go.php?to={to}&bytes=1000000", "");
    assert!(data == expected(1_000_000), "{} bytes", data.len());
}

fn what_compresses_responses_does_not_compress_data(mpm: Mpm) {
    // The second is Debian's way, by mod_filter.
    for compress in ["SetOutputFilter DEFLATE", "AddOutputFilterByType DEFLATE text/html"] {
        let apache = php(mpm)
            .load("filter")
            .load("deflate")
            .vhost(compress)
            .file("page.php", "<?php echo str_repeat('compress me ', 1000);")
            .start();
        let gzip = "Accept-Encoding: gzip\r\n";
        let page = ask(&apache, &daemon(&apache), "/page.php", gzip).read_response();
        assert_eq!(page.head.header("content-encoding"), Some("gzip"), "{compress}");
        let data = hand_off(&apache, "/go.php?to={to}&bytes=20000", gzip);
        assert!(data == expected(20_000), "{compress}: {} bytes", data.len());
    }
}

fn a_body_that_php_has_compressed_is_refused_with_the_settings_name(mpm: Mpm) {
    let script = PHP.replace("<?php", "<?php ini_set('zlib.output_compression', 'On');");
    let apache = php(mpm).file("gzip.php", script).start();
    let gzip = "Accept-Encoding: gzip\r\n";
    refused(&apache, "/gzip.php?to={to}&bytes=20000", gzip, 502, "zlib.output_compression");
    // For who does not ask for it, PHP does not compress.
    assert!(hand_off(&apache, "/gzip.php?to={to}&bytes=20000", "") == expected(20_000));
}

fn a_script_that_dies_amid_its_body_hands_nothing_off(mpm: Mpm) {
    let apache = php(mpm).config(FLUSH).start();
    let daemon = daemon(&apache);
    let target = "/go.php?to={to}&bytes=20000&piece=1000&die=10";
    let response = ask(&apache, &daemon, target, "").read_response();
    assert!(response.status() >= 500, "{}", response.status());
    for name in ["x-socket-handoff", "x-handoff-data-from"] {
        assert_eq!(response.head.header(name), None);
    }
    assert!(daemon.try_receive(Duration::ZERO).is_none());
}

fn an_upstream_that_breaks_off_its_body_hands_nothing_off(mpm: Mpm) {
    let builder = declared(Apache::builder(mpm).load("proxy_http"));
    let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let apache = builder
        .vhost(&format!(
            "SocketHandoffAllowProxied On\nProxyPass /go http://{}/ flushpackets=on",
            upstream.local_addr().unwrap()
        ))
        .start();
    let daemon = daemon(&apache);
    let path = daemon.path().display().to_string();
    // Of a body of 90,000 bytes: the first part, and all of it.
    let sent = [40_000, 90_000];
    let server = std::thread::spawn(move || {
        for bytes in sent {
            let mut stream = upstream.accept().unwrap().0;
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let head = format!(
                "HTTP/1.1 200 OK\r\nX-Socket-Handoff: {path}\r\nX-Handoff-Data-From: body\r\n\
                 Content-Length: 90000\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(&[head.as_bytes(), &expected(bytes)].concat()).unwrap();
        }
    });
    let response = ask(&apache, &daemon, "/go", "").read_response();
    assert!(response.status() >= 500, "{}", response.status());
    for name in ["x-socket-handoff", "x-handoff-data-from"] {
        assert_eq!(response.head.header(name), None);
    }
    assert!(daemon.try_receive(Duration::ZERO).is_none());
    apache.wait_for_error_log("no handoff: the handler failed", PATIENCE);
    let _client = ask(&apache, &daemon, "/go", "");
    assert!(daemon.take().handoff.data == expected(90_000));
    server.join().unwrap();
}

fn a_body_beside_data_in_the_header_is_refused(mpm: Mpm) {
    let apache = php(mpm).start();
    refused(&apache, "/go.php?to={to}&bytes=3&data=x", "", 502, "which one holds the data?");
    refused(&apache, "/go.php?to={to}&bytes=3&from=file", "", 502, "can only be \"body\"");
    assert_eq!(hand_off(&apache, "/go.php?to={to}&bytes=3&from=BODY", ""), [0, 0, 0]);
}

fn the_operator_can_choose_the_daemon_and_replace_the_data(mpm: Mpm) {
    let apache = php(mpm)
        .file("chosen.php", PHP)
        .file("replaced.php", PHP)
        .file("undeclared.php", PHP)
        .vhost(
            "<Location /chosen.php>\nHeader set X-Socket-Handoff ${RUN}/d.sock\n</Location>\n\
             <Location /replaced.php>\nHeader set X-Handoff-Data replaced\n</Location>\n\
             <Location /undeclared.php>\nHeader set X-Socket-Handoff ${RUN}/other.sock\n</Location>\n\
             SocketHandoffDaemon ${RUN}/wrong.sock protocol=2",
        )
        .start();
    let wrong = apache.socket_path("wrong.sock");
    let target = format!("/chosen.php?to={}&bytes=5", wrong.display());
    assert_eq!(hand_off(&apache, &target, ""), expected(5));
    assert_eq!(hand_off(&apache, "/replaced.php?to={to}&bytes=5", ""), b"replaced");
    refused(&apache, "/undeclared.php?to={to}&bytes=5", "", 502, "other.sock protocol=2");
}

fn an_operator_who_asks_for_the_body_is_told_that_it_is_too_late(mpm: Mpm) {
    let apache = declared(Apache::builder(mpm))
        .file("page.txt", "the page")
        .vhost(
            "<Location /page.txt>\nHeader set X-Socket-Handoff ${RUN}/d.sock\n\
             Header set X-Handoff-Data-From body\n</Location>",
        )
        .start();
    refused(&apache, "/page.txt", "", 502, "comes too late");
}

fn a_body_is_for_a_head_request_too(mpm: Mpm) {
    let apache = php(mpm).start();
    let daemon = daemon(&apache);
    let mut client = Client::connect(apache.addr());
    let path = daemon.path().display();
    client.send(format!("HEAD /go.php?to={path}&bytes=50 HTTP/1.1\r\nHost: x\r\n\r\n"));
    let mut taken = daemon.take();
    assert_eq!(taken.envelope.method, "HEAD".into());
    taken.handoff.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    taken.handoff.close();
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.read_to_end(), (Vec::new(), Ending::Closed));
}

fn data_does_not_go_to_the_client_where_handoffs_are_off(mpm: Mpm) {
    let apache = php(mpm).vhost("<Location /go.php>\nSocketHandoffEnabled Off\n</Location>").start();
    refused(&apache, "/go.php?to={to}&bytes=50", "", 502, "SocketHandoffEnabled is Off here");
}
