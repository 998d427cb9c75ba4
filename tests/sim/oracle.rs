//! The oracle: a small model of what RFC 8489, RFC 8656 and the safety rules of this server allow, fed with all that
//! crosses the server's border. It knows nothing of the server's inside, and says which rule is broken first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use relais::auth::Expired;
use relais::turn::{ClientRoute, ConnectionId, Counters, DropReason, IcmpError, Traffic, Transport};

use super::Micros;
use super::cluster::Pool;
use super::config::{ALTERNATES, Config, Redirect};
use super::judge::{self, Holder, Login, Nonce, Reach};
use super::reading::{Seen, read, word};
use super::world::*;

mod discovery;
mod policy;
mod tcp;

use policy::{Account, Ledger, Terms};
use tcp::Connection;

const SECOND: Micros = 1_000_000;
/// RFC 8656 §9 and §12.
const PERMISSION: Micros = 300 * SECOND;
const CHANNEL: Micros = 600 * SECOND;
/// RFC 8656 §7.2.
const RESERVED: Micros = 30 * SECOND;
/// What a prefix gets beyond what it pays for, and back in five minutes (docs/architecture.md).
const BURST: f64 = 28_672.0;
const LOGINS: f64 = 100.0;
/// More than any answer to a stranger has, in bytes.
const LONGEST: usize = 160;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// What the server did with what a client sent.
#[derive(Clone, Debug)]
pub enum Said {
    Dropped(DropReason),
    Consumed,
    Answer {
        to: ClientRoute,
        bytes: Vec<u8>,
    },
    /// An answer from where it was asked for to come from (RFC 5780).
    AnswerFrom {
        server: SocketAddr,
        client: SocketAddr,
        bytes: Vec<u8>,
    },
    /// The answer comes when the peer has answered (RFC 6062 §5.2).
    Connecting {
        id: ConnectionId,
    },
    /// An answer; the stream belongs to a connection from now on (RFC 6062 §5.4).
    Bound {
        to: ClientRoute,
        id: ConnectionId,
        bytes: Vec<u8>,
    },
    ToPeer {
        relayed: Option<SocketAddr>,
        peer: SocketAddr,
        bytes: Vec<u8>,
    },
}

/// What the server did with what arrived at a relayed address.
#[derive(Clone, Debug)]
pub enum Heard {
    Dropped(DropReason),
    ToClient { route: ClientRoute, bytes: Vec<u8> },
}

type Key = (SocketAddr, SocketAddr, Transport);

fn key(route: &ClientRoute) -> Key {
    (route.tuple.client.0, route.tuple.server, route.tuple.transport)
}

struct Allocation {
    /// Where its client is, unless its stream has closed.
    route: Option<ClientRoute>,
    /// Where its client has announced itself (RFC 8016).
    pending: Option<ClientRoute>,
    mobile: Option<Mobile>,
    /// A 5-tuple whose worker has begun anew and no longer knows that it leads here.
    lost: Option<Key>,
    worker: usize,
    user: String,
    key: Vec<u8>,
    tid: [u8; 12],
    /// For TCP (RFC 6062).
    tcp: bool,
    /// Relayed transport addresses, at most one of a family, and until when they live.
    relays: Vec<(SocketAddr, Micros)>,
    reservation: Option<Vec<u8>>,
    permissions: BTreeMap<IpAddr, Micros>,
    channels: BTreeMap<u16, (SocketAddr, Micros)>,
    /// What its credential allows.
    terms: Terms,
    account: Option<Account>,
}

/// What belongs to an allocation that may move (RFC 8016).
struct Mobile {
    ticket: Vec<u8>,
    /// The ticket before, and the request that it was used in, for its retransmission.
    before: Option<(Vec<u8>, [u8; 12], Key, Micros)>,
}

impl Allocation {
    fn is_at(&self, key: Key) -> bool {
        [self.route, self.pending].iter().flatten().any(|route| self::key(route) == key)
    }

    fn is_live(&self, at: Micros) -> bool {
        self.relays.iter().any(|relay| relay.1 > at)
    }

    /// The live relayed address of a family.
    fn relay(&self, at: Micros, v6: bool) -> Option<SocketAddr> {
        self.relays.iter().find(|relay| relay.0.is_ipv6() == v6 && relay.1 > at).map(|relay| relay.0)
    }

    /// What belongs to one of two families goes with it (RFC 8656 §8.1).
    fn remove_family(&mut self, v6: bool) {
        self.relays.retain(|relay| relay.0.is_ipv6() != v6);
        self.permissions.retain(|ip, _| ip.is_ipv6() != v6);
        self.channels.retain(|_, channel| channel.0.is_ipv6() != v6);
    }

    fn permits(&self, at: Micros, ip: IpAddr) -> bool {
        self.permissions.get(&ip).is_some_and(|expires| *expires > at)
    }

    fn channel_of(&self, at: Micros, peer: SocketAddr) -> Option<u16> {
        let mut live = self.channels.iter().filter(|(_, channel)| channel.1 > at);
        live.find(|(_, channel)| channel.0 == peer).map(|(number, _)| *number)
    }

    /// Live permissions: those that count, and with those of a family that has ended but may not be forgotten.
    fn live_permissions(&self, at: Micros) -> (usize, usize) {
        let live = || self.permissions.iter().filter(|(_, expires)| **expires > at);
        (live().filter(|(ip, _)| self.relay(at, ip.is_ipv6()).is_some()).count(), live().count())
    }

    fn live_channels(&self, at: Micros) -> (usize, usize) {
        let live = || self.channels.values().filter(|channel| channel.1 > at);
        (live().filter(|(peer, _)| self.relay(at, peer.is_ipv6()).is_some()).count(), live().count())
    }
}

/// What could be wrong with a request, as error codes: `true` for what must be refused, `false` for what may.
type Problems = BTreeMap<u16, bool>;

/// Stands for what the oracle cannot say.
const UNSURE: u16 = 0;

/// What a source prefix may still cost a worker.
struct Purse {
    answers: f64,
    /// The same for a server that forgets parts of seconds: silence is right only when this is spent.
    at_least: f64,
    logins: [f64; 2],
    at: Micros,
}

/// What a worker should have counted.
#[derive(Default)]
struct Tally {
    received: [Traffic; 4],
    answered: [Traffic; 4],
    to_peers: [Traffic; 4],
    to_clients: [Traffic; 4],
    drops: BTreeMap<&'static str, u64>,
    consumed: u64,
    from_peers: u64,
}

pub struct Oracle {
    config: Config,
    allocations: BTreeMap<u64, Allocation>,
    next: u64,
    /// Every ticket there has been, and the number of its allocation.
    tickets: BTreeMap<Vec<u8>, u64>,
    nonces: BTreeMap<Vec<u8>, (SocketAddr, u16, Micros)>,
    /// Addresses that are held for a token, and until when.
    reservations: BTreeMap<Vec<u8>, (SocketAddr, Micros)>,
    /// Those between relayed addresses and peers (RFC 6062).
    connections: BTreeMap<ConnectionId, Connection>,
    purses: BTreeMap<(usize, IpAddr), Purse>,
    /// Of the byte budgets, by user name.
    ledgers: BTreeMap<String, Ledger>,
    tallies: Vec<Tally>,
    /// How many seconds the credential at hand is good for, if allocations end with it.
    ends: Option<u64>,
    /// The first rule that was broken.
    pub violation: Option<String>,
    /// How often each thing has been seen, to know that a run was worth something.
    pub seen: BTreeMap<String, u64>,
}

