//! The clock of the shell: where the time that the core is told comes from.

use std::time::{Duration, Instant};

use crate::sys::clock;
use crate::time::{Now, Timestamp};

/// Counts from when it was made, in steps of a few milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Duration,
    /// The same moment for those who need the precise clock.
    instant: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "the one place where the monotonic clock is read")]
    pub fn start() -> Self {
        Self { origin: clock::monotonic(), instant: Instant::now() }
    }

    /// A point in time as those know it who count from elsewhere.
    pub(super) fn instant(&self, at: Timestamp) -> Instant {
        self.instant + at.since(Timestamp::START)
    }

    /// The time.
    pub fn now(&self) -> Now {
        let mono = clock::monotonic().saturating_sub(self.origin);
        Now { mono: Timestamp::after_start(mono), unix: clock::wall().as_secs() }
    }
}
