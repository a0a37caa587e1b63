//! What the module costs Apache: a handoff and an untouched request beside plain Apache, in one run.

use std::fs;

use anyhow::Result;
use bench::case::Case;
use bench::report::Report;
use bench::{body, handler, instructions, rate, syscalls};
use e2e::build_dir;

fn main() -> Result<()> {
    let directory = build_dir().join("../bench");
    fs::create_dir_all(&directory)?;
    let directory = directory.canonicalize()?;
    let handler = handler::compile(&directory)?;

    eprintln!("counting instructions with callgrind …");
    let mut counts = [0.0; Case::ALL.len()];
    for (case, count) in Case::ALL.into_iter().zip(&mut counts) {
        *count = instructions::per_request(case, &handler, &directory)?;
    }

    eprintln!("counting system calls with strace …");
    let mut calls = <[syscalls::Syscalls; Case::ALL.len()]>::default();
    for (case, calls) in Case::ALL.into_iter().zip(&mut calls) {
        *calls = syscalls::per_request(case, &handler, &directory)?;
    }

    eprintln!("measuring rates …");
    let rates = rate::measure(&handler)?;

    eprintln!("measuring long prompts …");
    let bodies = body::measure()?;

    let report = Report { instructions: counts, syscalls: calls, rates, bodies };
    let tables = report.to_string();
    print!("{tables}");
    fs::write(directory.join("module.md"), tables)?;
    eprintln!("\nwritten to {}, with callgrind's profiles", directory.join("module.md").display());
    if !report.is_within_bars() {
        eprintln!("some count is above its bar");
        std::process::exit(1);
    }
    Ok(())
}
