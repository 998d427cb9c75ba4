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