fn prefix(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) & (u128::MAX << 72)).to_be_bytes()),
    }
}

fn wire(len: usize) -> f64 {
    (len + 28) as f64
}

impl Oracle {
    pub fn new(config: Config, workers: usize) -> Self {
        Self {
            config,
            allocations: BTreeMap::new(),
            next: 0,
            tickets: BTreeMap::new(),
            nonces: BTreeMap::new(),
            reservations: BTreeMap::new(),
            connections: BTreeMap::new(),
            purses: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            tallies: (0..workers).map(|_| Tally::default()).collect(),
            ends: None,
            violation: None,
            seen: BTreeMap::new(),
        }
    }

    pub fn fail(&mut self, rule: &str, text: String) {
        self.violation.get_or_insert_with(|| format!("{rule}: {text}"));
    }

    fn count(&mut self, what: &str) {
        if let Some(count) = self.seen.get_mut(what) {
            *count += 1;
        } else {
            self.seen.insert(what.to_owned(), 1);
        }
    }

    /// The number of the live allocation of a 5-tuple.
    fn number(&self, at: Micros, route: &ClientRoute) -> Option<u64> {
        let mut all = self.allocations.iter();
        all.find(|(_, held)| held.is_live(at) && held.is_at(key(route)) && held.lost != Some(key(route)))
            .map(|(number, _)| *number)
    }

    fn live(&self, at: Micros, route: &ClientRoute) -> Option<&Allocation> {
        self.number(at, route).map(|number| &self.allocations[&number])
    }

    pub fn live_count(&self, at: Micros) -> usize {
        self.allocations.values().filter(|allocation| allocation.is_live(at)).count()
    }

    fn purse(&mut self, at: Micros, worker: usize, ip: IpAddr) -> &mut Purse {
        let new = || Purse { answers: BURST, at_least: BURST, logins: [LOGINS; 2], at };
        let purse = self.purses.entry((worker, prefix(ip))).or_insert_with(new);
        let seconds = (at - purse.at) as f64 / SECOND as f64;
        purse.at = at;
        purse.answers = (purse.answers + seconds * BURST / 300.0).min(BURST);
        purse.at_least = (purse.at_least + seconds.floor() * 95.0).min(BURST);
        purse.logins = purse.logins.map(|logins| (logins + seconds * LOGINS).min(LOGINS));
        purse
    }

    // ---- from clients ----------------------------------------------------------------------------------------

    #[expect(clippy::too_many_arguments, reason = "all that crosses the border at once")]
    pub fn client_said(
        &mut self,
        at: Micros,
        unix: u64,
        worker: usize,
        route: ClientRoute,
        bytes: &[u8],
        said: &Said,
        pool: &Pool,
    ) {
        let transport = route.tuple.transport;
        let tally = &mut self.tallies[worker];
        tally.received[transport as usize].add(bytes.len());
        match said {
            Said::Dropped(reason) => *tally.drops.entry(reason.name()).or_default() += 1,
            Said::Consumed | Said::Connecting { .. } => tally.consumed += 1,
            Said::Answer { bytes, .. } | Said::AnswerFrom { bytes, .. } | Said::Bound { bytes, .. } => {
                tally.answered[transport as usize].add(bytes.len())
            }
            Said::ToPeer { bytes, .. } => tally.to_peers[transport as usize].add(bytes.len()),
        }
        if let Said::Dropped(reason) = said {
            self.count(reason.name());
        }
        match bytes.first() {
            Some(0x40..=0x4F) => self.channel_data(at, route, bytes, said, pool),
            Some(0..=3) if transport == Transport::Dtls && bytes.get(4..8) != Some(&COOKIE) => {
                self.classic(bytes, said);
            }
            Some(0..=3) => match read(bytes) {
                Some(seen) if seen.fingerprint != Some(false) => {
                    self.message(at, unix, worker, route, &seen, said, pool);
                }
                _ => self.silence("form", said),
            },
            _ => self.silence("form", said),
        }
        self.sweep(at, pool);
    }

    /// RFC 7350 §3: over DTLS a request of RFC 3489 is refused with 500, in an answer that is no longer than it has to be.
    fn classic(&mut self, bytes: &[u8], said: &Said) {
        match said {
            Said::Answer { bytes: answer, .. } => {
                let is_request = bytes.len() >= 20 && bytes[0] & 1 == 0 && bytes[1] & 0x10 == 0;
                if !is_request || answer.len() > 28 || answer[4..20] != bytes[4..20] {
                    self.fail("form", format!("{answer:02x?} for {bytes:02x?}"));
                }
                self.count("classic 500");
            }
            _ => self.silence("form", said),
        }
    }

    fn silence(&mut self, rule: &str, said: &Said) {
        if !matches!(said, Said::Dropped(_)) {
            self.fail(rule, format!("silence was due, not {said:?}"));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "see above")]
    fn message(
        &mut self,
        at: Micros,
        unix: u64,
        worker: usize,
        route: ClientRoute,
        seen: &Seen<'_>,
        said: &Said,
        pool: &Pool,
    ) {
        match (seen.class, seen.method) {
            (1, 6) => self.send_indication(at, route, seen, said, pool),
            (1, 1) if matches!(said, Said::Consumed) => self.count("Binding indication"),
            (0, 1) => self.binding(at, worker, route, seen, said),
            (0, 3 | 4 | 8 | 9) => self.request(at, unix, worker, route, seen, said, pool),
            (0, 10 | 11) if self.config.tcp => self.request(at, unix, worker, route, seen, said, pool),
            _ => self.silence("method", said),
        }
    }

    /// What all answers have in common. `None` when there is none.
    fn answer(&mut self, route: ClientRoute, seen: &Seen<'_>, said: &Said) -> Option<Answer> {
        let (Said::Answer { to, bytes } | Said::Bound { to, bytes, .. }) = said else { return None };
        if *to != route {
            self.fail("elsewhere", format!("the answer to {route:?} goes to {to:?}"));
            return None;
        }
        let answer = Answer::read(bytes);
        let fits = answer.bytes[8..20] == seen.tid
            && answer.kind & !0x0110 == u16::from_be_bytes([seen.bytes[0], seen.bytes[1]])
            && answer.kind & 0x0100 != 0
            && answer.has(FINGERPRINT) == seen.fingerprint.is_some();
        if !fits {
            self.fail("answer", format!("{answer:?} does not answer {:02x?}", seen.bytes));
        }
        if answer.has(MAPPED) && answer.address(MAPPED) != route.tuple.client.0 {
            self.fail("elsewhere", format!("{route:?} is told of {}", answer.address(MAPPED)));
        }
        self.count(&format!("{} {}", method_name(seen.method), answer.code()));
        Some(answer)
    }

