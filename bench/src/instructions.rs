//! Instructions per request, counted by callgrind on an httpd that is one process (`-X`).
//!
//! On prefork, where that process does one thing after the other, and counts repeat to within a few instructions. On the
//! threaded MPMs they differ by percents from run to run with how the threads wait for each other, while the module's
//! part is the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use e2e::Mpm;

use crate::case::Case;
use crate::daemon::Daemon;
use crate::request::fetch;

/// Two runs that differ in the number of requests only: start, end and the first request's symbol resolution cancel out.
const FEW: u32 = 200;
const MANY: u32 = 1200;

/// Instructions of httpd, its libraries and the module in user space for one request of `case`, its connection's begin
/// and end included. Both runs' profiles stay in `directory`.
///
/// # Errors
/// When httpd or valgrind fails.
pub fn per_request(case: Case, handler: &Path, directory: &Path) -> Result<f64> {
    let total = |requests| {
        let profile = directory.join(format!("callgrind.{}.{requests}.out", case.name()));
        total(case, handler, requests, &profile)
    };
    let (few, many) = (total(FEW)?, total(MANY)?);
    Ok((many as f64 - few as f64) / f64::from(MANY - FEW))
}

/// Instructions of a run with `requests` requests, one after the other.
fn total(case: Case, handler: &Path, requests: u32, profile: &Path) -> Result<u64> {
    let builder = case.apache(Mpm::Prefork, handler).workers(1);
    // callgrind opens it twice: as the user who starts httpd, and at the end as the user that httpd changed to.
    let written = builder.socket_path("callgrind.out");
    fs::write(&written, "")?;
    fs::set_permissions(&written, fs::Permissions::from_mode(0o666))?;
    let mut apache = builder
        .profiled_by([
            "valgrind".to_owned(),
            "--tool=callgrind".to_owned(),
            format!("--callgrind-out-file={}", written.display()),
        ])
        .start();
    let _daemon = case.hands_off().then(|| Daemon::start(apache.socket_path("daemon.sock")));
    for _ in 0..requests {
        fetch(apache.addr(), case.target())?;
    }
    apache.stop();
    fs::copy(&written, profile).with_context(|| {
        format!("callgrind has not written {}:\n{}", written.display(), apache.server().output())
    })?;
    let text = String::from_utf8_lossy(&fs::read(profile)?).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")))
        .and_then(|count| count.trim().parse().ok())
        .with_context(|| format!("no total in {}", profile.display()))
}
