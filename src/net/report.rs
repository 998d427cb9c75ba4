//! From events to log lines: at most ten a second of each kind, the rest counted, every foreign string escaped.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::time::{Now, Timestamp};
use crate::turn::{Event, StreamRefusal};

/// Lines a second of each kind.
const LINES_PER_SECOND: u32 = 10;
/// How often a line tells of something that lasts.
const REMINDER: Duration = Duration::from_secs(10);
/// Characters of a foreign string that are shown.
const MAX_SHOWN: usize = 64;

/// A string from outside as it may stand in a log: control characters and all that could end a line or a field are
/// escaped, and it is cut at 64 characters.
pub struct Foreign<'a>(pub &'a str);

impl fmt::Display for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars().take(MAX_SHOWN) {
            // A space could begin a field that is not there; beyond ASCII are letters that turn lines around.
            if character.is_ascii_graphic() && !matches!(character, '"' | '\\') {
                write!(f, "{character}")?;
            } else if character == ' ' {
                f.write_str("\\x20")?;
            } else {
                write!(f, "{}", character.escape_default())?;
            }
        }
        if self.0.chars().nth(MAX_SHOWN).is_some() {
            f.write_str("...")?;
        }
        Ok(())
    }
}

/// Seconds, to three places.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Lines of one kind within the current second: ten at most.
#[derive(Clone, Copy, Default)]
pub struct Rate {
    since: Option<Timestamp>,
    written: u32,
    left_out: u64,
}

impl Rate {
    /// Whether there may be one more at `now`.
    pub fn admits(&mut self, now: &Now) -> bool {
        let fresh = self.since.is_none_or(|since| now.mono.since(since).as_secs() >= 1);
        if fresh {
            self.since = Some(now.mono);
            self.written = 0;
        }
        if self.written < LINES_PER_SECOND {
            self.written += 1;
            return true;
        }
        self.left_out += 1;
        false
    }

    /// Tells how many of a `kind` were left out in the second that is over, or until now if this is the `last` time.
    pub fn tell(&mut self, now: &Now, kind: &'static str, last: bool) {
        let over = last || self.since.is_some_and(|since| now.mono.since(since).as_secs() >= 1);
        if over && self.left_out > 0 {
            tracing::info!(target: "relais::log", kind, lines = self.left_out, "lines left out");
            self.left_out = 0;
        }
    }
}

/// Lines about something that lasts: the first at once, another every ten seconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Reminder(Option<Timestamp>);

