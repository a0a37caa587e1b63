//! Proxies: which one, and the tunnel through it.

use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::link::Io;
use crate::origin::bare;
use crate::{SendError, SetupError};

/// The most bytes of a proxy's answer to CONNECT.
const ANSWER_LIMIT: usize = 16 * 1024;

/// Where proxies are named.
#[derive(Clone, Default)]
pub enum Proxy {
    /// By the usual variables: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, or the same in lower case.
    #[default]
    Environment,
    /// Nowhere.
    Never,
    /// Here, in the syntax of the variables.
    Given {
        /// For `http://`.
        http: String,
        /// For `https://`.
        https: String,
        /// The hosts that are reached without one.
        no: String,
    },
}

impl std::fmt::Debug for Proxy {
    /// Without the URLs, which may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Environment => "Environment",
            Self::Never => "Never",
            Self::Given { .. } => "Given",
        })
    }
}

/// The proxy towards one origin.
#[derive(Debug)]
pub(crate) struct Via {
    /// Of the proxy, as the operator knows it: `host:port`.
    pub(crate) address: Arc<str>,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// TLS towards the proxy itself.
    pub(crate) is_https: bool,
    pub(crate) credentials: Option<HeaderValue>,
}

impl Proxy {
    /// The proxy that leads to an origin, if any.
    pub(crate) fn towards(&self, origin: &Uri) -> Result<Option<Via>, SetupError> {
        let matcher = match self {
            Self::Environment => Matcher::from_env(),
            Self::Never => return Ok(None),
            Self::Given { http, https, no } => {
                Matcher::builder().http(http.as_str()).https(https.as_str()).no(no.as_str()).build()
            }
        };
        let Some(proxy) = matcher.intercept(origin) else { return Ok(None) };
        let uri = proxy.uri();
        let (Some(scheme @ ("http" | "https")), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(SetupError::Proxy { proxy: uri.to_string() });
        };
        let is_https = scheme == "https";
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        Ok(Some(Via {
            address: format!("{host}:{port}").into(),
            host: bare(host).to_owned(),
            port,
            is_https,
            credentials: proxy.basic_auth().cloned(),
        }))
    }
}

/// Asks a proxy for a tunnel (RFC 9110, section 9.3.6). `target` is `host:port`.
pub(crate) async fn tunnel(io: &mut dyn Io, via: &Via, target: &str) -> Result<(), SendError> {
    let failed = |detail: String| SendError::Proxy {
        proxy: Arc::clone(&via.address),
        address: target.into(),
        detail: detail.into(),
    };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(credentials) = &via.credentials {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(credentials.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    io.write_all(&request).await.map_err(|error| failed(error.to_string()))?;
    io.flush().await.map_err(|error| failed(error.to_string()))?;

    // What follows the head is the origin's, which says nothing before our ClientHello.
    let mut answer = Vec::with_capacity(1024);
    while !answer.ends_with(b"\r\n\r\n") && !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        if answer.len() > ANSWER_LIMIT {
            return Err(failed("its answer has no end".into()));
        }
        match io.read_buf(&mut answer).await {
            Ok(0) => return Err(failed("it closed the connection".into())),
            Ok(_) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    let line = answer.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    match status {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(()),
        Some(status) => Err(failed(match status {
            "407" => "it wants other credentials (407)".into(),
            status => format!("it answered {}", status.chars().take(16).collect::<String>()),
        })),
        None => Err(failed("its answer is not HTTP".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(proxy: &str) -> Proxy {
        Proxy::Given { http: proxy.into(), https: proxy.into(), no: "direct.example.com".into() }
    }

    #[test]
    fn credentials_are_in_no_text() {
        let origin = Uri::from_static("https://api.example.com/");
        let proxy = given("http://user:secret@proxy:3128");
        let via = proxy.towards(&origin).unwrap().unwrap();
        assert_eq!(&*via.address, "proxy:3128");
        assert_eq!(via.credentials.as_ref().unwrap(), "Basic dXNlcjpzZWNyZXQ=");
        assert!(!format!("{proxy:?} {via:?}").contains("ecret"));
        let error = given("socks5://user:secret@proxy:1080").towards(&origin).unwrap_err();
        assert!(error.to_string().contains("socks5://proxy:1080") && !error.to_string().contains("secret"));
    }

    #[test]
    fn a_host_may_be_excluded() {
        assert!(
            given("http://proxy").towards(&Uri::from_static("https://direct.example.com")).unwrap().is_none()
        );
        assert!(Proxy::Never.towards(&Uri::from_static("https://api.example.com")).unwrap().is_none());
    }
}
