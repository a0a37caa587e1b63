//! What a daemon of protocol 2 is told: the request, the application's answer, and what was read beyond the request.

use e2e::{Answer, Apache, Builder, Client, Ending, Mpm, Offers, PATIENCE, Taken, on_each_mpm};

on_each_mpm! {
    the_request_is_told,
    the_users_name_and_the_real_client_are_told,
    a_rewritten_request_is_told_as_it_came,
    the_headers_of_php_travel_each_once,
    the_headers_of_a_cgi_program_travel_each_once,
    the_headers_of_the_configuration_travel_each_once,
    what_belongs_to_the_unsent_response_does_not_travel,
    the_status_of_the_application_travels,
    a_head_request_is_handed_off_as_one,
    an_http_1_0_request_is_told_as_one,
    what_was_read_of_the_next_request_travels,
    what_was_read_of_the_next_request_is_served_after_a_refusal,
}

const PHP: &str = "<?php
header('X-Socket-Handoff: ' . $_SERVER['D_SOCK']);
http_response_code((int) ($_GET['status'] ?? 200));
header('Set-Cookie: a=1; HttpOnly');
header('Set-Cookie: b=2', false);
header('Access-Control-Allow-Origin: https://a.example');
header('X-Request-Id: 7');
echo 'unseen';";

fn php(mpm: Mpm) -> Builder {
    with_daemon(Apache::builder(mpm).php_fpm(2).file("go.php", PHP).file("hello.txt", "hello\n"))
}

fn with_daemon(builder: Builder) -> Builder {
    builder.daemon("d.sock", "protocol=2").vhost("SetEnv D_SOCK ${RUN}/d.sock")
}

fn daemon(apache: &Apache) -> Offers {
    Offers::bind(apache.socket_path("d.sock"))
}

/// The handoff that `request` leads to.
#[track_caller]
fn taken(apache: &Apache, request: &str) -> Taken {
    let daemon = daemon(apache);
    let mut client = Client::connect(apache.addr());
    client.send(request);
    daemon.take()
}