impl Reminder {
    /// Whether it is time for a line.
    pub(super) fn is_due(&mut self, now: Timestamp) -> bool {
        let due = self.0.is_none_or(|last| now.since(last) >= REMINDER);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

/// Writes events to the log.
#[derive(Default)]
pub(super) struct Reporter {
    ended: Rate,
    created: Rate,
    connections: Rate,
    logins: Rate,
    requests: Rate,
    streams: Rate,
}

impl Reporter {
    pub(super) fn report(&mut self, now: &Now, event: &Event) {
        match event {
            Event::AllocationEnded {
                user,
                tuple,
                relayed,
                additional,
                duration,
                to_peers,
                to_client,
                reason,
                session: _,
            } => {
                if !self.ended.admits(now) {
                    return;
                }
                tracing::info!(
                    target: "relais::allocation",
                    user = %Foreign(user),
                    client = %tuple.client.0,
                    transport = tuple.transport.name(),
                    relayed = %relayed.0,
                    additional = additional.map(|address| tracing::field::display(address.0)),
                    seconds = milliseconds(*duration),
                    to_peers_bytes = to_peers.bytes,
                    to_peers_packets = to_peers.packets,
                    to_client_bytes = to_client.bytes,
                    to_client_packets = to_client.packets,
                    reason = reason.name(),
                    "allocation ended"
                );
            }
            Event::AllocationCreated { user, tuple, relayed, additional } => {
                if tracing::enabled!(target: "relais::allocation", tracing::Level::DEBUG)
                    && self.created.admits(now)
                {
                    tracing::debug!(
                        target: "relais::allocation",
                        user = %Foreign(user),
                        client = %tuple.client.0,
                        transport = tuple.transport.name(),
                        relayed = %relayed.0,
                    additional = additional.map(|address| tracing::field::display(address.0)),
                        "allocation created"
                    );
                }
            }
            Event::ConnectionEnded { user, tuple, peer, end } => {
                if tracing::enabled!(target: "relais::connection", tracing::Level::DEBUG)
                    && self.connections.admits(now)
                {
                    tracing::debug!(
                        target: "relais::connection",
                        user = %Foreign(user),
                        client = %tuple.client.0,
                        transport = tuple.transport.name(),
                        peer = %peer.0,
                        reason = end.name(),
                        "connection with a peer ended"
                    );
                }
            }
            Event::AllocationMoved { user, from, to } => {
                if tracing::enabled!(target: "relais::allocation", tracing::Level::DEBUG)
                    && self.created.admits(now)
                {
                    tracing::debug!(
                        target: "relais::allocation",
                        user = %Foreign(user),
                        client = %from.client.0,
                        transport = from.transport.name(),
                        to = %to.client.0,
                        to_transport = to.transport.name(),
                        "allocation moved"
                    );
                }
            }
            Event::LoginRefused { tuple, method: _, user: _, code, cause, proven: _ } => {
                if self.logins.admits(now) {
                    tracing::info!(
                        target: "relais::login",
                        client = %tuple.client.0,
                        transport = tuple.transport.name(),
                        code,
                        cause = cause.name(),
                        "login refused"
                    );
                }
            }
            Event::RequestRefused { user, tuple, method: _, code, peer, cause } => {
                if tracing::enabled!(target: "relais::request", tracing::Level::DEBUG)
                    && self.requests.admits(now)
                {
                    tracing::debug!(
                        target: "relais::request",
                        user = %Foreign(user),
                        client = %tuple.client.0,
                        transport = tuple.transport.name(),
                        code,
                        peer = peer.map(tracing::field::display),
                        cause = cause.map(|cause| cause.name()),
                        "request refused"
                    );
                }
            }
        }
    }

    /// A client's connection that was closed.
    pub(super) fn refused_stream(&mut self, now: &Now, client: SocketAddr, reason: StreamRefusal) {
        if tracing::enabled!(target: "relais::stream", tracing::Level::DEBUG) && self.streams.admits(now) {
            let cause = reason.name();
            tracing::debug!(target: "relais::stream", %client, cause, "connection refused");
        }
    }

    /// Tells, once a second at most or at the end, what was left out.
    pub(super) fn tick(&mut self, now: &Now, last: bool) {
        let kinds = [
            ("allocation ended", &mut self.ended),
            ("allocation created", &mut self.created),
            ("connection with a peer ended", &mut self.connections),
            ("login refused", &mut self.logins),
            ("request refused", &mut self.requests),
            ("connection refused", &mut self.streams),
        ];
        for (kind, rate) in kinds {
            rate.tell(now, kind, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_strings_are_escaped_and_cut() {
        assert_eq!(Foreign("1700:alice").to_string(), "1700:alice");
        assert_eq!(Foreign("a\nb\x1b[31m\"\\").to_string(), "a\\nb\\u{1b}[31m\\\"\\\\");
        assert_eq!(Foreign("\u{202e}evil é").to_string(), "\\u{202e}evil\\x20\\u{e9}");
        assert_eq!(Foreign(&"x".repeat(65)).to_string(), "x".repeat(64) + "...");
    }

    #[test]
    fn ten_lines_a_second_pass() {
        let mut rate = Rate::default();
        let at = |millis| Now { mono: Timestamp::after_start(Duration::from_millis(millis)), unix: 0 };
        assert_eq!((0..100).filter(|i| rate.admits(&at(*i))).count(), 10);
        assert_eq!(rate.left_out, 90);
        assert!(rate.admits(&at(1000)));
    }
    #[test]
    fn what_lasts_is_told_every_ten_seconds() {
        let mut reminder = Reminder::default();
        let due = |second: &u64| reminder.is_due(Timestamp::after_start(Duration::from_secs(*second)));
        assert_eq!((0..25).filter(due).collect::<Vec<_>>(), [0, 10, 20]);
    }
}
