//! How long a client waits for its first event, beside one that asks the API itself.

use std::path::Path;

use anyhow::Result;

use super::daemon::Program;
use super::load::Load;
use super::mock::{Mock, STREAMS_PER_CONNECTION};
use super::options::Options;
use super::samples::Samples;
use super::section::{Figure, Section};
use crate::streams::measure::{PACED_INTERVAL_MS, PACED_STREAMS, Percentiles};

/// Events of each stream: enough for the first streams to go on until the last have begun.
const EVENTS: usize = 60;

/// A run takes three seconds, and its 99th percentile is five streams: so many runs for each round of the others.
const ROUNDS: usize = 3;

/// What the rounds have shown of one way.
#[derive(Debug, Default)]
struct Waits {
    p50: Samples,
    p99: Samples,
    /// The 99th percentile over that of the API itself, in the same round.
    over_direct: Samples,
}

impl Waits {
    fn push(&mut self, Percentiles { p50_ms, p99_ms }: Percentiles, direct: &Percentiles) {
        self.p50.push(p50_ms);
        self.p99.push(p99_ms);
        self.over_direct.push(p99_ms / direct.p99_ms);
    }
}

/// What is known of one daemon: its first streams, for which it makes its connections, and those that follow.
#[derive(Debug)]
struct Relayed<'a> {
    program: &'a Program,
    waits: [Waits; 2],
    wrong: usize,
}

/// Measures the API itself and each daemon in turn, round by round.
///
/// # Errors
/// When something fails.
pub fn measure(options: &Options, directory: &Path) -> Result<Section> {
    let mut direct = Waits::default();
    let relayed = |program| Relayed { program, waits: Default::default(), wrong: 0 };
    let mut daemons: Vec<_> = options.daemons.iter().map(relayed).collect();
    for _ in 0..options.rounds * ROUNDS {
        let mock = Mock::start(EVENTS, PACED_INTERVAL_MS)?;
        let request = mock.request();
        let (itself, _) = begin(&Load::asked(mock.address, &request)?)?;
        direct.push(itself, &itself);
        for daemon in &mut daemons {
            daemon.measure(directory, &itself)?;
        }
    }
    Ok(section(&direct, &daemons))
}

impl Relayed<'_> {
    fn measure(&mut self, directory: &Path, direct: &Percentiles) -> Result<()> {
        let mock = Mock::start(EVENTS, PACED_INTERVAL_MS)?;
        let daemon = self.program.start(directory, &mock)?;
        let load = Load::relayed(&daemon, &mock)?;
        for waits in &mut self.waits {
            let (first, wrong) = begin(&load)?;
            waits.push(first, direct);
            self.wrong += wrong;
        }
        Ok(())
    }
}

/// Begins all streams and reads them to their ends. Returns the waits, and how many answers were wrong.
fn begin(load: &Load<'_>) -> Result<(Percentiles, usize)> {
    let mut clients = load.pile_up(PACED_STREAMS, PACED_STREAMS as u32)?;
    clients.read_all()?;
    Ok((Percentiles::of(&clients.first_events()), clients.wrong()))
}

fn section(direct: &Waits, daemons: &[Relayed<'_>]) -> Section {
    let mut section = Section::new(&format!(
        "First event: {PACED_STREAMS} streams begun within a second, {STREAMS_PER_CONNECTION} a connection, an event \
         every {PACED_INTERVAL_MS} ms each"
    ));
    section.table(&["", "p50 ms", "p99 ms", "p99 over the API's own"]);
    section.row(&[&"straight at the API, connections made before", &direct.p50, &direct.p99, &1]);
    for (index, Relayed { program, waits, wrong }) in daemons.iter().enumerate() {
        let label = &program.label;
        for (waits, connections) in waits.iter().zip(["made on the way", "made before"]) {
            let name = format!("{label}, connections to the API {connections}");
            section.row(&[&name, &waits.p50, &waits.p99, &waits.over_direct]);
        }
        section.expect_none(*wrong, "answers are not what the API said");
        if index == 0 {
            section.figures.push(Figure {
                name: "first event p99, over the API's own".into(),
                value: waits[0].over_direct.clone(),
                best: None,
                bar: 2.0,
                aim: 1.3,
                counted: false,
            });
        }
    }
    section
}
