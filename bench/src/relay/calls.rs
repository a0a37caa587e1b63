//! System calls of the daemon per relayed event, counted by strace.
//!
//! Being traced slows each call down, so there are fewer streams in the burst than elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::daemon::Program;
use super::load::Load;
use super::mock::Mock;
use super::options::Options;
use super::samples::{Number, Samples};
use super::section::{Figure, Section};
use crate::strace::Strace;
use crate::streams::measure::PACED_INTERVAL_MS;
use crate::streams::process::Daemon;

/// Paced streams, and for how long they are recorded once all of them run.
const PACED_STREAMS: usize = 500;
/// See [`PACED_STREAMS`].
const RECORDED: Duration = Duration::from_secs(4);

/// Streams without delay, all of them recorded from handoff to end; so many at once, so many events each.
const BURST_STREAMS: usize = 400;
/// See [`BURST_STREAMS`].
const BURST_AT_ONCE: usize = 50;
/// See [`BURST_STREAMS`].
const BURST_EVENTS: usize = 500;

/// Where strace puts its table.
const COUNTS: &str = "strace.counts";

/// Calls per event, by name.
type Calls = BTreeMap<String, f64>;

/// Counts the calls of the first daemon.
///
/// # Errors
/// When something fails.
pub fn measure(options: &Options, directory: &Path) -> Result<Section> {
    let mut section = Section::new(&format!(
        "System calls per relayed event (strace): {PACED_STREAMS} streams, an event every {PACED_INTERVAL_MS} ms each; \
         {BURST_STREAMS} streams of {BURST_EVENTS} events without delay, {BURST_AT_ONCE} at once, handoffs included"
    ));
    for (index, program) in options.daemons.iter().enumerate() {
        let (paced, burst) = (paced(program, directory)?, burst(program, directory)?);
        section.table(&[&program.label, "paced", "burst"]);
        let total = |calls: &Calls| calls.values().sum::<f64>();
        section.row(&[&"all", &Number(total(&paced)), &Number(total(&burst))]);
        let mut names: Vec<_> = paced.keys().chain(burst.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let [paced, burst] = [&paced, &burst].map(|calls| calls.get(name).copied().unwrap_or(0.0));
            if paced >= 0.005 || burst >= 0.005 {
                section.row(&[name, &format!("{paced:.2}"), &format!("{burst:.2}")]);
            }
        }
        section.text.push('\n');
        if index == 0 {
            let figure = |name: &str, calls, best, bar, aim| Figure {
                name: format!("system calls per relayed event, {name}"),
                value: Samples::from_iter([total(calls)]),
                best,
                bar,
                aim,
                counted: true,
            };
            section.figures.push(figure("paced", &paced, Some(1.36), 1.2, 1.05));
            section.figures.push(figure("burst", &burst, None, 0.5, 0.2));
        }
    }
    Ok(section)
}

fn paced(program: &Program, directory: &Path) -> Result<Calls> {
    // Enough events for the time that strace takes to attach and to detach as well.
    let mock = Mock::start(1500, PACED_INTERVAL_MS)?;
    let daemon = program.start(directory, &mock)?;
    let mut clients = Load::relayed(&daemon, &mock)?.pile_up(PACED_STREAMS, PACED_STREAMS as u32)?;
    clients.read_first_events()?;
    let strace = attach(&daemon, directory)?;
    // What has come meanwhile was not recorded.
    clients.read_until(Instant::now())?;
    let before = clients.events();
    clients.read_until(Instant::now() + RECORDED)?;
    per_event(strace, directory, clients.events() - before)
}

fn burst(program: &Program, directory: &Path) -> Result<Calls> {
    let mock = Mock::start(BURST_EVENTS, 0)?;
    let daemon = program.start(directory, &mock)?;
    let load = Load::relayed(&daemon, &mock)?;
    load.one_after_another(BURST_AT_ONCE, BURST_AT_ONCE)?;
    let strace = attach(&daemon, directory)?;
    let clients = load.one_after_another(BURST_STREAMS, BURST_AT_ONCE)?;
    per_event(strace, directory, clients.events())
}

/// An strace that counts the calls of all threads of the daemon.
fn attach(daemon: &Daemon, directory: &Path) -> Result<Strace> {
    Strace::attach(daemon.process.pid(), &["-c", "-f"], &directory.join(COUNTS))
}

/// Ends it, after so many `events`.
fn per_event(strace: Strace, directory: &Path, events: u64) -> Result<Calls> {
    strace.end()?;
    let table = fs::read_to_string(directory.join(COUNTS))?;
    let calls = counts(&table).map(|(name, count)| (name.to_owned(), count as f64 / events as f64));
    Ok(calls.collect())
}

/// The rows of strace's table: `% time, seconds, usecs/call, calls, errors, syscall`, of which errors may be empty.
fn counts(table: &str) -> impl Iterator<Item = (&str, u64)> {
    table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = *fields.last()?;
        let calls = fields.get(3)?.parse().ok()?;
        (name != "total").then_some((name, calls))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_of_strace_is_read() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.11    0.000011           1         6           sendto
 38.89    0.000007           0        17         4 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.000018           0        23         4 total
";
        assert_eq!(super::counts(table).collect::<Vec<_>>(), [("sendto", 6), ("recvfrom", 17)]);
    }
}
