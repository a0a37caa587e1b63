//! The tables, in Markdown.

use std::fmt;

use crate::body::Bodies;
use crate::case::Case;
use crate::rate::Rate;
use crate::syscalls::Syscalls;

/// Instructions of a handoff, at most, per instruction of a plain response without the module: a public C module's.
const HANDOFF_BAR: f64 = 0.87;
/// The same for a request that the module does not touch.
const UNTOUCHED_BAR: f64 = 1.01;

/// Processor time of an acknowledged handoff, at most, per that of a plain response: a C module without acknowledgement
/// takes 0.95.
const ACKNOWLEDGED_CPU_BAR: f64 = 0.80;

/// Time of a long prompt that is handed off, at most, per time of the same bytes as a plain body.
const BODY_BAR: f64 = 1.5;

/// Everything that a run has found out; each in the order of [`Case::ALL`].
#[derive(Debug)]
pub struct Report {
    /// Instructions per request.
    pub instructions: [f64; Case::ALL.len()],
    /// System calls per request, prefork.
    pub syscalls: [Syscalls; Case::ALL.len()],
    /// Rates, event.
    pub rates: [Rate; Case::ALL.len()],
    /// A megabyte from php-fpm, event.
    pub bodies: Bodies,
}

impl Report {
    /// Whether what is counted is within its bars. Processor time is only shown: it depends on what else the machine
    /// does.
    #[must_use]
    pub fn is_within_bars(&self) -> bool {
        let [plain, untouched, handoff, _] = self.instructions;
        let [plain_calls, .., acknowledged_calls] = self.syscalls.each_ref().map(Syscalls::total);
        untouched / plain <= UNTOUCHED_BAR
            && handoff / plain <= HANDOFF_BAR
            && acknowledged_calls <= plain_calls
    }

    fn write_calls(
        &self,
        text: &mut fmt::Formatter<'_>,
        name: &str,
        count: impl Fn(&Syscalls) -> f64,
    ) -> fmt::Result {
        let counts = self.syscalls.each_ref().map(count);
        // What happens once in a recording is no part of a request.
        if counts.iter().all(|count| *count < 0.05) {
            return Ok(());
        }
        writeln!(text, "| {name} | {} |", counts.map(|count| format!("{count:.1}")).join(" | "))
    }
}

/// The tables, as Markdown.
impl fmt::Display for Report {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(text, "Instructions per request (callgrind, `apache2 -X`, prefork)\n")?;
        writeln!(text, "| | instructions | beside plain | bar |")?;
        writeln!(text, "|---|--:|--:|--:|")?;
        for (case, count) in Case::ALL.into_iter().zip(self.instructions) {
            let ratio = count / self.instructions[0];
            let percent = |ratio: f64| (ratio - 1.0) * 100.0;
            let (ratio, bar) = match case {
                Case::Plain => (String::new(), String::new()),
                Case::Untouched => {
                    (format!("{:+.2} %", percent(ratio)), format!("at most {:+.0} %", percent(UNTOUCHED_BAR)))
                }
                Case::Handoff => (format!("{ratio:.3}"), format!("at most {HANDOFF_BAR:.2}")),
                Case::Acknowledged => (format!("{ratio:.3}"), String::new()),
            };
            writeln!(text, "| {case} | {count:.0} | {ratio} | {bar} |")?;
        }

        writeln!(text, "\nRate (event, 16 connections at once, a new one each request)\n")?;
        writeln!(
            text,
            "| | per second | p50 µs | p99 µs | Apache's CPU µs per request | beside plain | bar |"
        )?;
        writeln!(text, "|---|--:|--:|--:|--:|--:|--:|")?;
        for (case, rate) in Case::ALL.into_iter().zip(&self.rates) {
            let Rate { per_second, p50_us, p99_us, cpu_us, cpu_beside_plain } = rate;
            let bar = match case {
                Case::Acknowledged => format!("at most {ACKNOWLEDGED_CPU_BAR:.2}"),
                _ => String::new(),
            };
            writeln!(
                text,
                "| {case} | {per_second:.0} | {p50_us:.0} | {p99_us:.0} | {cpu_us:.1} | {cpu_beside_plain:.2} | {bar} |"
            )?;
        }

        let Bodies { plain_ms, received_ms, handoff_ms } = self.bodies;
        writeln!(text, "\n1 MiB from php-fpm, one request after the other (event)\n")?;
        writeln!(text, "| | p50 ms | beside plain | bar |\n|---|--:|--:|--:|")?;
        writeln!(text, "| as a plain body to the client | {plain_ms:.2} | | |")?;
        let ratio = received_ms / plain_ms;
        writeln!(text, "| as data to a daemon that does not look at it | {received_ms:.2} | {ratio:.2} | |")?;
        writeln!(
            text,
            "| as data to streaming-daemon, and its stream to the client | {handoff_ms:.2} | {:.2} | at most {BODY_BAR:.1} |",
            handoff_ms / plain_ms
        )?;

        writeln!(
            text,
            "\nSystem calls per request (prefork, one child); the bar: an acknowledged handoff makes no more than a plain \
             response\n"
        )?;
        writeln!(text, "| | {} |", Case::ALL.map(|case| case.to_string()).join(" | "))?;
        writeln!(text, "|---{}|", "|--:".repeat(Case::ALL.len()))?;
        self.write_calls(text, "all", Syscalls::total)?;
        let mut names: Vec<&String> = self.syscalls.iter().flat_map(|calls| calls.by_name.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            self.write_calls(text, name, |calls| calls.by_name.get(name).copied().unwrap_or(0.0))?;
        }
        Ok(())
    }
}
