//! The server: several workers with tables of their own and one pool of relay ports, as in `src/net`. Whatever
//! crosses its border is shown to the oracle.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use relais::auth::Expired;
use relais::time::{Now, Timestamp};
use relais::turn::{
    AllocationId, BindError, Budget, ClientAddress, ClientRoute, ConnectionId, DropReason, FiveTuple, Hold,
    IcmpError, Owner, Parity, PeerAddress, RelaySockets, RelayToken, RelayedTransportAddress,
    ReservationToken, Server, Settings, StreamMeter, Traffic, Transport, Verdict, Waiting,
};
use relais::wire::{AddressFamily, Datagram, Marks, ReplyBuffer};

use super::Micros;
use super::config::{Config, LISTEN4, LISTEN6, Redirect};
use super::dice::Dice;
use super::oracle::{Heard, Oracle, Said};
use super::world::addr;

mod tcp;

pub use tcp::Links;

/// What is broken on purpose, to see whether the oracle notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// Send indications pass without a permission.
    RelayWithoutPermission,
    /// A relay port is not given back.
    LeakPort,
    /// A port is given to two allocations.
    PortTwice,
    /// Answers beyond the budget go out.
    AnswerBeyondBudget,
    /// What is not a request is answered.
    AnswerGarbage,
    /// Answers go to another client.
    AnswerElsewhere,
    /// Relayed data go to another client.
    DataElsewhere,
    /// A closed stream's allocation lives on.
    ForgetClosed,
    /// A datagram vanishes uncounted.
    Vanish,
    /// The server's clock goes slowly, so that things live longer.
    SlowClock,
    /// Payloads are changed.
    ChangePayload,
    /// The checks of the login are in another order.
    WrongOrder,
    /// Answers are not signed.
    Unsigned,
    /// A peer that may pass does not.
    DropPeers,
    /// One nonce for everybody.
    OneNonce,
    /// ICMP errors are told whoever they are about.
    IcmpToAnybody,
    /// Answers of NAT discovery go where somebody else wants them.
    DiscoverElsewhere,
    /// The end of an allocation leaves its connections open.
    ForgetConnections,
    /// A connection can be claimed twice.
    ClaimTwice,
    /// Peers without a permission are announced.
    AnnounceAnybody,
    /// Expired credentials go on.
    NeverExpire,
    /// Nobody is sent to another server.
    StayHere,
    /// Shares of a budget come out of nowhere.
    FreeShares,
    /// What is left of a share is not given back.
    KeepShares,
    /// What is above the rate passes.
    NoRate,
}

impl Sabotage {
    pub const ALL: [Self; 25] = [
        Self::RelayWithoutPermission,
        Self::LeakPort,
        Self::PortTwice,
        Self::AnswerBeyondBudget,
        Self::AnswerGarbage,
        Self::AnswerElsewhere,
        Self::DataElsewhere,
        Self::ForgetClosed,
        Self::Vanish,
        Self::SlowClock,
        Self::ChangePayload,
        Self::WrongOrder,
        Self::Unsigned,
        Self::DropPeers,
        Self::OneNonce,
        Self::IcmpToAnybody,
        Self::DiscoverElsewhere,
        Self::ForgetConnections,
        Self::ClaimTwice,
        Self::AnnounceAnybody,
        Self::NeverExpire,
        Self::StayHere,
        Self::FreeShares,
        Self::KeepShares,
        Self::NoRate,
    ];
}

struct Relay {
    worker: usize,
    id: AllocationId,
    owner: String,
    token: u32,
    /// It listens for connections, and gets no datagrams (RFC 6062).
    tcp: bool,
}

