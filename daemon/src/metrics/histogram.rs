//! Durations, counted by size.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::exposition::{Exemplar, Exposition};

/// Longest request id that becomes an exemplar: OpenMetrics allows 128 characters for names and values together.
const EXEMPLAR_LIMIT: usize = 100;

/// Counts durations in buckets.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    /// Upper bounds in seconds, ascending.
    bounds: [f64; N],
    counts: [AtomicU64; N],
    above: AtomicU64,
    microseconds: AtomicU64,
    /// The last observation with a name in each bucket.
    exemplars: Mutex<[Option<Exemplar>; N]>,
}

impl<const N: usize> Histogram<N> {
    /// Nothing counted, in buckets up to each of `bounds`, in seconds.
    pub(super) fn new(bounds: [f64; N]) -> Self {
        Self {
            bounds,
            counts: [const { AtomicU64::new(0) }; N],
            above: AtomicU64::new(0),
            microseconds: AtomicU64::new(0),
            exemplars: Mutex::new([const { None }; N]),
        }
    }

    /// Counts `duration`.
    pub(super) fn observe(&self, duration: Duration) {
        self.observe_named(duration, None);
    }

    /// Counts `duration`, the one of `request_id`.
    pub(super) fn observe_named(&self, duration: Duration, request_id: Option<&str>) {
        let seconds = duration.as_secs_f64();
        self.microseconds
            .fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let Some(bucket) = self.bounds.iter().position(|bound| seconds <= *bound) else {
            self.above.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        if let Some(request_id) = request_id.filter(|id| id.len() <= EXEMPLAR_LIMIT) {
            let exemplar = Exemplar { request_id: request_id.into(), seconds };
            self.exemplars.lock().unwrap_or_else(PoisonError::into_inner)[bucket] = Some(exemplar);
        }
    }

    /// Writes it. The sum of the buckets is the count, whatever is being counted meanwhile.
    pub(super) fn write(&self, to: &mut Exposition, name: &str, help: &str) {
        to.family(name, "histogram", help);
        let exemplars = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        for ((bound, counted), exemplar) in self.bounds.iter().zip(&self.counts).zip(&exemplars) {
            count += counted.load(Ordering::Relaxed);
            to.sample_with_exemplar(&bucket, &format!("{{le=\"{bound:?}\"}}"), count, exemplar.as_ref());
        }
        count += self.above.load(Ordering::Relaxed);
        to.sample(&bucket, "{le=\"+Inf\"}", count);
        #[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
        let sum = self.microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        to.sample(&format!("{name}_sum"), "", sum);
        to.sample(&format!("{name}_count"), "", count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::Format;
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new([0.5, 1.0]);
        for milliseconds in [100, 500, 700, 2000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let mut to = Exposition::new(Format::Text);
        histogram.write(&mut to, "h", "Help.");
        assert_eq!(
            to.finish(),
            "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 2\nh_bucket{le=\"1.0\"} 3\n\
             h_bucket{le=\"+Inf\"} 4\nh_sum 3.3\nh_count 4\n"
        );
    }

    #[test]
    fn the_last_named_observation_of_a_bucket_is_its_exemplar() {
        let histogram = Histogram::new([0.5]);
        for id in ["first", "last", &"x".repeat(200)] {
            histogram.observe_named(Duration::from_millis(250), Some(id));
        }
        let mut to = Exposition::new(Format::OpenMetrics);
        histogram.write(&mut to, "h", "Help.");
        assert!(to.finish().contains("h_bucket{le=\"0.5\"} 3 # {request_id=\"last\"} 0.25\n"));
    }
}
