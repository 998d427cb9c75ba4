//! The world: an ordered queue of what happens when, the network between all who take part, and the blows of fate.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use relais::auth::Expired;
use relais::turn::{ClientAddress, ClientRoute, ConnectionId, FiveTuple, IcmpError, PeerAddress, Transport};

use super::caller::{Caller, Claim, Deed};
use super::cluster::{Cluster, Output, Sabotage};
use super::config::{Config, LISTEN4, LISTEN6, Redirect, SECURE_PORT};
use super::dice::Dice;
use super::honest::{Act, Honest};
use super::liar::{Capture, Liar, View, corrupt};
use super::nat::{KINDS, Nat};
use super::peer::{MANNERS, Manner, Peer, Sent};
use super::trace::Trace;
use super::world::{Client, Scheme, addr, peer};
use super::{Micros, SECOND};

/// How likely each fault is, in a thousand, and how slow the network.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    loss: u32,
    duplicate: u32,
    late: u32,
    corrupt: u32,
    /// ICMP errors about what peers are sent.
    icmp: u32,
    delay: Micros,
    jitter: Micros,
}

impl Faults {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            loss: dice.pick(&[0, 10, 50, 200, 400]),
            duplicate: dice.pick(&[0, 10, 100, 300]),
            late: dice.pick(&[0, 10, 100]),
            corrupt: dice.pick(&[0, 5, 50, 150]),
            icmp: dice.pick(&[0, 20, 100]),
            delay: dice.pick(&[100, 5_000, 40_000, 300_000]),
            jitter: dice.pick(&[0, 1_000, 30_000, 500_000]),
        }
    }

    const NONE: Self =
        Self { loss: 0, duplicate: 0, late: 0, corrupt: 0, icmp: 0, delay: 20_000, jitter: 5_000 };
}

enum Event {
    /// A datagram is at its destination.
    Arrive(SocketAddr, SocketAddr, Vec<u8>),
    /// A frame of a stream is at the server.
    Up(usize, Vec<u8>),
    /// A frame of a stream is at the client.
    Down(usize, Vec<u8>),
    /// The network says this about a datagram from a relayed address.
    Icmp(SocketAddr, IcmpError),
    /// A peer accepts a connection from a relayed address, or it cannot be made.
    PeerAnswers(ConnectionId, bool),
    /// Both ends of a connection have closed.
    LinkEnds(ConnectionId),
    /// The server notices that the client has closed.
    Fin(usize),
    /// The client notices that the server has closed.
    Gone(usize),
    Wake(usize),
    Liar(usize),
    Peer(usize),
    Caller(usize),
    Timers,
    Fate,
    Heal,
    Deadline,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    Nat(usize),
    Client(usize),
    Peer(usize),
    Liar(usize),
    Caller(usize),
}

/// A stream between a client or liar and the server.
struct Conn {
    host: Host,
    route: ClientRoute,
    client_open: bool,
    server_open: bool,
    up: Micros,
    down: Micros,
    /// What a caller wants to claim by it.
    claim: Option<Box<Claim>>,
}

/// What a run ended with.
pub struct Outcome {
    pub hash: u64,
    pub violation: Option<String>,
    pub seen: BTreeMap<String, u64>,
    pub simulated: Micros,
    pub events: u64,
    pub echoes: u64,
}

pub struct Sim {
    now: Micros,
    serial: u64,
    queue: BTreeMap<(Micros, u64), Event>,
    dice: Dice,
    /// For what credentials carry.
    policy_dice: Dice,
    faults: Faults,
    cluster: Cluster,
    trace: Trace,
    hosts: BTreeMap<IpAddr, Host>,
    behind: BTreeMap<IpAddr, usize>,
    nats: Vec<Nat>,
    clients: Vec<Honest>,
    /// Local socket and stream of each client.
    sockets: Vec<(SocketAddr, Option<usize>)>,
    liars: Vec<Liar>,
    liar_conns: Vec<Option<usize>>,
    peers: Vec<Peer>,
    callers: Vec<Caller>,
    /// Control connection of each caller.
    caller_conns: Vec<usize>,
    /// Addresses that peers may connect to.
    listening: Vec<SocketAddr>,
    /// Where clients send to.
    listeners: Vec<SocketAddr>,
    conns: Vec<Conn>,
    captures: Vec<Capture>,
    relayed: Vec<SocketAddr>,
    users: Vec<String>,
    all_users: BTreeMap<String, String>,
    tick: Micros,
    fate: Micros,
    healed: bool,
    done: bool,
}

/// Private addresses are not repeated between NATs, so that one table finds every host.
fn private(n: usize) -> IpAddr {
    IpAddr::from([192, 168, 7, n as u8])
}

