//! Moments as calendars have them, in UTC.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment from 1970 on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Utc {
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
    /// Of the day.
    second: u64,
    millisecond: u32,
}

impl Utc {
    pub(super) fn new(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        // Days are counted from March, so that the leap day is the last of its year. (Howard Hinnant, "chrono-Compatible
        // Low-Level Date Algorithms", civil_from_days.)
        let days = since.as_secs() / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            second: since.as_secs() % 86_400,
            millisecond: since.subsec_millis(),
        }
    }

    fn clock(self) -> (u64, u64, u64) {
        (self.second / 3600, self.second / 60 % 60, self.second % 60)
    }

    /// As in Apache's `%t`, without the brackets.
    pub(super) fn apache(self) -> impl fmt::Display {
        let (hour, minute, second) = self.clock();
        let month = MONTHS[(self.month - 1) as usize];
        format!("{:02}/{month}/{}:{hour:02}:{minute:02}:{second:02} +0000", self.day, self.year)
    }

    /// RFC 3339, with milliseconds.
    pub(super) fn rfc_3339(self) -> impl fmt::Display {
        let (hour, minute, second) = self.clock();
        let Self { year, month, day, millisecond, .. } = self;
        format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Utc {
        Utc::new(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn days_that_are_easily_got_wrong() {
        assert_eq!(at(0).apache().to_string(), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(at(951_782_400).rfc_3339().to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(951_868_799).apache().to_string(), "29/Feb/2000:23:59:59 +0000");
        assert_eq!(at(4_107_542_400).rfc_3339().to_string(), "2100-03-01T00:00:00.000Z");
    }

    proptest! {
        #[test]
        fn the_same_as_httpdate_says(seconds in 0_u64..10_000_000_000) {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            let expected = format!(
                "{}/{}/{}:{} +0000", &date[5..7], &date[8..11], &date[12..16], &date[17..25]
            );
            prop_assert_eq!(at(seconds).apache().to_string(), expected);
        }
    }
}