/// The relay ports, shared by all workers.
pub struct Pool {
    open: BTreeMap<SocketAddr, Relay>,
    /// 5-tuples that lead to one worker and whose allocation another one has (RFC 8016).
    elsewhere: BTreeMap<(SocketAddr, SocketAddr, Transport), usize>,
    workers: usize,
    tokens: BTreeMap<u32, SocketAddr>,
    owners: BTreeMap<String, u32>,
    next_token: u32,
    /// Held ports, with the time until when.
    reserved: BTreeMap<[u8; 8], (SocketAddr, Timestamp)>,
    /// Byte budgets, by user name.
    books: RefCell<BTreeMap<String, Book>>,
    /// Those of listening sockets, by token.
    meters: BTreeMap<u32, StreamMeter>,
    pub links: Links,
    pub ports: (u16, u16),
    pub quota: u32,
    /// The operating system gives no sockets at present.
    pub failing: bool,
    dice: Dice,
    sabotage: Sabotage,
}

/// What has become of a byte budget.
#[derive(Clone, Copy)]
pub struct Book {
    pub left: u64,
    pub drawn: u64,
    pub restored: u64,
}

impl Pool {
    pub fn book(&self, username: &str) -> Option<Book> {
        self.books.borrow().get(username).copied()
    }

    pub fn books(&self) -> Vec<(String, Book)> {
        self.books.borrow().iter().map(|(name, book)| (name.clone(), *book)).collect()
    }

    fn draw(&self, budget: Budget<'_>, bytes: u64) -> u64 {
        let mut books = self.books.borrow_mut();
        if !budget.begins && !books.contains_key(budget.username) {
            return 0;
        }
        let new = || Book { left: budget.total, drawn: 0, restored: 0 };
        let book = books.entry(budget.username.to_owned()).or_insert_with(new);
        if self.sabotage == Sabotage::FreeShares {
            return bytes;
        }
        let drawn = book.left.min(bytes);
        book.left -= drawn;
        book.drawn += drawn;
        drawn
    }

    pub fn is_open(&self, address: &SocketAddr) -> bool {
        self.open.contains_key(address)
    }

    /// Whether datagrams arrive there.
    pub fn is_live(&self, address: &SocketAddr) -> bool {
        self.open.get(address).is_some_and(|relay| !relay.tcp)
    }

    /// Whether connections arrive there.
    pub fn is_listening(&self, address: &SocketAddr) -> bool {
        self.open.get(address).is_some_and(|relay| relay.tcp)
    }

    pub fn open_addresses(&self) -> impl Iterator<Item = (SocketAddr, usize)> + '_ {
        self.open.iter().map(|(address, relay)| (*address, relay.worker))
    }

    fn is_free(&self, address: &SocketAddr) -> bool {
        !self.open.contains_key(address) && !self.reserved.values().any(|(held, _)| held == address)
    }

    /// Free ports of a family: all, even ones, or even ones whose successor is free too.
    pub fn free(&self, v6: bool, even: bool, pair: bool) -> usize {
        let ip = addr(if v6 { LISTEN6 } else { LISTEN4 }).ip();
        let (low, high) = self.ports;
        let is_free = |port: u16| (low..=high).contains(&port) && self.is_free(&SocketAddr::new(ip, port));
        let fits =
            |port: &u16| is_free(*port) && (!even || port.is_multiple_of(2)) && (!pair || is_free(port + 1));
        (low..=high).filter(fits).count()
    }

    pub fn held_by(&self, owner: &str) -> u32 {
        self.owners.get(owner).copied().unwrap_or(0)
    }

    fn discharge(&mut self, owner: &str) {
        let count = self.owners.get_mut(owner).expect("quota is given back once");
        *count -= 1;
        if *count == 0 {
            self.owners.remove(owner);
        }
    }

    fn take(&mut self, v6: bool, even: bool, pair: bool) -> Option<SocketAddr> {
        let ip = addr(if v6 { LISTEN6 } else { LISTEN4 }).ip();
        if self.sabotage == Sabotage::PortTwice
            && let Some(taken) = self.open.keys().find(|address| address.is_ipv6() == v6)
        {
            return Some(*taken);
        }
        let (low, high) = self.ports;
        let count = usize::from(high - low) + 1;
        let start = self.dice.below(count);
        let is_free = |port: u16| (low..=high).contains(&port) && self.is_free(&SocketAddr::new(ip, port));
        let mut ports = (0..count).map(|i| low + ((start + i) % count) as u16);
        let fits =
            |port: &u16| is_free(*port) && (!even || port.is_multiple_of(2)) && (!pair || is_free(port + 1));
        ports.find(fits).map(|port| SocketAddr::new(ip, port))
    }

    fn forget_expired(&mut self, now: Timestamp) {
        self.reserved.retain(|_, (_, until)| *until > now);
    }

    fn may_open(&self, owner: Owner<'_>) -> Result<(), BindError> {
        if self.held_by(owner.name) >= self.quota.min(owner.most) {
            Err(BindError::Quota)
        } else if self.failing {
            Err(BindError::Exhausted)
        } else {
            Ok(())
        }
    }

    fn enter(
        &mut self,
        worker: usize,
        id: AllocationId,
        address: SocketAddr,
        owner: &str,
    ) -> (RelayToken, RelayedTransportAddress) {
        let token = self.next_token;
        self.next_token += 1;
        *self.owners.entry(owner.to_owned()).or_default() += 1;
        self.tokens.insert(token, address);
        self.open.insert(address, Relay { worker, id, owner: owner.to_owned(), token, tcp: false });
        (RelayToken(token), RelayedTransportAddress(address))
    }
}

