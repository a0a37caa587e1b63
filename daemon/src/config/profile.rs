//! `[backend.NAME]`: the APIs that answer, each with its own URL, key, model and connections.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::Secret;
use super::words::Words;

/// An API that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What requests and `backend.provider` call it.
    pub name: String,
    /// What it speaks.
    pub dialect: DialectName,
    /// The URL before the dialect's own path, without a slash at its end; of [`DialectName::Sse`] the whole URL.
    pub api_base: String,
    /// Connections go to this Unix socket instead, in HTTP/1.1; `api_base` gives `Host` and path then.
    pub api_socket: Option<PathBuf>,
    /// Sent in the field that the dialect has for it. Empty: nothing is sent.
    pub api_key: Secret,
    /// Where the key was read from: a path, or the name of a systemd credential.
    pub api_key_file: Option<PathBuf>,
    /// The model of requests that name none; before [`super::Backend::default_model`].
    pub model: Option<String>,
    /// Most tokens of an answer, for requests that don't say.
    pub max_tokens: Option<u64>,
    /// Further fields of each request.
    pub headers: Headers,
    /// Whether the API is asked for the number of tokens.
    pub stream_usage: bool,
    /// [`DialectName::Sse`] only: what the request is.
    pub method: Method,
    /// [`DialectName::Sse`] only: the event that ends an answer. Without it the end of the response does.
    pub end_event: Option<String>,
    /// Whether many streams share a connection.
    pub http2_enabled: bool,
    /// Streams that share a connection, at most; the API may allow fewer. 1 to 10,000.
    pub streams_per_connection: usize,
    /// HTTP/1.1: connections kept for the next request, per host.
    pub pool_max_idle_per_host: usize,
    /// From a connection's last stream to its end.
    pub idle_timeout: Duration,
    /// Takes any certificate. For tests.
    pub insecure_ssl: bool,
}

/// What an API speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialectName {
    /// Chat Completions of OpenAI, and of everybody who speaks it.
    OpenAi,
    /// OpenAI's Responses.
    OpenAiResponses,
    /// Anthropic's Messages.
    Anthropic,
    /// Any URL that answers with Server-Sent Events.
    Sse,
}

/// The request of [`DialectName::Sse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Without a body.
    Get,
    /// Its body is the member `body` of the handoff data.
    Post,
}

/// Fields of a request, ready to be sent. Their values are marked sensitive: nobody is shown them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// These, in this order.
    #[must_use]
    pub fn new(mut fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        fields.iter_mut().for_each(|(_, value)| value.set_sensitive(true));
        Self(fields)
    }

    /// Each field, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Whether there is a field of this name, in lower case.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
}

/// The profiles that are there without any configuration.
pub const BUILT_IN: [(&str, DialectName); 3] = [
    ("openai", DialectName::OpenAi),
    ("openai-responses", DialectName::OpenAiResponses),
    ("anthropic", DialectName::Anthropic),
];

/// The backends that need no API.
pub const WITHOUT_API: [&str; 2] = ["mock", "typing"];

impl DialectName {
    /// Its name in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, known)| *known == self).map_or("", |(word, _)| word)
    }

    /// The API of the one who made the dialect; none for [`DialectName::Sse`].
    #[must_use]
    pub fn home(self) -> &'static str {
        match self {
            Self::OpenAi | Self::OpenAiResponses => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com/v1",
            Self::Sse => "",
        }
    }
}

impl Profile {
    /// The defaults of a profile.
    #[must_use]
    pub fn new(name: &str, dialect: DialectName) -> Self {
        Self {
            name: name.to_owned(),
            dialect,
            api_base: dialect.home().to_owned(),
            api_socket: None,
            api_key: Secret::default(),
            api_key_file: None,
            model: None,
            // Anthropic refuses requests that don't say.
            max_tokens: (dialect == DialectName::Anthropic).then_some(4096),
            headers: Headers::default(),
            stream_usage: true,
            method: Method::Get,
            end_event: None,
            http2_enabled: true,
            streams_per_connection: 100,
            pool_max_idle_per_host: 100,
            idle_timeout: Duration::from_secs(90),
            insecure_ssl: false,
        }
    }

    /// Brings the URL into one form: without a slash at the end, and for Anthropic with the `/v1` that its own
    /// clients put between base and path.
    pub(super) fn tidy(&mut self) {
        if self.dialect == DialectName::Sse {
            return;
        }
        self.api_base.truncate(self.api_base.trim_end_matches('/').len());
        if self.dialect == DialectName::Anthropic && !self.api_base.ends_with("/v1") {
            self.api_base += "/v1";
        }
    }

    /// Those of [`BUILT_IN`].
    #[must_use]
    pub fn built_in() -> Vec<Self> {
        BUILT_IN.iter().map(|(name, dialect)| Self::new(name, *dialect)).collect()
    }
}
