//! What the tests share.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use upstream::{Body, BodyError, Figures, Proxy, SendError, Settings, Upstream};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn settings(base: &str) -> Settings {
    Settings { base: base.into(), proxy: Proxy::Never, ..Settings::default() }
}

pub(crate) fn upstream(base: &str) -> Upstream {
    Upstream::new(settings(base)).unwrap()
}

/// A request that the mock API answers by this pattern.
pub(crate) fn post(pattern: &str) -> Request<Bytes> {
    Request::post("/chat/completions")
        .header("content-type", "application/json")
        .header("x-test-pattern", pattern)
        .body(Bytes::from_static(
            br#"{"model":"mock","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        ))
        .unwrap()
}

/// Sends, and does not wait for ever.
pub(crate) async fn send(upstream: &Upstream, pattern: &str) -> Result<Response<Body>, SendError> {
    tokio::time::timeout(PATIENCE, upstream.send(post(pattern))).await.expect("the request hangs")
}

pub(crate) async fn next(body: &mut Body) -> Option<Result<Bytes, BodyError>> {
    let data = poll_fn(|context| body.poll_data(context));
    tokio::time::timeout(PATIENCE, data).await.expect("the body hangs")
}

/// The whole body.
pub(crate) async fn read(answer: Response<Body>) -> Result<Vec<u8>, BodyError> {
    let mut body = answer.into_body();
    let mut read = Vec::new();
    while let Some(data) = next(&mut body).await {
        read.extend_from_slice(&data?);
    }
    Ok(read)
}

/// Waits until the pool's figures are as wanted.
pub(crate) async fn until(upstream: &Upstream, condition: impl Fn(Figures) -> bool) {
    let begin = Instant::now();
    while !condition(upstream.figures()) {
        assert!(begin.elapsed() < PATIENCE, "{:?}", upstream.figures());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Several requests at once, all of which get their heads.
pub(crate) async fn send_all(upstream: &Upstream, pattern: &str, count: usize) -> Vec<Response<Body>> {
    let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(upstream.send(post(pattern)))).collect();
    let mut answers = Vec::new();
    for task in tasks {
        let answer = tokio::time::timeout(PATIENCE * 3, task).await.expect("a request hangs").unwrap();
        answers.push(answer.unwrap());
    }
    answers
}
