//! What one daemon does not take is offered to the next.

use super::*;

#[test]
fn a_daemon_that_hangs_finds_the_client_gone_when_it_wakes() {
    let scene = Scene::new(&[("d", "protocol=2 ack_timeout_ms=30 fallback=$D/f"), ("f", PATIENT)]);
    let (hung, fallback) = (scene.listener("d"), scene.listener("f"));
    thread::scope(|scope| {
        scope.spawn(|| write(&fallback.accept().accept(), b"from f"));
        let start = Instant::now();
        let outcome = scene.offer("d");
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert_eq!(outcome.warnings, ["refused:no-answer -> f"]);
        assert_eq!(outcome.result, Ok(TakenBy::Fallback(&scene.path("f"))));
        let wakes = hung.accept();
        assert_eq!(wakes.offer().unwrap().accept(&wakes.0).map(|handoff| handoff.payload), Err(Errno::PIPE));
        assert_eq!(outcome.text(), "from f");
    });
}

#[test]
fn a_daemon_that_hangs_does_not_cost_every_handoff_the_wait() {
    let scene = Scene::new(&[("d", "protocol=2 ack_timeout_ms=30 fallback=$D/f"), ("f", PATIENT)]);
    let (hung, fallback) = (scene.listener("d"), scene.listener("f"));
    thread::scope(|scope| {
        scope.spawn(|| {
            let kept = fallback.accept();
            write(&kept.accept(), b"first");
            write(&kept.accept(), b"second");
        });
        let first = scene.offer("d");
        assert_eq!(first.warnings, ["refused:no-answer -> f"]);
        // As long as the message waits there, the client's connection does not end.
        drop(hung.accept());
        assert_eq!(first.text(), "first");
        let second = scene.offer("d");
        assert_eq!(
            (second.result.as_ref(), second.warnings.len()),
            (Ok(&TakenBy::Fallback(&scene.path("f"))), 0)
        );
        assert_eq!(second.text(), "second");
    });
    assert!(!hung.has_visitor(), "the second handoff did not go there");
    // Asked last it still is asked.
    drop(fallback);
    thread::scope(|scope| {
        scope.spawn(|| write(&hung.accept().accept(), b"it is back"));
        let third = scene.offer("d");
        assert_eq!(third.result, Ok(TakenBy::Named));
        assert_eq!(third.text(), "it is back");
    });
}

#[test]
fn a_busy_daemon_says_when_to_come_again_if_nobody_else_takes_the_client() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/missing"))]);
    let listener = scene.listener("d");
    thread::scope(|scope| {
        scope.spawn(|| listener.accept().answer(&busy(30)));
        let outcome = scene.offer("d");
        assert_eq!(outcome.warnings, ["refused:busy -> missing"]);
        let refusal = outcome.refusal();
        assert_eq!((refusal.note(), refusal.status()), (c"refused:busy", 503));
        assert_eq!(refusal.retry_after().as_deref(), Some(c"30"));
    });
}

#[test]
fn a_daemon_that_is_ending_and_has_no_successor_leaves_it_to_the_fallbacks() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/f"))]);
    let (listener, fallback) = (scene.listener("d"), scene.listener("f"));
    for last in ["from f", "nobody"] {
        thread::scope(|scope| {
            scope.spawn(|| {
                listener.accept().answer(&Answer::Draining);
                listener.accept().answer(&Answer::Draining);
                let peer = fallback.accept();
                match last {
                    "nobody" => {
                        peer.answer(&Answer::Draining);
                        fallback.accept().answer(&Answer::Draining);
                    }
                    text => write(&peer.accept(), text.as_bytes()),
                }
            });
            let outcome = scene.offer("d");
            assert_eq!(outcome.warnings, ["refused:draining -> f"]);
            match last {
                "nobody" => assert_eq!(outcome.refusal(), Refusal::Draining(scene.path("f"))),
                text => assert_eq!(outcome.text(), text),
            }
        });
        // The other round begins without a connection.
        scene.config.daemon(&scene.path("d")).unwrap().fallbacks()[0].pool.clear();
    }
}