    /// An answer to somebody who has not logged in.
    fn pay(&mut self, at: Micros, worker: usize, route: ClientRoute, request: usize, answer: &Answer) {
        if answer.has(MI) || answer.has(MI256) {
            self.fail("answer", "a stranger's answer is signed".into());
        }
        if route.tuple.transport.is_stream() {
            return;
        }
        let purse = self.purse(at, worker, route.tuple.client.0.ip());
        purse.answers = (purse.answers + wire(request)).min(BURST) - wire(answer.bytes.len());
        purse.at_least = (purse.at_least + wire(request)).min(BURST) - wire(answer.bytes.len());
        purse.at_least = purse.at_least.max(0.0);
        let left = purse.answers;
        // Rounding of the refill, and no more.
        if left < -100.0 {
            self.fail("amplification", format!("{} has {left} bytes too many", route.tuple.client.0));
        }
    }

    /// Silence of the budget is right only when the budget is spent.
    fn unpaid(&mut self, at: Micros, worker: usize, route: ClientRoute, request: usize) {
        let purse = self.purse(at, worker, route.tuple.client.0.ip());
        purse.answers = (purse.answers + wire(request)).min(BURST);
        purse.at_least = (purse.at_least + wire(request)).min(BURST);
        let left = purse.at_least;
        if left > wire(LONGEST) || route.tuple.transport.is_stream() {
            self.fail("silence", format!("{left} bytes are left for {}", route.tuple.client.0));
        }
    }

    fn binding(&mut self, at: Micros, worker: usize, route: ClientRoute, seen: &Seen<'_>, said: &Said) {
        if self.is_corner(&route) {
            return self.discovered(at, worker, route, seen, said);
        }
        if let Said::Dropped(DropReason::AnswerBudget) = said {
            if !judge::unknown(seen, &[]) {
                self.fail("silence", "a Binding request is answered".into());
            }
            return self.unpaid(at, worker, route, seen.bytes.len());
        }
        let Some(answer) = self.answer(route, seen, said) else {
            return self.fail("silence", format!("a Binding request met {said:?}"));
        };
        match (answer.code(), judge::unknown(seen, &[])) {
            (420, true) => self.pay(at, worker, route, seen.bytes.len(), &answer),
            (0, false) => self.plain_binding(route, seen, &answer),
            (code, unknown) => self.fail("order", format!("Binding got {code}, unknown: {unknown:?}")),
        }
    }

    /// The answer that is free: as small as can be.
    fn plain_binding(&mut self, route: ClientRoute, seen: &Seen<'_>, answer: &Answer) {
        let smallest = if route.tuple.client.0.is_ipv4() { 32 } else { 44 };
        let fingerprint = if seen.fingerprint.is_some() { 8 } else { 0 };
        if answer.bytes.len() != smallest + fingerprint || !answer.has(MAPPED) {
            self.fail("amplification", format!("a Binding success of {} bytes", answer.bytes.len()));
        }
    }

    fn nonce(&self, at: Micros, route: &ClientRoute, nonce: Option<&[u8]>) -> Nonce {
        let known = nonce.and_then(|nonce| self.nonces.get(nonce));
        let Some((client, port, issued)) = known else { return Nonce::Stale };
        if (*client, *port) != (route.tuple.client.0, route.tuple.server.port()) {
            return Nonce::Stale;
        }
        let (age, life) = (at - issued, self.config.nonce_lifetime * SECOND);
        match () {
            () if age + SECOND <= life => Nonce::Good,
            () if age >= life + SECOND => Nonce::Stale,
            () => Nonce::Either,
        }
    }

    fn learn(&mut self, at: Micros, route: &ClientRoute, answer: &Answer) {
        let Some(nonce) = answer.get(NONCE) else { return };
        let owner = (route.tuple.client.0, route.tuple.server.port());
        if let Some((client, port, _)) = self.nonces.get(nonce)
            && (*client, *port) != owner
        {
            self.fail("nonce", format!("{client} and {} have the same", owner.0));
        }
        self.nonces.insert(nonce.to_vec(), (owner.0, owner.1, at));
    }

    #[expect(clippy::too_many_arguments, reason = "see above")]
    fn request(
        &mut self,
        at: Micros,
        unix: u64,
        worker: usize,
        route: ClientRoute,
        seen: &Seen<'_>,
        said: &Said,
        pool: &Pool,
    ) {
        let nonce = self.nonce(at, &route, seen.get(NONCE));
        let held = self.live(at, &route);
        let own = held.is_some_and(|held| seen.get(USERNAME) == Some(held.user.as_bytes()));
        let is_held = held.is_some();
        // To go on, an allocation needs credentials that are still good; to end, those it was made with.
        let goes_on = seen.method == 4 && seen.get(LIFETIME) != Some(&[0; 4]);
        let moves = seen.method == 4 && seen.get(TICKET).is_some();
        let elsewhere = self.waiting_for(&route, seen).filter(|_| !is_held);
        let begins = seen.method == 3 || !is_held && elsewhere.is_none() && !moves;
        let expiry_counts = begins || goes_on && self.config.expired != Expired::Grace;
        let holder = held.filter(|_| !goes_on && seen.method != 3);
        let holder = holder.map(|held| Holder { user: &held.user, key: &held.key }).or(elsewhere);
        let login = judge::login(seen, &self.config, unix, nonce, holder.as_ref(), expiry_counts);
        let proven = usize::from(nonce == Nonce::Stale);
        match said {
            Said::Dropped(DropReason::LoginRate) => {
                let left = self.purse(at, worker, route.tuple.client.0.ip()).logins[proven];
                // Within a second of its end the nonce may have been counted on either side.
                if seen.integrity.is_none() || own || (left > 3.0 && nonce != Nonce::Either) {
                    self.fail("silence", format!("{} may log in {left} times", route.tuple.client.0));
                }
                return;
            }
            Said::Dropped(DropReason::TooLong) if !is_held && seen.bytes.len() > 2048 => return,
            Said::Dropped(DropReason::AnswerBudget) if matches!(login, Login::Refused { .. }) => {
                self.failed(at, worker, &route, &login, proven);
                return self.unpaid(at, worker, route, seen.bytes.len());
            }
            Said::Consumed | Said::Connecting { .. } if seen.method == 10 => {
                return self.connecting(at, route, seen, said, login, pool);
            }
            _ => {}
        }
        let Some(answer) = self.answer(route, seen, said) else {
            return self.fail("silence", format!("{} met {said:?}", method_name(seen.method)));
        };
        let code = answer.code();
        self.learn(at, &route, &answer);
        match login {
            Login::Refused { code: due, .. } => {
                if code != due {
                    self.fail("order", format!("{due} was due, not {code}: {:02x?}", seen.bytes));
                }
                if answer.is_challenge() != [401, 438].contains(&due) {
                    self.fail("order", format!("{due} with or without a challenge: {answer:?}"));
                }
                self.failed(at, worker, &route, &login, proven);
                self.pay(at, worker, route, seen.bytes.len(), &answer);
            }
            Login::Passed { nonce: Nonce::Either, .. } if code == 438 => {
                self.pay(at, worker, route, seen.bytes.len(), &answer);
            }
            Login::Passed { user, key, signs_with, .. } => {
                if !answer.has(signs_with) {
                    let text = format!("{code} for {user}, unsigned: {:02x?}", seen.bytes);
                    return self.fail("order", text);
                }
                answer.assert_signed(signs_with, &key);
                self.ends = match self.config.expired {
                    Expired::Cut if !self.config.users.contains_key(&user) => {
                        user.split(':').next().and_then(|digits| digits.parse::<u64>().ok())
                    }
                    _ => None,
                }
                .map(|expires| expires.saturating_sub(unix));
                if seen.method == 11 && !judge::unknown(seen, &[]) {
                    return self.connection_bind(at, route, seen, (answer.code(), said), &user);
                }
                if matches!(said, Said::Bound { .. }) {
                    return self.fail("connections", format!("{said:?} is bound"));
                }
                self.authenticated(at, worker, route, seen, &answer, (user, key), pool);
            }
        }
    }

