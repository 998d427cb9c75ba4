//! What all workers share: the free relay ports, the live relayed addresses, the quotas, and the number of streams
//! and handshakes of each address. Locks are taken when an allocation or a stream begins or ends, never for a packet; whether a
//! relayed address is live is asked without a lock.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[expect(clippy::disallowed_types, reason = "ports, quotas and stream counts belong to all workers")]
use std::sync::{Mutex, MutexGuard, PoisonError};

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

use super::RelayAddress;
use super::budgets::Budgets;
use super::connections::Connections;
use super::handshakes::Handshakes;
use super::offers::Offers;
use crate::time::Timestamp;
use crate::turn::{Hold, Parity, ReservationToken};
use crate::wire::AddressFamily;

/// A port of one relay address, taken until it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Which of the relay addresses.
    pub(super) address: usize,
    /// The port.
    pub(super) port: u16,
}

/// Ports held in reserve at once, of all users.
const MAX_RESERVATIONS: usize = 4096;

/// A port held in reserve, with the socket that keeps other programs away.
struct Reservation {
    port: Port,
    socket: UdpSocket,
    owner: Box<str>,
    until: Timestamp,
}

/// State of all workers.
pub(super) struct Shared {
    addresses: Vec<RelayAddress>,
    first_port: u16,
    /// Whether any address is hidden by a NAT.
    has_external: bool,
    /// One bit for each port of each address.
    live: Vec<Box<[AtomicU64]>>,
    /// The links of their sockets.
    links: Vec<Box<[AtomicU32]>>,
    /// The ports of the first table that are live for TCP.
    listening: Vec<Box<[AtomicU64]>>,
    /// What goes from one worker to another.
    pub(super) connections: Connections,
    /// What is left of the byte budgets of credentials.
    pub(super) budgets: Budgets,
    /// What the kernel does beyond single datagrams.
    pub(super) offers: Arc<Offers>,
    #[expect(clippy::disallowed_types, reason = "see the head of this file")]
    books: Mutex<Books>,
}

struct Books {
    /// Free ports of each address, in random order.
    free: Vec<Vec<u16>>,
    /// The same, one bit for each port.
    is_free: Vec<Box<[u64]>>,
    /// Ports that are held for whoever has the token.
    reservations: BTreeMap<ReservationToken, Reservation>,
    /// Allocations of each owner.
    owners: HashMap<Arc<str>, u32>,
    /// Connections with peers of each owner.
    connections: HashMap<Box<str>, u32>,
    /// Streams without an allocation, of each prefix, and of all.
    streams: HashMap<IpAddr, u32>,
    all_streams: u32,
    max_streams: u32,
    handshakes: Handshakes,
    next_address: usize,
    /// Draws ports, so that nobody who has seen many of them knows the next (RFC 6056 §3.3.1).
    dice: ChaCha12Rng,
}