impl Sim {
    pub fn new(seed: u64, sabotage: Sabotage, print: bool) -> Self {
        let mut dice = Dice(seed);
        let long = dice.one_in(6);
        let mut config = Config {
            permissions: dice.pick(&[3, 8, 1024]),
            channels: dice.pick(&[2, 5, 1024]),
            max_lifetime: dice.pick(&[600, 1200, 3600]),
            nonce_lifetime: dice.pick(&[20, 120, 600]),
            quota: dice.pick(&[1, 2, 100]),
            mobility: !dice.one_in(4),
            ports: (49_152, 49_152 + dice.pick(&[3, 15, 255])),
            secrets: if dice.one_in(2) { vec!["north".into()] } else { Vec::new() },
            tcp: dice.one_in(3),
            connections: dice.pick(&[2, 16]),
            discovery: dice.one_in(2),
            redirect: if dice.one_in(3) { Redirect::Draining } else { Redirect::Never },
            expired: dice.pick(&[Expired::Grace, Expired::Refresh, Expired::Cut]),
            ..Config::default()
        };
        let count = dice.between(2, 6) as usize;
        for i in 0..count {
            config.users.insert(format!("user{i}"), format!("word{i}"));
        }
        let all_users = config.users.clone();
        let listeners = config.listeners();
        let workers = dice.pick(&[1, 2, 3]);
        let mut cluster = Cluster::new(config, workers, sabotage, &mut dice);
        cluster.unix_ahead = 0;
        let faults = Faults::draw(&mut dice);
        let mut sim = Self {
            now: 1_000_000,
            serial: 0,
            queue: BTreeMap::new(),
            faults,
            cluster,
            trace: Trace::new(print),
            hosts: BTreeMap::new(),
            behind: BTreeMap::new(),
            nats: Vec::new(),
            clients: Vec::new(),
            sockets: Vec::new(),
            liars: Vec::new(),
            liar_conns: Vec::new(),
            peers: Vec::new(),
            callers: Vec::new(),
            caller_conns: Vec::new(),
            listening: Vec::new(),
            listeners,
            conns: Vec::new(),
            captures: Vec::new(),
            relayed: Vec::new(),
            users: (0..count).map(|i| format!("user{i}")).collect(),
            all_users,
            tick: if long {
                dice.between(2, 40) * SECOND
            } else {
                dice.pick(&[SECOND / 4, SECOND, 7 * SECOND])
            },
            fate: if long { 300 * SECOND } else { dice.pick(&[3, 10, 30]) * SECOND },
            healed: false,
            done: false,
            dice,
            policy_dice: Dice(!seed),
        };
        sim.people(count, long);
        let active = if long { sim.dice.between(3600, 4 * 3600) } else { sim.dice.between(40, 150) } * SECOND;
        sim.at(active, Event::Heal);
        sim.at(sim.tick, Event::Timers);
        sim.at(sim.fate, Event::Fate);
        sim
    }

    fn people(&mut self, count: usize, long: bool) {
        for i in 0..self.dice.between(1, 3) as usize {
            let public = IpAddr::from([9, 9, i as u8, 1]);
            let kind = self.dice.pick(&KINDS);
            let idle = self.dice.pick(&[45, 120, 600]) * SECOND;
            let hairpin = self.dice.one_in(2);
            self.nats.push(Nat::new(kind, public, hairpin, idle));
            self.hosts.insert(public, Host::Nat(i));
        }
        // One peer of each manner and family, the first of them echoing.
        for (i, manner) in MANNERS.into_iter().enumerate() {
            let v4 = match manner {
                Manner::Hello => {
                    let inside = private(200 + i);
                    self.behind.insert(inside, self.dice.below(self.nats.len()));
                    inside
                }
                _ => IpAddr::from([8, 8, 0, i as u8]),
            };
            let v6 = IpAddr::from([0x2a01, 0x4f8, 0, 0, 0, 0, 0, i as u16 + 1]);
            for ip in [v4, v6] {
                let host = Host::Peer(self.peers.len());
                self.hosts.insert(ip, host);
                self.peers.push(Peer::new(manner, SocketAddr::new(ip, 5000), &mut self.dice));
            }
        }
        for i in 0..count {
            self.add_client(i, long);
        }
        for i in 0..self.dice.below(4) {
            let v6 = self.dice.one_in(4);
            let (socket, server) = match v6 {
                true => {
                    (SocketAddr::new(IpAddr::from([0x2a00, 7, 0, 0, 0, 0, 0, i as u16]), 666), addr(LISTEN6))
                }
                false => (SocketAddr::new(IpAddr::from([7, 7, 7, i as u8]), 666), addr(LISTEN4)),
            };
            let server = self.perhaps_secure(server);
            let stream = self.dice.one_in(3);
            let burst = if self.dice.one_in(8) { 300 } else { 5 };
            let burst = if long { 5 } else { burst };
            let host = Host::Liar(i);
            self.hosts.insert(socket.ip(), host);
            self.liars.push(Liar::new(socket, server, stream, burst, &mut self.dice));
            let conn = stream.then(|| self.connect(host, socket, server));
            self.liar_conns.push(conn);
            self.at(self.dice.clone().between(1, SECOND), Event::Liar(i));
        }
        let callers = if self.cluster.config.tcp { self.dice.between(1, 3) } else { 0 };
        for i in 0..callers as usize {
            self.add_caller(i, count);
        }
        for i in 0..self.peers.len() {
            let pause = self.dice.between(1, 5 * SECOND);
            self.at(pause, Event::Peer(i));
        }
    }