    fn failed(&mut self, at: Micros, worker: usize, route: &ClientRoute, login: &Login, proven: usize) {
        if matches!(login, Login::Refused { code: 401 | 420, tried: true }) {
            let purse = self.purse(at, worker, route.tuple.client.0.ip());
            purse.logins[proven] = (purse.logins[proven] - 1.0).max(0.0);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "see above")]
    fn authenticated(
        &mut self,
        at: Micros,
        worker: usize,
        route: ClientRoute,
        seen: &Seen<'_>,
        answer: &Answer,
        who: (String, Vec<u8>),
        pool: &Pool,
    ) {
        let code = answer.code();
        match judge::unknown(seen, &[]) {
            true if code != 420 => {
                return self.fail("order", format!("420 was due, not {code}: {:02x?}", seen.bytes));
            }
            false if code == 420 => {
                return self.fail("order", format!("420 for nothing: {:02x?}", seen.bytes));
            }
            true => return,
            false => {}
        }
        if seen.method == 3 {
            return self.allocate(at, worker, route, seen, answer, who, pool);
        }
        if let (4, Some(ticket)) = (seen.method, seen.get(TICKET)) {
            return self.move_to(at, route, seen, answer, who, ticket, pool);
        }
        let Some(number) = self.number(at, &route) else {
            if code != 437 {
                self.fail("order", format!("437 was due, not {code}: {:02x?}", seen.bytes));
            }
            return;
        };
        if self.allocations[&number].user != who.0 {
            if code != 441 {
                self.fail("order", format!("441 was due, not {code}: {:02x?}", seen.bytes));
            }
            return;
        }
        match seen.method {
            4 => {
                let problems = self.refresh_problems(at, number, seen);
                self.compare(seen, code, &problems);
                if code == 0 {
                    self.refreshed(at, number, seen, answer, who.1, pool);
                }
            }
            8 => self.create_permission(at, number, seen, code),
            10 => {
                let problems = self.connect_problems(at, number, seen, pool);
                self.compare(seen, code, &problems);
            }
            _ => self.channel_bind(at, number, seen, code, pool),
        }
    }

    /// Refresh with a ticket (RFC 8016 §3.2.2).
    #[expect(clippy::too_many_arguments, reason = "see above")]
    fn move_to(
        &mut self,
        at: Micros,
        route: ClientRoute,
        seen: &Seen<'_>,
        answer: &Answer,
        who: (String, Vec<u8>),
        ticket: &[u8],
        pool: &Pool,
    ) {
        let code = answer.code();
        let due = |code| Problems::from([(code, true)]);
        if !self.config.mobility {
            return self.compare(seen, code, &due(405));
        }
        let Some(number) = self.tickets.get(ticket).copied() else {
            return self.compare(seen, code, &due(400));
        };
        let held = self.allocations.get(&number).filter(|held| held.is_live(at));
        let Some((held, mobile)) = held.and_then(|held| Some((held, held.mobile.as_ref()?))) else {
            return self.compare(seen, code, &due(437));
        };
        let again = mobile.before.as_ref().is_some_and(|(before, tid, to, until)| {
            before == ticket && *tid == seen.tid && *to == key(&route) && *until > at
        });
        let mut problems = self.refresh_problems(at, number, seen);
        if !again && (held.is_at(key(&route)) || mobile.ticket != ticket) {
            problems.insert(400, true);
        }
        if held.user != who.0 {
            problems.insert(441, true);
        }
        if !again && self.number(at, &route).is_some_and(|other| other != number) {
            problems.insert(437, true);
        }
        if !again && is_tunnel(route.tuple.client.0.ip()) && seen.get(LIFETIME) != Some(&[0; 4]) {
            problems.insert(403, true);
        }
        let current = mobile.ticket.clone();
        self.compare(seen, code, &problems);
        if code != 0 {
            return;
        }
        self.refreshed(at, number, seen, answer, who.1, pool);
        let Some(held) = self.allocations.get_mut(&number) else { return };
        let given = answer.get(TICKET).unwrap_or_default().to_vec();
        if again {
            if given != current {
                self.fail("mobility", "a retransmission got another ticket".into());
            }
            return;
        }
        match held.route {
            Some(_) => held.pending = Some(route),
            // There is no old way to go on with.
            None => held.route = Some(route),
        }
        let before = Some((current, seen.tid, key(&route), at + 30 * SECOND));
        held.mobile = Some(Mobile { ticket: given.clone(), before });
        self.count("moved");
        if given.is_empty() || self.tickets.insert(given, number).is_some() {
            self.fail("mobility", format!("no new ticket: {answer:?}"));
        }
    }

    /// Data on the announced 5-tuple end the old one.
    fn completes(&mut self, at: Micros, route: &ClientRoute) {
        let Some(held) = self.number(at, route).and_then(|number| self.allocations.get_mut(&number)) else {
            return;
        };
        if held.pending.is_some_and(|pending| key(&pending) == key(route)) {
            held.route = held.pending.take();
        }
    }