/// What one worker sees of the pool.
struct Relays<'a> {
    pool: &'a mut Pool,
    worker: usize,
}

impl RelaySockets for Relays<'_> {
    fn bind(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        parity: Parity,
        owner: Owner<'_>,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        self.pool.may_open(owner)?;
        let address = self.pool.take(family == AddressFamily::Ipv6, parity == Parity::Even, false);
        Ok(self.pool.enter(self.worker, id, address.ok_or(BindError::Exhausted)?, owner.name))
    }

    fn bind_pair(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        owner: Owner<'_>,
        hold: Hold,
    ) -> Result<(RelayToken, RelayedTransportAddress, ReservationToken), BindError> {
        self.pool.forget_expired(hold.from);
        self.pool.may_open(owner)?;
        let address = self.pool.take(family == AddressFamily::Ipv6, true, true);
        let address = address.ok_or(BindError::Exhausted)?;
        let token = self.pool.dice.next().to_be_bytes();
        let next = SocketAddr::new(address.ip(), address.port() + 1);
        self.pool.reserved.insert(token, (next, hold.until));
        let (relay, relayed) = self.pool.enter(self.worker, id, address, owner.name);
        Ok((relay, relayed, ReservationToken(token)))
    }

    fn redeem(
        &mut self,
        id: AllocationId,
        token: ReservationToken,
        owner: Owner<'_>,
        now: Timestamp,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        self.pool.forget_expired(now);
        self.pool.may_open(owner)?;
        let (address, _) = self.pool.reserved.remove(&token.0).ok_or(BindError::Exhausted)?;
        Ok(self.pool.enter(self.worker, id, address, owner.name))
    }

    fn close(&mut self, relay: RelayToken, owner: &str) {
        if self.pool.sabotage == Sabotage::LeakPort && relay.0 % 2 == 1 {
            return;
        }
        let Some(address) = self.pool.tokens.remove(&relay.0) else {
            assert_eq!(self.pool.sabotage, Sabotage::PortTwice, "a socket is closed once");
            return;
        };
        if let Some(socket) = self.pool.open.remove(&address) {
            assert_eq!(socket.owner, owner, "quota goes back to whom it was taken from");
            self.pool.discharge(owner);
        }
    }

    fn draw(&self, budget: Budget<'_>, bytes: u64) -> Option<u64> {
        Some(self.pool.draw(budget, bytes))
    }

    fn restore(&self, budget: Budget<'_>, bytes: u64) {
        if let Some(book) = self.pool.books.borrow_mut().get_mut(budget.username)
            && self.pool.sabotage != Sabotage::KeepShares
        {
            book.left += bytes;
            book.restored += bytes;
        }
    }

    fn settle(&mut self, relay: RelayToken) -> u64 {
        self.pool.meters.remove(&relay.0).map_or(0, |mut meter| meter.close())
    }

    fn is_live(&self, address: SocketAddr) -> bool {
        self.pool.is_live(&address)
    }

    fn adopt(&mut self, route: &ClientRoute) {
        if worker_of(&route.tuple, self.pool.workers) != self.worker {
            self.pool.elsewhere.insert(key(&route.tuple), self.worker);
        }
    }

    fn release(&mut self, route: &ClientRoute) {
        if self.pool.elsewhere.get(&key(&route.tuple)) == Some(&self.worker) {
            self.pool.elsewhere.remove(&key(&route.tuple));
        }
    }

    fn listen(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        owner: Owner<'_>,
        meter: Option<StreamMeter>,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        let bound = self.bind(id, family, Parity::Any, owner)?;
        self.pool.open.get_mut(&bound.1.0).expect("it is open").tcp = true;
        self.pool.meters.extend(meter.map(|meter| (bound.0.0, meter)));
        Ok(bound)
    }

    fn is_listening(&self, address: SocketAddr) -> bool {
        self.pool.is_listening(&address)
    }

    fn connect(
        &mut self,
        allocation: AllocationId,
        relay: RelayToken,
        peer: PeerAddress,
    ) -> Result<ConnectionId, BindError> {
        if self.pool.failing {
            return Err(BindError::Exhausted);
        }
        let from = self.pool.tokens[&relay.0];
        let id = self.pool.links.open(self.worker, allocation, from, peer);
        self.pool.links.begun.push(id);
        Ok(id)
    }

    fn waiting(&self, connection: ConnectionId) -> Option<Waiting> {
        self.pool.links.waiting(connection)
    }

    fn claim(&mut self, connection: ConnectionId) -> bool {
        self.pool.links.claim(connection, self.pool.sabotage == Sabotage::ClaimTwice)
    }

    fn abandon(&mut self, connection: ConnectionId) -> bool {
        let waits = self.pool.links.waiting(connection).is_some();
        if waits {
            self.pool.links.close(self.worker, connection);
        }
        waits
    }

    fn disconnect(&mut self, connection: ConnectionId) -> (Traffic, Traffic) {
        if self.pool.sabotage != Sabotage::ForgetConnections {
            self.pool.links.close(self.worker, connection);
        }
        Default::default()
    }
}

