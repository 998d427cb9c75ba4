//! What the log tells of requests that were refused: of those for `iceServers` their senders learn less, and of refused
//! WebSockets browsers tell pages nothing.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dialects::Dialect;

/// Lines a second.
const LINES_PER_SECOND: u64 = 10;

/// Characters of an origin in a line.
const SHOWN: usize = 64;

/// Lines of the log, so many a second, the rest counted.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The second of the last line, in Unix time.
    second: AtomicU64,
    /// In that second.
    written: AtomicU64,
    left_out: AtomicU64,
}

impl Lines {
    /// Tells at level debug of a request that was refused at `now`, in Unix seconds. `client` is whom limits count, an IPv6
    /// one as its /56; nothing that it has sent is in the line.
    pub(super) fn tell(&self, client: IpAddr, dialect: Dialect, cause: &'static str, now: u64) {
        if !tracing::enabled!(target: "relais::http", tracing::Level::DEBUG) {
            return;
        }
        if let Some(left_out) = self.admits(now) {
            let dialect = dialect.name();
            tracing::debug!(target: "relais::http", %client, dialect, cause, left_out, "iceServers refused");
        }
    }

    /// Tells at level debug of a page that may not signal, as it names its origin.
    pub(super) fn tell_page(&self, client: IpAddr, origin: Option<&str>, now: u64) {
        if !tracing::enabled!(target: "relais::http", tracing::Level::DEBUG) {
            return;
        }
        if let Some(left_out) = self.admits(now) {
            let origin: String = origin.unwrap_or_default().chars().take(SHOWN).collect();
            let cure = "add it to http.origins if its pages are yours";
            tracing::debug!(target: "relais::http", %client, ?origin, left_out, cure, "signaling refused to a page of another origin");
        }
    }

    /// Whether there may be one more: then how many were left out before it.
    fn admits(&self, now: u64) -> Option<u64> {
        // Two that come at once may both begin a second; that costs a line or two.
        if self.second.swap(now, Ordering::Relaxed) != now {
            self.written.store(0, Ordering::Relaxed);
        }
        if self.written.fetch_add(1, Ordering::Relaxed) < LINES_PER_SECOND {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::GrantRefusals;

    #[test]
    fn each_code_has_a_count_of_its_own() {
        let mut codes = Vec::new();
        for text in [
            include_str!("caller.rs"),
            include_str!("error.rs"),
            include_str!("fields.rs"),
            include_str!("ice.rs"),
            include_str!("routes.rs"),
        ] {
            let code = text.split("#[cfg(test)]").next().unwrap();
            for refusal in ["Refusal::new(\n", "Refusal::new(S", "Self::new(S"]
                .iter()
                .flat_map(|new| code.split(new).skip(1))
            {
                codes.push(refusal.split('"').nth(1).unwrap());
            }
        }
        assert!(codes.len() > 20 && codes.contains(&"unauthorized"), "{codes:?}");
        let unknown: Vec<_> = codes.iter().filter(|code| !GrantRefusals::knows(code)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn ten_lines_a_second_and_the_rest_is_counted() {
        let lines = Lines::default();
        assert_eq!((0..100).filter(|_| lines.admits(5).is_some()).count(), 10);
        assert_eq!(lines.admits(6), Some(90));
        assert_eq!(lines.admits(6), Some(0));
    }
}