    /// Compares an answer with what could be wrong with its request.
    fn compare(&mut self, seen: &Seen<'_>, code: u16, problems: &Problems) {
        let fits = match code {
            0 => !problems.values().any(|must| *must),
            _ => problems.contains_key(&code) || problems.contains_key(&UNSURE),
        };
        if !fits {
            let name = method_name(seen.method);
            self.fail("method", format!("{name} got {code} for {problems:?}: {:02x?}", seen.bytes));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "see above")]
    fn allocate(
        &mut self,
        at: Micros,
        worker: usize,
        route: ClientRoute,
        seen: &Seen<'_>,
        answer: &Answer,
        (user, secret): (String, Vec<u8>),
        pool: &Pool,
    ) {
        let code = answer.code();
        if let Some(held) = self.live(at, &route) {
            let again = held.tid == seen.tid && held.user == user;
            let due: Vec<SocketAddr> =
                held.relays.iter().filter(|relay| relay.1 > at).map(|relay| relay.0).collect();
            let mut given = if code == 0 { answer.addresses(RELAYED) } else { Vec::new() };
            given.sort_by_key(SocketAddr::is_ipv6);
            if !again && code != 437 {
                self.fail("method", format!("437 was due, not {code}"));
            } else if again && (given != due || held.reservation.as_deref() != answer.get(RESERVATION)) {
                self.fail("method", format!("a retransmitted Allocate got {answer:?}"));
            }
            return;
        }
        let owner = match user.split_once(':') {
            Some((_, owner)) if !self.config.users.contains_key(&user) && !owner.is_empty() => owner,
            _ => &user,
        };
        let (owner, _) = owner.split_once("?policy&").unwrap_or((owner, ""));
        let terms = Terms::of(&user);
        let asked = Asked::read(seen, &self.config, route.tuple.transport.is_stream());
        let mut problems = asked.problems.clone();
        let client = route.tuple.client.0.ip();
        let sent_away = match self.config.redirect {
            Redirect::Never => false,
            Redirect::Draining => self.config.draining,
            Redirect::Always => true,
        };
        if sent_away {
            // Step 11 comes before all that an allocation would cost.
            problems.insert(300, true);
            self.compare(seen, code, &problems);
            let servers = answer.plain_addresses(ALTERNATE_SERVER);
            let known = |server: &SocketAddr| ALTERNATES.iter().any(|text| addr(text) == *server);
            let right = servers.first().is_some_and(|first| first.is_ipv4() == client.is_ipv4())
                && servers.iter().all(known);
            if code == 300 && !right {
                self.fail("method", format!("{client} is sent to {servers:?}"));
            }
            return;
        }
        if self.config.draining || is_tunnel(client) {
            problems.insert(403, true);
        }
        let (share, spent) = self.first_share(&user, &terms, code == 0, pool);
        if spent {
            problems.insert(403, true);
        }
        let held = asked.token.and_then(|token| self.reservations.get(token)).copied();
        let held = held.filter(|held| held.1 > at);
        if asked.token.is_some() && held.is_none() {
            problems.insert(508, true);
        }
        if code != 0 {
            if pool.held_by(owner) >= pool.quota.min(terms.allocations.unwrap_or(u32::MAX)) {
                problems.insert(486, true);
            }
            let none_free = asked.families.iter().all(|v6| pool.free(*v6, asked.even, asked.reserve) == 0);
            if pool.failing || none_free && asked.token.is_none() {
                problems.insert(508, true);
            }
        }
        self.compare(seen, code, &problems);
        if code != 0 {
            return;
        }
        let mut relayed = answer.addresses(RELAYED);
        relayed.sort_by_key(SocketAddr::is_ipv6);
        let quota = pool.quota.min(terms.allocations.unwrap_or(u32::MAX));
        self.check_relayed(at, &asked, held, &relayed, answer, (owner, quota), pool);
        let expires = at + self.lifetime(seen, answer, None) * SECOND;
        if let Some(token) = asked.token {
            self.reservations.remove(token);
        }
        let reservation = answer.get(RESERVATION).map(<[u8]>::to_vec);
        if let (Some(token), Some(first)) = (&reservation, relayed.first()) {
            let next = SocketAddr::new(first.ip(), first.port() + 1);
            self.reservations.insert(token.clone(), (next, at + RESERVED));
        }
        let ticket = answer.get(TICKET).map(<[u8]>::to_vec);
        if ticket.is_some() != (seen.get(TICKET).is_some() && self.config.mobility)
            || ticket.as_ref().is_some_and(|ticket| ticket.is_empty() || self.tickets.contains_key(ticket))
        {
            self.fail("mobility", format!("{answer:?}"));
        }
        self.next += 1;
        self.tickets.extend(ticket.iter().map(|ticket| (ticket.clone(), self.next)));
        if asked.tcp {
            self.count("Allocate for TCP");
            if relayed.iter().any(|address| !pool.is_listening(address)) {
                self.fail("ports", format!("{relayed:?} do not listen"));
            }
        }
        let allocation = Allocation {
            route: Some(route),
            pending: None,
            lost: None,
            mobile: ticket.map(|ticket| Mobile { ticket, before: None }),
            worker,
            user,
            key: secret,
            tid: seen.tid,
            tcp: asked.tcp,
            relays: relayed.into_iter().map(|address| (address, expires)).collect(),
            reservation,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            account: Account::of(&terms, share),
            terms,
        };
        self.allocations.insert(self.next, allocation);
    }

    /// The relayed addresses of a success: those that were asked for, and nobody else's.
    #[expect(clippy::too_many_arguments, reason = "see above")]
    fn check_relayed(
        &mut self,
        at: Micros,
        asked: &Asked<'_>,
        held: Option<(SocketAddr, Micros)>,
        relayed: &[SocketAddr],
        answer: &Answer,
        (owner, quota): (&str, u32),
        pool: &Pool,
    ) {
        let charged = pool.held_by(owner);
        if charged > quota {
            self.fail("quota", format!("{owner} has {charged} of {quota}"));
        }
        for address in relayed {
            let mut others = self.allocations.values().flat_map(|other| &other.relays);
            let reserved = self.reservations.iter().any(|(token, (reserved, until))| {
                reserved == address && *until > at && asked.token != Some(token)
            });
            if others.any(|other| other.0 == *address && other.1 > at) || reserved || !pool.is_open(address) {
                self.fail("ports", format!("{address} is given again, or not open"));
            }
            if asked.even && address.port() % 2 != 0 {
                self.fail("ports", format!("{address} is not even"));
            }
        }
        let families: Vec<bool> = relayed.iter().map(SocketAddr::is_ipv6).collect();
        let right = match held {
            Some((address, _)) => relayed == [address],
            None if families == asked.families => !answer.has(ADDRESS_ERROR),
            // One of two, and the reason why (RFC 8656 §7.2).
            None => {
                asked.families.len() == 2
                    && families.len() == 1
                    && matches!(answer.get(ADDRESS_ERROR), Some([family, 0, 5, 8]) if (*family == 2) != families[0])
                    && (charged >= quota || pool.free(!families[0], asked.even, false) == 0)
            }
        };
        if !right {
            self.fail("ports", format!("{relayed:?} for {asked:?}: {answer:?}"));
        }
        if asked.reserve != answer.get(RESERVATION).is_some_and(|token| token.len() == 8) {
            self.fail("method", format!("a reservation was asked for: {}; {answer:?}", asked.reserve));
        }
        if !answer.has(MAPPED) {
            self.fail("method", "an Allocate success has no XOR-MAPPED-ADDRESS".into());
        }
    }

    /// The lifetime that was given, after comparing it with what was asked for.
    fn lifetime(&mut self, seen: &Seen<'_>, answer: &Answer, zero: Option<u64>) -> u64 {
        let given = u64::from(answer.lifetime());
        let due = match seen.get(LIFETIME).and_then(word) {
            Some(0) if zero.is_some() => 0,
            asked => {
                let due = u64::from(asked.unwrap_or(600)).min(self.config.max_lifetime).max(600);
                if self.ends.is_some_and(|ends| ends < due) {
                    self.count("cut");
                }
                self.ends.map_or(due, |ends| due.min(ends))
            }
        };
        if given != due {
            self.fail("lifetime", format!("{given} s, not {due}"));
        }
        given
    }

    fn refresh_problems(&self, at: Micros, number: u64, seen: &Seen<'_>) -> Problems {
        let held = &self.allocations[&number];
        let mut problems = Problems::new();
        match seen.get(FAMILY) {
            None => {}
            Some([number @ (1 | 2), _, _, _]) if held.relay(at, *number == 2).is_some() => {}
            Some([_, _, _, _]) => _ = problems.insert(443, true),
            Some(_) => _ = problems.insert(400, true),
        }
        if seen.get(LIFETIME).is_some_and(|value| value.len() != 4) {
            problems.insert(400, true);
        }
        problems
    }

