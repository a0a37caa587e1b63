//! What relaying an API's streams costs the daemon, beside the floor, the API itself, and what one would use instead.
//! `bench-relay --only paced,burst` measures some of it, `--daemon old=PATH --daemon new=PATH` compares builds.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use anyhow::Result;
use bench::relay::options::Options;
use bench::relay::section::{self, Section};
use bench::relay::{burst, calls, first, instead, many, paced, plot};
use e2e::{Sandbox, build_dir};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

type Measurement = fn(&Options, &Path) -> Result<Section>;

const MEASUREMENTS: [(&str, Measurement); 8] = [
    ("paced", paced::measure),
    ("first", first::measure),
    ("burst", burst::measure),
    ("calls", calls::measure),
    ("memory", many::memory),
    ("limit", many::limit),
    ("all", many::all),
    ("instead", instead::measure),
];

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum })?;
    let directory = build_dir().join("../bench");
    fs::create_dir_all(&directory)?;
    let directory = directory.canonicalize()?;
    // Sockets and logs, where no other run has them.
    let sandbox = Sandbox::new();

    let machine = machine()?;
    let mut sections = Vec::new();
    for (name, measure) in MEASUREMENTS.into_iter().filter(|(name, _)| options.wants(name)) {
        eprintln!("{name} …");
        sections.push(measure(&options, sandbox.path())?);
    }
    let report = machine + &section::report(&sections);
    print!("{report}");
    fs::write(directory.join("relay.md"), report)?;
    let bars: Vec<_> = sections.iter().flat_map(|section| section.bars.clone()).collect();
    fs::write(directory.join("relay.svg"), plot::svg(&bars))?;
    eprintln!("written to {}, and relay.svg beside it", directory.join("relay.md").display());
    let failures = section::failures(&sections);
    if !failures.is_empty() {
        eprintln!("{}", failures.join("\n"));
        std::process::exit(1);
    }
    Ok(())
}

/// What the figures depend on besides: a line for the report.
fn machine() -> Result<String> {
    let processors = std::thread::available_parallelism()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!("{processors} processors, load average before the run {load}.\n\n"))
}
