//! The table of the keys that each `[backend.NAME]` has.

use super::api_kinds::{HeaderFields, KeyFile, SecretText, Sharing, Tokens, Url};
use super::keys::{Change, Field, field};
use super::kinds::{Boolean, Count, Kind, OptionalPath, OptionalText, Raw};
use super::profile::{BUILT_IN, DialectName, Profile};
use super::times::Seconds;
use super::words::OneOf;

/// A key of a profile.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    /// Which profiles have it.
    pub(super) dialects: &'static [DialectName],
    pub(super) change: Change,
    pub(super) field: Field<Profile>,
}

/// What a profile speaks. It stands before all other keys: they have its defaults.
pub(super) const TYPE: &str = "type";

/// How other daemons write a key, and its name here.
pub(super) const DOTTED: (&str, &str) = (".http2.enabled", ".http2_enabled");

/// Names in the environment that others have established. The two APIs of OpenAI share theirs.
pub(super) fn short_names(profile: &str, key: &str) -> &'static [&'static str] {
    match (profile, key) {
        ("openai" | "openai-responses", "api_base") => &["OPENAI_API_BASE"],
        ("openai" | "openai-responses", "api_key") => &["OPENAI_API_KEY"],
        ("openai" | "openai-responses", "http2_enabled") => &["OPENAI_HTTP2_ENABLED"],
        ("anthropic", "api_base") => &["ANTHROPIC_BASE_URL"],
        ("anthropic", "api_key") => &["ANTHROPIC_API_KEY"],
        _ => &[],
    }
}

const ALL: &[DialectName] =
    &[DialectName::OpenAi, DialectName::OpenAiResponses, DialectName::Anthropic, DialectName::Sse];
const LLM: &[DialectName] = &[DialectName::OpenAi, DialectName::OpenAiResponses, DialectName::Anthropic];
const OPENAI: &[DialectName] = &[DialectName::OpenAi];
const SSE: &[DialectName] = &[DialectName::Sse];

/// Takes the defaults of the dialect.
fn read_type(profile: &mut Profile, raw: &Raw) -> Result<(), String> {
    let dialect = OneOf::<DialectName>::read(raw)?;
    let fixed = BUILT_IN.iter().any(|(name, known)| *name == profile.name && *known != dialect);
    if fixed {
        return Err(format!("{} here; another API goes to a section of another name", show_type(profile)));
    }
    *profile = Profile::new(&profile.name, dialect);
    Ok(())
}

fn show_type(profile: &Profile) -> String {
    OneOf::<DialectName>::show(&profile.dialect)
}

/// One entry of the table.
macro_rules! key {
    ($name:literal, $field:ident: $kind:ty, $dialects:ident, $change:ident, $meaning:literal) => {
        Entry {
            name: $name,
            meaning: $meaning,
            dialects: $dialects,
            change: Change::$change,
            field: field!($field: $kind),
        }
    };
}

/// All keys of a profile, in the order of the example file.
pub(super) static PROFILE_KEYS: &[Entry] = &[
    Entry {
        name: TYPE,
        meaning: "What the API speaks: \"openai\" (Chat Completions), \"openai-responses\", \"anthropic\" or \"sse\".",
        dialects: ALL,
        change: Change::Restart,
        field: Field { read: read_type, show: show_type, ..field!(dialect: OneOf<DialectName>) },
    },
    key!("api_base", api_base: Url, ALL, Restart,
            "URL of the API, before /chat/completions, /responses or /messages; of type \"sse\" the whole URL."),
    key!("api_socket", api_socket: OptionalPath, ALL, Restart,
            "Unix socket of the API, in HTTP/1.1; api_base gives host and path then. Empty: none."),
    key!("api_key", api_key: SecretText, ALL, Live,
            "Key of the API. Better in the environment or in api_key_file, so that this file need not be secret."),
    key!("api_key_file", api_key_file: KeyFile, ALL, Live,
            "File with the key: a path, or the name of a systemd credential (LoadCredential=). Read again at SIGHUP."),
    key!("model", model: OptionalText, LLM, Live,
            "Model of requests that name none. Empty: backend.default_model."),
    key!("max_tokens", max_tokens: Tokens, LLM, Live,
            "Most tokens of an answer, for requests that don't say. 0: as the API has it."),
    key!("headers", headers: HeaderFields, ALL, Live,
            "Further header fields of each request, for example { X-Team = \"chat\" }."),
    key!("stream_usage", stream_usage: Boolean, OPENAI, Live,
            "Whether the number of tokens is asked for (stream_options). A few APIs refuse that."),
    key!("method", method: OneOf<_>, SSE, Restart,
            "\"get\", or \"post\" with the member \"body\" of the handoff data."),
    key!("end_event", end_event: OptionalText, SSE, Restart,
            "Name of the event that ends an answer. Empty: the end of the response does."),
    key!("http2_enabled", http2_enabled: Boolean, ALL, Restart,
            "Whether many streams share one connection to the API. Also http2.enabled."),
    key!("streams_per_connection", streams_per_connection: Sharing, ALL, Restart,
            "HTTP/2: how many streams share one connection at most, 1 to 10000; the API may allow fewer."),
    key!("pool_max_idle_per_host", pool_max_idle_per_host: Count, ALL, Restart,
            "HTTP/1.1: connections that are kept for the next request."),
    key!("idle_timeout_secs", idle_timeout: Seconds, ALL, Restart,
            "How long a connection without streams is kept."),
    key!("insecure_ssl", insecure_ssl: Boolean, ALL, Restart,
            "Takes any certificate of the API. For tests only."),
];