    /// A Refresh has succeeded.
    fn refreshed(
        &mut self,
        at: Micros,
        number: u64,
        seen: &Seen<'_>,
        answer: &Answer,
        secret: Vec<u8>,
        pool: &Pool,
    ) {
        let family = seen.get(FAMILY).map(|value| value[0] == 2);
        let lifetime = self.lifetime(seen, answer, Some(0));
        let Some(held) = self.allocations.get_mut(&number) else { return };
        let named = |relay: &(SocketAddr, Micros)| family.is_none_or(|v6| v6 == relay.0.is_ipv6());
        if lifetime > 0 {
            held.key = secret;
            for relay in held.relays.iter_mut().filter(|relay| named(relay)) {
                relay.1 = at + lifetime * SECOND;
            }
            return;
        }
        // RFC 8656 §8.2: at once.
        let ended = held.relays.iter().filter(|relay| named(relay)).map(|relay| relay.0).collect();
        match family {
            Some(v6) => held.remove_family(v6),
            None => held.relays.clear(),
        }
        if held.relays.is_empty() {
            self.allocations.remove(&number);
        }
        self.count("deleted");
        self.check_closed("after a Refresh of 0", ended, pool);
    }

    fn check_closed(&mut self, when: &str, addresses: Vec<SocketAddr>, pool: &Pool) {
        for address in addresses.into_iter().filter(|address| pool.is_open(address)) {
            self.fail("ports", format!("{address} is open {when}"));
        }
        self.sweep_closed(when, pool);
    }

    fn create_permission(&mut self, at: Micros, number: u64, seen: &Seen<'_>, code: u16) {
        let held = &self.allocations[&number];
        let peers: Vec<Option<SocketAddr>> = seen.all(PEER).map(|value| seen.address(value)).collect();
        let mut problems = Problems::new();
        if peers.is_empty() || peers.contains(&None) {
            problems.insert(400, true);
        }
        let ips: BTreeSet<IpAddr> = peers.iter().flatten().map(SocketAddr::ip).collect();
        for ip in &ips {
            if held.relay(at, ip.is_ipv6()).is_none() {
                problems.insert(443, true);
            }
            match judge::reach(&self.config, *ip) {
                _ if !held.terms.reaches(*ip) => _ = problems.insert(403, true),
                Reach::No => _ = problems.insert(403, true),
                Reach::Unsure => _ = problems.insert(UNSURE, false),
                Reach::Yes | Reach::ByPort => {}
            }
        }
        let new = ips.iter().filter(|ip| !held.permits(at, **ip)).count();
        let (least, most) = held.live_permissions(at);
        if most + new > self.config.permissions {
            problems.insert(508, least + new > self.config.permissions);
        }
        self.compare(seen, code, &problems);
        if code == 0
            && let Some(held) = self.allocations.get_mut(&number)
        {
            held.permissions.extend(ips.into_iter().map(|ip| (ip, at + PERMISSION)));
        }
    }

    fn channel_bind(&mut self, at: Micros, of: u64, seen: &Seen<'_>, code: u16, pool: &Pool) {
        let held = &self.allocations[&of];
        let mut problems = Problems::new();
        if held.tcp {
            problems.insert(400, true);
        }
        let number = match seen.get(CHANNEL_NUMBER) {
            Some([a, b, _, _]) => {
                Some(u16::from_be_bytes([*a, *b])).filter(|n| (0x4000..=0x4FFF).contains(n))
            }
            _ => None,
        };
        let peer = seen.get(PEER).and_then(|value| seen.address(value));
        if let (Some(number), Some(peer)) = (number, peer) {
            let bound = held.channels.get(&number).filter(|channel| channel.1 > at);
            if bound.is_some_and(|channel| channel.0 != peer)
                || held.channel_of(at, peer).is_some_and(|other| other != number)
            {
                // A channel of a family that has ended may have been forgotten or not.
                let of_old = bound.is_some_and(|channel| held.relay(at, channel.0.is_ipv6()).is_none());
                problems.insert(400, !of_old);
            }
            if held.relay(at, peer.is_ipv6()).is_none() {
                problems.insert(443, true);
            }
            match judge::reach(&self.config, peer.ip()) {
                _ if !held.terms.reaches(peer.ip()) => _ = problems.insert(403, true),
                Reach::No => _ = problems.insert(403, true),
                Reach::ByPort if !pool.is_live(&peer) => _ = problems.insert(403, true),
                Reach::Unsure => _ = problems.insert(UNSURE, false),
                Reach::Yes | Reach::ByPort => {}
            }
            let new_channel = usize::from(bound.is_none());
            let new_permission = usize::from(!held.permits(at, peer.ip()));
            let (channels, permissions) = (held.live_channels(at), held.live_permissions(at));
            let exceed = |channels: usize, permissions: usize| {
                new_channel > 0 && channels >= self.config.channels
                    || new_permission > 0 && permissions >= self.config.permissions
            };
            if exceed(channels.1, permissions.1) {
                problems.insert(508, exceed(channels.0, permissions.0));
            }
        } else {
            problems.insert(400, true);
        }
        self.compare(seen, code, &problems);
        if code == 0
            && let (Some(number), Some(peer), Some(held)) = (number, peer, self.allocations.get_mut(&of))
        {
            held.channels.retain(|_, channel| channel.0 != peer);
            held.channels.insert(number, (peer, at + CHANNEL));
            held.permissions.insert(peer.ip(), at + PERMISSION);
        }
    }

    // ---- data ------------------------------------------------------------------------------------------------

    fn send_indication(&mut self, at: Micros, route: ClientRoute, seen: &Seen<'_>, said: &Said, pool: &Pool) {
        let peer = seen.get(PEER).and_then(|value| seen.address(value));
        let (Some(peer), Some(data)) = (peer, seen.get(DATA)) else { return self.silence("form", said) };
        match judge::unknown(seen, &[]) {
            true => self.silence("unknown attribute", said),
            false => self.peer_bound(at, route, peer, data, said, pool),
        }
    }

    fn channel_data(&mut self, at: Micros, route: ClientRoute, bytes: &[u8], said: &Said, pool: &Pool) {
        let [a, b, c, d, rest @ ..] = bytes else { return self.silence("form", said) };
        let Some(data) = rest.get(..usize::from(u16::from_be_bytes([*c, *d]))) else {
            return self.silence("form", said);
        };
        let number = u16::from_be_bytes([*a, *b]);
        self.completes(at, &route);
        let bound = self.live(at, &route).and_then(|held| held.channels.get(&number));
        match bound.filter(|channel| channel.1 > at).map(|channel| channel.0) {
            Some(peer) => self.peer_bound(at, route, peer, data, said, pool),
            None => self.silence("channel", said),
        }
    }

