//! `[backend.NAME]`: APIs with names, their keys, and what the operator is told about them.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use streaming_daemon::config::{DialectName, Loaded, Method, Profile, Secret, Sources, example, report};
use tempfile::TempDir;

/// A directory with a configuration file, and key files if a test wants some.
struct Place {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

impl Place {
    fn new(text: &str) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap(), environment: Vec::new() };
        fs::write(place.path("daemon.toml"), text).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn key(self, name: &str, key: &str, mode: u32) -> Self {
        fs::write(self.path(name), key).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// The directory of the keys is where systemd would have them.
    fn in_a_unit(self) -> Self {
        let directory = self.directory.path().to_str().unwrap().to_owned();
        self.with("CREDENTIALS_DIRECTORY", &directory)
    }

    fn sources(&self) -> Sources {
        Sources {
            file: Some(self.path("daemon.toml")),
            environment: self.environment.clone(),
            ..Sources::default()
        }
    }

    fn load(&self) -> Loaded {
        self.sources().load().unwrap_or_else(|error| panic!("{error}"))
    }

    fn message(&self) -> String {
        self.sources().load().unwrap_err().to_string()
    }
}

fn load(text: &str) -> Loaded {
    Place::new(text).load()
}

fn message(text: &str) -> String {
    Place::new(text).message()
}

fn profile(loaded: &Loaded, name: &str) -> Profile {
    loaded.config.backend.profile(name).unwrap().clone()
}

/// Headers as they would be sent.
fn headers(profile: &Profile) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    profile.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

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
fn a_variable_cannot_belong_to_two_apis() {
    let text = message("[backend.a-b]\ntype = \"openai\"\n[backend.a_b]\ntype = \"openai\"");
    assert!(
        text.ends_with("would belong to [backend.a-b] and [backend.a_b]; one of them needs another name"),
        "{text}"
    );
    // DAEMON_BACKEND_DEFAULT_MODEL is backend.default_model.
    let text = message("[backend.default]\ntype = \"openai\"");
    assert!(
        text.starts_with("DAEMON_BACKEND_DEFAULT_MODEL would belong to [backend] and [backend.default]"),
        "{text}"
    );
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
fn a_section_without_a_type_is_told_what_it_needs() {
    let text = message("\n[backend.opnai]\n");
    assert!(text.contains(":2: unknown section [backend.opnai]; did you mean [backend.openai]?"), "{text}");
    assert!(
        text.ends_with("needs its type: \"openai\", \"openai-responses\", \"anthropic\" or \"sse\""),
        "{text}"
    );
    let text = message("[backend.zebra]\nmodel = \"x\"\n");
    assert!(text.contains("unknown section [backend.zebra]; an API of your own needs its type"), "{text}");
    let text = message("[backend.zebra]\ntype = \"opnai\"\n");
    assert!(text.contains("backend.zebra.type") && text.contains("did you mean \"openai\"?"), "{text}");
}

#[test]
fn names_are_small_letters_digits_and_dashes() {
    for name in ["Groq", "\"a b\"", "\"\"", "-a", "\"ü\"", "\"a.b\""] {
        let text = message(&format!("[backend.{name}]\ntype = \"openai\""));
        assert!(text.contains("is made of a-z, 0-9, - and _"), "{name}: {text}");
    }
    for name in ["mock", "typing"] {
        let text = message(&format!("[backend.{name}]\ntype = \"openai\""));
        assert!(text.contains("is a backend without an API"), "{text}");
    }
    assert!(load("[backend.4-o_x]\ntype = \"openai\"").config.backend.profile("4-o_x").is_some());
}

#[test]
fn an_unknown_key_of_an_api_is_refused_with_the_nearest() {
    let text = message("[backend.x]\ntype = \"openai\"\nstreams_per_conection = 1");
    assert!(
        text.ends_with(
            ":3: unknown key streams_per_conection in [backend.x]; did you mean streams_per_connection?"
        ),
        "{text}"
    );
}

#[test]
fn a_key_that_the_type_does_not_have_is_refused() {
    let text = message("[backend.x]\ntype = \"openai\"\nend_event = \"end\"");
    assert!(
        text.starts_with("backend.x.end_event (")
            && text.contains("nothing that an API of type \"openai\" has"),
        "{text}"
    );
    let text = message("[backend.x]\ntype = \"sse\"\napi_base = \"http://x\"\nmodel = \"m\"");
    assert!(text.starts_with("backend.x.model (") && text.contains("type \"sse\""), "{text}");
}

#[test]
fn the_apis_that_are_always_there_keep_their_type() {
    assert_eq!(load("[backend.openai]\ntype = \"openai\"").warnings, Vec::<String>::new());
    let text = message("[backend.openai]\ntype = \"anthropic\"");
    assert!(
        text.contains("has to be \"openai\" here; another API goes to a section of another name"),
        "{text}"
    );
}

#[test]
fn a_provider_that_nobody_has_is_refused_with_all_names() {
    let text = message("[backend]\nprovider = \"grok\"\n[backend.groq]\ntype = \"openai\"");
    assert!(
        text.contains("backend.provider (")
            && text.contains("\"anthropic\" or \"groq\"; did you mean \"groq\"?"),
        "{text}"
    );
}

#[test]
fn values_of_an_api_are_told_with_what_is_allowed() {
    for (line, expected) in [
        ("api_base = \"api.example.org\"", "has to be a URL that begins with http:// or https://"),
        ("api_base = \"https://\"", "has to be a URL with a host"),
        ("api_base = \"https:///v1\"", "has to be a URL with a host"),
        ("api_base = \"https://a b/v1\"", "has to be a URL with a host"),
        ("api_base = \"https://user:sk@x/v1\"", "has to be a URL without a user, a query and a fragment"),
        ("api_base = \"https://x/v1?key=sk\"", "has to be a URL without a user, a query and a fragment"),
        ("api_base = \"https://x/v1#sk\"", "has to be a URL without a user, a query and a fragment"),
        ("streams_per_connection = 0", "has to be a whole number from 1 to 10000"),
        ("streams_per_connection = 10001", "has to be a whole number from 1 to 10000"),
        ("max_tokens = -1", "has to be a whole number of tokens"),
        ("api_key = \"sk 1\"", "has to be a string of visible ASCII characters without spaces"),
        ("api_key_file = \"keys/sk\"", "has to be an absolute path, or the name of a systemd credential"),
        ("api_key_file = \"..\"", "has to be an absolute path, or the name of a systemd credential"),
        ("headers = \"X-A: sk\"", "has to be names and values"),
        ("headers = { X-A = 1 }", "has to be names and values"),
        ("headers = { \"X A\" = \"sk\" }", "has to be without \"X A\", which is no name of a header field"),
        ("headers = { X-A = \"\" }", "has to be visible ASCII in the value of \"X-A\""),
        ("headers = { X-A = \" sk\" }", "has to be visible ASCII in the value of \"X-A\""),
        ("headers = { X-A = \"sk\\r\\nX-B: sk\" }", "has to be visible ASCII in the value of \"X-A\""),
        ("headers = { X-A = \"sk\", x-a = \"sk\" }", "has to be without two values for \"x-a\""),
        ("headers = { Host = \"sk\" }", "has to be without \"Host\", which the daemon sets itself"),
        ("headers = { content-length = \"1\" }", "which the daemon sets itself"),
        ("headers = { Transfer-Encoding = \"chunked\" }", "which the daemon sets itself"),
        ("headers = { Connection = \"close\" }", "which the daemon sets itself"),
        ("headers = { Accept-Encoding = \"gzip\" }", "which the daemon sets itself"),
        (
            "api_socket = \"/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
            "has to be a path of at most 107 bytes",
        ),
    ] {
        let text = message(&format!("[backend.x]\ntype = \"openai\"\n{line}"));
        assert!(text.starts_with("backend.x.") && text.contains("daemon.toml:3) "), "{line}: {text}");
        assert!(text.contains(expected) && !text.contains("sk"), "{line}: {text}");
    }
    let text = message("[backend.anthropic]\nmax_tokens = 0");
    assert!(text.contains("has to be above 0: this API answers no request without"), "{text}");
}

#[test]
fn the_key_goes_into_one_field_once() {
    let text = message(
        "[backend.x]\ntype = \"openai\"\napi_key = \"sk\"\nheaders = { Authorization = \"Bearer sk\" }",
    );
    assert!(text.contains("are the same field; keep one of them"), "{text}");
    let text =
        message("[backend.x]\ntype = \"anthropic\"\napi_key = \"sk\"\nheaders = { X-Api-Key = \"sk\" }");
    assert!(text.contains("are the same field; keep one of them"), "{text}");
    // Without api_key the operator may have a scheme of their own.
    let loaded = load("[backend.x]\ntype = \"openai\"\nheaders = { Authorization = \"Basic c2s=\" }");
    assert_eq!(headers(&profile(&loaded, "x"))[0].1, "Basic c2s=");
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn a_key_can_be_in_a_file_of_its_own() {
    let place = Place::new("").key("key", "sk-1\n", 0o600);
    let path = place.path("key");
    let place = place.with("DAEMON_BACKEND_OPENAI_API_KEY_FILE", path.to_str().unwrap());
    let loaded = place.load();
    assert_eq!(profile(&loaded, "openai").api_key.expose(), "sk-1");
    assert_eq!(loaded.warnings, Vec::<String>::new());
    // The next reading has the next key.
    let loaded = place.key("key", "sk-2", 0o644).load();
    assert_eq!(profile(&loaded, "openai").api_key.expose(), "sk-2");
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(
        warning.contains("everybody on this host can read the key in") && !warning.contains("sk-2"),
        "{warning}"
    );
}

#[test]
fn a_key_can_be_a_credential_of_the_unit() {
    let text = "[backend.groq]\ntype = \"openai\"\napi_key_file = \"groq-key\"";
    let place = Place::new(text).key("groq-key", "gsk-1", 0o400).in_a_unit();
    assert_eq!(profile(&place.load(), "groq").api_key.expose(), "gsk-1");

    let outside = Place::new(text);
    let message = outside.message();
    assert!(
        message.starts_with("backend.groq.api_key_file (") && message.contains("LoadCredential=groq-key:"),
        "{message}"
    );
    // Who checks the file from a shell has no unit's credentials.
    let loaded = Sources { only_checks: true, ..outside.sources() }.load().unwrap();
    assert!(
        loaded.warnings[0].starts_with("not checked here: backend.groq.api_key_file ("),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn a_key_file_that_is_not_right_is_told_with_its_path() {
    for key in ["", "sk-1\nsk-2", "sk 1"] {
        let text = Place::new("[backend.openai]\napi_key_file = \"key\"")
            .key("key", key, 0o600)
            .in_a_unit()
            .message();
        assert!(text.starts_with("backend.openai.api_key_file (") && text.contains("/key\" "), "{text}");
        assert!(!text.contains("sk"), "{text}");
    }
    let text = Place::new("[backend.openai]\napi_key_file = \"/no/such/file\"").message();
    assert!(text.contains("cannot be read from \"/no/such/file\": No such file"), "{text}");
}

#[test]
fn one_source_has_the_key_or_names_its_file() {
    let both = "[backend.openai]\napi_key = \"sk-1\"\napi_key_file = \"key\"";
    let text = Place::new(both).key("key", "sk-2", 0o600).in_a_unit().message();
    assert!(text.contains("are both set; keep one of them") && !text.contains("sk-"), "{text}");

    let file = Place::new("[backend.openai]\napi_key_file = \"key\"").key("key", "sk-2", 0o600).in_a_unit();
    let loaded = file.with("OPENAI_API_KEY", "sk-1").load();
    assert_eq!(profile(&loaded, "openai").api_key.expose(), "sk-1");
    assert!(
        loaded.warnings[0]
            .contains("is not used, since backend.openai.api_key (environment OPENAI_API_KEY) wins")
    );

    let key = Place::new("[backend.openai]\napi_key = \"sk-1\"").key("key", "sk-2", 0o600).in_a_unit();
    let loaded = key.with("DAEMON_BACKEND_OPENAI_API_KEY_FILE", "key").load();
    assert_eq!(profile(&loaded, "openai").api_key.expose(), "sk-2");
    assert!(loaded.warnings[0].starts_with("backend.openai.api_key ("), "{:?}", loaded.warnings);
}

#[test]
fn what_an_operator_may_have_overlooked_is_told() {
    for (text, expected) in [
        (
            "[backend]\nprovider = \"openai\"",
            "[backend.openai] has no key, which https://api.openai.com/v1 will answer with 401; set api_key_file or $OPENAI_API_KEY",
        ),
        (
            "[backend.x]\ntype = \"anthropic\"\nmodel = \"m\"",
            "[backend.x] has no key, which https://api.anthropic.com/v1 will answer with 401; set api_key_file",
        ),
        (
            "[backend]\nprovider = \"anthropic\"\n[backend.anthropic]\napi_key = \"k\"",
            "[backend.anthropic] has no model: each request has to name one",
        ),
        (
            "[backend.openai]\ninsecure_ssl = true",
            "backend.openai.insecure_ssl (FILE:2) is on: whoever is in between can read and change what [backend.openai] is asked and answers",
        ),
        (
            "[backend.openai]\napi_key = \"k\"\napi_base = \"http://10.0.0.1:80/v1\"",
            "the key of [backend.openai] goes over the network in the clear: backend.openai.api_base (FILE:3) begins with http://",
        ),
        (
            "[backend.openai]\napi_base = \"http://localhost.example.org/v1\"\nheaders = { Authorization = \"k\" }",
            "the key of [backend.openai] goes over the network in the clear: backend.openai.api_base (FILE:2) begins with http://",
        ),
    ] {
        let place = Place::new(text);
        let expected = expected.replace("FILE", place.path("daemon.toml").to_str().unwrap());
        assert_eq!(place.load().warnings, [expected]);
    }
}

#[test]
fn what_is_fine_is_not_warned_of() {
    for text in [
        "[backend.openai]\napi_key = \"k\"\napi_base = \"http://127.0.0.1:1/v1\"",
        "[backend.openai]\napi_key = \"k\"\napi_base = \"http://[::1]:1/v1\"",
        "[backend.openai]\napi_key = \"k\"\napi_base = \"http://localhost/v1\"",
        "[backend.openai]\napi_key = \"k\"\napi_base = \"http://x/v1\"\napi_socket = \"/run/x.sock\"",
        "[backend]\nprovider = \"openai\"\n[backend.openai]\napi_base = \"http://x/v1\"",
        "[backend]\nprovider = \"openai\"\n[backend.openai]\napi_key = \"k\"",
    ] {
        assert_eq!(load(text).warnings, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn no_secret_is_in_the_report_nor_in_debug_output() {
    let place = Place::new(
        "[backend.x]\ntype = \"openai\"\napi_key_file = \"key\"\nheaders = { X-Token = \"sk-header\" }\n\
         [backend.anthropic]\napi_key = \"sk-direct\"",
    );
    let loaded = place.key("key", "sk-file", 0o600).in_a_unit().load();
    let report = report::report(&loaded);
    assert!(!report.contains("sk-") && !format!("{loaded:?}").contains("sk-"), "{report}");
    let line = |start: &str| report.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
    assert!(line("headers = { \"x-token\" = \"(hidden)\" }").len() == 1, "{report}");
    let keys = line("api_key = \"(hidden)\"");
    assert!(keys.len() == 2 && keys[1].ends_with("/key"), "{keys:?}");
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
