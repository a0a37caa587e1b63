//! Daemons that die, hang, restart, or say what nobody understands.

use super::*;

#[test]
fn a_kept_connection_that_has_ended_is_replaced_and_so_are_all_others() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    let old: Vec<_> = (0..3).map(|_| keep_connection(&scene, &listener)).collect();
    let gone = old.into_iter().last();
    drop(gone);
    thread::scope(|scope| {
        scope.spawn(|| write(&listener.accept().accept(), b"from the new one"));
        let outcome = scene.offer("d");
        assert_eq!((&outcome.result, outcome.warnings.len()), (&Ok(TakenBy::Named), 0));
        assert_eq!(outcome.text(), "from the new one");
    });
    let pool = scene.pool("d");
    assert!(pool.take(Instant::now()).is_some(), "the new one");
    assert!(pool.take(Instant::now()).is_none(), "no other");
}

#[test]
fn a_daemon_that_ends_without_reading_is_asked_anew_where_it_was_kept() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    let old = keep_connection(&scene, &listener);
    thread::scope(|scope| {
        scope.spawn(|| {
            // ECONNRESET at the other end, since the message is unread.
            old.wait_for_message();
            drop(old);
            write(&listener.accept().accept(), b"from its successor");
        });
        assert_eq!(scene.offer("d").text(), "from its successor");
    });
}

#[test]
fn a_daemon_that_ends_without_an_answer_on_a_new_connection_has_not_taken_the_client() {
    for reads in [false, true] {
        let scene = Scene::new(&[("d", PATIENT)]);
        let listener = scene.listener("d");
        thread::scope(|scope| {
            scope.spawn(|| {
                let peer = listener.accept();
                peer.wait_for_message();
                drop(reads.then(|| peer.offer()));
            });
            assert_eq!(scene.offer("d").refusal(), Refusal::DaemonClosed(scene.path("d")));
        });
        assert!(!scene.idle("d"));
    }
}

#[test]
fn an_answer_behind_a_reset_counts() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    thread::scope(|scope| {
        scope.spawn(|| {
            let peer = listener.accept();
            peer.wait_for_message();
            // The message stays unread: the other end gets ECONNRESET before the answer.
            offer::send(&peer.0, &Answer::Accepted).unwrap();
        });
        assert_eq!(scene.offer("d").result, Ok(TakenBy::Named));
    });
}

#[test]
fn without_a_fallback_a_hung_daemon_is_a_refusal() {
    let scene = Scene::new(&[("d", "protocol=2 ack_timeout_ms=30")]);
    let hung = scene.listener("d");
    let timeout = Duration::from_millis(30);
    assert_eq!(scene.offer("d").refusal(), Refusal::NoAnswer { path: scene.path("d"), timeout });
    assert!(!scene.idle("d"));
    drop(hung.accept());
    // A connection that was kept hangs no less: not tried twice.
    let _old = keep_connection(&scene, &hung);
    let connection = scene.pool("d").take(Instant::now()).unwrap();
    set_socket_timeout(&connection, Timeout::Recv, Some(timeout)).unwrap();
    scene.pool("d").put(connection, Instant::now());
    assert!(matches!(scene.offer("d").refusal(), Refusal::NoAnswer { .. }));
    assert!(!hung.has_visitor());
}

#[test]
fn an_answer_that_is_found_late_counts_and_its_connection_is_not_kept() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    let peer = keep_connection(&scene, &listener);
    // What is not understood ends the wait for an answer; but there is one behind it.
    send(&peer.0, b"what is no answer", SendFlags::NOSIGNAL).unwrap();
    offer::send(&peer.0, &Answer::Accepted).unwrap();
    assert_eq!(scene.offer("d").result, Ok(TakenBy::Named));
    assert!(!scene.idle("d"));
    assert!(peer.offer().is_some() && peer.is_closed());
}

#[test]
fn a_daemon_that_is_ending_may_have_a_successor_at_the_same_path() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    thread::scope(|scope| {
        scope.spawn(|| {
            let ending = listener.accept();
            ending.answer(&Answer::Draining);
            write(&listener.accept().accept(), b"from its successor");
            assert!(ending.is_closed());
        });
        assert_eq!(scene.offer("d").text(), "from its successor");
    });
}

#[test]
fn what_is_no_answer_is_none() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let listener = scene.listener("d");
    let too_long = [&Answer::Accepted.encode()[..], &[b'x'; MOST_ANSWER]].concat();
    for wrong in [&b"HTTP/1.1 200 OK"[..], &too_long] {
        thread::scope(|scope| {
            scope.spawn(|| {
                let peer = listener.accept();
                peer.wait_for_message();
                send(&peer.0, wrong, SendFlags::NOSIGNAL).unwrap();
                let _ = peer.offer();
                assert!(peer.is_closed());
            });
            assert_eq!(scene.offer("d").refusal(), Refusal::NotAnAnswer(scene.path("d")));
        });
    }
}

/// The kernel counts the descriptors on their way, of all processes of a user, and asks no privileged process.
#[test]
fn too_many_clients_on_their_way_are_a_refusal_of_their_own() {
    const ROLE: &str = "TOO_MANY_IN_FLIGHT";
    const LIMIT: u64 = 40;
    if std::env::var_os(ROLE).is_none() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("test");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        for path in [directory.path(), &program] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut child = Command::new(program);
        let name = "exchange::tests::unwilling::too_many_clients_on_their_way_are_a_refusal_of_their_own";
        child.args(["--exact", "--test-threads=1", name]);
        child.env(ROLE, "1").env_remove("TMPDIR");
        if rustix::process::geteuid().is_root() {
            // A user who has nothing else on its way.
            child.uid(64_999);
        }
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let scene = Scene::new(&[("d", "protocol=2 ack_timeout_ms=1")]);
    let hung = scene.listener("d");
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum: Some(LIMIT) }).unwrap();
    // Nobody accepts: what was sent stays on its way in the connections of the backlog.
    let mut sent = 0;
    let refusal = loop {
        match scene.offer("d").refusal() {
            Refusal::NoAnswer { .. } => sent += 1,
            refusal => break refusal,
        }
    };
    assert_eq!(refusal, Refusal::TooManyInFlight(scene.path("d")));
    assert!((1..=LIMIT + 1).contains(&sent), "{sent}");
    drop(hung);
}

#[test]
fn after_the_wait_no_answer_can_come_even_before_the_connection_is_closed() {
    let scene = Scene::new(&[("d", PATIENT)]);
    let peer = keep_connection(&scene, &scene.listener("d"));
    let daemon = scene.config.daemon(&scene.path("d")).unwrap();
    let targets = Targets { config: &scene.config, daemon };
    let mut exchange = Exchange {
        targets,
        doubtful: 0,
        target: targets.at(0, 0),
        connection: scene.pool("d").take(Instant::now()),
        failure: None,
        busy: None,
        deadline: None,
        client: || None::<BorrowedFd<'_>>,
        on_fallback: |_: &Refusal, _: &Path| {},
    };
    exchange.stop_and_receive();
    assert_eq!(offer::send(&peer.0, &Answer::Accepted), Err(Errno::PIPE));
}
