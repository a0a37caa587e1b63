//! What a stream costs the daemon: memory, time to the first byte and processor time, beside the floor, in one run.
#![forbid(unsafe_code)]

use std::fs;

use anyhow::Result;
use bench::streams::measure;
use bench::streams::table::Figures;
use e2e::build_dir;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Streams at once. Twice as many descriptors are needed: both ends of each connection, until it is handed off.
const LEVELS: [usize; 3] = [1000, 5000, 9000];

fn main() -> Result<()> {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum })?;
    let directory = build_dir().join("../bench");
    fs::create_dir_all(&directory)?;
    let directory = directory.canonicalize()?;

    let mut levels = Vec::new();
    for streams in LEVELS {
        eprintln!("{streams} streams …");
        levels.push(measure::level(&directory, streams)?);
    }
    eprintln!("a thread that only answers …");
    let ttfb_floor = measure::ttfb_floor(&directory)?;
    eprintln!("streams without delay …");
    let fast_cpu_us = measure::cpu_us_per_fast_stream(&directory)?;
    eprintln!("paced streams …");
    let paced_cpu_s = measure::cpu_s_per_million_paced(&directory)?;
    eprintln!("the floor …");
    let floor_cpu_s = measure::floor(measure::EVENT_BYTES, 1)?;

    let figures = Figures { levels, ttfb_floor, fast_cpu_us, paced_cpu_s, floor_cpu_s };
    let tables = figures.to_string();
    print!("{tables}");
    fs::write(directory.join("daemon.md"), tables)?;
    eprintln!("\nwritten to {}", directory.join("daemon.md").display());
    if !figures.are_within_bars() {
        eprintln!("some figure is above its bar");
        std::process::exit(1);
    }
    Ok(())
}