    /// Data that a client wants to be sent to a peer: they pass exactly when all is live.
    fn peer_bound(
        &mut self,
        at: Micros,
        route: ClientRoute,
        peer: SocketAddr,
        data: &[u8],
        said: &Said,
        pool: &Pool,
    ) {
        self.completes(at, &route);
        let number = self.number(at, &route).filter(|number| !self.allocations[number].tcp);
        let Some(number) = number else { return self.silence("no allocation", said) };
        let held = &self.allocations[&number];
        let relayed = held.relay(at, peer.is_ipv6());
        let due = held.permits(at, peer.ip()) && relayed.is_some();
        let passes = judge::passes(&self.config, peer, pool.is_live(&peer));
        let dropped = match said {
            Said::Dropped(reason) => Some(*reason),
            _ => None,
        };
        if due && may_be_tolled(passes, dropped) && self.tolled(at, number, data.len(), dropped, pool) {
            return;
        }
        match said {
            Said::ToPeer { relayed: from, peer: there, bytes } => {
                if !due || passes == Some(false) {
                    self.fail("permission", format!("{route:?} reached {there}"));
                } else if *from != relayed || *there != peer || bytes != data {
                    self.fail("data", format!("{said:?} for {data:02x?} from {relayed:?} to {peer}"));
                }
                self.count("to peer");
            }
            Said::Dropped(_) if due && passes == Some(true) => {
                self.fail("data", format!("{said:?}, but {route:?} may send to {peer}"));
            }
            Said::Dropped(_) => {}
            _ => self.fail("data", format!("{said:?}")),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "see above")]
    pub fn peer_said(
        &mut self,
        at: Micros,
        worker: usize,
        relayed: SocketAddr,
        peer: SocketAddr,
        data: &[u8],
        heard: &Heard,
        pool: &Pool,
    ) {
        let mut live = self.allocations.iter();
        let held = live.find(|(_, held)| held.relay(at, relayed.is_ipv6()) == Some(relayed));
        let due = held.filter(|(_, held)| {
            held.worker == worker && held.permits(at, peer.ip()) && peer.is_ipv6() == relayed.is_ipv6()
        });
        let passes = judge::passes(&self.config, peer, pool.is_live(&peer));
        let number = due.map(|(number, _)| *number);
        let due = due.map(|(_, held)| (held.route, held.channel_of(at, peer)));
        let dropped = match heard {
            Heard::Dropped(reason) => Some(*reason),
            Heard::ToClient { .. } => None,
        };
        let tolled = number.is_some_and(|number| {
            may_be_tolled(passes, dropped) && self.tolled(at, number, data.len(), dropped, pool)
        });
        let tally = &mut self.tallies[worker];
        tally.from_peers += 1;
        match heard {
            Heard::Dropped(reason) => {
                *tally.drops.entry(reason.name()).or_default() += 1;
                self.count(reason.name());
                if due.is_some() && passes == Some(true) && !tolled {
                    self.fail("data", format!("{reason:?}, but {peer} may send to {relayed}"));
                }
            }
            Heard::ToClient { route, bytes } => {
                tally.to_clients[route.tuple.transport as usize].add(data.len());
                self.count("to client");
                let Some((client, channel)) = due.filter(|_| passes != Some(false)) else {
                    return self.fail("permission", format!("{peer} reached {route:?} at {relayed}"));
                };
                // A stream that has closed leads nowhere.
                if client.is_some_and(|client| client != *route) || client.is_none() && route.link != u32::MAX
                {
                    return self.fail("elsewhere", format!("data of {client:?} go to {route:?}"));
                }
                let right = match channel {
                    Some(number) => {
                        let mut frame = channel_data(number, data);
                        if route.tuple.transport.is_stream() {
                            frame.resize(frame.len().next_multiple_of(4), 0);
                        }
                        frame == *bytes
                    }
                    None => {
                        let answer = Answer::read(bytes);
                        answer.kind == 0x0017
                            && answer.address(PEER) == peer
                            && answer.get(DATA) == Some(data)
                    }
                };
                if !right {
                    self.fail("data", format!("{data:02x?} from {peer} became {bytes:02x?}"));
                }
            }
        }
    }

    /// An ICMP error, forged or not (RFC 8656 §11.5): it is told exactly if it is of a type that is told, about a peer with
    /// a permission.
    pub fn icmp_said(
        &mut self,
        at: Micros,
        worker: usize,
        relayed: SocketAddr,
        error: &IcmpError,
        heard: &Heard,
    ) {
        let peer = error.peer.0;
        let is_told = if peer.is_ipv4() { [3, 11].as_slice() } else { &[1, 2, 3] };
        let mut live = self.allocations.values();
        let held = live.find(|held| held.relays.iter().any(|relay| relay.0 == relayed) && held.is_live(at));
        let due = held.filter(|held| {
            held.worker == worker
                && held.relay(at, peer.is_ipv6()).is_some()
                && held.permits(at, peer.ip())
                && is_told.contains(&error.kind)
        });
        let client = due.map(|held| held.route);
        match heard {
            Heard::Dropped(reason) => {
                let tally = &mut self.tallies[worker];
                tally.from_peers += 1;
                *tally.drops.entry(reason.name()).or_default() += 1;
                self.count(reason.name());
                if client.is_some() {
                    self.fail("icmp", format!("{reason:?}, but {relayed} is to hear of {error:?}"));
                }
            }
            Heard::ToClient { route, bytes } => {
                self.count("icmp to client");
                let Some(client) = client else {
                    return self.fail("icmp", format!("{route:?} hears of {error:?} at {relayed}"));
                };
                if client.is_some_and(|client| client != *route) || client.is_none() && route.link != u32::MAX
                {
                    return self.fail("elsewhere", format!("an ICMP error of {client:?} goes to {route:?}"));
                }
                let is_about_mtu =
                    (error.kind, error.code) == (3, 4) && peer.is_ipv4() || error.kind == 2 && peer.is_ipv6();
                let info = if is_about_mtu { error.info } else { 0 }.to_be_bytes();
                let value = [0, 0, error.kind, error.code, info[0], info[1], info[2], info[3]];
                let told = Answer::read(bytes);
                if told.kind != 0x0017
                    || told.kinds() != [PEER, ICMP]
                    || told.address(PEER) != peer
                    || told.get(ICMP) != Some(&value[..])
                {
                    self.fail("icmp", format!("{error:?} became {told:?}"));
                }
            }
        }
    }

    // ---- what happens to the server --------------------------------------------------------------------------

    pub fn closed(&mut self, at: Micros, route: ClientRoute, pool: &Pool) {
        let mut all = self.allocations.iter_mut();
        let own = |held: &Allocation| [held.route, held.pending].contains(&Some(route));
        let Some((number, held)) = all.find(|(_, held)| own(held)) else { return };
        let number = *number;
        if held.pending == Some(route) {
            held.pending = None;
        } else if held.pending.is_some() {
            held.route = held.pending.take();
        } else if held.mobile.is_some() && self.config.mobility && !self.config.draining {
            // It waits for its client, a minute at most.
            held.route = None;
            for relay in &mut held.relays {
                relay.1 = relay.1.min(at + 60 * SECOND);
            }
        } else {
            let open = held.relays.iter().map(|relay| relay.0).collect();
            self.allocations.remove(&number);
            self.check_closed("after its client's stream has closed", open, pool);
        }
    }

    /// A worker hands what a client sent to another one.
    pub fn forwarded(&mut self, worker: usize, route: &ClientRoute, len: usize) {
        self.tallies[worker].received[route.tuple.transport as usize].add(len);
        self.tallies[worker].consumed += 1;
        self.count("forwarded");
    }

    pub fn reloaded(&mut self, config: Config) {
        self.config = config;
    }

    /// All allocations of a worker have been ended.
    pub fn ended(&mut self, worker: usize) {
        self.allocations.retain(|_, held| held.worker != worker);
    }

