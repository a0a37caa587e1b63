//! Times, in the unit that the name of the key tells.

use std::time::Duration;

use super::kinds::{Kind, Raw, whole};

/// Seconds, more than 0; decimals are allowed.
pub enum Seconds {}
/// Seconds; 0 is off.
pub enum OptionalSeconds {}
/// Whole milliseconds.
pub enum Milliseconds {}

/// Longest time that can be set: a year, so that no clock overflows.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Kind for Seconds {
    type Value = Duration;
    fn read(raw: &Raw) -> Result<Duration, String> {
        let time = seconds(raw).filter(|time| !time.is_zero());
        Ok(time.ok_or("a number of seconds above 0, at most 31536000")?)
    }
    fn show(value: &Duration) -> String {
        value.as_secs_f64().to_string()
    }
}

impl Kind for OptionalSeconds {
    type Value = Option<Duration>;
    fn read(raw: &Raw) -> Result<Self::Value, String> {
        let time = seconds(raw).ok_or("a number of seconds (0 for off), at most 31536000")?;
        Ok((!time.is_zero()).then_some(time))
    }
    fn show(value: &Self::Value) -> String {
        value.map_or_else(|| "0".to_owned(), |time| Seconds::show(&time))
    }
}

impl Kind for Milliseconds {
    type Value = Duration;
    fn read(raw: &Raw) -> Result<Duration, String> {
        let time = raw.number().and_then(whole).map(|ms| Duration::from_millis(ms as u64));
        Ok(time.filter(|time| *time <= LONGEST).ok_or("a whole number of milliseconds, at most a year")?)
    }
    fn show(value: &Duration) -> String {
        value.as_millis().to_string()
    }
}

fn seconds(raw: &Raw) -> Option<Duration> {
    let seconds: f64 = raw.number()?.replace('_', "").parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= LONGEST)
}
