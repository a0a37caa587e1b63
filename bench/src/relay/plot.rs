//! The figures as a picture: horizontal bars, in SVG. No IO.

use std::fmt::Write;

use super::samples::Number;
use super::section::{Bar, Plot};

const WIDTH: usize = 760;
/// Where bars begin, and how long the longest one is.
const LEFT: usize = 270;
const LONGEST: f64 = 390.0;
/// Of a row, of a bar within it, and of a title.
const ROW: usize = 28;
const THICK: usize = 18;
const TITLE: usize = 40;

/// Colours that stand out on light pages and on dark ones; there is no background.
const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #7f7f7a; }
.title { font-weight: 650; font-size: 15px; }
.ours { fill: #38957c; }
.other { fill: #9a978e; }
.floor { fill: #bfa45c; }
";

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What cannot be done with less.
    Floor,
    /// This project's.
    Ours,
    /// Something else.
    Other,
}

/// A picture of all bars, each kind of them in a chart of its own.
#[must_use]
pub fn svg(bars: &[Bar]) -> String {
    let mut body = String::new();
    let mut top = 0;
    for (plot, title) in [
        (Plot::Processor, "Processor time of the servers, seconds per million events (less is better)"),
        (Plot::AtOnce, "Streams that ran at once on the same Apache with 256 workers"),
    ] {
        let mut bars: Vec<_> = bars.iter().filter(|bar| bar.plot == plot).collect();
        bars.sort_by(|one, other| one.value.total_cmp(&other.value));
        if !bars.is_empty() {
            chart(&mut body, top, title, &bars);
            top += TITLE + bars.len() * ROW + ROW / 2;
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" height=\"{top}\">\n\
         <style>\n{STYLE}</style>\n{body}</svg>\n"
    )
}

fn chart(body: &mut String, top: usize, title: &str, bars: &[&Bar]) {
    let longest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    // Writing to memory does not fail.
    let _ = writeln!(body, "<text class=\"title\" x=\"8\" y=\"{}\">{title}</text>", top + 24);
    for (index, bar) in bars.iter().enumerate() {
        let y = top + TITLE + index * ROW;
        let length = (bar.value / longest * LONGEST).max(1.0);
        let class = match bar.kind {
            Kind::Floor => "floor",
            Kind::Ours => "ours",
            Kind::Other => "other",
        };
        let text = y + THICK - 4;
        let label = escaped(&bar.label);
        let _ = write!(
            body,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{label}</text>\n\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{THICK}\" rx=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"{text}\">{}</text>\n",
            LEFT - 10,
            LEFT as f64 + length + 8.0,
            Number(bar.value),
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: f64) -> Bar {
        Bar { plot: Plot::Processor, kind: Kind::Ours, label: label.into(), value }
    }

    #[test]
    fn bars_are_as_long_as_their_values_and_the_shortest_is_first() {
        let svg = svg(&[bar("b & c", 10.0), bar("a", 5.0)]);
        let (first, second) = (svg.find(">a<").unwrap(), svg.find(">b &amp; c<").unwrap());
        assert!(first < second);
        assert!(svg[first..second].contains("width=\"195.0\""));
        assert!(svg[second..].contains("width=\"390.0\""));
    }

    #[test]
    fn without_bars_there_is_no_chart() {
        assert!(!svg(&[]).contains("<text"));
    }
}
