//! Where an API's key comes from, and that nobody is shown it.

use streaming_daemon::config::{Sources, report};

use crate::place::{Place, headers, load, message, profile};

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
        // The path has letters at random.
        assert!(!["sk-", "sk 1"].iter().any(|part| text.contains(part)), "{text}");
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
