//! Rule 2: the end is known in each dialect, and an answer without it is truncated.

use mock_llm::Settings;
use mock_llm::frames::{CANCEL, INTERNAL_ERROR, NO_ERROR, Peer, Script};
use streaming_daemon::config::DialectName;
use tokio::io::AsyncReadExt;

use crate::common::response;
use crate::harness::{
    LLM, Rigid, daemon, error_event, figure, profile, read_until, refusal, relayed_by_all, relayed_with,
    serve_metrics, until_figure,
};

#[tokio::test]
async fn an_answer_without_its_mark_is_truncated_and_counted() {
    let mut address = None;
    let relayed = relayed_by_all(Settings::default(), |config| address = Some(serve_metrics(config))).await;
    let address = address.unwrap();
    let mut truncated = 0;
    for backend in LLM.into_iter().flat_map(|name| [name.to_owned(), format!("{name}1")]) {
        for pattern in ["eof:3", "no-end"] {
            for format in ["text", "json", "raw"] {
                let response = relayed.misled(&backend, pattern, format).await;
                assert_eq!(response.status(), 200);
                let error = response.body.rsplit("event: error\n").next().unwrap();
                assert!(error.contains("ended before its end"), "{backend} {pattern}: {}", response.body);
                assert!(!response.body.contains("[DONE]"), "{}", response.body);
                if format != "raw" {
                    assert!(error_event(&response).contains("ended before its end"));
                }
                truncated += 1;
            }
        }
    }
    until_figure(address, "daemon_stream_errors_total{reason=\"truncated\"}", truncated).await;
    assert_eq!(figure(address, "daemon_backend_errors").await, truncated);
}

#[tokio::test]
async fn the_end_of_a_source_of_events_is_its_end_unless_an_event_marks_it() {
    let relayed = relayed_with(DialectName::Sse, Settings::default(), |_| {}).await;
    let response = relayed.misled("api", "no-end", "raw").await;
    assert!(!response.body.contains("event: error") && response.complete, "{}", response.body);

    let with_end = relayed_with(DialectName::Sse, Settings::default(), |config| {
        config.backend.profiles.last_mut().unwrap().end_event = Some("end".to_owned());
    })
    .await;
    let response = with_end.misled("api", "", "raw").await;
    assert!(response.body.ends_with("event: end\ndata: {}\n\n"), "{}", response.body);
    let response = with_end.misled("api", "no-end", "raw").await;
    assert!(response.body.contains("ended before its end"), "{}", response.body);
}

#[tokio::test]
async fn an_unfinished_event_at_the_end_is_nobodys() {
    let begin = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let peer = Peer::start([Script::new().answer_all(format!("{begin}data: {{\"choices\""))]).await.unwrap();
    let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |_| {});
    for format in ["text", "raw"] {
        let data = format!(r#"{{"prompt":"Hi","format":"{format}","protocol":"HTTP/1.1"}}"#);
        let response = daemon.ask(&data).await;
        assert_eq!(response.events().len(), 2, "{}", response.body);
        assert!(error_event(&response).contains("ended before its end"));
    }
}

#[tokio::test]
async fn what_follows_the_mark_is_nobodys() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let peer =
        Peer::start([Script::new().answer_all(format!("{text}data: [DONE]\n\n{text}"))]).await.unwrap();
    let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |_| {});
    for format in ["text", "raw"] {
        let data = format!(r#"{{"prompt":"Hi","format":"{format}","protocol":"HTTP/1.1"}}"#);
        let response = daemon.ask(&data).await;
        assert_eq!(response.events().len(), 2, "{}", response.body);
        assert!(response.body.ends_with("data: [DONE]\n\n") && response.complete, "{}", response.body);
    }
}

#[tokio::test]
async fn the_answer_ends_at_its_mark_though_the_response_does_not() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n";
    let script = Script::new().requests(1).respond(1).data(1, text);
    let peer = Peer::start([script]).await.unwrap();
    let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |_| {});
    let begin = std::time::Instant::now();
    let response = daemon.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#).await;
    assert!(response.is_done() && response.complete);
    assert!(begin.elapsed() < std::time::Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_answer_that_is_cut_is_an_error_event_whatever_cut_it() {
    let mut address = None;
    let relayed = relayed_by_all(Settings::default(), |config| address = Some(serve_metrics(config))).await;
    let mut broken = 0;
    let everybody = ["chat", "responses", "messages", "chat1", "responses1", "messages1"];
    for backend in everybody {
        for pattern in ["abort:3", "tcp-reset:3,delay:20", "reset:3:2,delay:20", "reset:3:8,delay:20"] {
            let response = relayed.misled(backend, pattern, "text").await;
            // The cut may overtake all that was sent before it.
            if response.status() == 200 {
                assert!(
                    error_event(&response).contains("connection to the backend broke"),
                    "{backend} {pattern}"
                );
            } else {
                assert!(
                    refusal(&response).contains("connection to the backend broke"),
                    "{backend} {pattern}"
                );
            }
            broken += 1;
        }
    }
    until_figure(address.unwrap(), "daemon_stream_errors_total{reason=\"network\"}", broken).await;
    // None of it was tried again: the client had bytes already.
    assert_eq!(relayed.api.requests().len(), everybody.len() * 4);
}

#[tokio::test]
async fn what_came_before_the_end_of_the_connection_is_passed_on() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let peer = Peer::start([Script::new().requests(1).respond(1).data(1, text).close()]).await.unwrap();
    let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |_| {});
    for _ in 0..20 {
        let response = daemon.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#).await;
        assert!(error_event(&response).contains("connection to the backend broke"), "{}", response.body);
        assert_eq!(response.text(), "a");
    }
}

#[tokio::test]
async fn a_reset_in_place_of_the_end_is_no_end() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    for code in [NO_ERROR, CANCEL, INTERNAL_ERROR] {
        let script = Script::new().requests(1).respond(1).data(1, text).gate("seen").reset(1, code);
        let peer = Peer::start([script]).await.unwrap();
        let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |_| {});
        let mut client = daemon.hand_off(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#);
        let mut received = read_until(&mut client, "data: a\n\n").await;
        peer.open("seen");
        client.read_to_string(&mut received).await.unwrap();
        let response = response::parse(received.as_bytes());
        error_event(&response);
        assert!(!response.is_done(), "{code}");
    }
}

#[tokio::test]
async fn the_end_of_a_connection_is_no_mark() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
    let length = text.len();
    for (rest, expected) in [
        // No framing at all, a body that is complete, one that is too short, chunks without and with the last one.
        (format!("Connection: close\r\n\r\n{text}"), "ended before its end"),
        (format!("Content-Length: {length}\r\n\r\n{text}"), "ended before its end"),
        (format!("Content-Length: {}\r\n\r\n{text}", length + 1), "the connection to the backend broke"),
        (
            format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{text}\r\n"),
            "the connection to the backend broke",
        ),
        (
            format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{text}\r\n0\r\n\r\n"),
            "ended before its end",
        ),
    ] {
        let peer = Rigid::start(format!("{head}{rest}")).await;
        let daemon = peer.behind(DialectName::OpenAi, |_| {});
        let response = daemon.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#).await;
        assert!(error_event(&response).contains(expected), "{rest:?}: {}", response.body);
        assert_eq!(response.text(), "a");
    }
}
