//! The oracle: a small model of what RFC 8489, RFC 8656 and the safety rules of this server allow, fed with all that
//! crosses the server's border. It knows nothing of the server's inside, and says which rule is broken first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use relais::turn::{ClientRoute, Counters, DropReason, Traffic, Transport};

use super::Micros;
use super::cluster::Pool;
use super::config::Config;
use super::judge::{self, Holder, Login, Nonce, Reach};
use super::reading::{Seen, read, word};
use super::world::*;

const SECOND: Micros = 1_000_000;
/// RFC 8656 §9 and §12.
const PERMISSION: Micros = 300 * SECOND;
const CHANNEL: Micros = 600 * SECOND;
/// What a prefix gets beyond what it pays for, and back in five minutes (docs/architecture.md).
const BURST: f64 = 28_672.0;
const LOGINS: f64 = 100.0;

/// What the server did with what a client sent.
#[derive(Clone, Debug)]
pub enum Said {
    Dropped(DropReason),
    Consumed,
    Answer { to: ClientRoute, bytes: Vec<u8> },
    ToPeer { relayed: Option<SocketAddr>, peer: SocketAddr, bytes: Vec<u8> },
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
    route: ClientRoute,
    worker: usize,
    user: String,
    key: Vec<u8>,
    tid: [u8; 12],
    relayed: SocketAddr,
    expires: Micros,
    permissions: BTreeMap<IpAddr, Micros>,
    channels: BTreeMap<u16, (SocketAddr, Micros)>,
}

impl Allocation {
    fn permits(&self, at: Micros, ip: IpAddr) -> bool {
        self.permissions.get(&ip).is_some_and(|expires| *expires > at)
    }

    fn channel_of(&self, at: Micros, peer: SocketAddr) -> Option<u16> {
        let mut live = self.channels.iter().filter(|(_, channel)| channel.1 > at);
        live.find(|(_, channel)| channel.0 == peer).map(|(number, _)| *number)
    }

    fn live_permissions(&self, at: Micros) -> usize {
        self.permissions.values().filter(|expires| **expires > at).count()
    }