fn key(tuple: &FiveTuple) -> (SocketAddr, SocketAddr, Transport) {
    (tuple.client.0, tuple.server, tuple.transport)
}

fn worker_of(tuple: &FiveTuple, workers: usize) -> usize {
    let mut hash = u64::from(tuple.client.0.port()) ^ (tuple.transport as u64) << 20;
    match tuple.client.0.ip() {
        std::net::IpAddr::V4(ip) => hash ^= u64::from(u32::from(ip)) << 16,
        std::net::IpAddr::V6(ip) => hash ^= u128::from(ip) as u64,
    }
    (Dice(hash).next() % workers as u64) as usize
}

/// What the server does with a datagram, for the network to carry out.
#[derive(Clone, Debug)]
pub enum Output {
    Nothing,
    ToClient {
        route: ClientRoute,
        bytes: Vec<u8>,
    },
    ToPeer {
        relayed: SocketAddr,
        peer: SocketAddr,
        bytes: Vec<u8>,
    },
    /// Connect to a peer from a relayed address.
    Connect {
        id: ConnectionId,
        relayed: SocketAddr,
        peer: SocketAddr,
    },
    /// Answer, and let the stream carry what the peer sends from now on.
    Bound {
        route: ClientRoute,
        id: ConnectionId,
        bytes: Vec<u8>,
    },
}

