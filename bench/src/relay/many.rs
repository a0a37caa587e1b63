//! A great many streams that say little: memory, connections to the API, and whether all of them come to their ends.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::daemon::Program;
use super::load::Load;
use super::mock::{Mock, STREAMS_PER_CONNECTION};
use super::options::Options;
use super::samples::{Number, Samples};
use super::section::{Figure, Section};
use crate::streams::measure::{NEW_PER_SECOND, Percentiles};

/// Milliseconds between two events of a stream.
const INTERVAL_MS: u64 = 1000;

/// Streams before the first look at the memory, so that what is needed once is there.
const WARM_UP: usize = 20;

/// Streams whose memory is measured.
const SLOW: usize = 5000;
/// For how long they are watched after all of them have begun.
const WATCHED: Duration = Duration::from_secs(3);

/// Streams against the limit of connections, and how many connections more than needed are good.
const LIMITED: usize = 3000;
/// See [`LIMITED`].
const CONNECTIONS_MORE: usize = 2;

/// Streams that have to come to their ends, and the events of each.
const ALL: usize = 10_000;
/// See [`ALL`].
const ALL_EVENTS: usize = 12;

/// What a stream takes of the daemon's memory.
///
/// # Errors
/// When something fails.
pub fn memory(options: &Options, directory: &Path) -> Result<Section> {
    let needed = SLOW.div_ceil(STREAMS_PER_CONNECTION);
    let mut section = Section::new(&format!(
        "{SLOW} streams over {needed} connections, an event a second each, {NEW_PER_SECOND} new ones a second"
    ));
    section.table(&["", "KB RSS a stream", "connections to the API", "first event p50 ms", "p99 ms"]);
    for (index, program) in options.daemons.iter().enumerate() {
        let (kib, connections, first) = memory_of(program, directory)?;
        let (p50, p99) = (Number(first.p50_ms), Number(first.p99_ms));
        section.row(&[&program.label, &Number(kib), &connections, &p50, &p99]);
        if index == 0 {
            section.figures.push(Figure {
                name: format!("KB RSS a stream, {SLOW} slow ones"),
                value: Samples::from_iter([kib]),
                best: Some(6.3),
                bar: 6.3,
                aim: 3.5,
                counted: true,
            });
        }
    }
    Ok(section)
}

fn memory_of(program: &Program, directory: &Path) -> Result<(f64, usize, Percentiles)> {
    let mock = Mock::start(60, INTERVAL_MS)?;
    let daemon = program.start(directory, &mock)?;
    let load = Load::relayed(&daemon, &mock)?;
    load.pile_up(WARM_UP, NEW_PER_SECOND)?.read_first_events()?;
    let idle = daemon.process.resident_kib()?;
    let mut clients = load.pile_up(SLOW, NEW_PER_SECOND)?;
    clients.read_first_events()?;
    clients.read_until(Instant::now() + WATCHED)?;
    let full = daemon.process.resident_kib()?;
    let kib = (full - idle) / SLOW as f64;
    Ok((kib, mock.connections()?, Percentiles::of(&clients.first_events())))
}

/// How many connections the streams take when the API allows a hundred on each.
///
/// # Errors
/// When something fails.
pub fn limit(options: &Options, directory: &Path) -> Result<Section> {
    let needed = LIMITED.div_ceil(STREAMS_PER_CONNECTION);
    let mut section = Section::new(&format!(
        "{LIMITED} streams where the API allows {STREAMS_PER_CONNECTION} a connection, {NEW_PER_SECOND} new ones a second"
    ));
    section.table(&["", "connections to the API", "needed", "first event p50 ms", "p99 ms"]);
    for (index, program) in options.daemons.iter().enumerate() {
        let mock = Mock::start(60, INTERVAL_MS)?;
        let daemon = program.start(directory, &mock)?;
        let mut clients = Load::relayed(&daemon, &mock)?.pile_up(LIMITED, NEW_PER_SECOND)?;
        clients.read_first_events()?;
        let connections = mock.connections()?;
        let Percentiles { p50_ms, p99_ms } = Percentiles::of(&clients.first_events());
        section.row(&[&program.label, &connections, &needed, &Number(p50_ms), &Number(p99_ms)]);
        if index == 0 {
            section.figures.push(Figure {
                name: format!(
                    "connections for {LIMITED} streams at a limit of {STREAMS_PER_CONNECTION} each"
                ),
                value: Samples::from_iter([connections as f64]),
                best: Some(29.0),
                bar: (needed + CONNECTIONS_MORE) as f64,
                aim: needed as f64,
                counted: true,
            });
        }
    }
    Ok(section)
}

/// Whether ten thousand streams come to their ends, whole.
///
/// # Errors
/// When something fails.
pub fn all(options: &Options, directory: &Path) -> Result<Section> {
    let mut section = Section::new(&format!(
        "{ALL} streams at once, {ALL_EVENTS} events each, one a second, to their ends"
    ));
    section.table(&[
        "",
        "not complete",
        "first event p50 ms",
        "p99 ms",
        "KB RSS at the most",
        "CPU-s per million events",
    ]);
    for program in &options.daemons {
        let mock = Mock::start(ALL_EVENTS, INTERVAL_MS)?;
        let daemon = program.start(directory, &mock)?;
        let before = daemon.process.cpu_seconds();
        let mut clients = Load::relayed(&daemon, &mock)?.pile_up(ALL, NEW_PER_SECOND)?;
        clients.read_all()?;
        let cpu = (daemon.process.cpu_seconds() - before) * 1e6 / clients.events() as f64;
        let Percentiles { p50_ms, p99_ms } = Percentiles::of(&clients.first_events());
        let wrong = clients.wrong();
        let memory = daemon.process.peak_kib()?;
        let (p50, p99, cpu) = (Number(p50_ms), Number(p99_ms), Number(cpu));
        section.row(&[&program.label, &wrong, &p50, &p99, &Number(memory), &cpu]);
        section.expect_none(wrong, "streams are not complete");
    }
    Ok(section)
}
