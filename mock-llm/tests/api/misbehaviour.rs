use std::time::{Duration, Instant};

use crate::{ask, over_http1, over_http2, prompt, receive, short, start, text};

#[tokio::test]
async fn error_statuses_come_with_the_json_of_the_vendor() {
    let mock = start(short()).await;
    for (path, pattern, status, part) in [
        ("/chat/completions", "status:401", 401, r#""code":"invalid_api_key""#),
        ("/chat/completions", "vllm,status:400", 400, r#"{"object":"error","#),
        ("/responses", "status:429", 429, r#""code":"rate_limit_exceeded""#),
        ("/messages", "status:529", 529, r#"{"type":"error","error":{"type":"overloaded_error""#),
        ("/messages", "html", 502, "<center>cloudflare</center>"),
        ("/messages", "html,status:503", 503, "<html>"),
    ] {
        for client in [over_http1(), over_http2()] {
            let response = ask(&client, &mock, path, pattern).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(
                response.headers()["content-type"].to_str().unwrap().contains("html"),
                pattern.contains("html")
            );
            let body = response.text().await.unwrap();
            assert!(body.contains(part), "{body}");
        }
    }
}

#[tokio::test]
async fn a_limit_says_when_to_come_again_and_a_redirect_where() {
    let mock = start(short()).await;
    let response = ask(&over_http1(), &mock, "/messages", "retry-after:7").await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["retry-after"].as_bytes()),
        (429, b"7".as_slice())
    );
    let client =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let response = ask(&client, &mock, "/messages", "redirect").await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["location"].as_bytes()),
        (302, b"/v1/elsewhere".as_slice())
    );
    let response = ask(&client, &mock, "/messages", "gzip").await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert!(response.bytes().await.unwrap().starts_with(&[0x1f, 0x8b]));
}

#[tokio::test]
async fn a_pattern_that_nobody_knows_is_told() {
    let mock = start(short()).await;
    let url = format!("{}/chat/completions", mock.base_url());
    let response = over_http1().post(&url).body(prompt("[[sparkle]]x").to_string()).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("sparkle"));
    let response = over_http1().post(&url).body("{\"broken").send().await.unwrap();
    assert_eq!(response.status(), 400);
    let response = over_http1().post(format!("http://{}/elsewhere", mock.address())).send().await.unwrap();
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn answers_end_early_in_each_way() {
    let mock = start(short()).await;
    for (pattern, words, complete, end) in [
        ("eof:2", "word001 word002 ", true, "\n\n"),
        ("no-end", "word001 word002 word003 ", true, "\"finish_reason\":\"stop\"}]}\n\n"),
        ("error:1", "word001 ", true, "\"code\":null}}\n\n"),
        ("error:99", "word001 word002 word003 ", true, "\"code\":null}}\n\n"),
        ("abort:0", "", false, "\n\n"),
        ("abort:2", "word001 word002 ", false, "\n\n"),
        ("abort:2,delay:1", "word001 word002 ", false, "\n\n"),
        ("tcp-reset:2", "word001 word002 ", false, "\n\n"),
        ("reset:2:11", "word001 word002 ", false, "\n\n"),
    ] {
        for client in [over_http1(), over_http2()] {
            // SETTINGS are exchanged first: a client that writes on a connection which is cut may not read to its end.
            ask(&client, &mock, "/models", "").await.unwrap().text().await.unwrap();
            let (body, ended) =
                receive(ask(&client, &mock, "/chat/completions", pattern).await.unwrap()).await;
            assert_eq!((text(&body).as_str(), ended), (words, complete), "{pattern}");
            assert!(body.ends_with(end) && !body.contains("[DONE]"), "{pattern} {client:?} {body}");
        }
    }
    assert!(mock.until(|mock| mock.streams() == 0).await);
    assert_eq!(mock.cancelled(), 0);
}

#[tokio::test]
async fn a_stalled_answer_ends_when_the_client_leaves() {
    let mock = start(short()).await;
    let mut cancelled = 0;
    for pattern in ["stall-after-head", "stall:2", "stall:2,delay:1"] {
        for client in [over_http1(), over_http2()] {
            let mut response = ask(&client, &mock, "/chat/completions", pattern).await.unwrap();
            if pattern != "stall-after-head" {
                let mut body = String::new();
                while !body.contains("word002") {
                    body.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
                }
            }
            assert_eq!((mock.streams(), mock.cancelled()), (1, cancelled));
            drop(response);
            cancelled += 1;
            assert!(
                mock.until(|mock| mock.streams() == 0 && mock.cancelled() == cancelled).await,
                "{pattern}"
            );
        }
    }
    assert_eq!(mock.resets(), [8, 8, 8]);
}

#[tokio::test]
async fn no_head_comes_or_a_late_one() {
    let mock = start(short()).await;
    for client in [over_http1(), over_http2()] {
        let cancelled = mock.cancelled();
        let waiting = ask(&client, &mock, "/responses", "stall-before-head");
        tokio::select! {
            _ = waiting => panic!("there is no answer"),
            held = mock.until(|mock| mock.streams() == 1) => assert!(held),
        }
        assert!(mock.until(|mock| mock.cancelled() == cancelled + 1).await);
        let start = Instant::now();
        ask(&client, &mock, "/responses", "slow-head:50").await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(50));
        let error = ask(&client, &mock, "/responses", "abort-before-head").await.unwrap_err();
        assert!(error.is_request(), "{error:?}");
    }
}

#[tokio::test]
async fn faults_of_the_settings_and_faults_for_a_time() {
    let mock = start(mock_llm::Settings { faults: "times:2,status:503".parse().unwrap(), ..short() }).await;
    let url = format!("{}/chat/completions", mock.base_url());
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let response = over_http1().post(&url).body(prompt("x").to_string()).send().await.unwrap();
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [503, 503, 200, 200]);
    for expected in [500, 200] {
        assert_eq!(
            ask(&over_http1(), &mock, "/messages", "status:500,times:1").await.unwrap().status(),
            expected
        );
    }
}

#[tokio::test]
async fn events_keep_their_pace() {
    let mock = start(short()).await;
    let start = Instant::now();
    let (_, complete) =
        receive(ask(&over_http2(), &mock, "/messages", "chunks:6,delay:10").await.unwrap()).await;
    assert!(complete && start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
}
