//! `/metrics`, `/healthz` and `/readyz`, over HTTP/1.1.
//!
//! Three short answers to a scraper on the same machine need no HTTP library: one request a connection, bounded in
//! size, number and time, and every response closes its connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Format;
use crate::server::Shared;

/// Connections at the same time. Their descriptors come out of the reserve that streams never use.
const CONNECTIONS: usize = 16;

/// Longest request head, in bytes.
const HEAD_LIMIT: usize = 8 * 1024;

/// From accepting a connection to the end of its response.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long to wait before an address that is taken is tried again: the daemon before this one may still be draining.
const BIND_AGAIN: Duration = Duration::from_secs(2);

/// How long accepting rests after it has failed.
const REST: Duration = Duration::from_millis(100);

/// Serves until it is dropped. Streams don't depend on it, so an address that is taken is logged and tried again.
pub async fn serve(address: SocketAddr, shared: Arc<Shared>) {
    let listener = bind(address).await;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((connection, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    // Too slow, or gone: nothing is left to be done for it.
                    let _ = tokio::time::timeout(DEADLINE, answer(connection, &shared)).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let local = listener.local_addr().unwrap_or(address);
                tracing::info!("metrics at http://{local}/metrics");
                return listener;
            }
            Err(error) if !told => {
                told = true;
                tracing::warn!("{}", problem(address, &error));
            }
            Err(_) => {}
        }
        tokio::time::sleep(BIND_AGAIN).await;
    }
}

fn problem(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "metrics are not served yet: another program listens on {address}; stop it or set [metrics] listen_addr \
             (it is tried again every {BIND_AGAIN:?})"
        ),
        _ => format!(
            "metrics are not served: {address} cannot be listened on: {error}; set [metrics] listen_addr to an \
             address of this machine"
        ),
    }
}

async fn answer(mut connection: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if head.len() > HEAD_LIMIT || connection.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    connection.write_all(respond(&String::from_utf8_lossy(&head), shared).as_bytes()).await?;
    connection.shutdown().await
}

/// The whole response to a request head.
fn respond(head: &str, shared: &Shared) -> String {
    let mut lines = head.split("\r\n");
    let mut request_line = lines.next().unwrap_or_default().split(' ');
    let (method, target, version) = (request_line.next(), request_line.next(), request_line.next());
    let text = "text/plain; charset=utf-8";
    let (status, content_type, body) = match (method, target, version) {
        (_, _, None) => ("400 Bad Request", text, "this is no HTTP request\n".to_owned()),
        (Some("GET" | "HEAD"), Some(target), _) => match target.split('?').next() {
            Some("/metrics") => {
                let accept = lines.find_map(|line| field(line, "accept"));
                let format = Format::for_accept(accept);
                let lost = shared.access_log.lost();
                ("200 OK", format.content_type(), shared.metrics.write(format, &shared.backends, lost))
            }
            Some("/healthz") => ("200 OK", text, "ok\n".to_owned()),
            Some("/readyz") if shared.is_draining() => {
                ("503 Service Unavailable", text, "draining\n".to_owned())
            }
            Some("/readyz") => ("200 OK", text, "ready\n".to_owned()),
            _ => ("404 Not Found", text, "there are /metrics, /healthz and /readyz\n".to_owned()),
        },
        _ => ("405 Method Not Allowed\r\nAllow: GET, HEAD", text, "only GET and HEAD\n".to_owned()),
    };
    let length = body.len();
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
    if method != Some("HEAD") {
        response.push_str(&body);
    }
    response
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    found.eq_ignore_ascii_case(name).then_some(value.trim())
}
