//! Time as a number that comes in from outside. The core has no clock.

use core::num::NonZeroU64;
use core::time::Duration;

/// A point on the monotonic clock, in microseconds since the process began, counted from 1 so that
/// `Option<Timestamp>` is eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroU64);

impl Timestamp {
    /// The first point there is.
    pub const START: Self = Self(NonZeroU64::MIN);

    /// The point `elapsed` after the start.
    pub fn after_start(elapsed: Duration) -> Self {
        Self::START + elapsed
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl core::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// The time, read once for a batch: monotonic for all lifetimes, the wall clock for credentials alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub mono: Timestamp,
    /// Seconds since 1970-01-01 UTC.
    pub unix: u64,
}

/// Year, month, day, hour, minute and second of `unix` seconds.
const fn calendar(unix: u64) -> [u64; 6] {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    // Days since 0000-03-01, so that the leap day ends a year; 400 years are 146097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + (month <= 2) as u64;
    [year, month, day, seconds / 3_600, seconds / 60 % 60, seconds % 60]
}

/// `unix` seconds as `2026-11-21T14:35:03Z`.
pub fn rfc3339(unix: u64) -> String {
    let [year, month, day, hour, minute, second] = calendar(unix);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `unix` seconds as `Sat, 21 Nov 2026 14:35:03 +0000`.
pub fn rfc2822(unix: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // 1970 began on a Thursday.
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let [year, month, day, hour, minute, second] = calendar(unix);
    let (weekday, month) = (unix / 86_400 % 7, month.saturating_sub(1));
    let name = |names: &[&'static str], at: u64| {
        usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or_default()
    };
    let (weekday, month) = (name(&DAYS, weekday), name(&MONTHS, month));
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_hold_at_the_edges_of_the_calendar() {
        for (unix, one, other) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_399, "2000-02-28T23:59:59Z", "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_709_251_199, "2024-02-29T23:59:59Z", "Thu, 29 Feb 2024 23:59:59 +0000"),
            (4_102_444_800, "2100-01-01T00:00:00Z", "Fri, 01 Jan 2100 00:00:00 +0000"),
        ] {
            assert_eq!((rfc3339(unix).as_str(), rfc2822(unix).as_str()), (one, other));
        }
    }
}
