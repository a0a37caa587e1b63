//! The environment: for each key `DAEMON_<SECTION>_<KEY>`, and short names for some.

use super::keys::{Key, Table};
use super::kinds::Raw;
use super::nearest;

/// What every variable of ours begins with, except the names that others have established.
const PREFIX: &str = "DAEMON_";

/// What the environment says.
#[derive(Debug, Default)]
pub struct Environment {
    /// Index in the table, the variable's name, its value.
    pub entries: Vec<(usize, String, Raw)>,
    /// For the operator: variables that nobody reads, or of which another one wins.
    pub warnings: Vec<String>,
}

/// Looks for the keys of `table` in `variables`. An empty value counts as not set.
#[must_use]
pub fn read(table: &Table, variables: &[(String, String)]) -> Environment {
    let mut environment = Environment::default();
    for (index, key) in table.iter().enumerate() {
        let set = |name: &String| {
            variables.iter().find(|(given, value)| given == name && !value.is_empty()).map(|(_, value)| value)
        };
        let mut found = key.environment().filter_map(|name| set(&name).map(|value| (name, value)));
        let Some((name, value)) = found.next() else { continue };
        for (other, ignored) in found.filter(|(_, other)| *other != value) {
            // The values stay out: they may be secret.
            let _ = ignored;
            environment.warnings.push(format!("{other} is not used, since {name} is set too"));
        }
        environment.entries.push((index, name, Raw::Untyped(value.clone())));
    }
    environment.warnings.extend(variables.iter().filter_map(|(name, _)| unknown(table, name)));
    environment
}

fn unknown(table: &Table, name: &str) -> Option<String> {
    let ours = || table.iter().flat_map(Key::environment);
    if !name.starts_with(PREFIX) || ours().any(|known| known == name) {
        return None;
    }
    let known: Vec<String> = ours().collect();
    let hint = match nearest(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("; did you mean {meant}?"),
        None => String::new(),
    };
    Some(format!("nobody reads the environment variable {name}{hint}"))
}
