//! What a measurement hands to the report.

use std::fmt::Write;

use super::plot::Kind;
use super::samples::{Number, Samples};

/// A figure that has a bar.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is, with its unit.
    pub name: String,
    /// What was measured.
    pub value: Samples,
    /// What others reach.
    pub best: Option<f64>,
    /// At most.
    pub bar: f64,
    /// What would be good.
    pub aim: f64,
    /// It does not depend on what else the machine does, so that missing the bar is an error.
    pub counted: bool,
}

impl Figure {
    /// Whether the bar is kept, or does not decide.
    #[must_use]
    pub fn is_within_bar(&self) -> bool {
        !self.counted || self.value.median() <= self.bar
    }

    fn row(&self) -> String {
        let median = self.value.median();
        let verdict = match () {
            () if median <= self.aim => "aim",
            () if median <= self.bar => "bar",
            () => "missed",
        };
        let best = self.best.map_or(String::new(), |best| Number(best).to_string());
        let (bar, aim) = (Number(self.bar), Number(self.aim));
        format!("| {} | {} | {best} | {bar} | {aim} | {verdict} |\n", self.name, self.value)
    }
}

/// A bar of the plot.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Which plot it belongs to.
    pub plot: Plot,
    /// Its colour.
    pub kind: Kind,
    /// Whose it is.
    pub label: String,
    /// How long it is.
    pub value: f64,
}

/// What is plotted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plot {
    /// CPU-s per million events.
    Processor,
    /// Streams at once.
    AtOnce,
}

/// What a measurement has found out.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Heading.
    pub title: String,
    /// Its tables, in Markdown.
    pub text: String,
    /// Figures for the first table of the report.
    pub figures: Vec<Figure>,
    /// For the plot.
    pub bars: Vec<Bar>,
    /// What was not as it has to be.
    pub errors: Vec<String>,
}

impl Section {
    /// An empty one.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::default() }
    }

    /// Begins a table: the first column is text, the others are numbers.
    pub fn table(&mut self, heads: &[&str]) {
        let numbers = "--:|".repeat(heads.len() - 1);
        let _ = writeln!(self.text, "| {} |\n|---|{numbers}", heads.join(" | "));
    }

    /// A row of a table.
    pub fn row(&mut self, cells: &[&dyn std::fmt::Display]) {
        let cells: Vec<_> = cells.iter().map(ToString::to_string).collect();
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }

    /// A bar of the plot.
    pub fn bar(&mut self, plot: Plot, kind: Kind, label: impl Into<String>, value: f64) {
        self.bars.push(Bar { plot, kind, label: label.into(), value });
    }

    /// An error, unless `count` is zero.
    pub fn expect_none(&mut self, count: usize, what: &str) {
        if count > 0 {
            self.errors.push(format!("{}: {count} {what}", self.title));
        }
    }
}

/// The whole report in Markdown.
#[must_use]
pub fn report(sections: &[Section]) -> String {
    let mut text = String::new();
    let figures: Vec<_> = sections.iter().flat_map(|section| &section.figures).collect();
    if !figures.is_empty() {
        text.push_str("| figure | measured | others | bar | aim | reached |\n|---|--:|--:|--:|--:|---|\n");
        figures.iter().for_each(|figure| text.push_str(&figure.row()));
        text.push('\n');
    }
    for section in sections {
        let _ = writeln!(text, "**{}**\n\n{}\n", section.title, section.text.trim_end());
    }
    text
}

/// What a run fails for.
#[must_use]
pub fn failures(sections: &[Section]) -> Vec<String> {
    let missed = |figure: &Figure| format!("{}: {} is above {}", figure.name, figure.value, figure.bar);
    let of_section = |section: &Section| {
        let above = section.figures.iter().filter(|figure| !figure.is_within_bar()).map(missed);
        section.errors.iter().cloned().chain(above).collect::<Vec<_>>()
    };
    sections.iter().flat_map(of_section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, counted: bool) -> Figure {
        let value = Samples::from_iter([value]);
        Figure { name: "x".into(), value, best: None, bar: 2.0, aim: 1.0, counted }
    }

    #[test]
    fn a_run_fails_for_errors_and_for_counted_figures_above_their_bars() {
        let mut section = Section::new("s");
        section.figures = vec![figure(3.0, true), figure(3.0, false), figure(2.0, true)];
        section.expect_none(0, "answers are wrong");
        section.expect_none(4, "answers are wrong");
        assert_eq!(failures(&[section]), ["s: 4 answers are wrong", "x: 3 is above 2"]);
    }

    #[test]
    fn a_row_says_what_was_reached() {
        for (value, verdict) in [(0.5, "aim"), (1.5, "bar"), (2.5, "missed")] {
            assert!(figure(value, false).row().contains(verdict));
        }
    }
}