    /// A worker has begun anew.
    pub fn restarted(&mut self, worker: usize, leads_there: impl Fn(&ClientRoute) -> bool) {
        self.lose_shares(worker);
        self.ended(worker);
        for held in self.allocations.values_mut() {
            let lost = [held.route, held.pending].into_iter().flatten().find(&leads_there);
            held.lost = lost.map(|route| key(&route)).or(held.lost);
        }
        self.purses.retain(|(of, _), _| *of != worker);
        self.tallies[worker] = Tally::default();
    }

    /// Compares all books of a worker when no timer is due.
    pub fn audit(
        &mut self,
        at: Micros,
        worker: usize,
        consistent: bool,
        allocations: usize,
        counters: &Counters,
        pool: &Pool,
    ) {
        self.reservations.retain(|_, (_, until)| *until > at);
        self.sweep(at, pool);
        self.overdue(at, worker, counters, pool);
        self.allocations.retain(|_, held| held.is_live(at));
        for held in self.allocations.values_mut() {
            for v6 in [false, true] {
                if held.relay(at, v6).is_none() {
                    held.remove_family(v6);
                }
            }
        }
        self.audit_budgets(pool);
        let mine = || self.allocations.values().filter(|held| held.worker == worker);
        let count = mine().count();
        let live: BTreeSet<SocketAddr> = mine().flat_map(|held| &held.relays).map(|relay| relay.0).collect();
        let mut open: BTreeSet<SocketAddr> = BTreeSet::new();
        open.extend(pool.open_addresses().filter(|(_, of)| *of == worker).map(|(address, _)| address));
        if !consistent {
            self.fail("tables", format!("worker {worker}: the tables do not agree with each other"));
        }
        if live != open || allocations != count {
            let text = format!("worker {worker}: live are {live:?}, open {open:?}, counted {allocations}");
            self.fail("ports", text);
        }
        let caps = (self.config.permissions * count, self.config.channels * count);
        if counters.permissions > caps.0 as u64 || counters.channels > caps.1 as u64 {
            self.fail(
                "memory",
                format!("{} permissions, {} channels", counters.permissions, counters.channels),
            );
        }
        let tally = &self.tallies[worker];
        let mut drops: BTreeMap<&str, u64> = BTreeMap::new();
        let (mut into, mut out) = (tally.from_peers, tally.consumed);
        let mut wrong = None;
        for (index, counted) in counters.by_transport.iter().enumerate() {
            for (reason, count) in DropReason::ALL.iter().zip(counted.drops) {
                if count > 0 {
                    *drops.entry(reason.name()).or_default() += count;
                }
                out += count;
            }
            into += counted.received.packets;
            out += counted.answered.packets + counted.to_peers.packets + counted.to_clients.packets;
            let counted = [counted.received, counted.answered, counted.to_peers, counted.to_clients];
            let due = [&tally.received, &tally.answered, &tally.to_peers, &tally.to_clients];
            let due = due.map(|tally| tally[index]);
            if counted != due {
                wrong = Some(format!("transport {index}: {counted:?}, not {due:?}"));
            }
        }
        if drops != tally.drops {
            wrong = Some(format!("drops {drops:?}, not {:?}", tally.drops));
        }
        if into != out {
            wrong = Some(format!("{into} came in, {out} went out or were dropped"));
        }
        if let Some(text) = wrong {
            self.fail("counters", format!("worker {worker}: {text}"));
        }
    }
}

/// What an Allocate asks for, and what of it cannot be given anyhow (RFC 8656 §7.2).
#[derive(Debug)]
struct Asked<'a> {
    /// For each relayed address whether it is one of IPv6.
    families: Vec<bool>,
    even: bool,
    /// The next port, too.
    reserve: bool,
    token: Option<&'a [u8]>,
    /// One that TCP connections begin and end at.
    tcp: bool,
    problems: Problems,
}

impl<'a> Asked<'a> {
    fn read(seen: &Seen<'a>, config: &Config, stream: bool) -> Self {
        let mut problems = Problems::new();
        let mut tcp = false;
        match seen.get(TRANSPORT) {
            Some([17, _, _, _]) => {}
            Some([6, _, _, _]) if config.tcp => tcp = true,
            Some([_, _, _, _]) => _ = problems.insert(442, true),
            _ => _ = problems.insert(400, true),
        }
        let mut families = vec![false];
        match seen.get(FAMILY) {
            None | Some([1, _, _, _]) => {}
            Some([2, _, _, _]) => families = vec![true],
            Some([_, _, _, _]) => _ = problems.insert(440, true),
            Some(_) => _ = problems.insert(400, true),
        }
        if tcp {
            // RFC 6062 §5.1; of ADDITIONAL-ADDRESS-FAMILY, which may be ignored, nothing is said there.
            let for_udp = [DONT_FRAGMENT, EVEN_PORT, RESERVATION];
            if !stream
                || for_udp.iter().any(|kind| seen.get(*kind).is_some())
                || seen.get(LIFETIME).is_some_and(|value| value.len() != 4)
                || seen.get(TICKET).is_some_and(|ticket| !ticket.is_empty())
            {
                problems.insert(400, true);
            }
            if seen.get(TICKET).is_some_and(<[u8]>::is_empty) {
                problems.insert(405, true);
            }
            return Self { families, even: false, reserve: false, token: None, tcp, problems };
        }
        let even = seen.get(EVEN_PORT);
        let reserve = matches!(even, Some([flags]) if flags & 0x80 != 0);
        let token = seen.get(RESERVATION);
        let additional = seen.get(ADDITIONAL_FAMILY).or_else(|| seen.get(DRAFT_ADDITIONAL_FAMILY));
        if additional.is_some() {
            families = vec![false, true];
        }
        let malformed = even.is_some_and(|value| value.len() != 1)
            || seen.get(LIFETIME).is_some_and(|value| value.len() != 4)
            || token.is_some_and(|value| value.len() != 8)
            || token.is_some() && (even.is_some() || seen.get(FAMILY).is_some() || additional.is_some())
            || additional.is_some() && (reserve || seen.get(FAMILY).is_some())
            || additional.is_some_and(|value| !matches!(value, [2, _, _, _]));
        if malformed {
            problems.insert(400, true);
        }
        if let Some(ticket) = seen.get(TICKET) {
            match ticket.is_empty() {
                true => problems.insert(405, !config.mobility),
                false => problems.insert(400, true),
            };
        }
        Self { families, even: even.is_some(), reserve, token, tcp, problems }
    }
}

/// Whether a packet has come as far as to be weighed: who has no more to say than that it may not pass, was not asked to pay.
fn may_be_tolled(passes: Option<bool>, dropped: Option<DropReason>) -> bool {
    match dropped {
        None | Some(DropReason::Rate | DropReason::Budget) => passes != Some(false),
        Some(_) => passes == Some(true),
    }
}

fn is_tunnel(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if matches!(v6.segments(), [0x2001, 0, ..] | [0x2002, ..]))
}

fn method_name(method: u16) -> &'static str {
    match method {
        1 => "Binding",
        3 => "Allocate",
        4 => "Refresh",
        8 => "CreatePermission",
        9 => "ChannelBind",
        10 => "Connect",
        11 => "ConnectionBind",
        _ => "another method",
    }
}
