//! Where settings come from, and what the operator is told about them: flags over environment over file over defaults.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

use streaming_daemon::config::keys::{Key, Table};
use streaming_daemon::config::kinds::Raw;
use streaming_daemon::config::{Config, Loaded, Origin, Sources, example, file};
use tempfile::TempDir;

/// The example of the first daemon that read such a file, by the letter.
const FIRST_FILE: &str = r#"[server]
socket_path = "/var/run/streaming-daemon-rs.sock"
socket_mode = "0o666"
max_connections = 100000
handoff_timeout_secs = 5
write_timeout_secs = 30
shutdown_timeout_secs = 120

[backend]
provider = "mock"  # or "openai"
default_model = "gpt-4o"
timeout_secs = 120

[backend.openai]
api_base = "https://api.openai.com/v1"
pool_max_idle_per_host = 100

[metrics]
enabled = true
listen_addr = "127.0.0.1:9090"

[logging]
level = "info"
format = "pretty"  # or "json"
"#;

fn write(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.toml");
    fs::write(&path, text).unwrap();
    (directory, path)
}

fn load(text: &str, environment: &[(&str, &str)], flags: &[(&'static str, &'static str, &str)]) -> Loaded {
    try_load(text, environment, flags).unwrap()
}

fn try_load(
    text: &str,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &'static str, &str)],
) -> Result<Loaded, String> {
    let (_directory, path) = write(text);
    let sources = Sources {
        file: Some(path),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: flags.iter().map(|(flag, key, value)| (*flag, *key, (*value).to_owned())).collect(),
        ..Sources::default()
    };
    sources.load().map_err(|error| error.to_string())
}

fn message(text: &str) -> String {
    try_load(text, &[], &[]).unwrap_err()
}

/// A value for each key that is not its default, as a source of text has it.
fn another(key: &Key) -> &'static str {
    match (&*key.section, key.name) {
        (_, "socket_path" | "stream_socket_path" | "admin_socket_path" | "api_socket") => {
            "/another/path.sock"
        }
        (_, "socket_mode") => "0600",
        (_, "socket_group") => "www-data",
        (_, "half_close") => "keep",
        (_, "provider") => "typing",
        (_, "default_model" | "model") => "another-model",
        (_, "api_base") => "http://127.0.0.1:1/v1",
        (_, "api_key") => "sk-secret",
        (_, "headers") => "X-Team: chat",
        (_, "http2_enabled" | "stream_usage") => "false",
        (_, "enabled" | "insecure_ssl") => "true",
        (_, "listen_addr") => "[::1]:9",
        (_, "method") => "post",
        (_, "level") => "warn",
        ("sse" | "logging", "format") | (_, "access_log_format") => "json",
        (_, "access_log") => "/var/log/access.log",
        _ => "7",
    }
}

#[test]
fn the_first_file_is_accepted_by_the_letter() {
    let config = load(FIRST_FILE, &[], &[]).config;
    let mut expected = Config::default();
    expected.server.socket_path = "/var/run/streaming-daemon-rs.sock".into();
    expected.server.socket_mode = 0o666;
    expected.metrics.enabled = true;
    assert_eq!(config, expected);
}

#[test]
fn each_key_has_its_variables() {
    // The type of these profiles is fixed, and the file of a key has to be there.
    let others = |key: &Key| key.is_in(&Config::default()) && !matches!(key.name, "type" | "api_key_file");
    for (index, key) in Table::built_in().iter().enumerate().filter(|(_, key)| others(key)) {
        let value = another(key);
        for name in key.environment() {
            let loaded = load("", &[(&name, value)], &[]);
            assert_eq!(loaded.origins[index], Origin::Environment(name.clone()), "{name}");
            let same = key.same(&loaded.config, &Config::default());
            assert!(!same, "{name} does not set {}", key.path());
            let unread =
                |warning: &String| warning.contains("nobody reads") || warning.contains("is not used");
            assert!(!loaded.warnings.iter().any(unread), "{:?}", loaded.warnings);
        }
    }
}

