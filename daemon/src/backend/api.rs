//! An API that is asked over HTTP: the shell around a [`Dialect`].

use std::future::poll_fn;
use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response};
use upstream::{Body, Upstream};

use super::api_error::ApiError;
use super::dialect::{Dialect, Question};
use super::secrets::Secrets;
use super::stream::Stream;
use super::{Backend, Opening, Refusal, refused};
use crate::config::{self, Format, Profile};
use crate::outcome::Failure;
use crate::request::{self, BadRequest};

/// Most that is read of a response that refuses.
const REFUSAL_LIMIT: usize = 64 * 1024;

/// An API.
pub(super) struct Api<D> {
    dialect: D,
    /// As it was at the start.
    profile: Profile,
    /// What every path begins with.
    base_path: String,
    settings: upstream::Settings,
    /// Made when it is first asked: most profiles never are, and a system without certificates does no harm to them.
    upstream: OnceLock<Result<Upstream, upstream::SetupError>>,
}

impl<D: Dialect> Api<D> {
    pub(super) fn new(profile: &Profile, config: &config::Backend) -> Self {
        let (origin, base_path) = split(&profile.api_base);
        let settings = upstream::Settings {
            base: origin.to_owned(),
            socket: profile.api_socket.clone(),
            http2: profile.http2_enabled,
            streams_per_connection: profile.streams_per_connection,
            pool_max_idle_per_host: profile.pool_max_idle_per_host,
            insecure_ssl: profile.insecure_ssl,
            connect_timeout: config.connect_timeout,
            idle_timeout: profile.idle_timeout,
            ..upstream::Settings::default()
        };
        let base_path = base_path.to_owned();
        let dialect = D::of(profile);
        Self { dialect, profile: profile.clone(), base_path, settings, upstream: OnceLock::new() }
    }

    fn upstream(&self) -> Result<&Upstream, Refusal> {
        let upstream = self.upstream.get_or_init(|| Upstream::new(self.settings.clone()));
        upstream.as_ref().map_err(|error| Refusal {
            cause: Some(error.to_string()),
            ..Refusal::new(502, "the backend cannot be asked; its operator has to look", Failure::Network)
        })
    }
}

impl<D: Dialect> Backend for Api<D> {
    fn open(&self, request: &request::Request, config: &config::Backend) -> Result<Opening<'_>, BadRequest> {
        // Profiles come and go at a start only.
        let profile = config.profile(&self.profile.name).unwrap_or(&self.profile);
        let question = self.dialect.ask(request, profile, &config.default_model)?;
        let request = put_together(question, &self.base_path, request, profile)?;
        let secrets = Secrets::of(profile);
        Ok(Box::pin(async move {
            let upstream = self.upstream()?;
            let response = upstream.send(request).await.map_err(|error| refused::unreached(&error))?;
            let body = body_of(response, &secrets).await?;
            let mut stream = Stream::new(self.dialect.clone(), body, secrets);
            poll_fn(|context| stream.poll_first(context)).await?;
            Ok(Box::pin(stream) as _)
        }))
    }

    fn format(&self, asked: Format) -> Format {
        D::format(asked)
    }

    fn connections(&self) -> Option<upstream::Figures> {
        self.upstream.get()?.as_ref().ok().map(Upstream::figures)
    }
}

/// Cuts a URL into `http://host:port` and the rest. Where a dialect's path follows, the configuration has cut the slash at
/// its end; else the slash is a part of the path.
fn split(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |scheme| scheme + "://".len());
    url.split_at(url[host..].find('/').map_or(url.len(), |path| host + path))
}

/// The request as it is sent.
fn put_together(
    question: Question,
    base_path: &str,
    request: &request::Request,
    profile: &Profile,
) -> Result<Request<Bytes>, BadRequest> {
    let has_body = !question.body.is_empty();
    let mut to_send = Request::new(Bytes::from(question.body));
    *to_send.method_mut() = question.method;
    // The configuration has been checked.
    *to_send.uri_mut() = format!("{base_path}{}", question.path).parse().unwrap_or_default();
    let fields = to_send.headers_mut();
    fields.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    // Compressed events would come in blocks.
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if has_body {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    fields.extend(question.fields.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)));
    for (name, value) in &request.passed_on {
        fields.insert(name, value.clone());
    }
    for (name, value) in profile.headers.iter() {
        fields.insert(name, value.clone());
    }
    if let Some(pattern) = &request.test_pattern {
        let Ok(value) = HeaderValue::from_str(pattern) else {
            return Err(BadRequest::wrong("test_pattern", "no value of a field", "visible ASCII"));
        };
        fields.insert("x-test-pattern", value);
    }
    Ok(to_send)
}

/// The body of a response that answers.
async fn body_of(response: Response<Body>, secrets: &Secrets) -> Result<Body, Refusal> {
    let (head, mut body) = response.into_parts();
    if !head.status.is_success() {
        let said = secrets.hide(&read_some(&mut body).await);
        return Err(refused::by_status(head.status.as_u16(), &head.headers, said.as_bytes()));
    }
    let Some(problem) = no_event_stream(&head.headers) else { return Ok(body) };
    let said = secrets.hide(&read_some(&mut body).await);
    // Some tell their errors under 200.
    match ApiError::parse(said.as_bytes()) {
        Some(error) => Err(refused::by_event(&error)),
        None => Err(Refusal {
            cause: Some(problem),
            ..Refusal::new(502, "the backend's answer is no stream of events", Failure::Other)
        }),
    }
}

/// Why this cannot be a stream of events, if so. A response that does not say what it is gets the benefit of the doubt.
fn no_event_stream(fields: &HeaderMap) -> Option<String> {
    let text = |name| fields.get(name).map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()));
    if let Some(coding) = text(CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Some(format!(
            "the backend's answer is compressed ({coding:?}) although that was not asked for"
        ));
    }
    let kind = text(CONTENT_TYPE)?;
    let essence: String = kind.split(';').next().unwrap_or_default().trim().chars().take(80).collect();
    (!essence.eq_ignore_ascii_case("text/event-stream")).then(|| {
        format!("the backend answered with {essence:?}, not with text/event-stream; look at api_base")
    })
}

/// The beginning of a body.
async fn read_some(body: &mut Body) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(more)) = poll_fn(|context| body.poll_data(context)).await {
        bytes.extend_from_slice(&more);
        if bytes.len() >= REFUSAL_LIMIT {
            bytes.truncate(REFUSAL_LIMIT);
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
