//! Rules 1 and 3: whole events pass on as they came, or as their text, however the API writes them and wherever its
//! bytes are cut.

use mock_llm::Settings;
use mock_llm::frames::{Peer, Script};
use streaming_daemon::config::DialectName;

use crate::harness::{ALL, LLM, Rigid, daemon, error_event, profile, relayed, relayed_by_all, said_by};

/// Ways to write the same.
const STYLES: [&str; 16] = [
    "",
    "cr",
    "crlf",
    "no-space",
    "comments",
    "bom",
    "multi-line",
    "json-spaces",
    "json-order",
    "json-escapes",
    "unicode",
    "unicode,json-escapes",
    "usage",
    "unknown-event",
    "thinking",
    "no-space,crlf,comments,bom,multi-line,json-spaces,unicode",
];

/// Without what separates no lines that it does not separate with LF as well.
fn lines(events: &str) -> String {
    events.replace("\r\n", "\n").replace('\r', "\n")
}

fn without_mark(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes).unwrap();
    text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()
}

#[tokio::test]
async fn raw_events_are_the_apis_byte_for_byte() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in ALL {
        for style in STYLES {
            let expected = without_mark(said_by(&relayed.api, backend, style).await);
            for version in ["", "1"] {
                let response = relayed.misled(&format!("{backend}{version}"), style, "raw").await;
                assert_eq!(response.status(), 200);
                assert_eq!(response.body, expected, "{backend}{version} {style:?}");
                assert!(response.complete);
            }
        }
    }
}

#[tokio::test]
async fn raw_events_are_the_same_wherever_they_were_cut() {
    let relayed = relayed_by_all(Settings { chunk_count: 5, ..Settings::default() }, |_| {}).await;
    for backend in ALL {
        for style in STYLES {
            let expected = without_mark(said_by(&relayed.api, backend, style).await);
            for length in [1, 7] {
                let pattern = format!("{style},split:{length}");
                let body = relayed.misled(backend, pattern.trim_matches(','), "raw").await.body;
                // A blank line is passed on at its CR; what is said by the LF behind it is said already.
                let same =
                    if style.contains("crlf") { lines(&body) == lines(&expected) } else { body == expected };
                assert!(same, "{backend} {pattern}:\n{body:?}\n{expected:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_text_is_the_same_however_it_was_written_and_cut() {
    let relayed = relayed_by_all(Settings { chunk_count: 4, ..Settings::default() }, |_| {}).await;
    for backend in LLM {
        for style in STYLES {
            let expected = match style.contains("unicode") {
                true => "wörd→🙂é ".repeat(4),
                false => "word001 word002 word003 word004 ".to_owned(),
            };
            for cut in ["", ",split:1", ",split:13"] {
                let pattern = format!("{style}{cut}");
                let pattern = pattern.trim_matches(',');
                let text = relayed.misled(backend, pattern, "text").await;
                assert_eq!(text.text(), expected, "{backend} {pattern}");
                assert!(text.is_done() && text.complete, "{backend} {pattern} {}", text.body);
                let json = relayed.misled(backend, pattern, "json").await;
                assert!(json.is_done() && json.complete);
                let events = json.events();
                let contents = events.iter().filter(|(kind, _)| kind == "message").map(|(_, data)| {
                    let event: serde_json::Value = serde_json::from_str(data).unwrap();
                    event["content"].as_str().unwrap().to_owned()
                });
                assert_eq!(contents.collect::<String>(), expected, "{backend} {pattern}");
            }
        }
    }
}

#[tokio::test]
async fn refusals_are_text_and_thoughts_and_tools_are_not() {
    let relayed = relayed_by_all(Settings { chunk_count: 2, ..Settings::default() }, |_| {}).await;
    for backend in LLM {
        for (pattern, expected) in [
            ("refusal", "word001 word002 "),
            ("thinking", "word001 word002 "),
            ("tools", ""),
            ("length", "word001 word002 "),
        ] {
            let response = relayed.misled(backend, pattern, "text").await;
            assert_eq!(response.text(), expected, "{backend} {pattern}");
            assert!(response.is_done(), "{backend} {pattern}");
        }
    }
}

#[tokio::test]
async fn what_compatible_apis_add_is_tolerated() {
    let relayed = relayed(Settings { chunk_count: 6, ..Settings::default() }).await;
    for flavour in ["openrouter", "vllm", "azure"] {
        let response = relayed.misled("api", flavour, "text").await;
        assert_eq!(response.text(), "word001 word002 word003 word004 word005 word006 ", "{flavour}");
        assert!(response.is_done());
    }
}

#[tokio::test]
async fn large_deltas_arrive_whole() {
    let relayed = relayed_by_all(Settings::default(), |_| {}).await;
    for backend in LLM {
        for version in ["", "1"] {
            for (size, rest) in
                [(10_000, ""), (10_000, ",split:1000"), (200_000, ""), (100_000, ",unicode,json-escapes")]
            {
                let backend = format!("{backend}{version}");
                let response =
                    relayed.misled(&backend, &format!("chunks:2,delta:{size}{rest}"), "text").await;
                assert_eq!(response.text().len(), 2 * size, "{backend} {size}{rest}");
                assert!(
                    response.is_done() && response.complete,
                    "{backend} {size}{rest}: {:?}",
                    response.events().last().unwrap().1.chars().take(200).collect::<String>()
                );
            }
        }
    }
}

#[tokio::test]
async fn an_event_without_end_is_an_error_and_not_memory() {
    let endless = format!("data: {}", "x".repeat(8 * 1024 * 1024));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    for (begin, expected) in [("", 502), ("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", 200)] {
        let peer = Rigid::start(format!("{head}{begin}{endless}")).await;
        let daemon = peer.behind(DialectName::OpenAi, |_| {});
        let response = daemon.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#).await;
        assert_eq!(response.status(), expected);
        assert!(response.body.contains("too long"), "{}", response.body);
        if expected == 200 {
            assert!(error_event(&response).contains("too long"));
        }
    }
}

#[tokio::test]
async fn what_is_no_json_in_an_event_is_an_error_event() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    for broken in [
        "data: {\"choices\":[{\"delta\":{\"content\":\"b\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\ud800\"}}]}\n\n",
    ] {
        let script = Script::new().answer_all(format!("{event}{broken}{event}data: [DONE]\n\n"));
        let peer = Peer::start([script]).await.unwrap();
        let daemon = daemon(profile("api", DialectName::OpenAi, &peer.base_url()), |_| {});
        let response = daemon.ask(r#"{"prompt":"Hi","protocol":"HTTP/1.1"}"#).await;
        if broken.contains("ud800") {
            // Half a character is none, but the rest of the answer is fine.
            assert_eq!(response.text(), "a\u{fffd}a", "{}", response.body);
        } else {
            assert_eq!(response.text(), "a", "{broken:?}");
            assert!(error_event(&response).contains("reports an error"), "{}", response.body);
        }
    }
}
