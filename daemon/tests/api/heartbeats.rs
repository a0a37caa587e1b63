//! Rule 7: comments keep a silent connection open, and stand between events only.

use std::time::Duration;

use mock_llm::Settings;
use mock_llm::frames::{Peer, Script};
use streaming_daemon::config::DialectName;

use crate::harness::{ALL, daemon, profile, relayed_by_all, said_by};

const HEARTBEAT: Duration = Duration::from_millis(25);
const PAUSE: Duration = Duration::from_millis(120);
const COMMENT: &str = ": keep-alive\n\n";

#[tokio::test]
async fn a_comment_never_stands_within_an_event() {
    // Each pause lies within an event; within a field's name, a line, a character, an escape, and between two lines.
    let pieces: [&[u8]; 6] = [
        b"data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\nda",
        b"ta: {\"choices\":[{\"delta\":{\"content\":\"\xf0\x9f",
        b"\x99\x82 \\u00",
        b"e9\"}}]}\n\nid: 7\r\n",
        b"data: {\"choices\":\ndata: [{\"delta\":{\"content\":\" two\"}}]}\r\n",
        b"\r\ndata: [DONE]\n\n",
    ];
    let mut script = Script::new().requests(1).respond(1);
    for piece in pieces {
        script = script.data(1, piece).wait(PAUSE);
    }
    for format in ["text", "raw", "json"] {
        let peer = Peer::start([script.clone()]).await.unwrap();
        let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |config| {
            config.server.heartbeat = Some(HEARTBEAT);
        });
        let data = format!(r#"{{"prompt":"Hi","format":"{format}","protocol":"HTTP/1.1"}}"#);
        let response = daemon.ask(&data).await;
        assert!(response.complete);
        let comments = response.body.matches(COMMENT).count();
        assert!(comments >= 5, "{comments} in {}", response.body);
        let body = response.body.replace(COMMENT, "");
        match format {
            "raw" => assert_eq!(body.as_bytes(), pieces.concat(), "{body}"),
            "text" => {
                assert_eq!(body, "data: one\n\ndata: 🙂 é\n\ndata:  two\n\nevent: done\ndata: [DONE]\n\n");
            }
            _ => {
                let expected = r#"{"content":"one"} {"content":"🙂 é"} {"content":" two"}"#;
                let messages = body.lines().filter_map(|line| line.strip_prefix("data: {"));
                let messages: Vec<_> = messages.map(|rest| format!("{{{rest}")).collect();
                assert_eq!(messages.join(" "), expected);
            }
        }
        // They begin at the start or behind a blank line.
        for (at, _) in response.body.match_indices(COMMENT) {
            let before = &response.body[..at];
            let boundary = ["", "\n\n", "\n\r\n", "\r\n\r\n"].iter().skip(1).any(|end| before.ends_with(end));
            assert!(before.is_empty() || boundary, "{before:?}");
        }
    }
}

#[tokio::test]
async fn every_dialect_is_kept_open_in_silence() {
    let settings = Settings { chunk_count: 3, chunk_delay: PAUSE, ..Settings::default() };
    let relayed = relayed_by_all(settings, |config| config.server.heartbeat = Some(HEARTBEAT)).await;
    let (expected, responses) = (
        ALL.map(|backend| said_by(&relayed.api, backend, "")),
        ALL.map(|backend| [backend.to_owned(), format!("{backend}1")]),
    );
    for (expected, backends) in expected.into_iter().zip(responses) {
        let [http2, http1] = backends
            .each_ref()
            .map(|backend| relayed.misled(backend, "slow-head:60,delay:120,chunks:3", "raw"));
        let (expected, http2, http1) = tokio::join!(expected, http2, http1);
        for (backend, response) in backends.iter().zip([http2, http1]) {
            assert!(response.body.matches(COMMENT).count() >= 4, "{backend}: {}", response.body);
            assert!(response.body.starts_with(COMMENT), "{backend}: before the head as well");
            assert_eq!(response.body.replace(COMMENT, "").into_bytes(), expected, "{backend}");
        }
    }
}

#[tokio::test]
async fn the_apis_own_comments_are_signs_of_life() {
    // Silent for longer than is allowed, but for comments.
    let mut script = Script::new()
        .requests(1)
        .respond(1)
        .data(1, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n");
    for _ in 0..8 {
        script = script.wait(Duration::from_millis(50)).data(1, ": PROCESSING\n\n");
    }
    let script = script.data(1, "data: [DONE]\n\n").end(1);
    for format in ["text", "raw"] {
        let peer = Peer::start([script.clone()]).await.unwrap();
        let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |config| {
            config.backend.timeout = Duration::from_millis(200);
        });
        let data = format!(r#"{{"prompt":"Hi","format":"{format}","protocol":"HTTP/1.1"}}"#);
        let response = daemon.ask(&data).await;
        assert!(response.body.ends_with("data: [DONE]\n\n"), "{}", response.body);
        assert_eq!(response.body.contains("PROCESSING"), format == "raw");
    }
}

#[tokio::test]
async fn an_api_whose_comments_say_that_a_request_waits_is_not_silent() {
    let mut script = Script::new().requests(1).respond(1);
    for _ in 0..20 {
        script = script.data(1, ": PROCESSING, PLEASE WAIT A MOMENT\n\n").wait(Duration::from_millis(50));
    }
    script = script.data(1, "data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\ndata: [DONE]\n\n");
    let peer = Peer::start([script]).await.unwrap();
    let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |config| {
        // Longer than it takes to see that there are comments, and shorter than they last.
        config.backend.timeout = Duration::from_millis(600);
    });
    let response = daemon.ask(r#"{"prompt":"Hi"}"#).await;
    assert_eq!((response.status(), response.text().as_str()), (200, "one"), "{}", response.body);
    assert!(response.is_done());
}
