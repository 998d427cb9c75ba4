//! What was refused of late, and which allocations have just ended: for whoever asks why a call does not work. Both are
//! bounded in number and time, and no address can push out what others want to know.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::causes::Why;
use crate::auth::rest;
use crate::turn::{CountedMethod, EndReason, Event, FiveTuple, Session};

/// Refusals that are kept.
const MOST: usize = 4096;
/// Of one address (IPv6: a /56).
const MOST_OF_ONE: usize = 64;
/// Ended allocations that are kept.
const MOST_ENDED: usize = 1024;
/// For how many seconds.
const KEPT: u64 = 600;

/// A refusal, and how often it has come.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The last time, in Unix seconds.
    pub at: u64,
    /// Who asked.
    pub tuple: FiveTuple,
    /// For what.
    pub method: CountedMethod,
    /// The error code of the answer.
    pub code: u16,
    /// Why.
    pub why: Why,
    /// The user name as it was presented.
    pub username: Option<Arc<str>>,
    /// What quotas count of it, if it is of a time-limited credential.
    pub user: Option<Arc<str>>,
    /// When that ends, in Unix seconds.
    pub expiry: Option<u64>,
    /// The peer that it was about.
    pub peer: Option<SocketAddr>,
    /// How often.
    pub count: u64,
}

/// An allocation that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// When, in Unix seconds.
    pub at: u64,
    /// How long it lived, in seconds.
    pub age: f64,
    /// What it was.
    pub session: Session,
    /// Why it ended.
    pub reason: EndReason,
}

/// What is the same refusal again.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    tuple: FiveTuple,
    method: CountedMethod,
    code: u16,
    why: Why,
    username: Option<Arc<str>>,
    peer: Option<SocketAddr>,
}

impl Refusal {
    fn key(&self) -> Key {
        let Self { tuple, method, code, why, peer, .. } = *self;
        Key { tuple, method, code, why, username: self.username.clone(), peer }
    }

    fn prefix(&self) -> IpAddr {
        prefix(self.tuple.client.0.ip())
    }

    /// What it says to a person at `now`, in Unix seconds.
    pub fn message(&self, now: u64) -> String {
        match (self.why, self.peer, self.expiry) {
            (Why::Expired, _, Some(expiry)) => {
                format!("The credential expired {} ago.", span(now.saturating_sub(expiry)))
            }
            (Why::PeerDenied, Some(peer), _) => format!("The server does not relay to {}.", bare(peer)),
            (Why::CredentialPeers, Some(peer), _) => {
                format!(
                    "The credential names the peers that may be reached, and {} is none of them.",
                    bare(peer)
                )
            }
            _ => self.why.sentence().to_owned(),
        }
    }
}

/// A peer as it is meant: permissions know no ports.
pub fn bare(peer: SocketAddr) -> String {
    if peer.port() == 0 { peer.ip().to_string() } else { peer.to_string() }
}

/// So many seconds in words.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// What one subscriber has: an IPv4 address, or the /56 of an IPv6 address.
pub fn prefix(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 72)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// See the head of this file.
pub struct Ring {
    /// In the order of their last time.
    refusals: BTreeMap<u64, Refusal>,
    places: HashMap<Key, u64>,
    /// The places of each prefix, oldest first.
    of_prefix: HashMap<IpAddr, BTreeSet<u64>>,
    next: u64,
    ended: VecDeque<Ended>,
    separator: char,
}

impl Ring {
    /// An empty one. `separator` stands in time-limited user names.
    pub fn new(separator: char) -> Self {
        Self {
            refusals: BTreeMap::new(),
            places: HashMap::new(),
            of_prefix: HashMap::new(),
            next: 0,
            ended: VecDeque::new(),
            separator,
        }
    }