    /// The same listener, or the one for TLS and DTLS beside it.
    fn perhaps_secure(&mut self, mut server: SocketAddr) -> SocketAddr {
        if self.dice.one_in(3) {
            server.set_port(SECURE_PORT);
        }
        server
    }

    fn add_caller(&mut self, i: usize, count: usize) {
        let user = self.dice.below(count);
        let mut kit = Client::new(&format!("user{user}"), &format!("word{user}"));
        if let (Some(secret), true) =
            (self.cluster.config.secrets.first().cloned(), self.policy_dice.one_in(2))
        {
            kit.user = format!("{}:user{user}{}", self.cluster.unix(self.now) + 86_400, self.policy());
            kit.password = super::world::rest_password(&secret, &kit.user);
        }
        let v6 = self.dice.one_in(4);
        let mut peers: Vec<SocketAddr> = (0..3).map(|n| self.peers[2 * n + usize::from(v6)].socket).collect();
        peers.push(addr(if v6 { "[2a01:4f8:9::1]:80" } else { "8.8.9.9:80" }));
        let host = Host::Caller(i);
        let socket = SocketAddr::new(IpAddr::from([7, 7, 8, i as u8]), 20_000);
        self.hosts.insert(socket.ip(), host);
        self.callers.push(Caller::new(kit, v6, peers, &mut self.dice));
        let server = self.perhaps_secure(addr(LISTEN4));
        let conn = self.connect(host, socket, server);
        self.caller_conns.push(conn);
        let pause = self.dice.between(1, SECOND);
        self.at(pause, Event::Caller(i));
    }

    fn add_client(&mut self, i: usize, long: bool) {
        let v6_client = self.dice.one_in(4);
        let v6_relay = self.dice.one_in(3);
        let ip = if v6_client {
            IpAddr::from([0x2a00, 1, 0, 0, 0, 0, 0, i as u16])
        } else if self.dice.one_in(4) {
            IpAddr::from([9, 8, 0, i as u8])
        } else {
            let inside = private(i);
            let nat = self.dice.below(self.nats.len());
            self.behind.insert(inside, nat);
            inside
        };
        let stream = self.dice.one_in(4);
        let mut kit = Client::new(&format!("user{i}"), &format!("word{i}"));
        kit.scheme = self.dice.pick(&[Scheme::Old, Scheme::Md5, Scheme::Sha256]);
        kit.by_hash = self.dice.one_in(4);
        kit.fingerprint = self.dice.one_in(3);
        let server = self.perhaps_secure(addr(if v6_client { LISTEN6 } else { LISTEN4 }));
        kit.route.tuple.server = server;
        if let (Some(secret), true) = (self.cluster.config.secrets.first().cloned(), self.dice.one_in(2)) {
            let life = self.dice.pick(&[86_400, 86_400, 400, 90]);
            let name = format!("{}:user{i}{}", self.cluster.unix(self.now) + life, self.policy());
            kit.password = super::world::rest_password(&secret, &name);
            (kit.user, kit.by_hash) = (name, false);
        }
        let period = match long {
            true => self.dice.between(15, 60) * SECOND,
            false => self.dice.between(200, 3000) * 1000,
        };
        let mut client = Honest::new(kit, stream, v6_relay, period, &mut self.dice);
        let offset = usize::from(v6_relay);
        client.peers.push(self.peers[offset].socket);
        if client.dual {
            client.peers.push(self.peers[1].socket);
        }
        for _ in 0..self.dice.below(3) {
            let at = 2 * self.dice.below(MANNERS.len()) + offset;
            let socket = self.peers[at].socket;
            let seen = match self.behind.get(&socket.ip()) {
                // Behind a NAT only the address is known before it says hello.
                Some(nat) => SocketAddr::new(self.nats[*nat].public, 9),
                None => socket,
            };
            client.peers.push(seen);
        }
        let socket = SocketAddr::new(ip, 30_000);
        let host = Host::Client(i);
        self.hosts.insert(ip, host);
        self.clients.push(client);
        let conn = stream.then(|| self.connect(host, socket, server));
        self.sockets.push((socket, conn));
        self.clients[i].wake = self.now + 1;
        self.at(1, Event::Wake(i));
    }

