//! A real browser: Chromium, headless, with an empty profile.
//!
//! No WebDriver: the test's own page does what a person would do, and posts what it saw to `/report.php`, which writes it
//! to a file.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::apache::Apache;
use crate::process::Server;
use crate::wait::wait_until;

/// A browser takes seconds to start where other tests use the processor.
const BROWSER_PATIENCE: Duration = Duration::from_secs(60);

/// What a page saw: lines of a name, a space, and a value.
#[derive(Debug)]
pub struct Report(String);

impl Report {
    /// The value of a line.
    ///
    /// # Panics
    /// When the page has not sent one of this name.
    #[must_use]
    #[track_caller]
    pub fn line(&self, name: &str) -> &str {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in the browser's report: {self:?}"))
    }
}

/// Opens `page`, a document of HTML, in a new browser until it has posted its report to `/report.php`. The page finds
/// `fragment` in `location.hash`. Needs an Apache with PHP.
///
/// # Panics
/// When no report comes.
#[track_caller]
pub fn browse(site: &Apache, page: &str, fragment: &str) -> Report {
    let report = site.socket_path("report");
    let _ = fs::remove_file(&report);
    let path = report.display();
    site.write(
        "report.php",
        format!(
            "<?php file_put_contents('{path}.new', file_get_contents('php://input'));\n\
             rename('{path}.new', '{path}');"
        ),
    );
    site.write("drive.html", page);

    let profile = tempfile::tempdir().expect("making a directory for the browser's profile");
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--disable-breakpad"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        // What it leaves in these when it is ended goes with the profile.
        .env("HOME", profile.path())
        .env("TMPDIR", profile.path())
        .arg(site.url(&format!("/drive.html#{fragment}")));
    let log = site.root().join("logs/chromium.log");
    let mut browser = Server::spawn("chromium", &mut command, &log);
    wait_until(BROWSER_PATIENCE, "the browser's report", || {
        let status = browser.exit_status();
        assert!(status.is_none(), "chromium: {}", fs::read_to_string(&log).unwrap_or_default());
        report.exists()
    });
    Report(fs::read_to_string(report).expect("reading the browser's report"))
}

/// As JavaScript's `encodeURIComponent`, but for punctuation, which is escaped too.
#[must_use]
pub fn uri_component(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
