//! What is refused, or warned of, and with which words.

use crate::place::{Place, load, message};

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