#[test]
fn what_one_daemon_does_not_understand_no_other_is_asked() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/f"))]);
    let (listener, fallback) = (scene.listener("d"), scene.listener("f"));
    thread::scope(|scope| {
        scope.spawn(|| listener.accept().answer(&Answer::Bad { reason: "what?".into() }));
        let refusal = scene.offer("d").refusal();
        assert_eq!((refusal.status(), refusal.retry_after()), (502, None));
        assert_eq!(refusal, Refusal::BadMessage { path: scene.path("d"), reason: "what?".into() });
    });
    assert!(!fallback.has_visitor() && !scene.idle("d"));
}

#[test]
fn a_daemon_of_another_user_is_sent_nothing() {
    let uid = rustix::process::geteuid().as_raw();
    let scene = Scene::new(&[
        ("d", &format!("{PATIENT} user=#{} fallback=$D/f", uid + 1)),
        ("f", &format!("{PATIENT} user=#{uid}")),
    ]);
    let (listener, fallback) = (scene.listener("d"), scene.listener("f"));
    thread::scope(|scope| {
        scope.spawn(|| write(&fallback.accept().accept(), b"from f"));
        let outcome = scene.offer("d");
        assert_eq!(outcome.warnings, ["refused:wrong-user -> f"]);
        assert_eq!(outcome.text(), "from f");
    });
    assert!(listener.accept().is_closed());
}

#[test]
fn fallbacks_are_asked_in_their_order() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/c fallback=$D/missing fallback=$D/a"))]);
    let (last, first) = (scene.listener("a"), scene.listener("c"));
    thread::scope(|scope| {
        scope.spawn(|| {
            first.accept().answer(&busy(1));
            write(&last.accept().accept(), b"from a");
        });
        let outcome = scene.offer("d");
        let expected =
            ["refused:daemon-missing -> c", "refused:busy -> missing", "refused:daemon-missing -> a"];
        assert_eq!(outcome.warnings, expected);
        assert_eq!(outcome.result.as_ref().map(|taken_by| taken_by.note()), Ok(c"handed-off:fallback"));
        assert_eq!(outcome.text(), "from a");
    });
}

#[test]
fn a_fallback_keeps_connections_of_its_own() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/f"))]);
    let fallback = scene.listener("f");
    thread::scope(|scope| {
        scope.spawn(|| {
            let peer = fallback.accept();
            for _ in 0..2 {
                write(&peer.accept(), b"from f");
            }
        });
        for _ in 0..2 {
            assert_eq!(scene.offer("d").text(), "from f");
        }
    });
    assert!(!fallback.has_visitor());
}

#[test]
fn a_fallback_is_below_the_prefix_and_speaks_protocol_2() {
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path().join("outside");
    let listener = Listener::bind(&outside);
    let mut scene =
        Scene::new(&[("d", &format!("{PATIENT} fallback={} fallback=$D/one", outside.display()))]);
    // In one server that would be refused.
    let one = ServerConfig::of(&[("SocketHandoffDaemon", scene.path("one").display().to_string())]);
    scene.config = crate::config::Inherit::inherit(&scene.config, &one);
    let silent = scene.listener("one");
    let outcome = scene.offer("d");
    assert_eq!(outcome.warnings, ["refused:daemon-missing -> outside", "refused:path-outside-prefix -> one"]);
    assert_eq!(outcome.refusal(), Refusal::FallbackWithoutAnswer(scene.path("one")));
    assert!(!listener.has_visitor() && !silent.has_visitor());
}

#[test]
fn only_the_last_target_is_waited_for() {
    let scene = Scene::new(&[("d", &format!("{PATIENT} fallback=$D/f"))]);
    let retries = ServerConfig::of(&[("SocketHandoffMaxRetries", "3".to_owned())]);
    let config = crate::config::Inherit::inherit(&scene.config, &retries);
    let scene = Scene { config, ..scene };
    let outcome = scene.offer("d");
    assert_eq!(outcome.warnings, ["refused:daemon-missing -> f"]);
    assert!(outcome.sentences[0].contains("after 1 attempt(s)"), "{}", outcome.sentences[0]);
    assert_eq!(outcome.refusal(), Refusal::DaemonMissing { path: scene.path("f"), attempts: 4 });
}
