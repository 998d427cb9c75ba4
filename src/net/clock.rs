//! The clock of the shell: where the time that the core is told comes from.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Now, Timestamp};

/// Counts from when it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "the one place where the monotonic clock is read")]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// A point in time as those know it who count from elsewhere.
    pub(super) fn instant(&self, at: Timestamp) -> Instant {
        self.origin + at.since(Timestamp::START)
    }

    /// The time.
    #[expect(clippy::disallowed_methods, reason = "the one place where both clocks are read")]
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Now { mono: Timestamp::after_start(Instant::now().duration_since(self.origin)), unix }
    }
}