    /// Takes note of what has happened at `unix` seconds, if it is a refusal or an end.
    pub fn note(&mut self, unix: u64, event: Event) {
        match event {
            Event::LoginRefused { tuple, method, user, code, cause, proven: _ } => {
                let parts = user.as_deref().and_then(|name| rest::parts(name, self.separator));
                if let Some(why) = Why::of_login(cause, parts.is_some()) {
                    let (owner, expiry) =
                        (parts.as_ref().map(|parts| parts.user.into()), parts.map(|parts| parts.expiry));
                    self.push(Refusal {
                        at: unix,
                        tuple,
                        method,
                        code,
                        why,
                        username: user,
                        user: owner,
                        expiry,
                        peer: None,
                        count: 1,
                    });
                }
            }
            Event::RequestRefused { user, tuple, method, code, peer, cause } => {
                let parts = rest::parts(&user, self.separator);
                let (owner, expiry) =
                    (parts.as_ref().map(|parts| parts.user.into()), parts.as_ref().map(|parts| parts.expiry));
                let policy = parts.and_then(|parts| parts.policy.ok());
                let limited = policy.is_some_and(|policy| policy.allocations.is_some());
                let why = Why::of_request(code, cause, peer.is_some(), limited);
                self.push(Refusal {
                    at: unix,
                    tuple,
                    method,
                    code,
                    why,
                    username: Some(user),
                    user: owner,
                    expiry,
                    peer,
                    count: 1,
                });
            }
            Event::AllocationEnded { session, duration, reason, .. } => {
                if self.ended.len() >= MOST_ENDED {
                    self.ended.pop_front();
                }
                self.ended.push_back(Ended {
                    at: unix,
                    age: duration.as_secs_f64(),
                    session: *session,
                    reason,
                });
            }
            _ => {}
        }
        self.forget(unix);
    }

    fn push(&mut self, mut refusal: Refusal) {
        if let Some(place) = self.places.get(&refusal.key()).copied() {
            refusal.count += self.take(place).map_or(0, |earlier| earlier.count);
        }
        let prefix = refusal.prefix();
        let own = self.of_prefix.get(&prefix).filter(|places| places.len() >= MOST_OF_ONE);
        if let Some(oldest) = own.and_then(BTreeSet::first).copied() {
            self.take(oldest);
        }
        if self.refusals.len() >= MOST {
            let oldest = self.refusals.first_key_value().map(|(place, _)| *place);
            oldest.map(|place| self.take(place));
        }
        self.places.insert(refusal.key(), self.next);
        self.of_prefix.entry(prefix).or_default().insert(self.next);
        self.refusals.insert(self.next, refusal);
        self.next += 1;
    }

    fn take(&mut self, place: u64) -> Option<Refusal> {
        let refusal = self.refusals.remove(&place)?;
        self.places.remove(&refusal.key());
        let prefix = refusal.prefix();
        if let Some(places) = self.of_prefix.get_mut(&prefix) {
            places.remove(&place);
            if places.is_empty() {
                self.of_prefix.remove(&prefix);
            }
        }
        Some(refusal)
    }

    /// Forgets what is too old at `unix` seconds.
    pub fn forget(&mut self, unix: u64) {
        let is_old = |at: u64| at.saturating_add(KEPT) < unix;
        while let Some((place, oldest)) = self.refusals.first_key_value()
            && is_old(oldest.at)
        {
            let place = *place;
            self.take(place);
        }
        while self.ended.front().is_some_and(|oldest| is_old(oldest.at)) {
            self.ended.pop_front();
        }
    }

    /// Refusals, newest first; of one user name, or of what quotas count, if `user` is given.
    pub fn refusals<'r>(&'r self, user: Option<&'r str>) -> impl Iterator<Item = &'r Refusal> {
        self.refusals.values().rev().filter(move |refusal| {
            user.is_none_or(|user| {
                refusal.username.as_deref() == Some(user) || refusal.user.as_deref() == Some(user)
            })
        })
    }

