//! The figures as tables in Markdown.

use std::fmt;

use super::measure::{EVENT_BYTES, Level, PACED_INTERVAL_MS, PACED_STREAMS, Percentiles};

/// KiB of RSS for a mock stream when there are 9,000, at most.
const MEMORY_BAR: f64 = 4.0;
/// Milliseconds to the first byte, 99th percentile at 9,000 streams, at most.
const TTFB_BAR: f64 = 3.3;
/// Microseconds of processor time for a stream of 19 events without delay, at most.
const FAST_BAR: f64 = 200.0;

/// Everything that a run has found out.
#[derive(Debug)]
pub struct Figures {
    /// By number of streams, ascending.
    pub levels: Vec<Level>,
    /// What a thread takes that only answers.
    pub ttfb_floor: Percentiles,
    /// Of a stream of 19 events without delay.
    pub fast_cpu_us: f64,
    /// CPU-s per million events, paced.
    pub paced_cpu_s: f64,
    /// The same of the floor.
    pub floor_cpu_s: f64,
}

impl Figures {
    /// Whether memory and processor time are within their bars. The time to the first byte depends on what else the
    /// machine does, and is only shown.
    #[must_use]
    pub fn are_within_bars(&self) -> bool {
        self.fast_cpu_us <= FAST_BAR && self.levels.iter().all(|level| level.kib_per_stream <= MEMORY_BAR)
    }
}

/// The tables, as Markdown.
impl fmt::Display for Figures {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(text, "Mock streams, a word a second each, 1,500 new ones a second\n")?;
        writeln!(text, "| streams | KiB RSS a stream | bar | TTFB p50 ms | p99 ms | bar |")?;
        writeln!(text, "|--:|--:|--:|--:|--:|--:|")?;
        let last = self.levels.len().saturating_sub(1);
        for (index, level) in self.levels.iter().enumerate() {
            let ttfb_bar = if index == last { format!("{TTFB_BAR}") } else { String::new() };
            writeln!(
                text,
                "| {} | {:.2} | {MEMORY_BAR:.1} | {:.2} | {:.2} | {ttfb_bar} |",
                level.streams, level.kib_per_stream, level.ttfb.p50_ms, level.ttfb.p99_ms
            )?;
        }
        let Percentiles { p50_ms, p99_ms } = self.ttfb_floor;
        writeln!(text, "| a thread that only answers | | | {p50_ms:.2} | {p99_ms:.2} | |")?;
        writeln!(text, "\nProcessor time of the daemon\n")?;
        writeln!(text, "| | | bar | beside the floor |")?;
        writeln!(text, "|---|--:|--:|--:|")?;
        writeln!(
            text,
            "| a stream of 19 events without delay, handoff and log line included, µs | {:.0} | {FAST_BAR:.0} | |",
            self.fast_cpu_us
        )?;
        writeln!(
            text,
            "| {PACED_STREAMS} streams, an event every {PACED_INTERVAL_MS} ms: CPU-s per million events | {:.2} | | {:.2} |",
            self.paced_cpu_s,
            self.paced_cpu_s / self.floor_cpu_s
        )?;
        writeln!(
            text,
            "| the floor: as many loopback connections, a send() of {EVENT_BYTES} bytes each, and nothing else | {:.2} | | 1 |",
            self.floor_cpu_s
        )
    }
}
