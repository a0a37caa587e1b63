//! Figures in Prometheus' text format, as the admin socket gives them. No IO.

use std::collections::BTreeMap;

/// The samples of one reading, each by name and labels, as in `daemon_stream_errors_total{reason="timeout"}`.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Reads what is a sample and skips all else.
    pub(super) fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            // An exemplar comes after " # ".
            let line = line.split(" # ").next()?;
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// One without labels.
    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// All samples of a family with one label: the label's value and the sample's, without those that are 0.
    pub(super) fn by_label<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter_map(move |(name, value)| {
            let labels = name.strip_prefix(family)?.strip_prefix('{')?;
            let (_, label) = labels.split_once("=\"")?;
            (*value != 0.0).then_some((label.split('"').next()?, *value))
        })
    }

    /// The value of `label` in the family that tells what runs.
    pub(super) fn label<'a>(&'a self, family: &str, label: &str) -> Option<&'a str> {
        self.0.keys().find_map(|name| {
            let labels = name.strip_prefix(family)?.strip_prefix('{')?;
            labels.split_once(&format!("{label}=\""))?.1.split('"').next()
        })
    }

    /// How much a counter has grown since `before`.
    pub(super) fn growth(&self, before: &Self, name: &str) -> Option<f64> {
        Some(self.get(name)? - before.get(name)?)
    }

    /// Every sample, for `--json`.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &f64)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total Something.\n# TYPE a_total counter\na_total 5\n\
        b{reason=\"timeout\"} 2\nb{reason=\"other\"} 0\nc_bucket{le=\"0.1\"} 3 # {request_id=\"r 1\"} 0.05\n\
        info{backend=\"mock\",version=\"1.2\"} 1\nnonsense\n";

    #[test]
    fn samples_are_found_by_name_and_label() {
        let figures = Figures::parse(TEXT);
        assert_eq!(figures.get("a_total"), Some(5.0));
        assert_eq!(figures.get("c_bucket{le=\"0.1\"}"), Some(3.0));
        assert_eq!(figures.by_label("b").collect::<Vec<_>>(), [("timeout", 2.0)]);
        assert_eq!(figures.label("info", "version"), Some("1.2"));
        assert_eq!(figures.get("nonsense"), None);
    }

    #[test]
    fn growth_is_the_difference_of_two_readings() {
        let (before, after) = (Figures::parse("a 5"), Figures::parse("a 8"));
        assert_eq!(after.growth(&before, "a"), Some(3.0));
        assert_eq!(after.growth(&before, "b"), None);
    }
}
