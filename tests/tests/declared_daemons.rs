//! Daemons that `SocketHandoffDaemon` declares: which protocol, which connections, which fallback.

use e2e::{Apache, Builder, Client, Mpm, Offers, PATIENCE, on_each_mpm};

on_each_mpm! {
    a_declared_daemon_is_offered_the_client_on_a_connection_that_is_kept,
}

/// Hands off to the daemon named in the query, with what else is there as data.
const HAND_OFF: &str = "<?php
header('X-Socket-Handoff: ' . $_GET['to']);
header('X-Handoff-Data: ' . ($_GET['data'] ?? ''));";

fn php(mpm: Mpm) -> Builder {
    Apache::builder(mpm).php_fpm(2).file("go.php", HAND_OFF)
}

fn target(daemon: &Offers) -> String {
    format!("/go.php?to={}", daemon.path().display())
}

fn a_declared_daemon_is_offered_the_client_on_a_connection_that_is_kept(mpm: Mpm) {
    let apache = php(mpm).workers(1).daemon("d.sock", "protocol=2").start();
    let daemon = Offers::bind(apache.socket_path("d.sock"));
    for round in 1..=3 {
        let target = format!("{}&data={round}", target(&daemon));
        let mut client = Client::connect(apache.addr());
        client.get(&target);
        let taken = daemon.take();
        assert_eq!(taken.handoff.data, round.to_string().into_bytes());
        assert_eq!(taken.envelope.target, target.as_str().into());
        taken.respond("data: hi\n\n");
        assert_eq!(client.read_response().text(), "data: hi\n\n");
        let line = apache.wait_for_access_log(&target, PATIENCE);
        assert!(line.ends_with("handoff=handed-off"), "{line}");
    }
    assert_eq!(daemon.accepted(), 1, "one connection for all of them");
}
