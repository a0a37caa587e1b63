//! `streaming-daemon config example`: the file with every key, its meaning and its default.

use std::fmt::Write;

use super::keys::{Change, KEYS};
use super::settings::Config;

/// The example. Each key is commented out and shows its default, so that the file changes nothing as it is.
#[must_use]
pub fn example() -> String {
    let defaults = Config::default();
    let mut example = String::from(
        "# Settings of streaming-daemon. A line with \"#key = value\" shows a default; remove the # to change it.\n\
         # Flags win over the environment (DAEMON_<SECTION>_<KEY>), the environment over this file.\n\
         # SIGHUP reads it again; keys marked (restart) take effect at the next start.\n\
         # `streaming-daemon --check-config FILE` shows what is in effect and where it came from.\n",
    );
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            let _ = writeln!(example, "\n[{}]", key.section);
            section = key.section;
        }
        let restart = if key.change == Change::Restart { " (restart)" } else { "" };
        let _ = writeln!(example, "\n# {}{restart}", key.meaning);
        let short: Vec<_> = key.short.iter().map(|name| format!("${name}")).collect();
        if !short.is_empty() {
            let _ = writeln!(example, "# Also {}.", short.join(" or "));
        }
        let _ = writeln!(example, "#{} = {}", key.name, (key.show)(&defaults));
    }
    example
}
