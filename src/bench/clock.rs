//! The time of a run.

use std::time::{Duration, Instant};

use crate::time::Timestamp;

/// Counts nanoseconds from when it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the load generator is a measuring instrument with a clock of its own"
    )]
    pub(super) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Nanoseconds since the start.
    #[inline]
    #[expect(clippy::disallowed_methods, reason = "see above")]
    pub(super) fn now(&self) -> u64 {
        u64::try_from(Instant::now().duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The same point in time for the state machine of the client.
pub(super) fn timestamp(nanoseconds: u64) -> Timestamp {
    Timestamp::after_start(Duration::from_nanos(nanoseconds))
}

/// How long until `then`.
pub(super) fn until(now: u64, then: Timestamp) -> Duration {
    then.since(timestamp(now))
}

/// Nanoseconds in `duration`.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53 nanoseconds")]
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
