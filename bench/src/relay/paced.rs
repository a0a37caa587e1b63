//! Streams at the pace of a model: processor time beside the floor.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::daemon::Program;
use super::load::Load;
use super::mock::Mock;
use super::options::Options;
use super::plot::Kind;
use super::samples::{Number, Samples};
use super::section::{Figure, Plot, Section};
use crate::streams::clients::Clients;
use crate::streams::measure::{self, PACED_EVENTS, PACED_INTERVAL_MS, PACED_STREAMS};
use crate::streams::process::{Process, cpu_seconds};

/// Bytes of an event at the daemon's clients: `data: word001 `, and an empty line.
const EVENT_BYTES: usize = b"data: word001 \n\n".len();

/// What the rounds have shown of one way.
#[derive(Debug, Default)]
struct Rounds {
    cpu: Samples,
    mock_cpu: Samples,
    client_cpu: Samples,
    busy: Samples,
    /// Processor time over that of the floor, in the same round.
    over_floor: Samples,
    wrong: usize,
}

impl Rounds {
    fn push(&mut self, round: &Round, floor: f64) {
        let per_million = 1e6 / round.events as f64;
        self.cpu.push(round.cpu * per_million);
        self.mock_cpu.push(round.mock_cpu * per_million);
        self.client_cpu.push(round.client_cpu * per_million);
        self.busy.push((round.cpu + round.mock_cpu + round.client_cpu) / round.seconds);
        self.over_floor.push(round.cpu * per_million / floor);
        self.wrong += round.wrong;
    }
}

/// One run of all streams.
#[derive(Debug)]
struct Round {
    events: u64,
    wrong: usize,
    seconds: f64,
    cpu: f64,
    mock_cpu: f64,
    client_cpu: f64,
}

/// Measures the floor, the API itself and each daemon in turn, round by round.
///
/// # Errors
/// When something fails.
pub fn measure(options: &Options, directory: &Path) -> Result<Section> {
    let (mut floor, mut spread, mut direct) = (Samples::default(), Samples::default(), Rounds::default());
    let mut daemons: Vec<_> = options.daemons.iter().map(|program| (program, Rounds::default())).collect();
    for _ in 0..options.rounds {
        let together = measure::floor(EVENT_BYTES, 1)?;
        floor.push(together);
        spread.push(measure::floor(EVENT_BYTES, PACED_INTERVAL_MS as usize)?);
        direct.push(&ask()?, together);
        for (program, rounds) in &mut daemons {
            rounds.push(&relay(program, directory)?, together);
        }
    }
    Ok(section(&floor, &spread, &direct, &daemons))
}

/// Straight at the API.
fn ask() -> Result<Round> {
    let mock = Mock::start(PACED_EVENTS, PACED_INTERVAL_MS)?;
    let request = mock.request();
    let load = Load::asked(mock.address, &request)?;
    round(&mock, None, || load.pile_up(PACED_STREAMS, PACED_STREAMS as u32))
}

fn relay(program: &Program, directory: &Path) -> Result<Round> {
    let mock = Mock::start(PACED_EVENTS, PACED_INTERVAL_MS)?;
    let daemon = program.start(directory, &mock)?;
    let load = Load::relayed(&daemon, &mock)?;
    round(&mock, Some(&daemon.process), || load.pile_up(PACED_STREAMS, PACED_STREAMS as u32))
}

fn round(mock: &Mock, process: Option<&Process>, pile_up: impl FnOnce() -> Result<Clients>) -> Result<Round> {
    let own = std::process::id() as i32;
    let cpu = || [process.map_or(0.0, Process::cpu_seconds), mock.process.cpu_seconds(), cpu_seconds(own)];
    let (start, before) = (Instant::now(), cpu());
    let mut clients = pile_up()?;
    clients.read_all()?;
    let (seconds, after) = (start.elapsed().as_secs_f64(), cpu());
    let [cpu, mock_cpu, client_cpu] = [0, 1, 2].map(|index| after[index] - before[index]);
    let (events, wrong) = (clients.events(), clients.wrong());
    Ok(Round { events, wrong, seconds, cpu, mock_cpu, client_cpu })
}

fn section(floor: &Samples, spread: &Samples, direct: &Rounds, daemons: &[(&Program, Rounds)]) -> Section {
    let mut section = Section::new(&format!(
        "{PACED_STREAMS} streams, an event every {PACED_INTERVAL_MS} ms each, all begun within a second"
    ));
    let heads = ["", "CPU-s per million events", "over the floor", "the mock API's", "the clients'"];
    section.table(&[heads.as_slice(), &["processors busy, of all three"]].concat());
    section.row(&[&"the floor", floor, &1, &"", &"", &""]);
    let over_floor = Number(spread.median() / floor.median());
    let name = "the floor, some connections each millisecond";
    section.row(&[&name, spread, &over_floor, &"", &"", &""]);
    let others = |rounds: &Rounds| {
        [&rounds.mock_cpu, &rounds.client_cpu, &rounds.busy].map(|figure| Number(figure.median()))
    };
    let [mock, client, busy] = others(direct);
    section.row(&[&"straight at the API", &"", &"", &mock, &client, &busy]);
    section.bar(Plot::Processor, Kind::Floor, "floor: send() and nothing else", floor.median());
    for (index, (program, rounds)) in daemons.iter().enumerate() {
        let [mock, client, busy] = others(rounds);
        section.row(&[&program.label, &rounds.cpu, &rounds.over_floor, &mock, &client, &busy]);
        section.bar(Plot::Processor, Kind::Ours, program.label.clone(), rounds.cpu.median());
        section.expect_none(rounds.wrong, "answers are not what the API said");
        if index == 0 {
            section.figures.push(Figure {
                name: "paced relay, CPU-s per million events, over the floor".into(),
                value: rounds.over_floor.clone(),
                best: Some(4.2),
                bar: 2.4,
                aim: 1.5,
                counted: false,
            });
        }
    }
    section
}