    fn at(&mut self, pause: Micros, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now + pause, self.serial), event);
    }

    // ---- the network -----------------------------------------------------------------------------------------

    fn connect(&mut self, host: Host, from: SocketAddr, server: SocketAddr) -> usize {
        let outside = match self.behind.get(&from.ip()) {
            Some(nat) => self.nats[*nat].outbound(self.now, from, server),
            None => from,
        };
        let transport = if server.port() == SECURE_PORT { Transport::Tls } else { Transport::Tcp };
        let tuple = FiveTuple { client: ClientAddress(outside), server, transport };
        let link = self.conns.len() as u32 + 1;
        let (route, now) = (ClientRoute { tuple, link }, self.now);
        let (up, down) = (now, now);
        self.conns.push(Conn { host, route, client_open: true, server_open: true, up, down, claim: None });
        self.conns.len() - 1
    }

    /// A stream keeps its order and loses nothing.
    fn up(&mut self, conn: usize, event: Event) {
        let pause = self.faults.delay + self.dice.between(0, self.faults.jitter);
        self.conns[conn].up = (self.now + pause).max(self.conns[conn].up + 1);
        self.at(self.conns[conn].up - self.now, event);
    }

    fn down(&mut self, conn: usize, event: Event) {
        let pause = self.faults.delay + self.dice.between(0, self.faults.jitter);
        self.conns[conn].down = (self.now + pause).max(self.conns[conn].down + 1);
        self.at(self.conns[conn].down - self.now, event);
    }

    /// A datagram on its way: lost, doubled, late, damaged, or as it was.
    fn carry(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let faults = self.faults;
        if self.cluster.pool.is_live(&from) && self.dice.in_thousand(faults.icmp) {
            let error = self.icmp(to);
            self.at(faults.delay, Event::Icmp(from, error));
        }
        if self.dice.in_thousand(faults.loss) {
            return;
        }
        let copies = if self.dice.in_thousand(faults.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let mut bytes = bytes.clone();
            if self.dice.in_thousand(faults.corrupt) {
                corrupt(&mut self.dice, &mut bytes);
            }
            let mut pause = faults.delay + self.dice.between(0, faults.jitter);
            if self.dice.in_thousand(faults.late) {
                pause += self.dice.between(0, 10 * SECOND);
            }
            self.at(pause, Event::Arrive(from, to, bytes));
        }
    }

    /// An ICMP error about a peer, of a type that clients are told or of another one.
    fn icmp(&mut self, peer: SocketAddr) -> IcmpError {
        let kinds = if peer.is_ipv4() { [3, 3, 11, 4, 5, 8] } else { [1, 2, 3, 4, 128, 137] };
        let (kind, code) = (self.dice.pick(&kinds), self.dice.below(6) as u8);
        IcmpError { peer: PeerAddress(peer), kind, code, info: self.dice.next() as u32 }
    }

    /// A router, or somebody who says to be one, makes an error up: about peers of the client, and about others.
    fn forge_icmp(&mut self) {
        if self.relayed.is_empty() {
            return;
        }
        let there = self.dice.pick(&self.relayed);
        let peer = match self.dice.below(4) {
            0 => addr("10.0.0.1:80"),
            1 => self.dice.pick(&self.relayed),
            2 => peer(self.dice.below(400) as u16),
            _ => self.peers[self.dice.below(self.peers.len())].socket,
        };
        let error = self.icmp(peer);
        self.at(100, Event::Icmp(there, error));
    }

    /// A datagram leaves a host.
    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let Some(at) = self.behind.get(&from.ip()).copied() else { return self.carry(from, to, bytes) };
        let nat = &mut self.nats[at];
        let outside = nat.outbound(self.now, from, to);
        if to.ip() != nat.public {
            return self.carry(outside, to, bytes);
        }
        if nat.hairpin
            && let Some(inside) = nat.inbound(self.now, outside, to.port())
        {
            self.at(100, Event::Arrive(outside, inside, bytes));
        }
    }

    fn put(&mut self, output: Output) {
        match output {
            Output::Nothing => {}
            Output::Connect { id, relayed, peer } => self.connect_peer(id, relayed, peer),
            Output::Bound { route, id, bytes } => {
                self.trace.note(self.now, format_args!("= {} {id:?}", route.tuple.client.0), &bytes);
                // From now on nothing of it passes the core.
                let conn = route.link as usize - 1;
                self.conns[conn].server_open = false;
                self.ends_after_a_while(id);
                self.at(20 * SECOND, Event::Gone(conn));
            }
            Output::ToClient { route, bytes } => {
                self.trace.note(self.now, format_args!("> {}", route.tuple.client.0), &bytes);
                if route.link == u32::MAX {
                    // The stream has closed.
                } else if route.link > 0 {
                    let conn = route.link as usize - 1;
                    if self.conns[conn].server_open {
                        self.down(conn, Event::Down(conn, bytes));
                    }
                } else {
                    self.carry(route.tuple.server, route.tuple.client.0, bytes);
                }
            }
            Output::ToPeer { relayed, peer, bytes } => {
                self.trace.note(self.now, format_args!("{relayed} > {peer}"), &bytes);
                self.carry(relayed, peer, bytes);
            }
        }
    }

    /// A connection from a relayed address is on its way to a peer.
    fn connect_peer(&mut self, id: ConnectionId, relayed: SocketAddr, peer: SocketAddr) {
        self.trace.note(self.now, format_args!("{relayed} -> {peer} {id:?}"), &[]);
        if self.cluster.pool.is_listening(&peer) {
            let accepted = self.peer_connects(peer, relayed);
            return self.at(100, Event::PeerAnswers(id, accepted));
        }
        let answers = self.hosts.contains_key(&peer.ip()) && !self.dice.one_in(6);
        let pause =
            if answers || self.dice.one_in(2) { self.dice.between(100, 3 * SECOND) } else { 30 * SECOND };
        self.at(pause, Event::PeerAnswers(id, answers));
    }

    fn peer_connects(&mut self, relayed: SocketAddr, peer: SocketAddr) -> bool {
        let (id, output) = self.cluster.peer_connects(self.now, relayed, peer);
        self.trace.note(self.now, format_args!("{relayed} <- {peer} {id:?}"), &[]);
        self.put(output);
        if let Some(id) = id {
            self.ends_after_a_while(id);
        }
        id.is_some()
    }

    fn ends_after_a_while(&mut self, id: ConnectionId) {
        let most = self.dice.pick(&[5, 50, 500]);
        let pause = self.dice.between(1, most * SECOND);
        self.at(pause, Event::LinkEnds(id));
    }

    fn caller_does(&mut self, i: usize, conn: usize, deed: Deed) {
        match deed {
            Deed::Say(bytes) => self.up(conn, Event::Up(conn, bytes)),
            Deed::Restart => {
                let control = self.caller_conns[i];
                if std::mem::take(&mut self.conns[control].client_open) {
                    self.up(control, Event::Fin(control));
                }
                self.caller_begins(i);
            }
            Deed::Open(claim, bytes) => {
                let next = self.caller_connects(i);
                self.conns[next].claim = Some(claim);
                self.up(next, Event::Up(next, bytes));
            }
            Deed::Tell(relayed) => {
                if self.listening.len() == 8 {
                    self.listening.remove(0);
                }
                self.listening.push(relayed);
                self.relayed.push(relayed);
            }
        }
    }

    fn caller_begins(&mut self, i: usize) {
        self.callers[i].begin();
        self.caller_conns[i] = self.caller_connects(i);
    }

    fn caller_connects(&mut self, i: usize) -> usize {
        let (control, serial) = (self.caller_conns[i], self.conns.len());
        let tuple = self.conns[control].route.tuple;
        let port = 20_000 + (serial % 20_000) as u16;
        self.connect(Host::Caller(i), SocketAddr::new(tuple.client.0.ip(), port), tuple.server)
    }

    fn caller_hears(&mut self, i: usize, conn: usize, bytes: &[u8]) {
        if self.caller_conns[i] == conn {
            for deed in self.callers[i].hear(bytes) {
                self.caller_does(i, conn, deed);
            }
        } else if let Some(mut claim) = self.conns[conn].claim.take() {
            let next = self.callers[i].hear_claim(&mut claim, bytes);
            self.conns[conn].claim = Some(claim);
            match next {
                Some(bytes) => self.up(conn, Event::Up(conn, bytes)),
                None => self.up(conn, Event::Fin(conn)),
            }
        }
    }

    fn arrive(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if self.listeners.contains(&to) {
            let transport = if to.port() == SECURE_PORT { Transport::Dtls } else { Transport::Udp };
            let tuple = FiveTuple { client: ClientAddress(from), server: to, transport };
            self.trace.note(self.now, format_args!("< {from}"), bytes);
            let output = self.cluster.hear_client(self.now, ClientRoute { tuple, link: 0 }, bytes);
            return self.put(output);
        }
        if [addr(LISTEN4).ip(), addr(LISTEN6).ip()].contains(&to.ip()) {
            self.trace.note(self.now, format_args!("{to} < {from}"), bytes);
            let output = self.cluster.hear_peer(self.now, to, from, bytes);
            return self.put(output);
        }
        let inside = match self.hosts.get(&to.ip()) {
            Some(Host::Nat(nat)) => self.nats[*nat].inbound(self.now, from, to.port()),
            _ => Some(to),
        };
        let Some(inside) = inside else { return };
        match self.hosts.get(&inside.ip()).copied() {
            Some(Host::Client(i)) if self.sockets[i] == (inside, None) => self.client_hears(i, bytes),
            Some(Host::Peer(i)) => {
                let sent = self.peers[i].hear(from, bytes);
                self.send_all(sent);
            }
            Some(Host::Liar(i)) => self.liars[i].hear(bytes),
            _ => {}
        }
    }

    fn send_all(&mut self, sent: Vec<Sent>) {
        for (from, to, bytes) in sent {
            self.send(from, to, bytes);
        }
    }

    // ---- clients ---------------------------------------------------------------------------------------------

    fn client_hears(&mut self, i: usize, bytes: &[u8]) {
        let acts = self.clients[i].hear(self.now, bytes);
        self.carry_out(i, acts);
        let acts = self.clients[i].act(self.now);
        self.carry_out(i, acts);
        self.at(self.clients[i].wake - self.now, Event::Wake(i));
    }

    fn carry_out(&mut self, i: usize, acts: Vec<Act>) {
        for act in acts {
            let (socket, conn) = self.sockets[i];
            let server = self.clients[i].kit.route.tuple.server;
            match act {
                Act::Send(bytes) => match conn {
                    Some(conn) => self.up(conn, Event::Up(conn, bytes)),
                    None => self.client_sends(socket, server, bytes),
                },
                Act::Reconnect => self.reconnect(i, server),
                Act::Tell(relayed) => self.tell(i, relayed),
                Act::Move => self.move_on(i, server),
                Act::Pass(token) => self.pass(i, token),
                Act::Renew => self.renew(i),
            }
        }
    }

    fn client_sends(&mut self, from: SocketAddr, server: SocketAddr, bytes: Vec<u8>) {
        let outside = match self.behind.get(&from.ip()) {
            Some(nat) => self.nats[*nat].outbound(self.now, from, server),
            None => from,
        };
        if self.captures.len() == 64 {
            self.captures.remove(0);
        }
        self.captures.push(Capture { from: outside, to: server, bytes: bytes.clone() });
        self.carry(outside, server, bytes);
    }

    fn reconnect(&mut self, i: usize, server: SocketAddr) {
        let (socket, conn) = self.sockets[i];
        let Some(conn) = conn else {
            let port = if socket.port() >= 31_000 { 30_000 } else { socket.port() + 1 };
            self.sockets[i].0.set_port(port);
            return;
        };
        if std::mem::take(&mut self.conns[conn].client_open) {
            self.up(conn, Event::Fin(conn));
        }
        let mut next = socket;
        // Sometimes the same 5-tuple again, perhaps before the server has noticed.
        if !self.dice.one_in(4) {
            next.set_port(if socket.port() >= 31_000 { 30_000 } else { socket.port() + 1 });
        }
        let conn = self.connect(Host::Client(i), next, server);
        self.sockets[i] = (next, Some(conn));
    }

    /// Begins on another port; a stream left behind closes some time later, if at all.
    fn move_on(&mut self, i: usize, server: SocketAddr) {
        let (mut socket, old) = self.sockets[i];
        socket.set_port(if socket.port() >= 31_000 { 30_000 } else { socket.port() + 1 });
        let conn = old.map(|_| self.connect(Host::Client(i), socket, server));
        self.sockets[i] = (socket, conn);
        if let Some(old) = old {
            self.conns[old].client_open = false;
            let pause = self.dice.between(0, 4 * SECOND);
            self.at(pause, Event::Fin(old));
        }
    }

    /// Tells the peers of a client, and sometimes another client, of its relayed address.
    fn tell(&mut self, i: usize, relayed: SocketAddr) {
        for peer in &mut self.peers {
            if peer.socket.is_ipv6() == relayed.is_ipv6() {
                peer.relayed.insert(relayed);
                if peer.relayed.len() > 8 {
                    peer.relayed.pop_first();
                }
            }
        }
        if self.relayed.len() == 16 {
            self.relayed.remove(0);
        }
        self.relayed.push(relayed);
        let partner = i ^ 1;
        let own = self.clients[i].peers[0].is_ipv6();
        if let Some(partner) = self.clients.get_mut(partner)
            && partner.peers[0].is_ipv6() == own
            && !self.healed
        {
            partner.peers.retain(|peer| ![addr(LISTEN4).ip(), addr(LISTEN6).ip()].contains(&peer.ip()));
            if partner.peers.len() < 4 {
                partner.peers.push(relayed);
            }
        }
    }

    /// A reservation is for whoever has its token: on another 5-tuple, and perhaps another worker.
    fn pass(&mut self, i: usize, token: Vec<u8>) {
        let own = self.clients[i].v6;
        if let Some(partner) = self.clients.get_mut(i ^ 1)
            && partner.v6 == own
            && !partner.dual
        {
            partner.token = Some(token.clone());
        }
        if let (Some(liar), true) = (self.liars.first_mut(), self.dice.one_in(2)) {
            liar.token = token;
        }
    }

    /// What a new credential carries: nothing, when all are to get what they want.
    fn policy(&mut self) -> String {
        if self.healed || self.policy_dice.one_in(3) {
            return String::new();
        }
        let mut fields = vec!["tag=sim".to_owned()];
        if self.policy_dice.one_in(2) {
            fields.push(format!("rate={}", self.policy_dice.pick(&[2000, 2000, 8000, 1_000_000])));
        }
        if self.policy_dice.one_in(2) {
            fields.push(format!("bytes={}", self.policy_dice.pick(&[900, 4000, 20_000, 1_000_000])));
        }
        if self.policy_dice.one_in(3) {
            fields.push(format!("allocations={}", self.policy_dice.pick(&[1, 2])));
        }
        if self.policy_dice.one_in(3) {
            // The one that echoes is among them.
            fields.push(format!(
                "peers={}",
                self.policy_dice.pick(&["8.8.0.0/32,2a01:4f8::/126", "8.8.0.0/15,2a01:4f8::/32"])
            ));
        }
        format!("?policy&{}", fields.join("&"))
    }

    fn renew(&mut self, i: usize) {
        let unix = self.cluster.unix(self.now);
        let secret = self.cluster.config.secrets.last().cloned();
        let policy = self.policy();
        let kit = &mut self.clients[i].kit;
        if kit.user.contains(':')
            && let Some(secret) = secret
        {
            kit.user = format!("{}:user{i}{policy}", unix + 86_400);
            kit.password = super::world::rest_password(&secret, &kit.user);
        }
    }

    // ---- fate ------------------------------------------------------------------------------------------------

    fn fate(&mut self) {
        let now = self.now;
        let which = self.dice.below(18);
        self.trace.note(now, format_args!("fate {which}"), &[]);
        // Servers are not out of the way for long.
        if self.cluster.config.redirect == Redirect::Always {
            self.cluster.reload(|config| config.redirect = Redirect::Never);
        }
        match which {
            0 | 1 => {
                let user = self.dice.pick(&[0, 1]);
                let name = format!("user{user}");
                self.cluster.reload(|config| _ = config.users.remove(&name));
            }
            2 => {
                let users = self.all_users.clone();
                self.cluster.reload(|config| config.users = users);
            }
            3 => self.cluster.reload(|config| {
                if config.secrets.len() == 1 {
                    config.secrets.push("south".into());
                } else if config.secrets.len() == 2 {
                    config.secrets.remove(0);
                }
            }),
            4 => {
                let range = self.dice.pick(&["8.8.0.0", "9.9.0.0", "8.8.0.2"]);
                let deny = (range.parse().unwrap(), if range == "8.8.0.2" { 32 } else { 16 });
                self.cluster.reload(|config| config.deny.push(deny));
            }
            5 => self.cluster.reload(|config| config.deny.clear()),
            6 => {
                let quota = self.dice.pick(&[0, 1, 2, 100]);
                self.cluster.reload(|config| config.quota = quota);
            }
            7 => self.cluster.pool.failing = !self.cluster.pool.failing,
            8 if self.dice.one_in(3) => self.cluster.reload(|config| config.draining = true),
            9 => {
                let worker = self.dice.below(self.cluster.worker_count());
                self.restart(worker);
            }
            10 => {
                let jump = self.dice.pick(&[-86_400, -700, -3, 3, 700, 86_400]);
                self.cluster.unix_ahead += jump;
            }
            11 | 12 => {
                let nat = self.dice.below(self.nats.len());
                self.nats[nat].rebind();
            }
            13 => {
                let open = (0..self.conns.len()).filter(|conn| self.conns[*conn].server_open);
                let open: Vec<usize> = open.collect();
                if !open.is_empty() {
                    let conn = self.dice.pick(&open);
                    self.server_closes(conn);
                }
            }
            16 => {
                let redirect = match self.cluster.config.redirect {
                    Redirect::Never if self.dice.one_in(3) => Redirect::Draining,
                    _ => Redirect::Always,
                };
                self.cluster.reload(|config| config.redirect = redirect);
            }
            17 => {
                let expired = self.dice.pick(&[Expired::Grace, Expired::Refresh, Expired::Cut]);
                self.cluster.reload(|config| config.expired = expired);
            }
            14 => self.faults = Faults::draw(&mut self.dice),
            _ => {
                let i = self.dice.below(self.clients.len());
                self.reconnect(i, self.clients[i].kit.route.tuple.server);
            }
        }
    }

    fn server_closes(&mut self, conn: usize) {
        self.conns[conn].server_open = false;
        self.cluster.closed(self.now, self.conns[conn].route);
        self.down(conn, Event::Gone(conn));
    }

    fn restart(&mut self, worker: usize) {
        self.cluster.restart(worker);
        for conn in 0..self.conns.len() {
            if self.conns[conn].server_open && self.cluster.worker_of(&self.conns[conn].route.tuple) == worker
            {
                self.conns[conn].server_open = false;
                self.down(conn, Event::Gone(conn));
            }
        }
    }

    /// From now on nothing fails any more.
    fn heal(&mut self) {
        self.healed = true;
        self.faults = Faults::NONE;
        self.cluster.pool.failing = false;
        let users = self.all_users.clone();
        let drained = self.cluster.config.draining;
        self.cluster.reload(|config| {
            config.users = users;
            config.deny.clear();
            config.quota = 100;
            config.draining = false;
            config.redirect = Redirect::Never;
        });
        // Ports are few; those who have no goal leave them to those who have.
        for control in self.caller_conns.clone() {
            self.conns[control].client_open = false;
            self.up(control, Event::Fin(control));
        }
        if drained {
            for worker in 0..self.cluster.worker_count() {
                self.restart(worker);
            }
        }
        for client in &mut self.clients {
            client.heal();
        }
        self.at(1200 * SECOND, Event::Deadline);
    }

    // ---- the loop --------------------------------------------------------------------------------------------

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive(from, to, bytes) => self.arrive(from, to, &bytes),
            Event::Up(conn, bytes) => {
                if self.conns[conn].server_open {
                    let route = self.conns[conn].route;
                    self.trace.note(
                        self.now,
                        format_args!("< {} #{}", route.tuple.client.0, route.link),
                        &bytes,
                    );
                    let output = self.cluster.hear_client(self.now, route, &bytes);
                    self.put(output);
                }
            }
            Event::Down(conn, bytes) => match self.conns[conn].host {
                Host::Client(i) if self.sockets[i].1 == Some(conn) => self.client_hears(i, &bytes),
                Host::Liar(i) => self.liars[i].hear(&bytes),
                Host::Caller(i) => self.caller_hears(i, conn, &bytes),
                _ => {}
            },
            Event::Icmp(relayed, error) => {
                self.trace.note(self.now, format_args!("{relayed} ! {error:?}"), &[]);
                let output = self.cluster.hear_icmp(self.now, relayed, error);
                self.put(output);
            }
            Event::PeerAnswers(id, accepts) => {
                let output = self.cluster.peer_answers(self.now, id, accepts);
                self.put(output);
                if accepts {
                    self.ends_after_a_while(id);
                }
            }
            Event::LinkEnds(id) => self.cluster.disconnected(self.now, id),
            Event::Caller(_) if self.healed => {}
            Event::Caller(i) => {
                let deed = self.callers[i].turn();
                self.caller_does(i, self.caller_conns[i], deed);
                let pause = self.dice.between(100_000, 3 * SECOND).max(self.tick / 2);
                self.at(pause, Event::Caller(i));
            }
            Event::Fin(conn) => {
                if std::mem::take(&mut self.conns[conn].server_open) {
                    self.cluster.closed(self.now, self.conns[conn].route);
                }
            }
            Event::Gone(conn) => self.gone(conn),
            Event::Wake(i) => {
                if self.clients[i].wake <= self.now {
                    let acts = self.clients[i].act(self.now);
                    self.carry_out(i, acts);
                    self.at(self.clients[i].wake - self.now, Event::Wake(i));
                }
            }
            Event::Liar(i) => self.liar_turn(i),
            Event::Peer(i) => {
                let sent = self.peers[i].turn();
                self.send_all(sent);
                if self.dice.one_in(6) {
                    self.forge_icmp();
                }
                if !self.listening.is_empty() && !self.healed {
                    let there = self.dice.pick(&self.listening);
                    let mut from = self.peers[i].socket;
                    from.set_port(5000 + self.dice.below(4) as u16);
                    self.peer_connects(there, from);
                }
                let pause = self.dice.between(SECOND, 4 * SECOND).max(self.tick);
                self.at(pause, Event::Peer(i));
            }
            Event::Timers => {
                self.cluster.timers(self.now);
                self.at(self.tick, Event::Timers);
                self.done = self.healed && self.clients.iter().all(Honest::is_done);
            }
            Event::Fate if self.healed => {}
            Event::Fate => {
                self.fate();
                let pause = self.dice.between(1, 2 * self.fate);
                self.at(pause, Event::Fate);
            }
            Event::Heal => self.heal(),
            Event::Deadline => {
                let late: Vec<String> = self
                    .clients
                    .iter()
                    .filter(|client| !client.is_done())
                    .map(|client| format!("{}: {:?}", client.kit.user, client.goal))
                    .collect();
                self.cluster.oracle.fail("liveness", format!("{late:?} for 20 minutes of a whole network"));
            }
        }
    }

    fn gone(&mut self, conn: usize) {
        if !std::mem::take(&mut self.conns[conn].client_open) {
            return;
        }
        match self.conns[conn].host {
            Host::Client(i) if self.sockets[i].1 == Some(conn) => {
                let mut acts = Vec::new();
                self.clients[i].lost_stream(self.now, &mut acts);
                self.carry_out(i, acts);
                self.clients[i].wake = self.now;
                self.at(1, Event::Wake(i));
            }
            Host::Liar(i) => {
                let (socket, server) = (self.liars[i].socket, self.liars[i].server);
                self.liar_conns[i] = Some(self.connect(Host::Liar(i), socket, server));
            }
            Host::Caller(i) if self.caller_conns[i] == conn => self.caller_begins(i),
            _ => {}
        }
    }

    fn liar_turn(&mut self, i: usize) {
        let view = View {
            captures: &self.captures,
            relayed: &self.relayed,
            users: &self.users,
            listeners: &self.listeners,
            newest: self.cluster.pool.links.newest(),
            may_spoof: !self.healed,
        };
        let sent = self.liars[i].turn(&view);
        for capture in sent {
            match self.liar_conns[i] {
                // The frames of a stream end where they say; others close it, which is not for the core to do.
                Some(conn) => self.up(conn, Event::Up(conn, capture.bytes)),
                None => self.carry(capture.from, capture.to, capture.bytes),
            }
        }
        let pause = self.dice.between(50_000, 1_200_000);
        let pause = if self.healed || self.tick > 8 * SECOND { 20 * pause } else { pause };
        self.at(pause, Event::Liar(i));
    }

    /// Runs until all honest clients have got what they wanted, or a rule is broken.
    pub fn run(mut self) -> Outcome {
        let mut events = 0;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            events += 1;
            self.step(event);
            let complaint = self.clients.iter().find_map(|client| client.complaint.clone());
            if let Some(complaint) = complaint {
                self.cluster.oracle.fail("honest client", complaint);
            }
            if self.done || self.cluster.oracle.violation.is_some() {
                break;
            }
        }
        if self.cluster.oracle.violation.is_none() {
            self.cluster.timers(self.now);
            self.cluster.stop(self.now);
        }
        Outcome {
            hash: self.trace.hash(),
            violation: self.cluster.oracle.violation,
            seen: self.cluster.oracle.seen,
            simulated: self.now,
            events,
            echoes: self.clients.iter().map(|client| client.echoes).sum(),
        }
    }
}
