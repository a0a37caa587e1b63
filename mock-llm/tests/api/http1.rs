use std::io::ErrorKind;

use mock_llm::{MockLlm, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{in_time, prompt, short, start};

/// The end of an answer in chunks.
const END: &str = "\r\n0\r\n\r\n";

/// Sends a request as it stands, in two pieces.
async fn send(stream: &mut TcpStream, pattern: &str) {
    let body = prompt("x").to_string();
    let head = format!(
        "POST /chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nX-Test-Pattern: {pattern}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
}

async fn all(mock: &MockLlm, pattern: &str) -> String {
    let mut stream = TcpStream::connect(mock.address()).await.unwrap();
    send(&mut stream, pattern).await;
    let mut answer = String::new();
    in_time(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        assert!(
            in_time(stream.read_buf(&mut answer)).await.unwrap() > 0,
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn the_end_of_an_answer_is_framed_in_each_way() {
    let mock = start(short()).await;
    let plain = all(&mock, "close-delimited").await;
    assert!(!plain.contains("transfer-encoding") && !plain.contains("content-length"), "{plain}");
    assert!(plain.ends_with("data: [DONE]\n\n"));
    let closed = all(&mock, "connection-close").await;
    assert!(closed.contains("connection: close\r\n") && closed.ends_with("\r\n0\r\n\r\n"), "{closed}");
    let silent = all(&mock, "close-silently").await;
    assert!(!silent.contains("connection: close") && silent.ends_with("\r\n0\r\n\r\n"), "{silent}");
    let cut = all(&mock, "abort:1").await;
    assert!(cut.contains("word001") && !cut.contains("word002") && !cut.contains("\r\n0\r\n"), "{cut}");
}

#[tokio::test]
async fn a_cut_connection_ends_with_fin_or_with_rst() {
    let mock = start(short()).await;
    for pattern in ["abort-before-head", "abort:1", "tcp-reset:1"] {
        let mut stream = TcpStream::connect(mock.address()).await.unwrap();
        send(&mut stream, pattern).await;
        // The mock does not come to read this: for the kernel a reason for RST.
        stream.write_all(&[b'x'; 50_000]).await.unwrap();
        let mut answer = Vec::new();
        let ended = in_time(stream.read_to_end(&mut answer)).await.map_err(|error| error.kind());
        match pattern {
            "tcp-reset:1" => assert_eq!(ended, Err(ErrorKind::ConnectionReset)),
            _ => assert!(ended.is_ok(), "{pattern} {ended:?}"),
        }
        assert_eq!(answer.is_empty(), pattern == "abort-before-head", "{pattern}");
    }
    assert!(mock.until(|mock| mock.connections() == 0).await);
}

#[tokio::test]
async fn a_stale_connection_ends_under_the_next_request() {
    let mock = start(short()).await;
    let mut stream = TcpStream::connect(mock.address()).await.unwrap();
    send(&mut stream, "").await;
    read_until(&mut stream, END).await;
    send(&mut stream, "stale").await;
    read_until(&mut stream, END).await;
    assert_eq!(mock.connections(), 1);
    send(&mut stream, "").await;
    let mut rest = Vec::new();
    // RST or FIN, by what the kernel had not delivered.
    let _ = in_time(stream.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
    assert!(mock.until(|mock| mock.connections() == 0).await);
    assert_eq!(mock.requests().len(), 2);
}

#[tokio::test]
async fn a_split_answer_is_chunks_of_that_length() {
    let mock = start(short()).await;
    let answer = all(&mock, "split:1,connection-close").await;
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert!(body.starts_with("1\r\nd\r\n1\r\na\r\n"), "{body}");
}

#[tokio::test]
async fn requests_come_in_chunks_and_after_each_other() {
    let mock = start(short()).await;
    let mut stream = TcpStream::connect(mock.address()).await.unwrap();
    let body = prompt("x").to_string();
    let (first, second) = body.split_at(10);
    let request = format!(
        "POST http://proxied/v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x};x=y\r\n{second}\r\n0\r\nTrailer: x\r\n\r\n",
        first.len(),
        second.len()
    );
    stream.write_all(format!("{request}{request}").as_bytes()).await.unwrap();
    let mut answers = String::new();
    // One read may give both.
    while answers.matches(END).count() < 2 {
        answers.push_str(&read_until(&mut stream, END).await);
    }
    assert_eq!(answers.matches("event: message_stop").count(), 2);
    let requests = mock.requests();
    assert_eq!((requests[1].path.as_str(), &requests[1].body[..]), ("/v1/messages", body.as_bytes()));
    assert_eq!(requests[1].connection, 1);
}

#[tokio::test]
async fn http2_is_refused_when_it_is_off() {
    let mock = start(Settings { http2: false, ..short() }).await;
    let mut stream = TcpStream::connect(mock.address()).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = in_time(stream.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 400 "));
}