    /// Refusals of this very user name, newest first.
    pub fn refusals_of<'r>(&'r self, username: &'r str) -> impl Iterator<Item = &'r Refusal> {
        self.refusals.values().rev().filter(move |refusal| refusal.username.as_deref() == Some(username))
    }

    /// Allocations of this user name that have ended, newest first.
    pub fn ended<'r>(&'r self, username: &'r str) -> impl Iterator<Item = &'r Ended> {
        self.ended.iter().rev().filter(move |ended| *ended.session.username == *username)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Cause;
    use crate::turn::{ClientAddress, Transport};

    fn login(client: &str, user: &str, cause: Cause) -> Event {
        let client = ClientAddress(client.parse().unwrap());
        let tuple =
            FiveTuple { client, server: "198.51.100.1:3478".parse().unwrap(), transport: Transport::Udp };
        Event::LoginRefused {
            tuple,
            method: CountedMethod::Allocate,
            user: Some(user.into()),
            code: 401,
            cause,
            proven: true,
        }
    }

    #[test]
    fn the_same_again_is_counted_and_newest_comes_first() {
        let mut ring = Ring::new(':');
        for at in [100, 101, 102] {
            ring.note(at, login("203.0.113.5:5000", "90:alice", Cause::Expired));
        }
        ring.note(103, login("203.0.113.5:5000", "90:alice", Cause::WrongPassword));
        ring.note(104, login("203.0.113.5:5000", "bob", Cause::StaleNonce));
        let found: Vec<_> =
            ring.refusals(None).map(|refusal| (refusal.why, refusal.at, refusal.count)).collect();
        assert_eq!(found, [(Why::WrongSecret, 103, 1), (Why::Expired, 102, 3)]);
        assert_eq!(ring.refusals(Some("alice")).count(), 2);
        assert_eq!(ring.refusals(Some("90:alice")).count(), 2);
        assert_eq!(ring.refusals(Some("ali")).count(), 0);
        let expired = ring.refusals(None).last().unwrap();
        assert_eq!(expired.message(810), "The credential expired 12 minutes ago.");
        assert_eq!(expired.message(151), "The credential expired 1 minute ago.");
        let unknown = Refusal { expiry: None, ..expired.clone() };
        assert_eq!(unknown.message(150), "The credential expired.");
        assert_eq!((ring.refusals_of("90:alice").count(), ring.refusals_of("alice").count()), (2, 0));
    }

    #[test]
    fn a_flood_from_one_address_leaves_what_others_have() {
        let mut ring = Ring::new(':');
        ring.note(100, login("203.0.113.5:5000", "alice", Cause::UnknownUser));
        for number in 0..10_000 {
            let client = format!("[2001:db8::{:x}]:{}", number % 256, 1000 + number / 256);
            ring.note(100, login(&client, &number.to_string(), Cause::UnknownUser));
        }
        assert_eq!(ring.refusals(Some("alice")).count(), 1);
        assert_eq!(ring.refusals.len(), 1 + MOST_OF_ONE);
        assert_eq!(ring.refusals(Some("9999")).count(), 1, "the newest are kept");
        assert_eq!(ring.of_prefix[&prefix("2001:db8::".parse().unwrap())].len(), MOST_OF_ONE);
    }

    #[test]
    fn number_and_age_are_bounded() {
        let mut ring = Ring::new(':');
        for number in 0..6000_u32 {
            let client = format!("10.{}.{}.1:1000", number / 256, number % 256);
            ring.note(100, login(&client, "x", Cause::UnknownUser));
        }
        assert_eq!((ring.refusals.len(), ring.places.len(), ring.of_prefix.len()), (MOST, MOST, MOST));
        ring.forget(100 + KEPT);
        assert_eq!(ring.refusals.len(), MOST);
        ring.forget(101 + KEPT);
        assert_eq!((ring.refusals.len(), ring.places.len(), ring.of_prefix.len()), (0, 0, 0));
    }
}