pub struct Cluster {
    workers: Vec<Server>,
    pub pool: Pool,
    pub config: Config,
    pub oracle: Oracle,
    /// Seconds that the wall clock is ahead of its beginning plus the monotonic clock.
    pub unix_ahead: i64,
    sabotage: Sabotage,
    dice: Dice,
    reply: Box<ReplyBuffer>,
    /// How often a worker has begun anew.
    lives: u64,
    /// Another client than the one at hand, for sabotage.
    other: Option<ClientRoute>,
}

/// What the workers are told.
fn settings(config: &Config, sabotage: Sabotage) -> Settings {
    let mut config = config.clone();
    match sabotage {
        Sabotage::NeverExpire => config.expired = Expired::Grace,
        Sabotage::StayHere => config.redirect = Redirect::Never,
        _ => {}
    }
    config.settings()
}

pub const START_UNIX: i64 = 1_800_000_000;

impl Cluster {
    pub fn new(config: Config, workers: usize, sabotage: Sabotage, dice: &mut Dice) -> Self {
        let settings = settings(&config, sabotage);
        let server = |worker: usize, dice: &mut Dice| {
            let server = Server::new(settings.clone(), std::array::from_fn(|_| dice.next()));
            server.in_a_group([7; 32], worker as u8, 0)
        };
        let pool = Pool {
            open: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            workers,
            tokens: BTreeMap::new(),
            owners: BTreeMap::new(),
            next_token: 0,
            reserved: BTreeMap::new(),
            books: RefCell::default(),
            meters: BTreeMap::new(),
            links: Links::default(),
            ports: config.ports,
            quota: config.quota,
            failing: false,
            dice: dice.fork(),
            sabotage,
        };
        Self {
            workers: (0..workers).map(|worker| server(worker, dice)).collect(),
            pool,
            oracle: Oracle::new(config.clone(), workers),
            config,
            unix_ahead: 0,
            sabotage,
            dice: dice.fork(),
            reply: Box::default(),
            lives: 0,
            other: None,
        }
    }

    pub fn unix(&self, now: Micros) -> u64 {
        (START_UNIX + (now / 1_000_000) as i64 + self.unix_ahead) as u64
    }

    fn now(&self, now: Micros) -> Now {
        let late = if self.sabotage == Sabotage::SlowClock { now - now / 4 } else { now };
        Now { mono: Timestamp::after_start(Duration::from_micros(late)), unix: self.unix(now) }
    }

    /// Which worker the kernel gives a 5-tuple to.
    pub fn worker_of(&self, tuple: &FiveTuple) -> usize {
        worker_of(tuple, self.workers.len())
    }

    /// Which worker takes care of it.
    fn owner_of(&self, tuple: &FiveTuple) -> usize {
        self.pool.elsewhere.get(&key(tuple)).copied().unwrap_or_else(|| self.worker_of(tuple))
    }

    /// A client's datagram or frame.
    pub fn hear_client(&mut self, at: Micros, route: ClientRoute, bytes: &[u8]) -> Output {
        let first = self.worker_of(&route.tuple);
        let owner = self.owner_of(&route.tuple);
        self.handle(at, owner, owner != first, route, bytes)
    }

