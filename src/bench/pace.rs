//! When packets are due: an open loop, which waits for nothing that the server does.

/// A schedule of events at equal distances.
pub(super) struct Pace {
    start: u64,
    /// Nanoseconds between two events.
    interval: f64,
    /// How many have been handed out or left out.
    count: u64,
    /// What is later than this is left out: made up for in one go, it would be another load than the one that was asked
    /// for.
    patience: u64,
}

/// What a schedule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// One event, and how late it is in nanoseconds.
    Now(u64),
    /// The next one comes in so many nanoseconds.
    In(u64),
}

impl Pace {
    /// `rate` events per second from `start` on. Events that are more than `patience` nanoseconds late are left out.
    pub(super) fn new(start: u64, rate: f64, patience: u64) -> Self {
        Self { start, interval: 1e9 / rate, count: 0, patience }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "runs last hours at most, far below 2^53 nanoseconds"
    )]
    fn time_of(&self, event: u64) -> u64 {
        self.start + (event as f64 * self.interval) as u64
    }

    /// The next event, and how many were left out before it.
    #[inline]
    pub(super) fn next(&mut self, now: u64) -> (Due, u64) {
        let mut skipped = 0;
        loop {
            let due = self.time_of(self.count);
            if due > now {
                return (Due::In(due - now), skipped);
            }
            self.count += 1;
            if now - due <= self.patience {
                return (Due::Now(now - due), skipped);
            }
            skipped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_at_their_time_and_what_is_far_too_late_is_left_out() {
        let mut pace = Pace::new(1_000, 1e6, 10_000);
        assert_eq!(pace.next(0), (Due::In(1_000), 0));
        assert_eq!(pace.next(1_000), (Due::Now(0), 0));
        assert_eq!(pace.next(1_000), (Due::In(1_000), 0));
        assert_eq!(pace.next(3_500), (Due::Now(1_500), 0));
        assert_eq!(pace.next(3_500), (Due::Now(500), 0));
        assert_eq!(pace.next(3_500), (Due::In(500), 0));
        // 26 events are due by now; those of the last 10 microseconds are still worth sending.
        assert_eq!(pace.next(28_999), (Due::Now(9_999), 15));
    }
}
