//! `streaming-daemon status`: how a daemon is doing, from its admin socket.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::figures::Figures;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// `streaming-daemon status`
#[derive(Debug, Args)]
pub struct Flags {
    /// The daemon's admin socket: server.admin_socket_path of its configuration
    #[arg(short, long, value_name = "PATH", env = "DAEMON_SERVER_ADMIN_SOCKET_PATH")]
    #[arg(default_value = "/run/streaming-daemon/admin.sock")]
    socket: PathBuf,

    /// Seconds between the two readings that the rates come from; 0: no rates
    #[arg(long, value_name = "S", default_value = "1")]
    interval: f64,

    /// Every figure, as one JSON object
    #[arg(long)]
    json: bool,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no daemon answers on {0:?}; is it running, with server.admin_socket_path set to this?")]
    NobodyThere(PathBuf),
    #[error("no permission to connect to {0:?}; run as the daemon's user, or as root")]
    NoPermission(PathBuf),
    #[error("reading from {0:?} failed: {1}")]
    Read(PathBuf, io::Error),
    #[error("the interval is {0}; a number of seconds is needed, at least 0")]
    Interval(f64),
    #[error("the figures cannot be printed: {0}")]
    Print(io::Error),
}

/// Runs the command.
#[must_use]
pub fn main(flags: &Flags) -> ExitCode {
    super::exit_code(run(flags))
}

fn run(flags: &Flags) -> Result<(), Failure> {
    let interval =
        Duration::try_from_secs_f64(flags.interval).map_err(|_| Failure::Interval(flags.interval))?;
    let (mut before, start) = (None, Instant::now());
    let mut now = read(&flags.socket)?;
    if !interval.is_zero() {
        std::thread::sleep(interval);
        before = Some(std::mem::replace(&mut now, read(&flags.socket)?));
    }
    let rates = before.as_ref().map(|before| (before, start.elapsed().as_secs_f64()));
    let text = if flags.json { json(&now, rates) } else { table(&now, rates) };
    io::stdout().write_all(text.as_bytes()).map_err(Failure::Print)
}

fn read(path: &Path) -> Result<Figures, Failure> {
    let failure = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::NobodyThere(path.to_owned()),
        io::ErrorKind::PermissionDenied => Failure::NoPermission(path.to_owned()),
        _ => Failure::Read(path.to_owned(), error),
    };
    let mut text = String::new();
    let mut socket = UnixStream::connect(path).map_err(failure)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failure)?;
    socket.read_to_string(&mut text).map_err(failure)?;
    Ok(Figures::parse(&text))
}

/// The earlier reading, and the seconds since it.
type Rates<'a> = Option<(&'a Figures, f64)>;

/// Counters whose growth is worth knowing, and what they are called here.
const COUNTERS: [(&str, &str, &str); 4] = [
    ("streams", "daemon_connections_total", "new_streams_per_second"),
    ("pieces", "daemon_stream_chunks_sent", "pieces_per_second"),
    ("bytes", "daemon_stream_bytes_sent", "bytes_per_second"),
    ("backend requests", "daemon_backend_requests", "backend_requests_per_second"),
];

fn json(now: &Figures, rates: Rates<'_>) -> String {
    let mut object: serde_json::Map<String, serde_json::Value> =
        now.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
    for (_, counter, rate) in COUNTERS {
        if let Some(per_second) = per_second(now, rates, counter) {
            object.insert(rate.to_owned(), per_second.into());
        }
    }
    serde_json::Value::Object(object).to_string() + "\n"
}

fn per_second(now: &Figures, rates: Rates<'_>, counter: &str) -> Option<f64> {
    let (before, seconds) = rates?;
    Some(now.growth(before, counter)? / seconds)
}

fn table(now: &Figures, rates: Rates<'_>) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_table(&mut text, now, rates);
    text
}

fn write_table(text: &mut String, now: &Figures, rates: Rates<'_>) -> std::fmt::Result {
    let label = |name| now.label("daemon_running_info", name).unwrap_or("?");
    let up = Duration::from_secs_f64(now.get("daemon_uptime_seconds").unwrap_or(0.0).max(0.0));
    let state = if now.get("daemon_draining") == Some(1.0) { "shutting down" } else { "running" };
    writeln!(text, "streaming-daemon {}, {state}, up {}", label("version"), duration(up))?;
    writeln!(text, "{:<18}{}", "backend", label("backend"))?;

    let count = |name| number(now.get(name).unwrap_or(0.0));
    let (active, peak) = (count("daemon_connections_active"), count("daemon_connections_peak"));
    writeln!(text, "{:<18}{active} now, {peak} at most", "streams")?;
    for (name, counter, _) in COUNTERS {
        let rate = per_second(now, rates, counter).map(|rate| format!(", {} a second", number(rate)));
        writeln!(text, "{name:<18}{} in all{}", count(counter), rate.unwrap_or_default())?;
    }
    let lists = [
        ("rejected by limit", "daemon_connections_rejected_total"),
        ("ended early", "daemon_stream_errors_total"),
        ("upstream", "daemon_upstream_connections"),
    ];
    for (name, family) in lists {
        let items: Vec<_> =
            now.by_label(family).map(|(label, value)| format!("{label} {}", number(value))).collect();
        if !items.is_empty() {
            writeln!(text, "{name:<18}{}", items.join(", "))?;
        }
    }
    writeln!(text, "{:<18}{}", "failed handoffs", count("daemon_handoffs_failed"))?;
    writeln!(text, "{:<18}{}", "backend errors", count("daemon_backend_errors"))
}

/// Thousands set apart; a digit after the point where it says something.
fn number(value: f64) -> String {
    if value != 0.0 && value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The two largest units.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "daemon_connections_total 1000\ndaemon_stream_bytes_sent 0\n";
    const NOW: &str = "daemon_running_info{version=\"1.0\",backend=\"mock\"} 1\ndaemon_uptime_seconds 3725.5\n\
        daemon_draining 0\ndaemon_connections_active 12\ndaemon_connections_peak 1200\n\
        daemon_connections_total 1003\ndaemon_stream_bytes_sent 2000000\n\
        daemon_stream_errors_total{reason=\"timeout\"} 2\ndaemon_stream_errors_total{reason=\"other\"} 0\n";

    #[test]
    fn the_table_tells_what_matters() {
        let (before, now) = (Figures::parse(BEFORE), Figures::parse(NOW));
        let table = table(&now, Some((&before, 2.0)));
        for line in [
            "streaming-daemon 1.0, running, up 1 h 2 min",
            "backend           mock",
            "streams           12 now, 1,200 at most",
            "streams           1,003 in all, 1.5 a second",
            "bytes             2,000,000 in all, 1,000,000 a second",
            "ended early       timeout 2",
        ] {
            assert!(table.lines().any(|found| found == line), "{line:?} is missing:\n{table}");
        }
    }

    #[test]
    fn json_has_every_figure_and_the_rates() {
        let (before, now) = (Figures::parse(BEFORE), Figures::parse(NOW));
        let json: serde_json::Value = serde_json::from_str(&json(&now, Some((&before, 2.0)))).unwrap();
        assert_eq!(json["daemon_connections_active"], 12.0);
        assert_eq!(json["new_streams_per_second"], 1.5);
    }

    #[test]
    fn times_are_short() {
        let of = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!([of(5), of(65), of(90_000)], ["5 s", "1 min 5 s", "1 d 1 h"]);
    }
}
