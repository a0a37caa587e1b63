//! Requests per second, their latency and Apache's processor time, on the event MPM.
//!
//! Clients, daemon and Apache share the machine: the processor time per request says more than the rate.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use e2e::{Apache, Mpm};

use crate::case::Case;
use crate::daemon::Daemon;
use crate::request::fetch;

/// Clients at once, each with a new connection for each request.
const CLIENTS: usize = 16;
/// Threads of the one Apache child.
const WORKERS: u16 = 64;
/// How often each case is measured, in turn; the median counts, since the machine is never quiet.
const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(500);
const ROUND: Duration = Duration::from_secs(3);
/// Of /proc/PID/stat (proc(5)); the same on every Linux that Rust runs on.
const MICROSECONDS_PER_TICK: f64 = 10_000.0;

/// What a round, or the median of all, shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// Requests per second.
    pub per_second: f64,
    /// Median time from connect to end of the connection, in microseconds.
    pub p50_us: f64,
    /// Its 99th percentile.
    pub p99_us: f64,
    /// Processor time of Apache per request, user and system, in microseconds.
    pub cpu_us: f64,
    /// The same per that of a plain response of the same round: what else the machine does changes more slowly.
    pub cpu_beside_plain: f64,
}

/// Measures all cases, in the order of [`Case::ALL`].
///
/// # Errors
/// When a request fails.
pub fn measure(handler: &Path) -> Result<[Rate; Case::ALL.len()]> {
    let servers = Case::ALL.map(|case| (case, case.apache(Mpm::Event, handler).workers(WORKERS).start()));
    let daemons = servers.each_ref().map(|(case, apache)| {
        let daemon = || Daemon::start(apache.socket_path("daemon.sock"));
        case.hands_off().then(daemon)
    });

    let mut rounds = [const { Vec::new() }; Case::ALL.len()];
    for (case, apache) in &servers {
        load(apache.addr(), *case, WARM_UP)?;
    }
    for _ in 0..ROUNDS {
        let mut plain = None;
        for (((case, apache), daemon), rates) in servers.iter().zip(&daemons).zip(&mut rounds) {
            let rate = round(apache, *case, daemon.as_ref())?;
            let plain = *plain.get_or_insert(rate.cpu_us);
            rates.push(Rate { cpu_beside_plain: rate.cpu_us / plain, ..rate });
        }
    }
    Ok(rounds.map(|rates| median(&rates)))
}

fn round(apache: &Apache, case: Case, daemon: Option<&Daemon>) -> Result<Rate> {
    let count = || daemon.map_or(0, Daemon::count);
    let handoffs = count();
    let ticks = apache.cpu_ticks_of_children();
    let start = Instant::now();
    let mut latencies = load(apache.addr(), case, ROUND)?;
    let seconds = start.elapsed().as_secs_f64();
    let ticks = apache.cpu_ticks_of_children() - ticks;
    let handoffs = count() - handoffs;
    let expected = if case.hands_off() { latencies.len() } else { 0 };
    // The daemon counts after it has answered.
    ensure!(handoffs.abs_diff(expected) <= 1, "{handoffs} handoffs for {expected} requests");

    latencies.sort_unstable();
    let requests = latencies.len() as f64;
    let percentile = |share: f64| latencies[((requests - 1.0) * share) as usize].as_secs_f64() * 1e6;
    Ok(Rate {
        per_second: requests / seconds,
        p50_us: percentile(0.50),
        p99_us: percentile(0.99),
        cpu_us: ticks as f64 * MICROSECONDS_PER_TICK / requests,
        cpu_beside_plain: 1.0,
    })
}

/// Requests by all clients for as long as `time`; how long each took.
fn load(addr: SocketAddr, case: Case, time: Duration) -> Result<Vec<Duration>> {
    let end = Instant::now() + time;
    let client = || -> Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        while Instant::now() < end {
            let start = Instant::now();
            fetch(addr, case.target())?;
            latencies.push(start.elapsed());
        }
        Ok(latencies)
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        Ok(all)
    })
}

fn median(rates: &[Rate]) -> Rate {
    let of = |value: fn(&Rate) -> f64| {
        let mut values: Vec<f64> = rates.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Rate {
        per_second: of(|rate| rate.per_second),
        p50_us: of(|rate| rate.p50_us),
        p99_us: of(|rate| rate.p99_us),
        cpu_us: of(|rate| rate.cpu_us),
        cpu_beside_plain: of(|rate| rate.cpu_beside_plain),
    }
}
