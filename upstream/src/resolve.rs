//! From a host's name to a TCP connection.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::error::with_causes;
use crate::{SendError, Settings};

/// How long one address is waited for before the next is tried beside it (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// The host's addresses, families alternating, in the resolver's order otherwise.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, SendError> {
    let failed = |detail: Arc<str>| SendError::Resolve { host: host.into(), detail };
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| failed(with_causes(&error)))?;
    let (mut first, mut second) = (VecDeque::new(), VecDeque::new());
    for address in found {
        let of_first = first.front().is_none_or(|one: &SocketAddr| one.is_ipv4() == address.is_ipv4());
        if of_first { first.push_back(address) } else { second.push_back(address) }
    }
    let mut addresses = Vec::with_capacity(first.len() + second.len());
    while let Some(address) = first.pop_front() {
        addresses.push(address);
        addresses.extend(second.pop_front());
    }
    addresses.extend(second);
    if addresses.is_empty() { Err(failed("it has no address".into())) } else { Ok(addresses) }
}

/// The first of the addresses that answers.
pub(crate) async fn connect(
    addresses: Vec<SocketAddr>,
    settings: &Settings,
    name: &Arc<str>,
) -> Result<TcpStream, SendError> {
    let mut attempts = JoinSet::new();
    let mut addresses = addresses.into_iter();
    let mut failure: Option<(SocketAddr, io::Error)> = None;
    loop {
        let next = addresses.next();
        let is_last = next.is_none();
        if let Some(address) = next {
            attempts
                .spawn(async move { TcpStream::connect(address).await.map_err(|error| (address, error)) });
        }
        loop {
            let attempt = attempts.join_next();
            let outcome = if is_last {
                attempt.await
            } else {
                match tokio::time::timeout(NEXT_ADDRESS, attempt).await {
                    Ok(outcome) => outcome,
                    Err(_) => break,
                }
            };
            match outcome {
                Some(Ok(Ok(stream))) => {
                    prepare(&stream, settings);
                    return Ok(stream);
                }
                // The first failure is that of the preferred address.
                Some(Ok(Err(error))) => failure = failure.or(Some(error)),
                Some(Err(_)) => {}
                None if is_last => {
                    let detail = failure.map_or("nothing answers".into(), |(address, error)| {
                        let ip = address.ip();
                        if name.contains(&ip.to_string()) {
                            error.to_string()
                        } else {
                            format!("{ip}: {error}")
                        }
                    });
                    return Err(SendError::Connect { address: Arc::clone(name), detail: detail.into() });
                }
                None => break,
            }
        }
    }
}

/// Small writes leave at once, and a peer that is gone while we wait for it is noticed also where no PING can ask: by
/// the kernel's probes. All of it is best effort.
///
/// No TCP_USER_TIMEOUT: it would also end the wait for a peer that is there, but does not read a long request yet.
fn prepare(stream: &TcpStream, settings: &Settings) {
    let at_least_one = |time: Duration| time.max(Duration::from_secs(1));
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, at_least_one(settings.ping_interval));
    let _ = sockopt::set_tcp_keepintvl(stream, at_least_one(settings.ping_timeout));
    let _ = sockopt::set_tcp_keepcnt(stream, 3);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let settings = Settings::default();
        let stream = connect(vec![closed, open], &settings, &"api".into()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        let error = connect(vec![closed, closed], &settings, &"api".into()).await.unwrap_err();
        assert!(error.to_string().contains("api cannot be connected to: 127.0.0.1: "), "{error}");
    }

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        let addresses = resolve("::1", 8080).await.unwrap();
        assert_eq!(addresses, ["[::1]:8080".parse().unwrap()]);
    }
}
