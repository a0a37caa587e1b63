//! The API's base URL, and the requests to it.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::{SendError, SetupError};

/// Where the API is.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) uri: Uri,
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    host_field: HeaderValue,
    /// What stands before each request's path; does not end with a slash.
    path: String,
}

impl Origin {
    pub(crate) fn parse(base: &str) -> Result<Self, SetupError> {
        let wrong = SetupError::Base;
        let uri: Uri = base.parse().map_err(|_| wrong("is not a URL"))?;
        let scheme = uri.scheme().filter(|&scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
        let scheme = scheme.ok_or(wrong("begins with neither http:// nor https://"))?.clone();
        let authority = uri.authority().ok_or(wrong("has no host"))?.clone();
        if authority.as_str().contains('@') {
            return Err(wrong("holds a user or a password, which it may not"));
        }
        if authority.host().is_empty() {
            return Err(wrong("has no host"));
        }
        if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none() {
            return Err(wrong("has a port that is no number up to 65535"));
        }
        if uri.query().is_some() || base.contains('#') {
            return Err(wrong("has a query or a fragment, which it may not"));
        }
        let host_field = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("has no valid host"))?;
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { scheme, authority, host_field, path, uri })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The host's name or address, without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        bare(self.authority.host())
    }

    pub(crate) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// Checks a request and makes it one to this origin.
    pub(crate) fn outgoing(&self, request: Request<Bytes>) -> Result<Outgoing, SendError> {
        let (parts, body) = request.into_parts();
        let below = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let path = match (self.path.as_str(), below) {
            ("", below) => below.parse(),
            (base, "" | "/") => base.parse(),
            (base, below) => format!("{base}{below}").parse(),
        }
        .map_err(|_| SendError::Request("its path is invalid"))?;
        let mut fields = parts.headers;
        for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, TE, HOST] {
            fields.remove(name);
        }
        fields.remove("keep-alive");
        fields.remove("proxy-connection");
        if !body.is_empty() || matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Ok(Outgoing { method: parts.method, path, fields, body })
    }

    /// The request as HTTP/2 has it (RFC 9113, section 8.3.1).
    pub(crate) fn http2_head(&self, outgoing: &Outgoing) -> Result<Request<()>, SendError> {
        let mut head = Request::new(());
        *head.method_mut() = outgoing.method.clone();
        *head.uri_mut() = self.absolute(&outgoing.path)?;
        *head.version_mut() = Version::HTTP_2;
        *head.headers_mut() = outgoing.fields.clone();
        Ok(head)
    }

    /// The request as HTTP/1.1 has it: in absolute form for a proxy that forwards it (RFC 9112, section 3.2.2).
    pub(crate) fn http1<B>(
        &self,
        outgoing: &Outgoing,
        forwarded: Option<&Forwarded>,
        body: B,
    ) -> Result<Request<B>, SendError> {
        let mut request = Request::new(body);
        *request.method_mut() = outgoing.method.clone();
        let fields = request.headers_mut();
        *fields = outgoing.fields.clone();
        fields.insert(HOST, self.host_field.clone());
        if let Some(credentials) = forwarded.and_then(|forwarded| forwarded.credentials.as_ref()) {
            fields.insert(HeaderName::from_static("proxy-authorization"), credentials.clone());
        }
        *request.uri_mut() = match forwarded {
            Some(_) => self.absolute(&outgoing.path)?,
            None => Uri::from(outgoing.path.clone()),
        };
        Ok(request)
    }

    fn absolute(&self, path: &PathAndQuery) -> Result<Uri, SendError> {
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        uri.path_and_query(path.clone()).build().map_err(|_| SendError::Request("its path is invalid"))
    }
}

/// A request that can be sent more than once.
pub(crate) struct Outgoing {
    method: Method,
    path: PathAndQuery,
    fields: HeaderMap,
    pub(crate) body: Bytes,
}

/// A proxy takes the requests themselves.
#[derive(Debug)]
pub(crate) struct Forwarded {
    /// `Proxy-Authorization`.
    pub(crate) credentials: Option<HeaderValue>,
}

/// A host without the brackets of an IPv6 address.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(base: &str, path: &str) -> String {
        let request = Request::post(path).body(Bytes::new()).unwrap();
        let origin = Origin::parse(base).unwrap();
        let outgoing = origin.outgoing(request).unwrap();
        origin.http2_head(&outgoing).unwrap().uri().to_string()
    }

    #[test]
    fn a_request_goes_below_the_base() {
        assert_eq!(target("http://localhost:11434/v1", "/chat?a=b"), "http://localhost:11434/v1/chat?a=b");
        assert_eq!(target("https://api.example.com", "/chat"), "https://api.example.com/chat");
        assert_eq!(target("https://api.example.com/", "/chat"), "https://api.example.com/chat");
        assert_eq!(target("https://api.example.com/v1/", "/chat"), "https://api.example.com/v1/chat");
        assert_eq!(target("https://api.example.com/stream", "/"), "https://api.example.com/stream");
    }

    #[test]
    fn what_is_no_base_is_refused() {
        for base in [
            "",
            "api.example.com",
            "/v1",
            "ftp://example.com",
            "unix:/run/api.sock",
            "http://:80/",
            "http://host:99999/",
            "http://key:secret@host/",
            "http://host/?key=secret",
            "http://host/#a",
        ] {
            let error = Origin::parse(base).expect_err(base);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_ipv6_address_has_brackets_in_the_url_only() {
        let origin = Origin::parse("http://[::1]:8080/v1").unwrap();
        assert_eq!((origin.host(), origin.port()), ("::1", 8080));
        assert_eq!(origin.host_field, "[::1]:8080");
        assert_eq!(Origin::parse("https://[::1]").unwrap().port(), 443);
    }

    #[test]
    fn fields_of_the_connection_are_not_the_callers() {
        let origin = Origin::parse("http://api.example.com").unwrap();
        let request = Request::post("/")
            .header("connection", "close")
            .header("host", "elsewhere")
            .header("te", "gzip")
            .header("transfer-encoding", "chunked")
            .header("content-length", "7")
            .header("authorization", "Bearer key")
            .body(Bytes::from_static(b"{}"))
            .unwrap();
        let outgoing = origin.outgoing(request).unwrap();
        let head = origin.http2_head(&outgoing).unwrap();
        assert_eq!(head.headers().len(), 2, "{:?}", head.headers());
        assert_eq!(head.headers()["content-length"], "2");
        assert_eq!(origin.http1(&outgoing, None, ()).unwrap().headers()["host"], "api.example.com");
    }
}
