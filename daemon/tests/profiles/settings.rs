//! What a profile has, by which names, and how it is shown.

use streaming_daemon::config::{DialectName, Method, Profile, Secret, Sources, example, report};

use crate::place::{Place, headers, load, message, profile};

#[test]
fn three_apis_are_there_without_any_configuration() {
    let loaded = Sources::default().load().unwrap();
    let names: Vec<_> = loaded.config.backend.names().collect();
    assert_eq!(names, ["mock", "typing", "openai", "openai-responses", "anthropic"]);
    assert_eq!(profile(&loaded, "openai").api_base, "https://api.openai.com/v1");
    assert_eq!(profile(&loaded, "openai-responses").dialect, DialectName::OpenAiResponses);
    let anthropic = profile(&loaded, "anthropic");
    assert_eq!(
        (anthropic.api_base.as_str(), anthropic.max_tokens),
        ("https://api.anthropic.com/v1", Some(4096))
    );
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn an_api_of_the_operators_own_has_all_its_settings() {
    let loaded = load(
        r#"[backend]
provider = "groq-2"
[backend.groq-2]
api_base = "https://api.groq.com/openai/v1/"
type = "openai"
api_socket = "/run/groq.sock"
api_key = "gsk-1"
model = "llama"
max_tokens = 100
stream_usage = false
http2_enabled = false
streams_per_connection = 7
pool_max_idle_per_host = 8
idle_timeout_secs = 9
insecure_ssl = true
[backend.groq-2.headers]
X-Team = "chat and more"
"#,
    );
    let groq = profile(&loaded, "groq-2");
    assert_eq!(headers(&groq), [("x-team".to_owned(), "chat and more".to_owned())]);
    let expected = Profile {
        api_base: "https://api.groq.com/openai/v1".to_owned(),
        api_socket: Some("/run/groq.sock".into()),
        api_key: Secret::new("gsk-1".to_owned()),
        model: Some("llama".to_owned()),
        max_tokens: Some(100),
        headers: groq.headers.clone(),
        stream_usage: false,
        http2_enabled: false,
        streams_per_connection: 7,
        pool_max_idle_per_host: 8,
        idle_timeout: std::time::Duration::from_secs(9),
        insecure_ssl: true,
        ..Profile::new("groq-2", DialectName::OpenAi)
    };
    assert_eq!(groq, expected);
    assert_eq!(loaded.config.backend.provider, "groq-2");
}

#[test]
fn a_stream_of_events_has_a_method_and_an_end() {
    let loaded = load(
        "[backend.news]\ntype = \"sse\"\napi_base = \"https://news.example.org/stream/\"\nmethod = \"post\"\nend_event = \"end\"",
    );
    let news = profile(&loaded, "news");
    assert_eq!((news.method, news.end_event.as_deref()), (Method::Post, Some("end")));
    // The slash may mean something here.
    assert_eq!(news.api_base, "https://news.example.org/stream/");
    assert!(message("[backend.news]\ntype = \"sse\"").contains("backend.news.api_base is missing"));
}

#[test]
fn the_type_gives_the_defaults_wherever_it_stands() {
    let loaded = load("[backend.claude]\nmodel = \"m\"\napi_key = \"k\"\ntype = \"anthropic\"");
    let claude = profile(&loaded, "claude");
    assert_eq!((claude.max_tokens, claude.model.as_deref()), (Some(4096), Some("m")));
    assert_eq!(claude.api_base, "https://api.anthropic.com/v1");
}

#[test]
fn each_key_of_an_own_api_has_its_variable() {
    let loaded = Place::new("[backend.my-api]\ntype = \"openai\"\nmodel = \"a\"")
        .with("DAEMON_BACKEND_MY_API_MODEL", "b")
        .with("DAEMON_BACKEND_MY_API_API_KEY", "sk-1")
        .with("DAEMON_BACKEND_MY_API_HEADERS", "X-A: 1: 2\n\nX-B:3\n")
        .load();
    let own = profile(&loaded, "my-api");
    assert_eq!((own.model.as_deref(), own.api_key.expose()), (Some("b"), "sk-1"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(headers(&own), [pair("x-a", "1: 2"), pair("x-b", "3")]);
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn a_base_for_anthropic_is_taken_with_and_without_its_version() {
    for (given, expected) in [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/", "https://api.anthropic.com/v1"),
        ("https://gateway.example.org/anthropic", "https://gateway.example.org/anthropic/v1"),
        ("https://gateway.example.org/v1/", "https://gateway.example.org/v1"),
    ] {
        let loaded = Place::new("").with("ANTHROPIC_BASE_URL", given).load();
        assert_eq!(profile(&loaded, "anthropic").api_base, expected);
    }
}

#[test]
fn http2_can_be_written_with_a_dot() {
    for text in [
        "[backend.openai]\nhttp2.enabled = false",
        "[backend.openai.http2]\nenabled = false",
        "[backend.x]\ntype = \"openai\"\napi_key = \"k\"\nhttp2 = { enabled = false }\n[backend.openai]\nhttp2_enabled = false",
    ] {
        let loaded = load(text);
        assert!(!profile(&loaded, "openai").http2_enabled, "{text}");
        assert!(loaded.config.backend.profile("x").is_none_or(|own| !own.http2_enabled));
    }
    let text = message("[backend.openai]\nhttp2_enabled = true\nhttp2.enabled = false");
    assert!(text.ends_with(":3: [backend.openai]: http2_enabled stands in line 2 already"), "{text}");
    let text = message("[backend.openai]\nhttp2.enabld = false");
    assert!(text.contains(":2: unknown section [backend.openai.http2]"), "{text}");
}

#[test]
fn the_report_has_what_somebody_set_and_names_the_rest() {
    let report = report::report(&load(
        "[backend.x]\ntype = \"sse\"\napi_base = \"http://x\"\n[backend.openai]\nmodel = \"m\"",
    ));
    for expected in ["[backend.x]\n", "[backend.openai]\n", "# [backend.anthropic] is as it comes."] {
        assert!(report.contains(expected), "{report}");
    }
    assert!(!report.contains("\n[backend.anthropic]"));
    let own = report.split("[backend.x]\n").nth(1).unwrap().split("\n[").next().unwrap();
    assert!(own.contains("method = \"get\"") && !own.contains("model"), "{own}");
    // It is a configuration file itself.
    let again = load(&report);
    assert_eq!(profile(&again, "openai").model.as_deref(), Some("m"));
}

#[test]
fn the_apis_in_the_example_work_when_they_are_uncommented() {
    let example = example::example();
    let (_, own) = example.split_once("They have the keys of [backend.openai].\n#\n").unwrap();
    let own: String =
        own.lines().map_while(|line| Some(line.strip_prefix('#')?.trim().to_owned() + "\n")).collect();
    let loaded = Place::new(&own).key("groq", "gsk-1", 0o600).in_a_unit().load();
    let names: Vec<_> = loaded.config.backend.names().skip(5).collect();
    assert_eq!(names, ["groq", "ollama", "news"]);
    assert_eq!(loaded.warnings, Vec::<String>::new());
}
