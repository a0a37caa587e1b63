//! Compiling the handler that all measurements use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The handler's source.
const SOURCE: &str = include_str!("../handler/mod_bench_handler.c");

/// Compiles the handler for the httpd of `$APXS` (or apxs) in `directory`, and returns the file to load.
///
/// # Errors
/// When apxs cannot be run or does not like the source.
pub fn compile(directory: &Path) -> Result<PathBuf> {
    std::fs::write(directory.join("mod_bench_handler.c"), SOURCE)?;
    let apxs = std::env::var("APXS").unwrap_or_else(|_| "apxs".to_owned());
    let output = Command::new(&apxs)
        .args(["-c", "mod_bench_handler.c"])
        .current_dir(directory)
        .output()
        .with_context(|| format!("running {apxs}; run: make setup"))?;
    ensure!(
        output.status.success(),
        "{apxs} -c failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(directory.join(".libs/mod_bench_handler.so").canonicalize()?)
}