    fn live_channels(&self, at: Micros) -> usize {
        self.channels.values().filter(|channel| channel.1 > at).count()
    }
}

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
    allocations: BTreeMap<Key, Allocation>,
    nonces: BTreeMap<Vec<u8>, (SocketAddr, u16, Micros)>,
    purses: BTreeMap<(usize, IpAddr), Purse>,
    tallies: Vec<Tally>,
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
            nonces: BTreeMap::new(),
            purses: BTreeMap::new(),
            tallies: (0..workers).map(|_| Tally::default()).collect(),
            violation: None,
            seen: BTreeMap::new(),
        }
    }

    pub fn fail(&mut self, rule: &str, text: String) {
        self.violation.get_or_insert(format!("{rule}: {text}"));
    }

    fn count(&mut self, what: &str) {
        if let Some(count) = self.seen.get_mut(what) {
            *count += 1;
        } else {
            self.seen.insert(what.to_owned(), 1);
        }
    }

    fn live(&self, at: Micros, route: &ClientRoute) -> Option<&Allocation> {
        self.allocations.get(&key(route)).filter(|allocation| allocation.expires > at)
    }

    pub fn live_count(&self, at: Micros) -> usize {
        self.allocations.values().filter(|allocation| allocation.expires > at).count()
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
            Said::Consumed => tally.consumed += 1,
            Said::Answer { bytes, .. } => tally.answered[transport as usize].add(bytes.len()),
            Said::ToPeer { bytes, .. } => tally.to_peers[transport as usize].add(bytes.len()),
        }
        if let Said::Dropped(reason) = said {
            self.count(reason.name());
        }
        match bytes.first() {
            Some(0x40..=0x4F) => self.channel_data(at, route, bytes, said, pool),
            Some(0..=3) => match read(bytes) {
                Some(seen) if seen.fingerprint != Some(false) => {
                    self.message(at, unix, worker, route, &seen, said, pool);
                }
                _ => self.silence("form", said),
            },
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
            _ => self.silence("method", said),
        }
    }

    /// What all answers have in common. `None` when there is none.
    fn answer(&mut self, route: ClientRoute, seen: &Seen<'_>, said: &Said) -> Option<Answer> {
        let Said::Answer { to, bytes } = said else { return None };
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
        if left > wire(160) || route.tuple.transport.is_stream() {
            self.fail("silence", format!("{left} bytes are left for {}", route.tuple.client.0));
        }
    }

    fn binding(&mut self, at: Micros, worker: usize, route: ClientRoute, seen: &Seen<'_>, said: &Said) {
        if let Said::Dropped(DropReason::AnswerBudget) = said {
            if judge::unknown(seen) == Some(false) {
                self.fail("silence", "a Binding request is answered".into());
            }
            return self.unpaid(at, worker, route, seen.bytes.len());
        }
        let Some(answer) = self.answer(route, seen, said) else {
            return self.fail("silence", format!("a Binding request met {said:?}"));
        };
        match (answer.code(), judge::unknown(seen)) {
            (420, Some(true) | None) => self.pay(at, worker, route, seen.bytes.len(), &answer),
            (0, Some(false) | None) => {
                let smallest = if route.tuple.client.0.is_ipv4() { 32 } else { 44 };
                let fingerprint = if seen.fingerprint.is_some() { 8 } else { 0 };
                if answer.bytes.len() != smallest + fingerprint || !answer.has(MAPPED) {
                    self.fail("amplification", format!("a Binding success of {} bytes", answer.bytes.len()));
                }
            }
            (code, unknown) => self.fail("order", format!("Binding got {code}, unknown: {unknown:?}")),
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
        let holder = held.filter(|_| !goes_on && seen.method != 3);
        let holder = holder.map(|held| Holder { user: &held.user, key: &held.key });
        let login =
            judge::login(seen, &self.config, unix, nonce, holder.as_ref(), seen.method == 3 || !is_held);
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
                if answer.is_challenge() != (due != 400) {
                    self.fail("order", format!("{due} with or without a challenge: {answer:?}"));
                }
                self.failed(at, worker, &route, &login, proven);
                self.pay(at, worker, route, seen.bytes.len(), &answer);
            }
            Login::Passed { nonce: Nonce::Either, .. } if code == 438 => {
                self.pay(at, worker, route, seen.bytes.len(), &answer);
            }
            Login::Passed { user, key, signs_with, .. } => {
                answer.assert_signed(signs_with, &key);
                self.authenticated(at, worker, route, seen, &answer, (user, key), pool);
            }
        }
    }

    fn failed(&mut self, at: Micros, worker: usize, route: &ClientRoute, login: &Login, proven: usize) {
        if *login == (Login::Refused { code: 401, tried: true }) {
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
        match judge::unknown(seen) {
            Some(true) if code != 420 => {
                return self.fail("order", format!("420 was due, not {code}: {:02x?}", seen.bytes));
            }
            Some(false) if code == 420 => {
                return self.fail("order", format!("420 for nothing: {:02x?}", seen.bytes));
            }
            _ if code == 420 => return,
            _ => {}
        }
        if seen.method == 3 {
            return self.allocate(at, worker, route, seen, answer, who, pool);
        }
        let Some(held) = self.live(at, &route) else {
            if code != 437 {
                self.fail("order", format!("437 was due, not {code}: {:02x?}", seen.bytes));
            }
            return;
        };
        if held.user != who.0 {
            if code != 441 {
                self.fail("order", format!("441 was due, not {code}: {:02x?}", seen.bytes));
            }
            return;
        }
        match seen.method {
            4 => self.refresh(at, route, seen, answer, pool),
            8 => self.create_permission(at, route, seen, code),
            _ => self.channel_bind(at, route, seen, code, pool),
        }
    }

    /// Compares an answer with what could be wrong with a request: nothing, or one of the codes. `None` stands for
    /// what the oracle cannot say.
    fn compare(&mut self, seen: &Seen<'_>, code: u16, problems: &BTreeSet<Option<u16>>) {
        let fits = match code {
            0 => problems.iter().all(Option::is_none),
            _ => problems.contains(&Some(code)) || problems.contains(&None),
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
            if held.tid != seen.tid || held.user != user {
                if code != 437 {
                    self.fail("method", format!("437 was due, not {code}"));
                }
            } else if code != 0 || answer.address(RELAYED) != held.relayed {
                self.fail("method", format!("a retransmitted Allocate got {answer:?}"));
            }
            return;
        }
        let mut problems = BTreeSet::new();
        match seen.get(TRANSPORT) {
            Some([17, _, _, _]) => {}
            Some([_, _, _, _]) => _ = problems.insert(Some(442)),
            _ => _ = problems.insert(Some(400)),
        }
        let v6 = match seen.get(FAMILY) {
            None | Some([1, _, _, _]) => false,
            Some([2, _, _, _]) => true,
            Some([_, _, _, _]) => !problems.insert(Some(440)),
            Some(_) => !problems.insert(Some(400)),
        };
        let even = seen.get(EVEN_PORT);
        match even {
            Some([flags]) if flags & 0x80 != 0 => _ = problems.insert(Some(508)),
            None | Some([_]) => {}
            Some(_) => _ = problems.insert(Some(400)),
        }
        if seen.get(LIFETIME).is_some_and(|value| value.len() != 4) {
            problems.insert(Some(400));
        }
        let client = route.tuple.client.0.ip();
        if self.config.draining || judge::reach(&self.config, client) == Reach::No && is_tunnel(client) {
            problems.insert(Some(403));
        }
        let owner = match user.split_once(':') {
            Some((_, owner)) if !self.config.users.contains_key(&user) && !owner.is_empty() => owner,
            _ => &user,
        };
        if code != 0 && pool.held_by(owner) >= pool.quota {
            problems.insert(Some(486));
        }
        if code != 0 && (pool.failing || pool.free(v6) == 0 || even.is_some() && pool.free_even(v6) == 0) {
            problems.insert(Some(508));
        }
        self.compare(seen, code, &problems);
        if code != 0 {
            return;
        }
        let relayed = answer.address(RELAYED);
        let held = pool.held_by(owner);
        if held > pool.quota {
            self.fail("quota", format!("{owner} has {held} of {}", pool.quota));
        }
        let taken = self.allocations.values().any(|other| other.relayed == relayed && other.expires > at);
        if taken || !pool.is_open(&relayed) {
            self.fail("ports", format!("{relayed} is given again, or not open"));
        }
        if relayed.is_ipv6() != v6 || even.is_some() && relayed.port() % 2 != 0 {
            self.fail("ports", format!("{relayed} is not what was asked for"));
        }
        if !answer.has(MAPPED) {
            self.fail("method", "an Allocate success has no XOR-MAPPED-ADDRESS".into());
        }
        let expires = at + self.lifetime(seen, answer, None) * SECOND;
        let allocation = Allocation {
            route,
            worker,
            user,
            key: secret,
            tid: seen.tid,
            relayed,
            expires,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
        };
        self.allocations.insert(key(&route), allocation);
    }

    /// The lifetime that was given, after comparing it with what was asked for.
    fn lifetime(&mut self, seen: &Seen<'_>, answer: &Answer, zero: Option<u64>) -> u64 {
        let given = u64::from(answer.lifetime());
        let due = match seen.get(LIFETIME).and_then(word) {
            Some(0) if zero.is_some() => 0,
            asked => u64::from(asked.unwrap_or(600)).min(self.config.max_lifetime).max(600),
        };
        if given != due {
            self.fail("lifetime", format!("{given} s, not {due}"));
        }
        given
    }

    fn refresh(&mut self, at: Micros, route: ClientRoute, seen: &Seen<'_>, answer: &Answer, pool: &Pool) {
        let code = answer.code();
        let held = &self.allocations[&key(&route)];
        let relayed = held.relayed;
        let own = if relayed.is_ipv6() { 2 } else { 1 };
        let mut problems = BTreeSet::new();
        match seen.get(FAMILY) {
            Some([number, _, _, _]) if *number != own => _ = problems.insert(Some(443)),
            None | Some([_, _, _, _]) => {}
            Some(_) => _ = problems.insert(Some(400)),
        }
        if seen.get(LIFETIME).is_some_and(|value| value.len() != 4) {
            problems.insert(Some(400));
        }
        self.compare(seen, code, &problems);
        if code != 0 {
            return;
        }
        let lifetime = self.lifetime(seen, answer, Some(0));
        if lifetime == 0 {
            self.allocations.remove(&key(&route));
            // RFC 8656 §8.2: at once.
            if pool.is_open(&relayed) {
                self.fail("ports", format!("{relayed} is open after a Refresh of 0"));
            }
            self.count("deleted");
        } else if let Some(held) = self.allocations.get_mut(&key(&route)) {
            held.expires = at + lifetime * SECOND;
        }
    }

    fn create_permission(&mut self, at: Micros, route: ClientRoute, seen: &Seen<'_>, code: u16) {
        let held = &self.allocations[&key(&route)];
        let peers: Vec<Option<SocketAddr>> = seen.all(PEER).map(|value| seen.address(value)).collect();
        let mut problems = BTreeSet::new();
        if peers.is_empty() || peers.contains(&None) {
            problems.insert(Some(400));
        }
        let ips: BTreeSet<IpAddr> = peers.iter().flatten().map(SocketAddr::ip).collect();
        for ip in &ips {
            if ip.is_ipv6() != held.relayed.is_ipv6() {
                problems.insert(Some(443));
            }
            match judge::reach(&self.config, *ip) {
                Reach::No => _ = problems.insert(Some(403)),
                Reach::Unsure => _ = problems.insert(None),
                Reach::Yes | Reach::ByPort => {}
            }
        }
        let new = ips.iter().filter(|ip| !held.permits(at, **ip)).count();
        if held.live_permissions(at) + new > self.config.permissions {
            problems.insert(Some(508));
        }
        self.compare(seen, code, &problems);
        if code == 0
            && let Some(held) = self.allocations.get_mut(&key(&route))
        {
            held.permissions.extend(ips.into_iter().map(|ip| (ip, at + PERMISSION)));
        }
    }

    fn channel_bind(&mut self, at: Micros, route: ClientRoute, seen: &Seen<'_>, code: u16, pool: &Pool) {
        let held = &self.allocations[&key(&route)];
        let mut problems = BTreeSet::new();
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
                problems.insert(Some(400));
            }
            if peer.is_ipv6() != held.relayed.is_ipv6() {
                problems.insert(Some(443));
            }
            match judge::reach(&self.config, peer.ip()) {
                Reach::No => _ = problems.insert(Some(403)),
                Reach::ByPort if !pool.is_open(&peer) => _ = problems.insert(Some(403)),
                Reach::Unsure => _ = problems.insert(None),
                Reach::Yes | Reach::ByPort => {}
            }
            if bound.is_none() && held.live_channels(at) >= self.config.channels
                || !held.permits(at, peer.ip()) && held.live_permissions(at) >= self.config.permissions
            {
                problems.insert(Some(508));
            }
        } else {
            problems.insert(Some(400));
        }
        self.compare(seen, code, &problems);
        if code == 0
            && let (Some(number), Some(peer), Some(held)) =
                (number, peer, self.allocations.get_mut(&key(&route)))
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
        match judge::unknown(seen) {
            Some(true) => self.silence("unknown attribute", said),
            None if matches!(said, Said::Dropped(_)) => {}
            _ => self.to_peer(at, route, peer, data, said, pool),
        }
    }

    fn channel_data(&mut self, at: Micros, route: ClientRoute, bytes: &[u8], said: &Said, pool: &Pool) {
        let [a, b, c, d, rest @ ..] = bytes else { return self.silence("form", said) };
        let Some(data) = rest.get(..usize::from(u16::from_be_bytes([*c, *d]))) else {
            return self.silence("form", said);
        };
        let number = u16::from_be_bytes([*a, *b]);
        let bound = self.live(at, &route).and_then(|held| held.channels.get(&number));
        match bound.filter(|channel| channel.1 > at).map(|channel| channel.0) {
            Some(peer) => self.to_peer(at, route, peer, data, said, pool),
            None => self.silence("channel", said),
        }
    }

    /// Data that a client wants to be sent to a peer: they pass exactly when all is live.
    fn to_peer(
        &mut self,
        at: Micros,
        route: ClientRoute,
        peer: SocketAddr,
        data: &[u8],
        said: &Said,
        pool: &Pool,
    ) {
        let Some(held) = self.live(at, &route) else { return self.silence("no allocation", said) };
        let due = held.permits(at, peer.ip()) && peer.is_ipv6() == held.relayed.is_ipv6();
        let passes = judge::passes(&self.config, peer, pool.is_open(&peer));
        let relayed = held.relayed;
        match said {
            Said::ToPeer { relayed: from, peer: there, bytes } => {
                if !due || passes == Some(false) {
                    self.fail("permission", format!("{route:?} reached {there}"));
                } else if *from != Some(relayed) || *there != peer || bytes != data {
                    self.fail("data", format!("{said:?} for {data:02x?} from {relayed} to {peer}"));
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
        let mut live = self.allocations.values();
        let held = live.find(|held| held.relayed == relayed && held.expires > at);
        let due = held.filter(|held| {
            held.worker == worker && held.permits(at, peer.ip()) && peer.is_ipv6() == relayed.is_ipv6()
        });
        let passes = judge::passes(&self.config, peer, pool.is_open(&peer));
        let due = due.map(|held| (held.route, held.channel_of(at, peer)));
        let tally = &mut self.tallies[worker];
        tally.from_peers += 1;
        match heard {
            Heard::Dropped(reason) => {
                *tally.drops.entry(reason.name()).or_default() += 1;
                self.count(reason.name());
                if due.is_some() && passes == Some(true) {
                    self.fail("data", format!("{reason:?}, but {peer} may send to {relayed}"));
                }
            }
            Heard::ToClient { route, bytes } => {
                tally.to_clients[route.tuple.transport as usize].add(data.len());
                self.count("to client");
                let Some((client, channel)) = due.filter(|_| passes != Some(false)) else {
                    return self.fail("permission", format!("{peer} reached {route:?} at {relayed}"));
                };
                if *route != client {
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

    // ---- what happens to the server --------------------------------------------------------------------------

    pub fn closed(&mut self, route: ClientRoute, pool: &Pool) {
        let held = self.allocations.get(&key(&route)).filter(|held| held.route.link == route.link);
        let Some(relayed) = held.map(|held| held.relayed) else { return };
        self.allocations.remove(&key(&route));
        if pool.is_open(&relayed) {
            self.fail("ports", format!("{relayed} is open after its client's stream has closed"));
        }
    }

    pub fn reloaded(&mut self, config: Config) {
        self.config = config;
    }

    /// All allocations of a worker have been ended.
    pub fn ended(&mut self, worker: usize) {
        self.allocations.retain(|_, held| held.worker != worker);
    }

    /// A worker has begun anew.
    pub fn restarted(&mut self, worker: usize) {
        self.ended(worker);
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
        self.allocations.retain(|_, held| held.expires > at);
        let mine = self.allocations.values().filter(|held| held.worker == worker);
        let live: BTreeSet<SocketAddr> = mine.map(|held| held.relayed).collect();
        let mut open: BTreeSet<SocketAddr> = BTreeSet::new();
        open.extend(pool.open_addresses().filter(|(_, of)| *of == worker).map(|(address, _)| address));
        if !consistent {
            self.fail("tables", format!("worker {worker}: the tables do not agree with each other"));
        }
        if live != open || allocations != live.len() {
            let text = format!("worker {worker}: live are {live:?}, open {open:?}, counted {allocations}");
            self.fail("ports", text);
        }
        let caps = (self.config.permissions * live.len(), self.config.channels * live.len());
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
        _ => "another method",
    }
}
