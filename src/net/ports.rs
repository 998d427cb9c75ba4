//! What all workers share: the free relay ports, the live relayed addresses, the quotas, and the number of streams
//! of each address. Locks are taken when an allocation or a stream begins or ends, never for a packet; whether a
//! relayed address is live is asked without a lock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
#[expect(clippy::disallowed_types, reason = "ports, quotas and stream counts belong to all workers")]
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::RelayAddress;
use crate::turn::Parity;
use crate::wire::AddressFamily;

/// A port of one relay address, taken until it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Which of the relay addresses.
    pub(super) address: usize,
    /// The port.
    pub(super) port: u16,
}

/// State of all workers.
pub(super) struct Shared {
    addresses: Vec<RelayAddress>,
    /// Whether any address is hidden by a NAT.
    has_external: bool,
    /// One bit for each port of each address.
    live: Vec<Box<[AtomicU64]>>,
    #[expect(clippy::disallowed_types, reason = "see the head of this file")]
    books: Mutex<Books>,
}

struct Books {
    /// Free ports of each address, in random order.
    free: Vec<Vec<u16>>,
    /// Allocations of each owner.
    owners: HashMap<String, u32>,
    /// Streams without an allocation, of each prefix, and of all.
    streams: HashMap<IpAddr, u32>,
    all_streams: u32,
    max_streams: u32,
    next_address: usize,
}

impl Shared {
    /// All ports free. `max_streams` bounds the streams that have no allocation, of all addresses together.
    pub(super) fn new(addresses: Vec<RelayAddress>, ports: &RangeInclusive<u16>, max_streams: u32) -> Self {
        let free = addresses.iter().map(|_| ports.clone().collect()).collect();
        #[expect(clippy::disallowed_types, reason = "see the head of this file")]
        let books = Mutex::new(Books {
            free,
            owners: HashMap::new(),
            streams: HashMap::new(),
            all_streams: 0,
            max_streams,
            next_address: 0,
        });
        let bitmap = || std::iter::repeat_with(|| AtomicU64::new(0)).take(1 << 10).collect();
        Self {
            has_external: addresses.iter().any(|address| address.local != address.public),
            live: addresses.iter().map(|_| bitmap()).collect(),
            addresses,
            books,
        }
    }

    pub(super) fn addresses(&self) -> &[RelayAddress] {
        &self.addresses
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // A worker that panicked holding the lock has left numbers, not half-made structures.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a random free port of a family and parity.
    pub(super) fn take_port(&self, family: AddressFamily, parity: Parity) -> Option<Port> {
        let mut books = self.books();
        let count = self.addresses.len();
        books.next_address = books.next_address.wrapping_add(1);
        let first = books.next_address;
        for i in 0..count {
            let address = (first + i) % count;
            if AddressFamily::of(&self.addresses[address].local) == family
                && let Some(port) = books.take(address, parity)
            {
                return Some(Port { address, port });
            }
        }
        None
    }

    /// Marks a port as a live relayed address.
    pub(super) fn set_live(&self, port: Port) {
        let (word, bit) = place(port.port);
        self.live[port.address][word].fetch_or(bit, Ordering::Relaxed);
    }

    /// Marks a port as no live relayed address any more.
    pub(super) fn set_dead(&self, port: Port) {
        let (word, bit) = place(port.port);
        self.live[port.address][word].fetch_and(!bit, Ordering::Relaxed);
    }

    /// Gives a port back.
    pub(super) fn give_back(&self, port: Port) {
        self.set_dead(port);
        self.books().free[port.address].push(port.port);
    }

    /// Whether this is a live relayed transport address, as peers see it.
    pub(super) fn is_live(&self, peer: SocketAddr) -> bool {
        let (word, bit) = place(peer.port());
        self.addresses.iter().zip(&self.live).any(|(address, live)| {
            address.public == peer.ip() && live[word].load(Ordering::Relaxed) & bit != 0
        })
    }

    /// Counts an allocation of an owner, unless it has `max` already.
    pub(super) fn charge(&self, owner: &str, max: u32) -> bool {
        let mut books = self.books();
        if let Some(count) = books.owners.get_mut(owner) {
            if *count >= max {
                return false;
            }
            *count += 1;
        } else if max == 0 {
            return false;
        } else {
            books.owners.insert(owner.to_owned(), 1);
        }
        true
    }

    /// Takes an allocation of an owner off its count.
    pub(super) fn discharge(&self, owner: &str) {
        decrement(&mut self.books().owners, owner);
    }

    /// Counts a stream that has no allocation, as long as the admission is held. `None` when the address (IPv6: the
    /// /56 that one subscriber has) holds `max` already, or all together too many.
    pub(super) fn admit_stream(self: &Arc<Self>, address: IpAddr, max: u32) -> Option<Admission> {
        let prefix = subscriber(address);
        let mut books = self.books();
        if books.all_streams >= books.max_streams
            || books.streams.get(&prefix).is_some_and(|count| *count >= max)
        {
            return None;
        }
        *books.streams.entry(prefix).or_insert(0) += 1;
        books.all_streams += 1;
        Some(Admission { shared: Arc::clone(self), prefix })
    }

    /// Where a datagram for `peer` has to go: a public address of our own is behind the NAT, the local one is here.
    pub(super) fn to_local(&self, peer: SocketAddr) -> SocketAddr {
        self.map(peer, |address| (address.public, address.local))
    }

    /// What the sender of a datagram is called by clients: the other way round.
    pub(super) fn to_public(&self, peer: SocketAddr) -> SocketAddr {
        self.map(peer, |address| (address.local, address.public))
    }

    fn map(&self, peer: SocketAddr, pair: impl Fn(&RelayAddress) -> (IpAddr, IpAddr)) -> SocketAddr {
        if !self.has_external {
            return peer;
        }
        let found = self.addresses.iter().map(pair).find(|(from, _)| *from == peer.ip());
        found.map_or(peer, |(_, to)| SocketAddr::new(to, peer.port()))
    }
}

/// A stream without an allocation, counted until this is dropped.
pub(super) struct Admission {
    shared: Arc<Shared>,
    prefix: IpAddr,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut books = self.shared.books();
        books.all_streams -= 1;
        decrement(&mut books.streams, &self.prefix);
    }
}