    fn handle(
        &mut self,
        at: Micros,
        worker: usize,
        handed_over: bool,
        route: ClientRoute,
        bytes: &[u8],
    ) -> Output {
        if self.sabotage == Sabotage::Vanish && self.dice.one_in(50) {
            self.oracle.client_said(
                at,
                self.unix(at),
                worker,
                route,
                bytes,
                &Said::Dropped(DropReason::NotOurs),
                &self.pool,
            );
            return Output::Nothing;
        }
        let now = self.now(at);
        let mut datagram = Datagram::new(bytes, Marks::default());
        let mut sockets = Relays { pool: &mut self.pool, worker };
        let verdict =
            self.workers[worker].handle_client(&now, route, &mut datagram, &mut self.reply, &mut sockets);
        let mut said = match verdict {
            Verdict::Drop(reason) => Said::Dropped(reason),
            Verdict::Consumed => match self.pool.links.begun.pop() {
                None => Said::Consumed,
                Some(id) => Said::Connecting { id },
            },
            Verdict::Reply => Said::Answer { to: route, bytes: self.reply.bytes().to_vec() },
            Verdict::ToPeer { relay, peer } => Said::ToPeer {
                relayed: self.pool.tokens.get(&relay.0).copied(),
                peer: peer.0,
                bytes: datagram.to_vec(),
            },
            Verdict::Forward { worker: owner } => {
                assert_eq!(datagram.body(), bytes, "it is handed on as it came");
                assert!(!handed_over, "nothing goes in circles");
                self.oracle.forwarded(worker, &route, bytes.len());
                return self.handle(at, usize::from(owner), true, route, bytes);
            }
            Verdict::ReplyFrom { server, client } => {
                Said::AnswerFrom { server, client, bytes: self.reply.bytes().to_vec() }
            }
            Verdict::Bind { connection } => {
                Said::Bound { to: route, id: connection, bytes: self.reply.bytes().to_vec() }
            }
            Verdict::ToClient { .. } => panic!("a client's message goes to no client"),
        };
        assert_eq!(self.pool.links.begun, [], "a connection begins for a Connect alone");
        self.spoil_said(route, bytes, &mut said);
        self.oracle.client_said(at, self.unix(at), worker, route, bytes, &said, &self.pool);
        self.check(worker);
        if handed_over && matches!(said, Said::Dropped(DropReason::NoAllocation)) {
            Relays { pool: &mut self.pool, worker }.release(&route);
        }
        match said {
            Said::Answer { to, bytes } => Output::ToClient { route: to, bytes },
            Said::AnswerFrom { server, client, bytes } => {
                let tuple =
                    FiveTuple { client: ClientAddress(client), server, transport: route.tuple.transport };
                Output::ToClient { route: ClientRoute { tuple, ..route }, bytes }
            }
            Said::Bound { to, id, bytes } => Output::Bound { route: to, id, bytes },
            Said::Connecting { id } => match self.pool.links.get(id) {
                Some(link) => Output::Connect { id, relayed: link.relayed, peer: link.name.peer.0 },
                None => Output::Nothing,
            },
            Said::ToPeer { relayed: Some(relayed), peer, bytes } => Output::ToPeer { relayed, peer, bytes },
            _ => Output::Nothing,
        }
    }

    /// A datagram that arrived at a relayed address, if that is open.
    pub fn hear_peer(&mut self, at: Micros, relayed: SocketAddr, peer: SocketAddr, bytes: &[u8]) -> Output {
        let relay = self.pool.open.get(&relayed).filter(|relay| !relay.tcp);
        let Some(relay) = relay else { return Output::Nothing };
        let (worker, id) = (relay.worker, relay.id);
        let now = self.now(at);
        let mut datagram = Datagram::new(bytes, Marks::default());
        let sockets = Relays { pool: &mut self.pool, worker };
        let verdict = self.workers[worker].handle_peer(&now, id, PeerAddress(peer), &mut datagram, &sockets);
        let mut heard = match verdict {
            Verdict::Drop(reason) => Heard::Dropped(reason),
            Verdict::ToClient { client } => Heard::ToClient { route: client, bytes: datagram.to_vec() },
            other => panic!("a peer's datagram goes to a client or nowhere: {other:?}"),
        };
        match (&mut heard, self.sabotage) {
            (Heard::ToClient { route, .. }, Sabotage::DataElsewhere) => *route = self.other.unwrap_or(*route),
            (Heard::Dropped(DropReason::Rate), Sabotage::NoRate) => {
                if let Some(route) = self.other {
                    heard = Heard::ToClient { route, bytes: bytes.to_vec() };
                }
            }
            (Heard::ToClient { .. }, Sabotage::DropPeers) => heard = Heard::Dropped(DropReason::NoPermission),
            _ => {}
        }
        self.oracle.peer_said(at, worker, relayed, peer, bytes, &heard, &self.pool);
        match heard {
            Heard::ToClient { route, bytes } => Output::ToClient { route, bytes },
            Heard::Dropped(_) => Output::Nothing,
        }
    }