#[track_caller]
fn taken_from_get(apache: &Apache, target: &str) -> Taken {
    taken(apache, &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

/// The application's fields, sorted, without what PHP tells of itself.
fn fields(taken: &Taken) -> Vec<String> {
    let text = |octets: &handoff_protocol::v2::envelope::Octets| octets.as_str().unwrap().to_owned();
    let fields = taken.envelope.response_headers.iter();
    let fields = fields.map(|(name, value)| format!("{}: {}", text(name), text(value)));
    let mut fields: Vec<_> = fields.filter(|field| !field.starts_with("X-Powered-By: PHP/")).collect();
    fields.sort();
    fields
}

fn the_request_is_told(mpm: Mpm) {
    let apache = php(mpm).load("unique_id").vhost("ServerName www.example").start();
    let daemon = daemon(&apache);
    let mut client = Client::connect(apache.addr());
    client.send(
        b"POST /go.php?q=%C3%A4&\xe4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nUser-Agent: \"\xff\\\r\n\
          Last-Event-ID: 7\r\nAuthorization: Basic eDp5\r\nProxy-Authorization: Basic eDp5\r\nProxy: http://x\r\n\
          Cookie: c=d\r\n\r\na=b",
    );
    let envelope = daemon.take().envelope;
    assert_eq!(envelope.method, "POST".into());
    assert_eq!(envelope.target.as_bytes(), b"/go.php?q=%C3%A4&\xe4");
    assert_eq!(envelope.protocol, "HTTP/1.1".into());
    assert_eq!(envelope.scheme, Some("http".into()));
    assert_eq!(envelope.server_name, Some("localhost".into()));
    assert_eq!(envelope.user, None);
    assert_eq!(envelope.status, Some(200));
    let client = client.stream().local_addr().unwrap();
    assert_eq!((envelope.client, envelope.useragent), (Some(client), Some(client.ip())));
    assert_eq!(envelope.local, Some(apache.addr()));
    let id = envelope.id.expect("an id");
    assert!(id.as_str().is_some_and(|id| id.len() >= 24), "{id:?}");
    let told: Vec<_> = envelope
        .request_headers
        .iter()
        .map(|(name, value)| (name.as_str().unwrap(), value.as_bytes()))
        .collect();
    let expected: [(&str, &[u8]); 5] = [
        ("Host", b"localhost"),
        ("Content-Length", b"3"),
        ("User-Agent", b"\"\xff\\"),
        ("Last-Event-ID", b"7"),
        ("Cookie", b"c=d"),
    ];
    assert_eq!(told, expected);
}

fn the_users_name_and_the_real_client_are_told(mpm: Mpm) {
    // The password is "secret".
    let apache = ["remoteip", "authn_core", "auth_basic", "authn_file", "authz_user"]
        .into_iter()
        .fold(php(mpm), Builder::load)
        .file("users", "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
        .vhost(
            "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\n\
             <Location /go.php>\nAuthType Basic\nAuthName x\nAuthUserFile ${DOCROOT}/users\nRequire valid-user\n\
             </Location>",
        )
        .start();
    let request = "GET /go.php HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.7\r\n\
                   Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n";
    let envelope = taken(&apache, request).envelope;
    assert_eq!(envelope.user, Some("alice".into()));
    assert_eq!(envelope.useragent, "192.0.2.7".parse().ok());
    assert_eq!(envelope.client.map(|client| client.ip().to_string()), Some("127.0.0.1".into()));
    assert_eq!(envelope.request_header("Authorization"), None);
}

fn a_rewritten_request_is_told_as_it_came(mpm: Mpm) {
    let apache = php(mpm)
        .load("rewrite")
        .file("dir/index.php", PHP)
        .vhost("RewriteEngine On\nRewriteRule ^/pretty$ /go.php?status=201")
        .config(
            "<Directory ${DOCROOT}/dir>\nRewriteEngine On\nRewriteRule ^old$ /dir/index.php\n</Directory>\n\
             ErrorDocument 404 /go.php",
        )
        .start();
    for target in ["/pretty?a=b", "/dir/?x", "/dir/old?y", "/nothing/here?z", "http://localhost/go.php"] {
        assert_eq!(taken_from_get(&apache, target).envelope.target, target.into());
    }
}

fn the_headers_of_php_travel_each_once(mpm: Mpm) {
    let expected = [
        "Access-Control-Allow-Origin: https://a.example",
        "Set-Cookie: a=1; HttpOnly",
        "Set-Cookie: b=2",
        "X-Request-Id: 7",
    ];
    assert_eq!(fields(&taken_from_get(&php(mpm).start(), "/go.php")), expected);
    if mpm == Mpm::Prefork {
        let apache = with_daemon(Apache::builder(mpm).mod_php().file("go.php", PHP)).start();
        assert_eq!(fields(&taken_from_get(&apache, "/go.php")), expected);
    }
}

fn the_headers_of_a_cgi_program_travel_each_once(mpm: Mpm) {
    let script = "#!/bin/sh\nprintf 'X-Socket-Handoff: %s\\nStatus: 404\\nSet-Cookie: a=1\\nSet-Cookie: b=2\\n\
                  X-Request-Id: 7\\nContent-Type: text/plain\\nContent-Length: 6\\n\\nunseen' \"$D_SOCK\"\n";
    let apache = with_daemon(Apache::builder(mpm).cgi().file("go.cgi", script)).start();
    let taken = taken_from_get(&apache, "/go.cgi");
    assert_eq!(fields(&taken), ["Set-Cookie: a=1", "Set-Cookie: b=2", "X-Request-Id: 7"]);
    assert_eq!(taken.envelope.status, Some(404));
}

fn the_headers_of_the_configuration_travel_each_once(mpm: Mpm) {
    let apache = php(mpm)
        .vhost(
            "Header set Content-Security-Policy \"default-src 'self'\"\n\
             Header always set X-Frame-Options DENY\n\
             Header set X-Both same\nHeader always set X-Both same\n\
             Header set X-Differs one\nHeader always set X-Differs two\n\
             Header always set Access-Control-Allow-Origin https://b.example\n\
             Header add Set-Cookie c=3\nHeader always add Set-Cookie d=4\n\
             Header always unset X-Request-Id",
        )
        .start();
    let taken = taken_from_get(&apache, "/go.php");
    assert_eq!(
        fields(&taken),
        [
            "Access-Control-Allow-Origin: https://b.example",
            "Content-Security-Policy: default-src 'self'",
            "Set-Cookie: a=1; HttpOnly",
            "Set-Cookie: b=2",
            "Set-Cookie: c=3",
            "Set-Cookie: d=4",
            "X-Both: same",
            "X-Differs: one",
            "X-Differs: two",
            "X-Frame-Options: DENY",
        ]
    );
}

fn what_belongs_to_the_unsent_response_does_not_travel(mpm: Mpm) {
    let script = "<?php
        header('X-Socket-Handoff: ' . $_SERVER['D_SOCK']);
        header('X-Handoff-Data: secret');
        foreach (['Connection: close, X-Hop', 'X-Hop: 1', 'Keep-Alive: timeout=5', 'Proxy-Connection: close', 'TE: x',
                  'Trailer: X', 'Upgrade: websocket', 'Content-Length: 6', 'Content-Type: application/json',
                  'Content-Encoding: br', 'Content-MD5: x', 'Accept-Ranges: bytes', 'ETag: \"x\"',
                  'Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT', 'Date: Thu, 01 Jan 1970 00:00:00 GMT',
                  'Content-Language: de', 'Vary: Cookie'] as $header) header($header);
        echo 'unseen';";
    let apache = php(mpm).file("all.php", script).start();
    let taken = taken_from_get(&apache, "/all.php");
    assert_eq!(fields(&taken), ["Content-Language: de", "Vary: Cookie"]);
    assert_eq!(taken.handoff.data, b"secret");
}

fn the_status_of_the_application_travels(mpm: Mpm) {
    let apache = php(mpm).start();
    for status in [200, 201, 204, 304, 404, 503] {
        let taken = taken_from_get(&apache, &format!("/go.php?status={status}"));
        assert_eq!(taken.envelope.status, Some(status));
    }
}

fn a_head_request_is_handed_off_as_one(mpm: Mpm) {
    let error_page = "ErrorDocument 404 /go.php";
    let apache = php(mpm).vhost(error_page).start();
    for target in ["/go.php", "/missing"] {
        let taken = taken(&apache, &format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(taken.envelope.method, "HEAD".into(), "{target}");
        assert!(fields(&taken).contains(&"X-Request-Id: 7".into()), "{:?}", fields(&taken));
    }
}

fn an_http_1_0_request_is_told_as_one(mpm: Mpm) {
    let apache = php(mpm).start();
    assert_eq!(taken(&apache, "GET /go.php HTTP/1.0\r\n\r\n").envelope.protocol, "HTTP/1.0".into());
}

const NEXT: &str = "GET /hello.txt HTTP/1.1\r\nHost: localhost\r\nX-Long: ";

fn what_was_read_of_the_next_request_travels(mpm: Mpm) {
    let apache = php(mpm).start();
    let daemon = daemon(&apache);
    // In one packet with the first request; also behind a body, and not to its end.
    let first = "GET /go.php HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let with_body = "POST /go.php HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na=b";
    let chunked =
        "POST /go.php HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n";
    for first in [first, with_body, chunked] {
        for next in [format!("{NEXT}{}\r\n\r\n", "x".repeat(3000)), "\r\n".into(), "G".into(), String::new()]
        {
            let mut client = Client::connect(apache.addr());
            client.send(format!("{first}{next}"));
            let taken = daemon.take();
            assert_eq!(String::from_utf8_lossy(&taken.pre_read), next, "after {first}");
            taken.respond("data: hi\n\n");
            let response = client.read_response();
            assert_eq!((response.text(), response.ending), ("data: hi\n\n", Ending::Closed));
        }
    }
    // In the second of three.
    let mut client = Client::connect(apache.addr());
    client.send(format!("{NEXT}\r\n\r\n{first}{NEXT}"));
    assert_eq!(client.read_response().text(), "hello\n");
    assert_eq!(daemon.take().pre_read, NEXT.as_bytes());
}

fn what_was_read_of_the_next_request_is_served_after_a_refusal(mpm: Mpm) {
    let apache = php(mpm).start();
    let daemon = daemon(&apache);
    let mut client = Client::connect(apache.addr());
    client.send(format!("GET /go.php HTTP/1.1\r\nHost: localhost\r\n\r\n{NEXT}\r\n\r\n"));
    // After a 503 httpd closes the connection by itself.
    daemon.receive().refuse(&Answer::Bad { reason: "no".into() });
    let refused = client.read_response();
    assert_eq!((refused.status(), refused.ending), (502, Ending::Framed));
    assert_eq!(client.read_response().text(), "hello\n");
    apache.wait_for_access_log("/hello.txt", PATIENCE);
}
