//! `--check-config`: each effective value, and where it came from.

use std::fmt::Write;

use super::sources::{Loaded, Origin};

/// The report: TOML that has the same effect, secrets excepted, with the origins behind the values.
#[must_use]
pub fn report(loaded: &Loaded) -> String {
    let mut report = String::new();
    let shown = || {
        let all = loaded.table.iter().zip(&loaded.origins);
        all.filter(|(key, _)| {
            key.is_in(&loaded.config) && key.profile().is_none_or(|name| is_used(loaded, name))
        })
    };
    let lines: Vec<_> =
        shown().map(|(key, _)| format!("{} = {}", key.name, key.show(&loaded.config))).collect();
    let width = lines.iter().map(String::len).max().unwrap_or(0);
    let mut section = "";
    for ((key, origin), line) in shown().zip(lines) {
        if key.section != section {
            let _ = writeln!(report, "{}[{}]", if section.is_empty() { "" } else { "\n" }, key.section);
            section = &key.section;
        }
        let _ = writeln!(report, "{line:width$}  # {origin}");
    }
    for name in loaded.config.backend.profiles.iter().map(|profile| &profile.name) {
        if !is_used(loaded, name) {
            let _ = writeln!(report, "\n# [backend.{name}] is as it comes.");
        }
    }
    report
}

/// Whether somebody set something in this profile, or chose it.
fn is_used(loaded: &Loaded, name: &str) -> bool {
    let mut all = loaded.table.iter().zip(&loaded.origins);
    loaded.config.backend.provider == name
        || all.any(|(key, origin)| key.profile() == Some(name) && *origin != Origin::Default)
}
