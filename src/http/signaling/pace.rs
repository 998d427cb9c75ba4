//! How fast one sender may go on: the limit is kept by delay, and nothing is dropped.

use crate::http::Limits;
use crate::http::admission::Bucket;
use std::time::Duration;
use tokio::time::Instant;

/// How fast one sender may go on.
pub(super) struct Pace {
    messages: Bucket,
    bytes: Bucket,
    throttled: Duration,
    since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            messages: Bucket::new(limits.message_burst, limits.messages_per_second, now),
            bytes: Bucket::new(limits.byte_burst, limits.bytes_per_second, now),
            throttled: limits.throttled,
            since: None,
        }
    }

    /// How long a message of `bytes` has to wait.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let wait = self.messages.take(1, now).max(self.bytes.take(bytes, now));
        if wait.is_zero() {
            self.since = None;
        } else {
            self.since.get_or_insert(now);
        }
        wait
    }

    /// Whether every message for a long time had to wait: no page that makes calls gets there.
    pub(super) fn is_abused(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= self.throttled)
    }
}