    /// What the network says about a datagram that was sent from a relayed address, or is said to have been.
    pub fn hear_icmp(&mut self, at: Micros, relayed: SocketAddr, error: IcmpError) -> Output {
        let relay = self.pool.open.get(&relayed).filter(|relay| !relay.tcp);
        let Some(relay) = relay else { return Output::Nothing };
        let (worker, id) = (relay.worker, relay.id);
        let now = self.now(at);
        let mut datagram = Datagram::new(&[], Marks::default());
        let verdict = self.workers[worker].handle_icmp(&now, id, &error, &mut datagram);
        let mut heard = match verdict {
            Verdict::Drop(reason) => Heard::Dropped(reason),
            Verdict::ToClient { client } => Heard::ToClient { route: client, bytes: datagram.to_vec() },
            other => panic!("an ICMP error goes to a client or nowhere: {other:?}"),
        };
        if let (Heard::Dropped(_), Sabotage::IcmpToAnybody, Some(route)) = (&heard, self.sabotage, self.other)
        {
            heard = Heard::ToClient { route, bytes: super::world::Msg::new(0x0017, [0; 12]).0 };
        }
        self.oracle.icmp_said(at, worker, relayed, &error, &heard);
        match heard {
            Heard::ToClient { route, bytes } => Output::ToClient { route, bytes },
            Heard::Dropped(_) => Output::Nothing,
        }
    }

    fn spoil_said(&mut self, route: ClientRoute, request: &[u8], said: &mut Said) {
        use super::world::{Answer, MI, MI256, NONCE};
        match (self.sabotage, &mut *said) {
            (Sabotage::RelayWithoutPermission, Said::Dropped(DropReason::NoPermission))
            | (Sabotage::NoRate, Said::Dropped(DropReason::Rate)) => {
                let relayed = self.pool.open.keys().next().copied();
                *said = Said::ToPeer { relayed, peer: addr("8.8.8.8:5000"), bytes: request.to_vec() };
            }
            (Sabotage::AnswerBeyondBudget, Said::Dropped(DropReason::AnswerBudget)) => {
                *said = Said::Answer { to: route, bytes: self.reply.bytes().to_vec() };
            }
            (Sabotage::AnswerGarbage, Said::Dropped(DropReason::Malformed | DropReason::NotOurs)) => {
                let bytes = super::world::Msg::new(0x0101, [0; 12]).0;
                *said = Said::Answer { to: route, bytes };
            }
            (Sabotage::DiscoverElsewhere, Said::AnswerFrom { client, .. }) => {
                client.set_ip(addr("8.8.0.9:1").ip());
            }
            (Sabotage::AnswerElsewhere, Said::Answer { to, .. }) => *to = self.other.unwrap_or(route),
            (Sabotage::ChangePayload, Said::ToPeer { bytes, .. }) => {
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
            }
            (Sabotage::WrongOrder, Said::Answer { bytes, .. }) => {
                let answer = Answer::read(bytes);
                if answer.kind & 0x0110 == 0x0110 && answer.code() == 401 {
                    bytes[27] = 0;
                    bytes[26] = 4;
                }
            }
            (Sabotage::Unsigned, Said::Answer { bytes, .. }) => {
                let answer = Answer::read(bytes);
                let signed = answer.attributes.iter().find(|(kind, _, _)| [MI, MI256].contains(kind));
                if let Some((_, _, place)) = signed {
                    bytes.truncate(*place);
                    let len = (bytes.len() - 20) as u16;
                    bytes[2..4].copy_from_slice(&len.to_be_bytes());
                }
            }
            (Sabotage::OneNonce, Said::Answer { bytes, .. }) => {
                let answer = Answer::read(bytes);
                if let Some((_, _, place)) = answer.attributes.iter().find(|(kind, _, _)| *kind == NONCE) {
                    bytes[place + 4..place + 32].fill(b'n');
                }
            }
            _ => {}
        }
        self.other = Some(route);
    }

