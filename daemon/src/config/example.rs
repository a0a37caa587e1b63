//! `streaming-daemon config example`: the file with every key, its meaning and its default.

use std::fmt::Write;

use super::keys::{Change, Key, Table};
use super::profile::BUILT_IN;
use super::settings::Config;

const HEAD: &str = "\
# Settings of streaming-daemon. A line with \"#key = value\" shows a default; remove the # to change it.
# Flags win over the environment (DAEMON_<SECTION>_<KEY>), the environment over this file.
# SIGHUP reads it again; keys marked (restart) take effect at the next start.
# `streaming-daemon --check-config FILE` shows what is in effect and where it came from.
";

/// How APIs of the operator's own are added. With \"# \" before each line, so that it stays what it is: an example.
const OWN: &str = "\
[backend.groq]                        # a name of your choice; requests say \"backend\": \"groq\"
type = \"openai\"
api_base = \"https://api.groq.com/openai/v1\"
api_key_file = \"groq\"                 # a systemd credential; or DAEMON_BACKEND_GROQ_API_KEY in the environment
model = \"llama-3.3-70b-versatile\"

[backend.ollama]
type = \"openai\"
api_base = \"http://127.0.0.1:11434/v1\"
model = \"llama3.2\"
http2_enabled = false

[backend.news]                        # passes on what a URL sends
type = \"sse\"
api_base = \"https://news.example.org/stream\"
method = \"get\"                        # or \"post\", with the member \"body\" of the handoff data
end_event = \"end\"                     # empty: the end of the response
headers = { X-Api-Key = \"...\" }       # any type can have header fields of its own
";

/// The example. Each key is commented out and shows its default, so that the file changes nothing as it is.
#[must_use]
pub fn example() -> String {
    let defaults = Config::default();
    let table = Table::built_in();
    let mut example = String::from(HEAD);
    let mut section = "";
    let keys = table.iter().filter(|key| key.is_in(&defaults) && !is_known(key, &table, &defaults));
    for key in keys {
        if key.section != section {
            if section.starts_with("backend.") && key.profile().is_none() {
                own(&mut example);
            }
            section = &key.section;
            let _ = writeln!(example, "\n[{section}]");
            if key.profile().is_some_and(|name| name != BUILT_IN[0].0) {
                let _ = writeln!(
                    example,
                    "# Has the keys of [backend.{}], of which these differ.",
                    BUILT_IN[0].0
                );
            }
        }
        let restart = if key.change == Change::Restart { " (restart)" } else { "" };
        let _ = writeln!(example, "\n# {}{restart}", key.meaning);
        let short: Vec<_> = key.short.iter().map(|name| format!("${name}")).collect();
        if !short.is_empty() {
            let _ = writeln!(example, "# Also {}.", short.join(" or "));
        }
        let _ = writeln!(example, "#{} = {}", key.name, key.show(&defaults));
    }
    example
}

/// Whether the first profile has the key, with the same default, and no name in the environment is to be told.
fn is_known(key: &Key, table: &Table, defaults: &Config) -> bool {
    let first = format!("backend.{}", BUILT_IN[0].0);
    if key.profile().is_none() || key.section == first {
        return false;
    }
    table.find(&format!("{first}.{}", key.name)).is_some_and(|index| {
        let other = &table[index];
        other.show(defaults) == key.show(defaults) && (key.short.is_empty() || other.short == key.short)
    })
}

fn own(example: &mut String) {
    let _ = writeln!(
        example,
        "\n# APIs of your own: sections below [backend] with names of your choice (a-z, 0-9, - and _) and a type.\n\
         # They have the keys of [backend.{}].\n#",
        BUILT_IN[0].0
    );
    for line in OWN.lines() {
        let _ = writeln!(example, "{}", format!("# {line}").trim_end());
    }
}
