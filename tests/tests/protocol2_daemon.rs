//! Protocol 2 from PHP through Apache and the real daemon to the client: what the client sees in the end.

use std::thread;
use std::time::Duration;

use e2e::{
    Answer, Apache, Builder, Client, Daemon, Ending, Mpm, Offers, PATIENCE, Receiver, Response, events,
    on_each_mpm, wait_until,
};

on_each_mpm! {
    the_applications_fields_reach_the_client_each_once,
    a_failure_of_the_daemon_has_the_applications_cookies_and_its_own_status,
    a_head_request_gets_the_head_of_the_stream,
    an_http_1_0_client_gets_a_stream_without_chunks,
    both_logs_join_by_apaches_id_of_the_request,
    a_daemon_without_a_place_says_when_to_come_back_or_its_fallback_takes_over,
    fallbacks_are_asked_in_their_order,
    daemons_of_both_protocols_stand_beside_each_other,
}

const ASK: &str = "<?php
header('X-Socket-Handoff: ' . $_GET['to']);
header('X-Handoff-Data: ' . ($_GET['data'] ?? '{\"prompt\":\"Hello\"}'));
setcookie('session', 'a1');
setcookie('seen', 'b2');
header('Access-Control-Allow-Origin: https://app.example');
header('Access-Control-Expose-Headers: X-Request-Id');
header(\"Content-Security-Policy: default-src 'self'\");
header('X-Request-Id: r-17');
header('Cache-Control: private, max-age=60');
header('ETag: \"none of the stream\"');
http_response_code((int) ($_GET['status'] ?? 200));
echo 'never seen';";

const DECLARED: &str = "protocol=2 ack_timeout_ms=20000";

fn php(mpm: Mpm) -> Builder {
    Apache::builder(mpm).php_fpm(2).file("ask.php", ASK).daemon("d.sock", DECLARED)
}

fn target(apache: &Apache, more: &str) -> String {
    format!("/ask.php?to={}{more}", apache.socket_path("d.sock").display())
}

fn daemon(apache: &Apache) -> Daemon {
    Daemon::start(apache.socket_path("d.sock"), ["--delay", "0"])
}

fn said(response: &Response) -> String {
    events(response.text())
        .into_iter()
        .filter(|event| event.name == "message")
        .map(|event| event.data)
        .collect()
}

fn the_applications_fields_reach_the_client_each_once(mpm: Mpm) {
    let apache = php(mpm)
        .vhost("Header set X-Frame-Options DENY\nHeader always set Strict-Transport-Security max-age=60")
        .start();
    let _daemon = daemon(&apache);
    for status in [200, 201] {
        let response = Client::fetch(apache.addr(), &target(&apache, &format!("&status={status}")));
        assert_eq!((response.status(), response.ending), (status, Ending::Framed));
        assert_eq!(said(&response), "You said: Hello");
        let all = |name| response.head.all(name);
        assert_eq!(all("set-cookie"), ["session=a1", "seen=b2"]);
        assert_eq!(all("access-control-allow-origin"), ["https://app.example"]);
        assert_eq!(all("access-control-expose-headers"), ["X-Request-Id"]);
        assert_eq!(all("content-security-policy"), ["default-src 'self'"]);
        assert_eq!(all("x-request-id"), ["r-17"]);
        assert_eq!(all("x-frame-options"), ["DENY"]);
        assert_eq!(all("strict-transport-security"), ["max-age=60"]);
        // The daemon's: one of each, and nothing that describes the body which nobody sees.
        assert_eq!(all("content-type"), ["text/event-stream; charset=utf-8"]);
        assert_eq!(all("transfer-encoding"), ["chunked"]);
        assert_eq!((all("connection"), all("x-accel-buffering")), (vec!["close"], vec!["no"]));
        for (name, count) in [("date", 1), ("cache-control", 1), ("content-length", 0), ("etag", 0)] {
            assert_eq!(all(name).len(), count, "{name}: {:?}", response.head);
        }
        let ours = |name: &str| name.to_ascii_lowercase().contains("handoff");
        assert!(!response.head.headers.iter().any(|(name, _)| ours(name)), "{:?}", response.head);
    }
}

fn a_failure_of_the_daemon_has_the_applications_cookies_and_its_own_status(mpm: Mpm) {
    let apache = php(mpm).start();
    let _daemon = daemon(&apache);
    let response = Client::fetch(apache.addr(), &target(&apache, "&status=201&data=nonsense"));
    assert_eq!((response.status(), response.ending), (400, Ending::Framed));
    assert_eq!(response.head.all("set-cookie"), ["session=a1", "seen=b2"]);
    assert_eq!(response.head.all("access-control-allow-origin"), ["https://app.example"]);
    assert_eq!(response.head.all("cache-control"), ["no-store"]);
}

fn a_head_request_gets_the_head_of_the_stream(mpm: Mpm) {
    let apache = php(mpm).start();
    let _daemon = daemon(&apache);
    let head = |method: &str| {
        let mut client = Client::connect(apache.addr());
        client.send(format!("{method} {} HTTP/1.1\r\nHost: localhost\r\n\r\n", target(&apache, "")));
        let head = client.read_head();
        let fields = head.headers.into_iter().filter(|(name, _)| name != "Date" && name != "X-Request-Id");
        (head.status, fields.collect::<Vec<_>>(), client.read_to_end())
    };
    let (status, fields, rest) = head("HEAD");
    let (expected_status, expected_fields, _) = head("GET");
    assert_eq!((status, fields), (expected_status, expected_fields));
    assert_eq!(rest, (Vec::new(), Ending::Closed));
}

fn an_http_1_0_client_gets_a_stream_without_chunks(mpm: Mpm) {
    let apache = php(mpm).start();
    let _daemon = daemon(&apache);
    let mut client = Client::connect(apache.addr());
    client.send(format!("GET {} HTTP/1.0\r\n\r\n", target(&apache, "")));
    let response = client.read_response();
    assert_eq!((response.status(), response.ending), (200, Ending::Closed));
    assert_eq!(response.head.header("transfer-encoding"), None);
    assert_eq!(said(&response), "You said: Hello");
    assert_eq!(response.head.all("set-cookie").len(), 2);
}

fn both_logs_join_by_apaches_id_of_the_request(mpm: Mpm) {
    let apache = php(mpm)
        .load("unique_id")
        .config("CustomLog \"${ROOT}/logs/ids.log\" \"%{UNIQUE_ID}e|%r|%a|%{User-Agent}i|%{Referer}i\"")
        .start();
    let settings = [("DAEMON_LOGGING_ACCESS_LOG", "stdout"), ("DAEMON_LOGGING_ACCESS_LOG_FORMAT", "json")];
    let daemon = Daemon::start_with(apache.socket_path("d.sock"), ["--delay", "0"], settings);
    for number in 0..5 {
        let mut client = Client::connect(apache.addr());
        client.send(format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: test/{number}\r\nReferer: http://localhost/{number}\r\n\r\n",
            target(&apache, &format!("&number={number}"))
        ));
        assert_eq!(client.read_response().status(), 200);
    }
    let mut lines = Vec::new();
    wait_until(PATIENCE, "Apache's lines", || {
        let log = apache.sandbox().log("ids.log");
        lines = log.lines().filter(|line| line.contains("/ask.php")).map(str::to_owned).collect();
        lines.len() == 5
    });
    for line in lines {
        let [id, request, client, agent, referer] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        assert!(id.len() >= 20, "{line}");
        let id = format!("\"unique_id\":\"{id}\"");
        let mut lines = Vec::new();
        wait_until(PATIENCE, "the daemon's line of the same request", || {
            lines = daemon.log().lines().filter(|line| line.contains(&id)).map(str::to_owned).collect();
            !lines.is_empty()
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        for (name, value) in
            [("request", request), ("client", client), ("user_agent", agent), ("referer", referer)]
        {
            assert!(lines[0].contains(&format!("\"{name}\":\"{value}\"")), "{name} of {line}: {}", lines[0]);
        }
    }
}

fn a_daemon_without_a_place_says_when_to_come_back_or_its_fallback_takes_over(mpm: Mpm) {
    let one_place = ["--max-connections", "1"];
    let apache = php(mpm).start();
    let full = Daemon::start(apache.socket_path("d.sock"), one_place.into_iter().chain(["--delay", "60000"]));
    let mut first = Client::connect(apache.addr());
    first.get(&target(&apache, ""));
    assert_eq!(first.read_head().status, 200);
    let refused = Client::fetch(apache.addr(), &target(&apache, "&second"));
    assert_eq!((refused.status(), refused.ending), (503, Ending::Framed));
    let retry_after: u32 = refused.head.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    assert_eq!(refused.head.all("set-cookie"), ["session=a1", "seen=b2"]);
    let line = apache.wait_for_access_log("&second", PATIENCE);
    assert!(line.ends_with("handoff=refused:busy"), "{line}");
    drop((full, apache));

    let apache = Apache::builder(mpm)
        .php_fpm(2)
        .file("ask.php", ASK)
        .daemon("d.sock", &format!("{DECLARED} fallback=${{RUN}}/f.sock"))
        .start();
    let _full =
        Daemon::start(apache.socket_path("d.sock"), one_place.into_iter().chain(["--delay", "60000"]));
    let _other = Daemon::start(apache.socket_path("f.sock"), ["--delay", "0"]);
    let mut first = Client::connect(apache.addr());
    first.get(&target(&apache, ""));
    assert_eq!(first.read_head().status, 200);
    let second = Client::fetch(apache.addr(), &target(&apache, "&second"));
    assert_eq!((second.status(), said(&second).as_str()), (200, "You said: Hello"));
    let line = apache.wait_for_access_log("&second", PATIENCE);
    assert!(line.ends_with("handoff=handed-off:fallback"), "{line}");
}

fn fallbacks_are_asked_in_their_order(mpm: Mpm) {
    let fallbacks = "fallback=${RUN}/two.sock fallback=${RUN}/three.sock fallback=${RUN}/four.sock";
    let apache = Apache::builder(mpm)
        .php_fpm(2)
        .file("ask.php", ASK)
        .daemon("d.sock", &format!("{DECLARED} {fallbacks}"))
        .start();
    // The second is not there.
    let [one, three, four] =
        ["d.sock", "three.sock", "four.sock"].map(|name| Offers::bind(apache.socket_path(name)));
    for _ in 0..3 {
        let mut client = Client::connect(apache.addr());
        client.get(&target(&apache, ""));
        one.receive().refuse(&Answer::Busy { retry_after: PATIENCE, reason: String::new() });
        let third = three.receive();
        assert!(four.try_receive(Duration::ZERO).is_none(), "the fourth is not asked before the third");
        drop(third);
        four.take().respond("data: hi\n\n");
        assert_eq!(client.read_response().text(), "data: hi\n\n");
    }
}

fn daemons_of_both_protocols_stand_beside_each_other(mpm: Mpm) {
    let apache = php(mpm).daemon("declared.sock", "protocol=1").start();
    let two = Offers::bind(apache.socket_path("d.sock"));
    let one = ["declared.sock", "old.sock"].map(|name| Receiver::bind(apache.socket_path(name)));
    let ask = |path: &std::path::Path| {
        let mut client = Client::connect(apache.addr());
        client.get(&format!("/ask.php?to={}&data=same", path.display()));
        client
    };
    for _ in 0..4 {
        let mut client = ask(two.path());
        let taken = two.take();
        assert_eq!(taken.handoff.text(), "same");
        taken.respond("data: two\n\n");
        assert_eq!(client.read_response().text(), "data: two\n\n");
        for daemon in &one {
            let mut client = ask(daemon.path());
            let handoff = daemon.receive();
            assert_eq!(handoff.text(), "same");
            handoff.respond("data: one\n\n");
            assert_eq!(client.read_response().text(), "data: one\n\n");
        }
    }
}

/// Descriptors that lie in queues count against their sender's user (unix(7), ETOOMANYREFS).
#[test]
fn more_handoffs_in_queues_than_the_limit_of_open_files_are_refused_and_the_others_are_not_lost() {
    const CHILDREN: usize = 60;
    const LIMIT: u32 = 40;
    let apache = e2e::faults::hand_off(Mpm::Prefork, "ack_timeout_ms=60000")
        .workers(CHILDREN as u16 + 2)
        .open_files(LIMIT)
        .start();
    let daemon = Daemon::start(apache.socket_path("d.sock"), ["--delay", "0"]);
    daemon.server().pause();
    let outcomes: Vec<String> = thread::scope(|scope| {
        let ask = |number: usize| {
            let apache = &apache;
            move || {
                let response = Client::fetch(apache.addr(), &format!("/hello.txt?token=t{number}e"));
                match response.status() {
                    200 => said(&response),
                    status => format!("{status}, ask again after {:?}", response.head.header("retry-after")),
                }
            }
        };
        let clients: Vec<_> = (0..CHILDREN).map(|number| scope.spawn(ask(number))).collect();
        wait_until(PATIENCE, "as many to wait as may, and the others to be refused", || {
            clients.iter().filter(|client| !client.is_finished()).count() <= LIMIT as usize + 1
                && apache.access_log().matches("hello.txt").count() + apache.busy_workers() >= CHILDREN
        });
        daemon.server().resume();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let refused = outcomes.iter().filter(|outcome| *outcome == "503, ask again after Some(\"1\")").count();
    let answered = (0..CHILDREN)
        .zip(&outcomes)
        .filter(|(number, outcome)| **outcome == format!("You said: one token=t{number}e"));
    assert_eq!(answered.count() + refused, CHILDREN, "{outcomes:?}");
    assert!(refused > 0, "{outcomes:?}");
    assert_eq!(Client::fetch(apache.addr(), "/hello.txt?token=t99e").status(), 200);
}
