//! Requests of the `iceServers` API that were refused, counted by the code of the answer.

use std::sync::atomic::{AtomicU64, Ordering};

/// The codes of docs/operations.md, and what stands for one that is not among them. Fixed, so that no label comes from the wire.
const CODES: [&str; 24] = [
    "bad_field",
    "bad_form",
    "bad_host",
    "bad_json",
    "beyond_key",
    "body_too_large",
    "body_too_slow",
    "host_not_known",
    "no_address",
    "no_randomness",
    "not_allowed",
    "not_kept",
    "not_yours_to_revoke",
    "not_yours_to_set",
    "origin_not_allowed",
    "revocations_full",
    "revoke_what",
    "too_long",
    "too_many_fields",
    "too_many_requests",
    "unauthorized",
    "unknown_field",
    "worker_silent",
    OTHER,
];

const OTHER: &str = "other";

/// How often each code was answered. Shared by whoever answers and whoever shows it.
#[derive(Debug, Default)]
pub struct GrantRefusals([AtomicU64; CODES.len()]);

impl GrantRefusals {
    /// Counts one. A code that is not listed counts as `other`.
    pub fn count(&self, code: &str) {
        let place = CODES.iter().position(|known| *known == code).unwrap_or(CODES.len() - 1);
        if let Some(counter) = self.0.get(place) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a code has a count of its own.
    pub fn knows(code: &str) -> bool {
        CODES.contains(&code)
    }

    /// All codes, with how often each was answered.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CODES.iter().zip(&self.0).map(|(code, count)| (*code, count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_counted_together() {
        let refusals = GrantRefusals::default();
        for code in ["unauthorized", "unauthorized", "\"}\n", "new"] {
            refusals.count(code);
        }
        let counts: Vec<_> = refusals.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [("unauthorized", 2), (OTHER, 2)]);
        assert!(GrantRefusals::knows("too_many_requests") && !GrantRefusals::knows("new"));
    }
}