impl Shared {
    /// All ports free, to be drawn by the secret `seed`. `max_streams` bounds the streams that have no allocation, of all addresses together.
    pub(super) fn new(
        addresses: Vec<RelayAddress>,
        ports: &RangeInclusive<u16>,
        max_streams: u32,
        workers: usize,
        seed: [u64; 4],
        offers: Offers,
    ) -> Self {
        let free = addresses.iter().map(|_| ports.clone().collect()).collect();
        // The seed also keys hash tables, which are not made to keep it secret.
        let mut key = Sha256::new_with_prefix(b"relay ports");
        for word in seed {
            key.update(word.to_be_bytes());
        }
        let mut bits = vec![0; 1 << 10].into_boxed_slice();
        for port in ports.clone() {
            let (word, bit) = place(port);
            bits[word] |= bit;
        }
        #[expect(clippy::disallowed_types, reason = "see the head of this file")]
        let books = Mutex::new(Books {
            free,
            is_free: addresses.iter().map(|_| bits.clone()).collect(),
            reservations: BTreeMap::new(),
            owners: HashMap::new(),
            connections: HashMap::new(),
            streams: HashMap::new(),
            all_streams: 0,
            max_streams,
            handshakes: Handshakes::new(workers),
            next_address: 0,
            dice: ChaCha12Rng::from_seed(key.finalize().into()),
        });
        let links = || std::iter::repeat_with(|| AtomicU32::new(0)).take(ports.len()).collect();
        let bitmap = || std::iter::repeat_with(|| AtomicU64::new(0)).take(1 << 10).collect();
        Self {
            first_port: *ports.start(),
            has_external: addresses.iter().any(|address| address.local != address.public),
            live: addresses.iter().map(|_| bitmap()).collect(),
            links: addresses.iter().map(|_| links()).collect(),
            listening: addresses.iter().map(|_| bitmap()).collect(),
            connections: Connections::new(),
            budgets: Budgets::default(),
            offers: Arc::new(offers),
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
        self.take(family, |books, address| books.take(address, parity))
    }

    /// Takes a random even port whose successor is free, and that too.
    pub(super) fn take_pair(&self, family: AddressFamily) -> Option<(Port, Port)> {
        let first = self.take(family, Books::take_pair)?;
        Some((first, Port { port: first.port + 1, ..first }))
    }

    fn take(
        &self,
        family: AddressFamily,
        mut from: impl FnMut(&mut Books, usize) -> Option<u16>,
    ) -> Option<Port> {
        let mut books = self.books();
        let count = self.addresses.len();
        books.next_address = books.next_address.wrapping_add(1);
        let first = books.next_address;
        for i in 0..count {
            let address = (first + i) % count;
            if AddressFamily::of(&self.addresses[address].local) == family
                && let Some(port) = from(&mut books, address)
            {
                return Some(Port { address, port });
            }
        }
        None
    }

    /// Marks a port as a live relayed address.
    pub(super) fn set_live(&self, port: Port, link: u32) {
        if let Some(entry) = self.links[port.address].get(self.nth(port.port)) {
            entry.store(link, Ordering::Relaxed);
        }
        let (word, bit) = place(port.port);
        self.live[port.address][word].fetch_or(bit, Ordering::Relaxed);
    }

    /// Marks a port as a live relayed address for TCP.
    pub(super) fn set_listening(&self, port: Port) {
        let (word, bit) = place(port.port);
        self.listening[port.address][word].fetch_or(bit, Ordering::Relaxed);
    }

    /// Marks a port as no live relayed address any more.
    pub(super) fn set_dead(&self, port: Port) {
        let (word, bit) = place(port.port);
        for live in [&self.live, &self.listening] {
            live[port.address][word].fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Gives a port back.
    pub(super) fn give_back(&self, port: Port) {
        self.set_dead(port);
        self.books().give_back(port);
    }

    /// Holds a port and its socket until they are redeemed or time runs out. `None`: `owner` holds `max` already, or
    /// all together too many; the socket is closed and the port stays taken.
    pub(super) fn reserve(
        &self,
        port: Port,
        socket: UdpSocket,
        owner: &str,
        hold: Hold,
        max: u32,
    ) -> Option<ReservationToken> {
        let mut token = [0; 8];
        getrandom::fill(&mut token).ok()?;
        let token = ReservationToken(token);
        let mut books = self.books();
        books.forget_expired(hold.from);
        let held = books.reservations.values().filter(|held| *held.owner == *owner).count();
        if books.reservations.len() >= MAX_RESERVATIONS || held >= max as usize {
            return None;
        }
        let reservation = Reservation { port, socket, owner: owner.into(), until: hold.until };
        // Nobody is to lose a port because a number has been drawn twice.
        if books.reservations.contains_key(&token) {
            return None;
        }
        books.reservations.insert(token, reservation);
        Some(token)
    }

    /// What is held for a token, once.
    pub(super) fn redeem(&self, token: ReservationToken, now: Timestamp) -> Option<(Port, UdpSocket)> {
        let mut books = self.books();
        books.forget_expired(now);
        books.reservations.remove(&token).map(|held| (held.port, held.socket))
    }

    /// Gives back the ports of reservations that nobody has redeemed in time.
    pub(super) fn forget_expired(&self, now: Timestamp) {
        self.books().forget_expired(now);
    }

    fn nth(&self, port: u16) -> usize {
        usize::from(port.wrapping_sub(self.first_port))
    }

    /// The port of a live relayed transport address, as peers see it, and the link to its socket. The link may be an
    /// earlier owner's: whoever follows it has to look whether it leads to that port.
    pub(super) fn relay_at(&self, peer: SocketAddr) -> Option<(Port, u32)> {
        let at = self.addresses.iter().position(|address| address.public == peer.ip())?;
        let port = Port { address: at, port: peer.port() };
        let (word, bit) = place(port.port);
        if self.live[at][word].load(Ordering::Relaxed) & bit == 0 {
            return None;
        }
        Some((port, self.links[at].get(self.nth(port.port))?.load(Ordering::Relaxed)))
    }

    /// Whether this is a live relayed transport address, as peers see it.
    pub(super) fn is_live(&self, peer: SocketAddr) -> bool {
        self.is_set(&self.live, peer)
    }

    /// The same for TCP.
    pub(super) fn is_listening(&self, peer: SocketAddr) -> bool {
        self.is_set(&self.listening, peer)
    }

    fn is_set(&self, bits: &[Box<[AtomicU64]>], peer: SocketAddr) -> bool {
        let (word, bit) = place(peer.port());
        self.addresses.iter().zip(bits).any(|(address, bits)| {
            address.public == peer.ip() && bits[word].load(Ordering::Relaxed) & bit != 0
        })
    }

    /// Counts an allocation of an owner. Returns the name to give to [`Self::discharge`], one for all of the owner's
    /// allocations; `None` when there are `max` already.
    pub(super) fn charge(&self, owner: &str, max: u32) -> Option<Arc<str>> {
        let mut books = self.books();
        if let Some((name, count)) = books.owners.get_key_value(owner) {
            let (name, count) = (Arc::clone(name), *count);
            if count >= max {
                return None;
            }
            books.owners.insert(Arc::clone(&name), count + 1);
            return Some(name);
        }
        if max == 0 {
            return None;
        }
        let name: Arc<str> = owner.into();
        books.owners.insert(Arc::clone(&name), 1);
        Some(name)
    }

    /// Takes an allocation of an owner off its count.
    pub(super) fn discharge(&self, owner: &str) {
        decrement(&mut self.books().owners, owner);
    }

    /// Counts a connection with a peer of an owner, as long as the charge is held. `None`: there are `max` already.
    pub(super) fn charge_connection(self: &Arc<Self>, owner: &str, max: u32) -> Option<Charge> {
        let mut books = self.books();
        let held = books.connections.get(owner).copied().unwrap_or(0);
        if held >= max {
            return None;
        }
        books.connections.insert(owner.into(), held + 1);
        Some(Charge { shared: Arc::clone(self), owner: owner.into() })
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

    /// Whether a client may shake hands now: neither its prefix nor all together have done so too often. `streams` is how
    /// many streams without an allocation its prefix may have.
    pub(super) fn admit_handshake(&self, now: Timestamp, address: IpAddr, streams: u32) -> bool {
        self.books().handshakes.take(now, address, streams)
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

/// A connection with a peer, counted until this is dropped.
pub(super) struct Charge {
    shared: Arc<Shared>,
    owner: Box<str>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        decrement(&mut self.shared.books().connections, &*self.owner);
    }
}

/// What one subscriber holds: an IPv4 address, or a /56 of IPv6.
pub(super) fn subscriber(address: IpAddr) -> IpAddr {
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
        let start = self.dice.next_u32() as usize % free.len();
        let fits = |index: &usize| parity == Parity::Any || free[*index] % 2 == 0;
        let index = (start..free.len()).chain(0..start).find(fits)?;
        let port = free.swap_remove(index);
        self.mark_taken(address, port);
        Some(port)
    }

    fn take_pair(&mut self, address: usize) -> Option<u16> {
        let free = self.free.get_mut(address)?;
        let bits = self.is_free.get(address)?;
        let start = (self.dice.next_u32() as usize).checked_rem(free.len())?;
        let has_next = |port: u16| {
            let (word, bit) = place(port | 1);
            bits[word] & bit != 0
        };
        let fits = |index: &usize| free[*index] % 2 == 0 && has_next(free[*index]);
        let index = (start..free.len()).chain(0..start).find(fits)?;
        let even = free.swap_remove(index);
        let odd = free.iter().position(|port| *port == even + 1)?;
        free.swap_remove(odd);
        self.mark_taken(address, even);
        self.mark_taken(address, even + 1);
        Some(even)
    }

    fn mark_taken(&mut self, address: usize, port: u16) {
        let (word, bit) = place(port);
        self.is_free[address][word] &= !bit;
    }

    fn give_back(&mut self, port: Port) {
        let (word, bit) = place(port.port);
        self.is_free[port.address][word] |= bit;
        self.free[port.address].push(port.port);
    }

    fn forget_expired(&mut self, now: Timestamp) {
        while let Some((token, _)) = self.reservations.iter().find(|(_, held)| held.until <= now) {
            let token = *token;
            if let Some(held) = self.reservations.remove(&token) {
                drop(held.socket);
                self.give_back(held.port);
            }
        }
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
        let relay = RelayAddress { local, public };
        Arc::new(Shared::new(vec![relay], &(50_000..=50_003), 3, 1, [1; 4], Offers::ask()))
    }

    #[test]
    fn every_port_is_given_once_and_comes_back() {
        let shared = shared();
        let mut ports: Vec<Port> =
            std::iter::from_fn(|| shared.take_port(AddressFamily::Ipv4, Parity::Any)).collect();
        assert_eq!(shared.take_port(AddressFamily::Ipv6, Parity::Any), None);
        ports.sort_by_key(|port| port.port);
        assert_eq!(ports.iter().map(|port| port.port).collect::<Vec<_>>(), [50_000, 50_001, 50_002, 50_003]);
        shared.set_live(ports[1], 7);
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
    fn rfc8656_7_2_pairs_are_two_ports_in_a_row() {
        let shared = shared();
        let (first, second) = (50_000, 50_001);
        while let Some(port) = shared.take_port(AddressFamily::Ipv4, Parity::Any) {
            assert!(port.port >= first);
        }
        assert_eq!(shared.take_pair(AddressFamily::Ipv4), None);
        for port in [first, 50_003] {
            shared.give_back(Port { address: 0, port });
        }
        assert_eq!(shared.take_pair(AddressFamily::Ipv4), None, "each is alone");
        shared.give_back(Port { address: 0, port: second });
        let pair = shared.take_pair(AddressFamily::Ipv4).unwrap();
        assert_eq!((pair.0.port, pair.1.port), (first, second));
        let left = shared.take_port(AddressFamily::Ipv4, Parity::Any).map(|port| port.port);
        assert_eq!(left, Some(50_003));
    }

    #[test]
    fn rfc8656_7_2_reservations_are_held_redeemed_once_and_forgotten() {
        let shared = shared();
        let at = |seconds| Timestamp::after_start(std::time::Duration::from_secs(seconds));
        let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let hold = Hold { from: at(0), until: at(30) };
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let (_, port) = shared.take_pair(AddressFamily::Ipv4).unwrap();
            tokens.push(shared.reserve(port, socket(), "alice", hold, 2).unwrap());
        }
        let port = Port { address: 0, port: 50_001 };
        assert_eq!(shared.reserve(port, socket(), "alice", hold, 2), None, "her quota is spent");
        assert!(shared.redeem(ReservationToken([0; 8]), at(1)).is_none());
        assert!(shared.redeem(tokens[0], at(29)).is_some() && shared.redeem(tokens[0], at(29)).is_none());
        assert!(shared.redeem(tokens[1], at(30)).is_none(), "too late");
        let free = shared.take_port(AddressFamily::Ipv4, Parity::Any);
        assert!(free.is_some_and(|port| port.port % 2 == 1), "its port is free again");
    }

    #[test]
    fn quotas_count_and_forget() {
        let shared = shared();
        let charge = |owner, max| shared.charge(owner, max).is_some();
        assert!(charge("a", 2) && charge("a", 2) && !charge("a", 2));
        assert!(charge("b", 2) && !charge("c", 0));
        shared.discharge("a");
        assert!(charge("a", 2));
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