/// What one subscriber holds: an IPv4 address, or a /56 of IPv6.
fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & (u128::MAX << 72)).into(),
    }
}

impl Books {
    fn take(&mut self, address: usize, parity: Parity) -> Option<u16> {
        let free = self.free.get_mut(address)?;
        if free.is_empty() {
            return None;
        }
        // From the system's generator, so that nobody who has seen many ports knows the next (RFC 6056 §3.3.1).
        let number = getrandom::u32().unwrap_or(0);
        let start = number as usize % free.len();
        let fits = |index: &usize| parity == Parity::Any || free[*index] % 2 == 0;
        let index = (start..free.len()).chain(0..start).find(fits)?;
        Some(free.swap_remove(index))
    }
}

fn decrement<K: std::hash::Hash + Eq + std::borrow::Borrow<Q>, Q: std::hash::Hash + Eq + ?Sized>(
    counts: &mut HashMap<K, u32>,
    key: &Q,
) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn place(port: u16) -> (usize, u64) {
    (usize::from(port >> 6), 1 << (port & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Arc<Shared> {
        let local: IpAddr = "10.0.0.5".parse().unwrap();
        let public: IpAddr = "8.34.2.1".parse().unwrap();
        Arc::new(Shared::new(vec![RelayAddress { local, public }], &(50_000..=50_003), 3))
    }

    #[test]
    fn every_port_is_given_once_and_comes_back() {
        let shared = shared();
        let mut ports: Vec<Port> =
            std::iter::from_fn(|| shared.take_port(AddressFamily::Ipv4, Parity::Any)).collect();
        assert_eq!(shared.take_port(AddressFamily::Ipv6, Parity::Any), None);
        ports.sort_by_key(|port| port.port);
        assert_eq!(ports.iter().map(|port| port.port).collect::<Vec<_>>(), [50_000, 50_001, 50_002, 50_003]);
        shared.set_live(ports[1]);
        let peer: SocketAddr = "8.34.2.1:50001".parse().unwrap();
        assert!(shared.is_live(peer) && !shared.is_live("10.0.0.5:50001".parse().unwrap()));
        shared.give_back(ports[1]);
        assert!(!shared.is_live(peer));
        assert_eq!(shared.take_port(AddressFamily::Ipv4, Parity::Any), Some(ports[1]));
    }

    #[test]
    fn rfc8656_7_2_even_ports_are_even_until_there_are_none() {
        let shared = shared();
        let even = || shared.take_port(AddressFamily::Ipv4, Parity::Even).map(|port| port.port % 2);
        assert_eq!([even(), even(), even()], [Some(0), Some(0), None]);
        assert!(shared.take_port(AddressFamily::Ipv4, Parity::Any).is_some());
    }

    #[test]
    fn quotas_count_and_forget() {
        let shared = shared();
        assert!(shared.charge("a", 2) && shared.charge("a", 2) && !shared.charge("a", 2));
        assert!(shared.charge("b", 2) && !shared.charge("c", 0));
        shared.discharge("a");
        assert!(shared.charge("a", 2));
        for owner in ["a", "a", "b"] {
            shared.discharge(owner);
        }
        assert!(shared.books().owners.is_empty(), "nothing is kept for those who have left");
    }

    #[test]
    fn streams_count_by_subscriber_and_all_together() {
        let shared = shared();
        let admit = |ip: &str, max| shared.admit_stream(ip.parse().unwrap(), max);
        let first = admit("2a01:4f8:1:1101::1", 1);
        assert!(first.is_some() && admit("2a01:4f8:1:11ff::2", 1).is_none());
        drop(first);
        let held = [admit("2a01:4f8:1:11ff::2", 1), admit("8.8.8.8", 2), admit("8.8.8.8", 2)];
        assert!(held.iter().all(Option::is_some));
        assert!(admit("9.9.9.9", 2).is_none(), "three are all there may be");
        drop(held);
        assert!(shared.books().streams.is_empty());
    }

    #[test]
    fn one_to_one_nat_is_undone_for_our_own_addresses() {
        let shared = shared();
        let (local, public) = ("10.0.0.5:1".parse().unwrap(), "8.34.2.1:1".parse().unwrap());
        assert_eq!((shared.to_local(public), shared.to_public(local)), (local, public));
        let other: SocketAddr = "8.8.8.8:1".parse().unwrap();
        assert_eq!((shared.to_local(other), shared.to_public(other)), (other, other));
    }
}
