//! `--check-config`: each effective value, and where it came from.

use std::fmt::Write;

use super::keys::KEYS;
use super::sources::Loaded;

/// The report: TOML that has the same effect, secrets excepted, with the origins behind the values.
#[must_use]
pub fn report(loaded: &Loaded) -> String {
    let mut report = String::new();
    let lines: Vec<_> =
        KEYS.iter().map(|key| format!("{} = {}", key.name, (key.show)(&loaded.config))).collect();
    let width = lines.iter().map(String::len).max().unwrap_or(0);
    let mut section = "";
    for ((key, line), origin) in KEYS.iter().zip(lines).zip(&loaded.origins) {
        if key.section != section {
            let _ = writeln!(report, "{}[{}]", if section.is_empty() { "" } else { "\n" }, key.section);
            section = key.section;
        }
        let _ = writeln!(report, "{line:width$}  # {origin}");
    }
    report
}
