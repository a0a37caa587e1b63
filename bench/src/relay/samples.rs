//! A figure that was measured several times.

use std::fmt;

/// What the rounds have shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// One more.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle one, or the mean of the two in the middle. Not a number without any.
    #[must_use]
    pub fn median(&self) -> f64 {
        let count = self.0.len();
        match count {
            0 => f64::NAN,
            _ => (self.0[(count - 1) / 2] + self.0[count / 2]) / 2.0,
        }
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut samples = Self::default();
        values.into_iter().for_each(|value| samples.push(value));
        samples
    }
}

/// The median, and where there are several, the least and the greatest.
impl fmt::Display for Samples {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = Number(self.median());
        match self.0.as_slice() {
            [least, .., greatest] => write!(text, "{number} ({} to {})", Number(*least), Number(*greatest)),
            _ => write!(text, "{number}"),
        }
    }
}

/// A number with as many digits as are worth reading.
#[derive(Clone, Copy, Debug)]
pub struct Number(pub f64);

impl fmt::Display for Number {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            size if size >= 100.0 || self.0.fract() == 0.0 => 0,
            size if size >= 10.0 => 1,
            _ => 2,
        };
        write!(text, "{:.digits$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_before_the_extremes() {
        assert_eq!(Samples::from_iter([3.0, 12.04, 0.256]).to_string(), "3 (0.26 to 12.0)");
        assert_eq!(Samples::from_iter([1234.5]).to_string(), "1234");
        assert_eq!(Samples::from_iter([1.0, 2.0]).median(), 1.5);
    }
}