#[test]
fn the_established_variables_are_there() {
    let established = [
        ("DAEMON_SOCKET_PATH", "server.socket_path"),
        ("DAEMON_BACKEND_PROVIDER", "backend.provider"),
        ("DAEMON_MAX_CONNECTIONS", "server.max_connections"),
        ("MAX_CONNECTIONS", "server.max_connections"),
        ("DAEMON_LOG_LEVEL", "logging.level"),
        ("DAEMON_TOKEN_DELAY_MS", "backend.token_delay_ms"),
        ("DAEMON_METRICS_ENABLED", "metrics.enabled"),
        ("DAEMON_METRICS_ADDR", "metrics.listen_addr"),
        ("DAEMON_SSE_FORMAT", "sse.format"),
        ("RUST_LOG", "logging.level"),
        ("OPENAI_API_KEY", "backend.openai.api_key"),
        ("OPENAI_API_BASE", "backend.openai.api_base"),
        ("OPENAI_HTTP2_ENABLED", "backend.openai.http2_enabled"),
        ("OPENAI_API_KEY", "backend.openai-responses.api_key"),
        ("OPENAI_API_BASE", "backend.openai-responses.api_base"),
        ("OPENAI_HTTP2_ENABLED", "backend.openai-responses.http2_enabled"),
        ("DAEMON_BACKEND_OPENAI_RESPONSES_MODEL", "backend.openai-responses.model"),
        ("ANTHROPIC_API_KEY", "backend.anthropic.api_key"),
        ("ANTHROPIC_BASE_URL", "backend.anthropic.api_base"),
        ("DAEMON_SERVER_WRITE_TIMEOUT_SECS", "server.write_timeout_secs"),
        ("DAEMON_BACKEND_OPENAI_POOL_MAX_IDLE_PER_HOST", "backend.openai.pool_max_idle_per_host"),
    ];
    let table = Table::built_in();
    for (name, path) in established {
        let key = &table[table.find(path).unwrap()];
        assert!(key.environment().any(|known| known == name), "{name}");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_flags_over_both() {
    let file = "[server]\nmax_connections = 1\n[backend]\ntoken_delay_ms = 1\ntimeout_secs = 1";
    let environment = [("DAEMON_MAX_CONNECTIONS", "2"), ("DAEMON_TOKEN_DELAY_MS", "2")];
    let loaded = load(file, &environment, &[("--max-connections", "server.max_connections", "3")]);
    assert_eq!(loaded.config.server.max_connections, 3);
    assert_eq!(loaded.config.backend.token_delay.as_millis(), 2);
    assert_eq!(loaded.config.backend.timeout.as_secs(), 1);
    assert_eq!(loaded.config.server.write_timeout.as_secs(), 30);
}

#[test]
fn of_two_variables_for_a_key_the_full_name_wins_and_the_other_is_told() {
    let loaded = load("", &[("MAX_CONNECTIONS", "1"), ("DAEMON_SERVER_MAX_CONNECTIONS", "2")], &[]);
    assert_eq!(loaded.config.server.max_connections, 2);
    assert_eq!(
        loaded.warnings,
        ["MAX_CONNECTIONS is not used, since DAEMON_SERVER_MAX_CONNECTIONS is set too"]
    );
    // RUST_LOG is for the moment.
    let loaded = load("", &[("DAEMON_LOGGING_LEVEL", "warn"), ("RUST_LOG", "debug")], &[]);
    assert_eq!(loaded.config.logging.level, "debug");
}

#[test]
fn an_empty_variable_is_not_set() {
    let loaded = load("", &[("DAEMON_MAX_CONNECTIONS", ""), ("RUST_LOG", "")], &[]);
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn a_variable_that_nobody_reads_is_told_with_the_nearest() {
    let loaded = load("", &[("DAEMON_MAX_CONECTIONS", "5"), ("PATH", "/bin"), ("DAEMON_X", "1")], &[]);
    assert_eq!(loaded.warnings.len(), 2);
    assert!(loaded.warnings[0].ends_with("DAEMON_MAX_CONECTIONS; did you mean DAEMON_MAX_CONNECTIONS?"));
    assert!(loaded.warnings[1].starts_with("nobody reads the environment variable DAEMON_X"));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest() {
    let text = message("[server]\n\nmax_conections = 5\n");
    assert!(
        text.ends_with(
            "daemon.toml:3: unknown key max_conections in [server]; did you mean max_connections?"
        )
    );
    let text = message("[server]\ntoken_delay_ms = 5\n");
    assert!(text.ends_with(":2: unknown key token_delay_ms in [server]; it belongs to [backend]"), "{text}");
    let text = message("socket_path = \"/x\"");
    assert!(text.ends_with(":1: unknown key socket_path in no section; it belongs to [server]"), "{text}");
    let text = message("[sever]\nsocket_path = \"/x\"");
    assert!(text.ends_with(":1: unknown section [sever]; did you mean [server]?"), "{text}");
    let text = message("[server]\nzebra = 1");
    assert!(text.ends_with("`streaming-daemon config example` lists all"), "{text}");
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let text = message("[server]\nsocket_path = /var/run/x.sock\n");
    assert!(text.contains("daemon.toml:2: "), "{text}");
    let text = message("[server]\nmax_connections = 1\nmax_connections = 2\n");
    assert!(text.contains("daemon.toml:3: duplicate key"), "{text}");
}

#[test]
fn a_wrong_value_is_told_with_what_is_allowed_and_never_quoted() {
    for (line, expected) in [
        ("max_connections = 0", "has to be a whole number from 1"),
        ("max_connections = \"5\"", "has to be a whole number from 1"),
        ("max_connections = 1.5", "has to be a whole number from 1"),
        ("write_timeout_secs = 0", "has to be a number of seconds above 0"),
        ("write_timeout_secs = -1", "has to be a number of seconds above 0"),
        ("write_timeout_secs = nan", "has to be a number of seconds above 0"),
        ("stream_timeout_secs = inf", "has to be a number of seconds (0 for off)"),
        ("socket_path = \"\"", "has to be a path"),
        ("socket_path = [1]", "has to be a path"),
        ("socket_mode = 888", "has to be octal"),
        ("socket_mode = \"0o1777\"", "has to be octal"),
        ("half_close = \"keeep\"", "has to be \"gone\" or \"keep\"; did you mean \"keep\"?"),
    ] {
        let text = message(&format!("[server]\n{line}"));
        assert!(text.contains("daemon.toml:2) ") && text.contains(expected), "{line}: {text}");
    }
    let secret = "[backend.openai]\napi_key = \"sk secret\"";
    assert!(message(secret).contains("backend.openai.api_key") && !message(secret).contains("secret\""));
    assert!(message("[logging]\nlevel = \"loud\"").contains("has to be error, warn, info"));
    assert!(message("[metrics]\nlisten_addr = \"9090\"").contains("127.0.0.1:9090"));
}

#[test]
fn a_mode_is_octal_quoted_or_not() {
    for mode in ["\"0o640\"", "\"0640\"", "\"640\"", "640", "0o640"] {
        assert_eq!(
            load(&format!("[server]\nsocket_mode = {mode}"), &[], &[]).config.server.socket_mode,
            0o640
        );
    }
}

#[test]
fn zero_and_the_empty_string_mean_none() {
    let file = "[server]\nstream_timeout_secs = 0\nheartbeat_secs = 0\nmax_streams_per_user = 0\n\
                stream_socket_path = \"\"\nsocket_group = \"\"\n[logging]\naccess_log = \"off\"";
    let mut expected = Config::default();
    expected.server.heartbeat = None;
    assert_eq!(load(file, &[], &[]).config, expected);
}

#[test]
fn two_sockets_cannot_share_a_path() {
    let text = message("[server]\nsocket_path = \"/a\"\nstream_socket_path = \"/a\"");
    assert!(text.contains("two sockets have the path \"/a\""), "{text}");
}

#[test]
fn the_example_has_every_key_and_its_default() {
    let example = example::example();
    // As it is it changes nothing …
    assert_eq!(load(&example, &[], &[]).config, Config::default());
    // … and with its values it says the defaults, each once.
    let all: String = example
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let loaded = load(&all, &[], &[]);
    assert_eq!(loaded.config, Config::default());
    for (key, origin) in loaded.table.iter().zip(&loaded.origins) {
        // The other APIs have the keys of the first, and show what differs.
        let is_shown = key.profile().is_none_or(|name| name == "openai") && key.is_in(&loaded.config);
        assert!(!is_shown || matches!(origin, Origin::File(..)), "{} is not in the example", key.path());
    }
}

#[test]
fn the_file_that_is_installed_is_the_example() {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/daemon.toml");
    assert_eq!(
        fs::read_to_string(installed).unwrap(),
        example::example(),
        "run: streaming-daemon config example > conf/daemon.toml"
    );
}

#[test]
fn what_is_shown_is_read_back_as_the_same() {
    let all = "[backend.own]\ntype = \"sse\"\napi_base = \"http://x/\"";
    let table = load(all, &[], &[]).table;
    for key in table.iter().filter(|key| !matches!(key.name, "api_key" | "headers" | "type")) {
        let config = || load(all, &[], &[]).config;
        let mut once = config();
        key.read(&mut once, &Raw::Untyped(another(key).to_owned())).unwrap();
        let own = if key.profile() == Some("own") { "type = \"sse\"\n" } else { "" };
        let text = format!("[{}]\n{own}{} = {}", key.section, key.name, key.show(&once));
        let entry = file::parse(Path::new("x"), &text).unwrap().entries.pop().unwrap();
        let mut again = config();
        key.read(&mut again, &entry.raw).unwrap();
        assert_eq!(once, again, "{text}");
        assert_ne!(once, config(), "{text}");
    }
}
