//! Writes figures for Prometheus. No IO.
//!
//! By hand, not with a crate: client libraries append `_total` to the name of each counter, and most of the names that
//! dashboards of this daemon know do not end so.

use std::fmt::{Display, Write};

/// The two formats that Prometheus asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text format 0.0.4, which everybody reads.
    Text,
    /// OpenMetrics 1.0, which has exemplars.
    OpenMetrics,
}

impl Format {
    /// The format for a request with this `Accept` field.
    #[must_use]
    pub fn for_accept(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    /// The `Content-Type` field.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Figures, being written.
#[derive(Debug)]
pub(super) struct Exposition {
    out: String,
    format: Format,
}

impl Exposition {
    /// Nothing yet.
    pub(super) fn new(format: Format) -> Self {
        Self { out: String::with_capacity(16 * 1024), format }
    }

    /// All that was written.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    /// A figure that only grows.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    /// A figure that only grows, for each value of one label.
    pub(super) fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.family(name, "counter", help);
        for (of, value) in values {
            self.sample(name, &format!("{{{label}=\"{of}\"}}"), value);
        }
    }

    /// A figure that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    /// Describes the samples that follow.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // OpenMetrics: a counter's family is named without the suffix, and a counter without it is no counter.
        let (name, kind) = match (self.format, kind, name.strip_suffix("_total")) {
            (Format::OpenMetrics, "counter", Some(stem)) => (stem, kind),
            (Format::OpenMetrics, "counter", None) => (name, "unknown"),
            _ => (name, kind),
        };
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One value; `labels` with their braces.
    pub(super) fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.out, "{name}{labels} {value}");
    }

    /// As [`Exposition::sample`], with an example of what was counted.
    pub(super) fn sample_with_exemplar(
        &mut self,
        name: &str,
        labels: &str,
        value: u64,
        of: Option<&Exemplar>,
    ) {
        let _ = write!(self.out, "{name}{labels} {value}");
        if let (Format::OpenMetrics, Some(Exemplar { request_id, seconds })) = (self.format, of) {
            let id = request_id.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.out, " # {{request_id=\"{id}\"}} {seconds}");
        }
        self.out.push('\n');
    }
}

/// One observation that a histogram has counted, to find it in the logs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exemplar {
    /// Whose.
    pub(super) request_id: Box<str>,
    /// What was observed.
    pub(super) seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, write: impl FnOnce(&mut Exposition)) -> String {
        let mut exposition = Exposition::new(format);
        write(&mut exposition);
        exposition.finish()
    }

    #[test]
    fn names_are_written_as_they_are() {
        let text = written(Format::Text, |to| to.counter("a_received", "Help.", 3));
        assert_eq!(text, "# HELP a_received Help.\n# TYPE a_received counter\na_received 3\n");
    }

    #[test]
    fn openmetrics_knows_counters_by_their_suffix() {
        let text = written(Format::OpenMetrics, |to| {
            to.counter("a_received", "Help.", 3);
            to.counters("b_total", "Help.", "reason", &[("x", 1), ("y", 2)]);
        });
        assert_eq!(
            text,
            "# HELP a_received Help.\n# TYPE a_received unknown\na_received 3\n\
             # HELP b Help.\n# TYPE b counter\nb_total{reason=\"x\"} 1\nb_total{reason=\"y\"} 2\n# EOF\n"
        );
    }

    #[test]
    fn exemplars_are_for_openmetrics_and_their_text_is_foreign() {
        let exemplar = Exemplar { request_id: "a\"\\\n".into(), seconds: 0.5 };
        let write =
            |to: &mut Exposition| to.sample_with_exemplar("h_bucket", "{le=\"1\"}", 2, Some(&exemplar));
        assert_eq!(written(Format::Text, write), "h_bucket{le=\"1\"} 2\n");
        let expected = "h_bucket{le=\"1\"} 2 # {request_id=\"a\\\"\\\\\\n\"} 0.5\n# EOF\n";
        assert_eq!(written(Format::OpenMetrics, write), expected);
    }

    #[test]
    fn who_can_read_openmetrics_says_so() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
        assert_eq!(Format::for_accept(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::for_accept(Some("*/*")), Format::Text);
        assert_eq!(Format::for_accept(None), Format::Text);
    }
}
