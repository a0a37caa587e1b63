//! What the documents say, held against the sources: directives, statuses, commands, links.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Apache, Client, Mpm, Receiver};
use rustix::net::sockopt;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[track_caller]
fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README.md and docs/*.md, from the root of the project.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("README.md")];
    for entry in fs::read_dir(Path::new(ROOT).join("docs")).unwrap() {
        found.push(Path::new("docs").join(entry.unwrap().file_name()));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(found.len() >= 3, "{found:?}");
    found
}

// ---- Directives ----

/// What is told about a directive.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    default: String,
    /// Whether it may stand in `<Directory>` too.
    in_directories: bool,
    /// Such as "1 to 60000"; empty without one.
    range: String,
}

/// The default of a directive that has none.
const NO_DEFAULT: &str = "none";

/// "1 to 60000" in `text`.
fn range(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let range = words.windows(3).find(|three| number(three[0]) && three[1] == "to" && number(three[2]));
    range.map_or(String::new(), |three| three.join(" "))
}

#[track_caller]
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text:?}"));
    rest.split_once(after).unwrap_or_else(|| panic!("no {after:?} in {rest:?}")).0
}

/// The directives of the module, by its table of them.
fn directives() -> BTreeMap<String, Told> {
    let source = read("mod_socket_handoff/src/config.rs");
    let table = between(&source, "static DIRECTIVES:", "\n];");
    let told = table.split("    Directive {\n").skip(1).map(|directive| {
        let usage = between(directive, "usage: c\"", "\"");
        let told = Told {
            default: match usage.contains("(default ") {
                true => between(usage, "(default ", ")").to_owned(),
                false => NO_DEFAULT.to_owned(),
            },
            in_directories: directive.contains("Set::Directory("),
            range: range(usage),
        };
        (between(directive, "name: c\"", "\"").to_owned(), told)
    });
    told.collect()
}

#[test]
fn the_readme_tells_of_each_directive_what_the_module_does() {
    let readme = read("README.md");
    let rows = readme.lines().filter(|line| line.starts_with("| `SocketHandoff"));
    let told = rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [directive, default, meaning] = cells[..] else { panic!("three cells: {row}") };
        let name = between(directive, "`", " ").to_owned();
        let in_directories = directive.ends_with('*');
        (name, Told { default: default.to_owned(), in_directories, range: range(meaning) })
    });
    assert_eq!(told.collect::<BTreeMap<_, _>>(), directives());
}

#[test]
fn the_shipped_configuration_sets_each_directive_to_its_default() {
    let shipped = read("conf/socket_handoff.conf");
    let lines = shipped.lines().filter_map(|line| line.trim().split_once(' '));
    let set = lines.filter(|(name, _)| name.starts_with("SocketHandoff"));
    let set: BTreeMap<&str, &str> = set.collect();
    let directives = directives();
    let defaults = directives.iter().map(|(name, told)| match told.default.as_str() {
        NO_DEFAULT => (name.as_str(), "/var/run/streaming-daemon.sock protocol=2"),
        default => (name.as_str(), default),
    });
    assert_eq!(set, defaults.collect());
}

#[test]
fn no_document_names_a_directive_that_does_not_exist() {
    let directives = directives();
    let others =
        ["conf/socket_handoff.conf", "mod_socket_handoff/src/refusal.rs", "mod_socket_handoff/src/plan.rs"];
    for path in documents().into_iter().chain(others.map(PathBuf::from)) {
        let text = read(&path);
        let words = text.split(|c: char| !c.is_alphanumeric());
        for word in words.filter(|word| word.starts_with("SocketHandoff")) {
            assert!(directives.contains_key(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn the_status_table_of_the_readme_has_every_status_of_a_refusal() {
    let readme = read("README.md");
    let table = between(&readme, "| status | reason |\n|---|---|\n", "\n\n");
    let told = table.lines().flat_map(|row| between(row, "| ", " |").split(", "));
    let source = read("mod_socket_handoff/src/refusal.rs");
    let arms = between(&source, "fn status(&self) -> u16", "\n    }\n");
    let statuses = arms.split("=> ").skip(1).map(|arm| arm.split(',').next().unwrap_or_default());
    let sent = statuses.filter(|status| *status != "*status"); // the one of an input filter
    assert_eq!(told.collect::<BTreeSet<_>>(), sent.collect());
}

// ---- The protocol ----

#[test]
fn the_clients_connection_has_the_options_of_the_protocol() {
    let text = read("docs/PROTOCOL.md");
    assert!(text.contains(
        "`TCP_NODELAY` and `SO_KEEPALIVE` are set. There are no socket timeouts, and `SO_LINGER` is off."
    ));
    let apache = Apache::builder(Mpm::Event)
        .php_fpm(1)
        .file("go.php", "<?php header('X-Socket-Handoff: ' . $_GET['to']);")
        .start();
    let daemon = Receiver::bind(apache.socket_path("daemon.sock"));
    let mut client = Client::connect(apache.addr());
    client.get(&format!("/go.php?to={}", daemon.path().display()));
    let handoff = daemon.receive();
    assert!(handoff.client.nodelay().unwrap());
    assert!(sockopt::socket_keepalive(&handoff.client).unwrap());
    assert_eq!(sockopt::socket_linger(&handoff.client), Ok(None));
    assert_eq!(
        (handoff.client.read_timeout().unwrap(), handoff.client.write_timeout().unwrap()),
        (None, None)
    );
}

// ---- Commands and links ----

/// The code of a document: fenced blocks and what stands between backticks.
fn code(document: &str) -> Vec<&str> {
    let parts = document.split("```").enumerate();
    parts
        .flat_map(
            |(i, part)| {
                if i % 2 == 1 { vec![part] } else { part.split('`').skip(1).step_by(2).collect() }
            },
        )
        .collect()
}

#[test]
fn every_make_command_of_the_documents_is_in_make_help() {
    let help = Command::new("make").arg("help").current_dir(ROOT).env_remove("MAKEFLAGS").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let goals: Vec<&str> = help
        .lines()
        .filter_map(|line| line.trim().strip_prefix("make ")?.split_whitespace().next())
        .collect();
    let mut named = 0;
    for path in documents() {
        let text = read(&path);
        for line in code(&text).into_iter().flat_map(str::lines) {
            let command = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = command.split_whitespace().collect();
            let Some(make) = words.iter().position(|word| *word == "make") else { continue };
            for goal in words[make + 1..].iter().filter(|word| !word.contains('=')) {
                assert!(goals.contains(goal), "{}: make {goal}, not in {goals:?}", path.display());
                named += 1;
            }
        }
    }
    assert!(named >= 5, "{named} commands found");
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut links = 0;
    for path in documents() {
        let text = read(&path);
        let folder = Path::new(ROOT).join(path.parent().unwrap());
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or_default()) {
            links += 1;
            if link.starts_with("https://") {
                continue;
            }
            let target = link.split('#').next().unwrap_or_default();
            assert!(folder.join(target).exists(), "{}: {link}", path.display());
        }
    }
    assert!(links >= 10, "{links} links found");
}

#[test]
fn every_path_in_the_architecture_exists() {
    let text = read("docs/ARCHITECTURE.md");
    let module = Path::new(ROOT).join("mod_socket_handoff/src");
    let daemon = Path::new(ROOT).join("daemon/src");
    let upstream = Path::new(ROOT).join("upstream/src");
    let names = code(&text).into_iter().filter(|name| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
            && (name.ends_with(".rs") || name.contains('/'))
            && !name.starts_with('/')
    });
    for name in names {
        let exists =
            [Path::new(ROOT), &module, &daemon, &upstream].iter().any(|root| root.join(name).exists());
        assert!(exists, "docs/ARCHITECTURE.md names {name}");
    }
}
