//! Answers that come as fast as they can: processor time, and whether everything arrives.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::daemon::Program;
use super::load::Load;
use super::mock::Mock;
use super::options::Options;
use super::samples::{Number, Samples};
use super::section::{Figure, Section};
use crate::streams::process::cpu_seconds;

/// Streams one after another, so many at once, with so many events each.
pub const STREAMS: usize = 2000;
/// See [`STREAMS`].
pub const AT_ONCE: usize = 50;
/// See [`STREAMS`].
pub const EVENTS: usize = 500;

/// A run takes a second: so many of them for each round of the others.
const ROUNDS: usize = 3;

#[derive(Debug, Default)]
struct Rounds {
    cpu: Samples,
    mock_cpu: Samples,
    client_cpu: Samples,
    per_second: Samples,
    wrong: usize,
}

/// Measures each daemon in turn, round by round.
///
/// # Errors
/// When something fails.
pub fn measure(options: &Options, directory: &Path) -> Result<Section> {
    let mut daemons: Vec<_> = options.daemons.iter().map(|program| (program, Rounds::default())).collect();
    for _ in 0..options.rounds * ROUNDS {
        for (program, rounds) in &mut daemons {
            relay(program, directory, rounds)?;
        }
    }
    Ok(section(&daemons))
}

fn relay(program: &Program, directory: &Path, rounds: &mut Rounds) -> Result<()> {
    let mock = Mock::start(EVENTS, 0)?;
    let daemon = program.start(directory, &mock)?;
    let load = Load::relayed(&daemon, &mock)?;
    let own = std::process::id() as i32;
    let cpu = || [daemon.process.cpu_seconds(), mock.process.cpu_seconds(), cpu_seconds(own)];
    let (start, before) = (Instant::now(), cpu());
    let clients = load.one_after_another(STREAMS, AT_ONCE)?;
    let (seconds, after) = (start.elapsed().as_secs_f64(), cpu());
    let events = clients.events() as f64;
    rounds.cpu.push((after[0] - before[0]) * 1e6 / events);
    rounds.mock_cpu.push((after[1] - before[1]) * 1e6 / events);
    rounds.client_cpu.push((after[2] - before[2]) * 1e6 / events);
    rounds.per_second.push(events / seconds);
    rounds.wrong += clients.wrong();
    Ok(())
}

fn section(daemons: &[(&Program, Rounds)]) -> Section {
    let mut section = Section::new(&format!(
        "{STREAMS} streams of {EVENTS} events without delay, {AT_ONCE} at once; handoff and log line included"
    ));
    let heads = ["", "CPU-s per million events", "the mock API's", "the clients'", "events a second"];
    section.table(&heads);
    for (index, (program, rounds)) in daemons.iter().enumerate() {
        let [mock, client, rate] =
            [&rounds.mock_cpu, &rounds.client_cpu, &rounds.per_second].map(|figure| Number(figure.median()));
        section.row(&[&program.label, &rounds.cpu, &mock, &client, &rate]);
        section.expect_none(rounds.wrong, "answers are not what the API said");
        if index == 0 {
            section.figures.push(Figure {
                name: "burst relay, CPU-s per million events".into(),
                value: rounds.cpu.clone(),
                best: Some(0.75),
                bar: 0.75,
                aim: 0.5,
                counted: false,
            });
        }
    }
    section
}
