//! A panic in the module, which would be a bug of ours, is one request's 500 and nobody else's problem.

use e2e::{Apache, Client, Mpm, PATIENCE, Receiver, on_each_mpm};

on_each_mpm! {
    a_panic_is_a_500_and_the_child_lives_on,
}

fn a_panic_is_a_500_and_the_child_lives_on(mpm: Mpm) {
    let apache = Apache::builder(mpm)
        .panic_drill()
        .php_fpm(2)
        .file("go.php", "<?php header('X-Socket-Handoff: ' . $_GET['to']); header('X-Handoff-Data: secret');")
        .file("sorry.html", "sorry")
        .vhost("ErrorDocument 500 /sorry.html")
        .start();
    let children = apache.children();
    for _ in 0..20 {
        let response = Client::fetch(apache.addr(), "/go.php?to=/panic");
        assert_eq!((response.status(), response.text()), (500, "sorry"));
        assert_eq!(response.head.header("x-handoff-data"), None);
    }
    apache.wait_for_error_log("caught a panic, which is a bug in mod_socket_handoff", PATIENCE);
    let line = apache.wait_for_access_log("/panic", PATIENCE);
    assert!(line.ends_with("handoff=refused:panic"), "{line}");

    let daemon = Receiver::bind(apache.socket_path("d.sock"));
    let mut client = Client::connect(apache.addr());
    client.get(&format!("/go.php?to={}", daemon.path().display()));
    daemon.receive().respond("data: hi\n\n");
    assert_eq!(client.read_response().text(), "data: hi\n\n");
    assert_eq!(apache.children(), children, "no child has ended");
}