    /// Runs the timers of all workers.
    pub fn timers(&mut self, at: Micros) {
        let now = self.now(at);
        self.pool.forget_expired(now.mono);
        for worker in 0..self.workers.len() {
            let mut rounds = 0;
            while self.workers[worker].next_timeout().is_some_and(|due| due <= now.mono) {
                let mut sockets = Relays { pool: &mut self.pool, worker };
                self.workers[worker].handle_timeout(&now, &mut sockets);
                rounds += 1;
                assert!(rounds < 10_000, "the timers come to an end");
            }
        }
        self.audit(at);
    }

    /// The client's end of a stream has gone.
    pub fn closed(&mut self, at: Micros, route: ClientRoute) {
        let worker = self.owner_of(&route.tuple);
        self.pool.elsewhere.remove(&key(&route.tuple));
        let now = self.now(at);
        if self.sabotage != Sabotage::ForgetClosed {
            let mut sockets = Relays { pool: &mut self.pool, worker };
            self.workers[worker].handle_closed(&now, &route, &mut sockets);
        }
        self.oracle.closed(at, route, &self.pool);
        self.check(worker);
    }

    /// New settings for all workers.
    pub fn reload(&mut self, change: impl FnOnce(&mut Config)) {
        let draining = self.config.draining;
        change(&mut self.config);
        let settings = settings(&self.config, self.sabotage);
        for server in &mut self.workers {
            server.reconfigure(settings.clone());
            if self.config.draining && !draining {
                server.drain();
            }
        }
        self.pool.quota = self.config.quota;
        self.oracle.reloaded(self.config.clone());
    }

    /// A worker begins anew: its allocations are gone, its ports free.
    pub fn restart(&mut self, worker: usize) {
        let seed = std::array::from_fn(|_| self.dice.next());
        self.lives += 1;
        let server = Server::new(settings(&self.config, self.sabotage), seed);
        self.workers[worker] = server.in_a_group([7; 32], worker as u8, self.lives);
        if self.config.draining {
            self.workers[worker].drain();
        }
        let workers = self.workers.len();
        self.pool.elsewhere.retain(|(client, server, transport), _| {
            let tuple = FiveTuple { client: ClientAddress(*client), server: *server, transport: *transport };
            worker_of(&tuple, workers) != worker
        });
        self.pool.links.close_all_of(worker);
        let gone: Vec<SocketAddr> =
            self.pool.open.iter().filter(|(_, relay)| relay.worker == worker).map(|(at, _)| *at).collect();
        for address in gone {
            let relay = self.pool.open.remove(&address).unwrap();
            self.pool.tokens.remove(&relay.token);
            self.pool.meters.remove(&relay.token);
            self.pool.discharge(&relay.owner);
        }
        self.oracle.restarted(worker, |route| worker_of(&route.tuple, workers) == worker);
    }

    /// The stop at the end.
    pub fn stop(&mut self, at: Micros) {
        let now = self.now(at);
        for worker in 0..self.workers.len() {
            let mut sockets = Relays { pool: &mut self.pool, worker };
            self.workers[worker].end_all(&now, &mut sockets);
            self.oracle.ended(worker);
        }
        self.audit(at);
    }

    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    fn check(&mut self, worker: usize) {
        if self.dice.one_in(32) && !self.workers[worker].is_consistent() {
            self.oracle.fail("tables", format!("worker {worker}: the tables do not agree with each other"));
        }
    }

    /// Compares all books: to be called when no timer is due.
    pub fn audit(&mut self, at: Micros) {
        for worker in 0..self.workers.len() {
            let server = &mut self.workers[worker];
            while server.poll_event().is_some() {}
            let consistent = server.is_consistent();
            let allocations = server.allocation_count();
            let counters = *server.counters();
            self.oracle.audit(at, worker, consistent, allocations, &counters, &self.pool);
        }
    }
}
