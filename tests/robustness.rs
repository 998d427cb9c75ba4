//! A million datagrams that are nearly right: structured, mutated, signed again, with steps of the clock, peers'
//! datagrams and timers between them. `RELAIS_SEED=n` replays one run, `RELAIS_STEPS=n` makes it longer or shorter.

#![expect(unsafe_code, reason = "a global allocator cannot be written without")]
#![allow(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "shared test code"
)]

#[path = "support/counting.rs"]
mod counting;
#[path = "support/dice.rs"]
mod dice;
#[path = "conformance/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dice::Dice;
use relais::turn::Transport;
use relais::wire::MAX_REPLY;
use world::*;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

const TYPES: [u16; 30] = [
    0x0001, 0x0003, 0x0006, 0x0008, 0x0009, 0x000A, 0x000C, 0x000D, 0x0010, 0x0012, 0x0013, 0x0014, 0x0015,
    0x0016, 0x0017, 0x0018, 0x0019, 0x001A, 0x001B, 0x001C, 0x001D, 0x001E, 0x0020, 0x0022, 0x8000, 0x8002,
    0x8022, 0x8028, 0x8030, 0x7FFF,
];

fn some_peer(dice: &mut Dice, world: &World) -> SocketAddr {
    match dice.below(12) {
        0 => addr("10.0.0.1:80"),
        1 => addr("[::1]:80"),
        2 => addr("[2002:808:808::1]:80"),
        3 => addr("8.34.2.1:3478"),
        4 | 5 => peer6(dice.below(12) as u16),
        6 => world.sockets.open.values().next().map_or_else(|| peer(0), |socket| socket.1),
        _ => peer(dice.below(12) as u16),
    }
}

/// Attributes as a client would choose them, mostly.
fn attributes(dice: &mut Dice, world: &World, kind: u16) -> Vec<A> {
    let mut all = Vec::new();
    match kind {
        ALLOCATE => {
            all.push(udp());
            if dice.one_in(3) {
                all.push(family(dice.pick(&[1, 2, 2, 3])));
            }
            if dice.one_in(3) {
                all.push(lifetime(dice.pick(&[0, 1, 600, 777, 3600, u32::MAX])));
            }
        }
        REFRESH => all.push(lifetime(dice.pick(&[0, 1, 600, 601, 3600, 3600, 3600, 3600, u32::MAX]))),
        CREATE_PERMISSION => {
            for _ in 0..=dice.below(4) {
                all.push(to(some_peer(dice, world)));
            }
        }
        CHANNEL_BIND => {
            all.push(channel(0x3FFE + dice.below(24) as u16));
            all.push(to(some_peer(dice, world)));
        }
        SEND => {
            all.push(to(some_peer(dice, world)));
            let len = dice.pick(&[0, 1, 2, 3, 4, 100, 1200]);
            all.push(A::Raw(DATA, dice.bytes(len)));
        }
        _ => {}
    }
    all
}

/// Changes a message's attributes: their order, number, types, values.
fn mangle(dice: &mut Dice, all: &mut Vec<A>) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(all.len().max(1));
        match dice.below(6) {
            0 if !all.is_empty() => {
                all.remove(at);
            }
            1 if !all.is_empty() => all.push(all[at].clone()),
            2 if !all.is_empty() => {
                let other = dice.below(all.len());
                all.swap(at, other);
            }
            3 if !all.is_empty() => {
                if let A::Raw(kind, value) = &mut all[at] {
                    match dice.below(3) {
                        0 => *kind = dice.pick(&TYPES),
                        1 => value.truncate(dice.below(value.len() + 1)),
                        _ => value.extend(dice.bytes(3)),
                    }
                }
            }
            _ => {
                let len = dice.pick(&[0, 1, 3, 4, 8, 20, 32, 200]);
                all.push(A::Raw(dice.pick(&TYPES), dice.bytes(len)));
            }
        }
    }
}

/// Changes a message's bytes.
fn corrupt(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len().max(1));
        match dice.below(7) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            2 if !bytes.is_empty() => bytes[at] = dice.pick(&[0, 1, 0x3F, 0x40, 0x4F, 0x7F, 0x80, 0xFF]),
            3 => bytes.truncate(at),
            4 => {
                let len = dice.below(40);
                bytes.extend(dice.bytes(len));
            }
            5 if bytes.len() >= 4 => bytes[2..4].copy_from_slice(&(dice.below(2048) as u16).to_be_bytes()),
            6 if bytes.len() >= 28 => {
                // An attribute that lies about its length.
                let field = 22 + 4 * dice.below((bytes.len() - 24) / 4);
                bytes[field..field + 2].copy_from_slice(&(dice.below(300) as u16).to_be_bytes());
            }
            _ => {}
        }
    }
}

/// Signs a corrupted message as if nothing had happened, so that it gets past the login.
fn sign_again(client: &Client, mut bytes: Vec<u8>) -> Vec<u8> {
    let cut = bytes.len() / 4 * 4;
    bytes.truncate(cut);
    if bytes.len() < 20 {
        return bytes;
    }
    bytes[2..4].copy_from_slice(&((cut - 20) as u16).to_be_bytes());
    client.sign(Msg(bytes)).0
}

fn clients() -> Vec<Client> {
    let rest = format!("{}:fred", START_UNIX + 5000);
    let mut all = vec![
        Client::alice().at("9.9.9.1:1"),
        Client::alice().with(Scheme::Sha256).at("9.9.9.2:1"),
        Client::bob().with(Scheme::Md5).at("9.9.9.1:1"),
        Client::bob().at("[2a00:1450::5]:9"),
        Client::rest(&rest, "north").at("9.9.9.3:7"),
        Client::rest(&rest, "north").with(Scheme::Sha256).at("9.9.9.4:7"),
        Client::new("mallory", "x").at("9.9.9.5:7"),
        Client::new("alice", "guess").at("9.9.9.6:7"),
        Client::new("new", "born").with(Scheme::Sha256).over(Transport::Tcp).at("9.9.9.7:7"),
        Client::alice().over(Transport::Tcp).at("9.9.9.8:7"),
    ];
    all[1].by_hash = true;
    all[3].fingerprint = true;
    all
}

#[test]
fn safety_a_million_mutated_datagrams() {
    let seed = number("RELAIS_SEED", 20_261_121);
    let steps = number("RELAIS_STEPS", 1_000_000);
    println!("RELAIS_SEED={seed}");
    let mut dice = Dice(seed);
    let mut world = World::with(|choice| {
        choice.secrets = vec!["north", "south"];
        (choice.limits.permissions, choice.limits.channels) = (10, 6);
    });
    let start = world.now.mono;
    let mut clients = clients();
    let memory = counting::live();
    let mut codes: BTreeMap<u16, u64> = BTreeMap::new();
    let (mut to_peers, mut to_clients) = (0u64, 0u64);
    // What strangers sent and got over UDP, in bytes on the wire, by their address.
    let mut books: BTreeMap<IpAddr, (u64, u64)> = BTreeMap::new();

    for step in 0..steps {
        let who = dice.below(clients.len());
        let client = &mut clients[who];
        let kind = match dice.below(20) {
            0..=2 => ALLOCATE,
            3..=4 => REFRESH,
            5..=7 => CREATE_PERMISSION,
            8..=10 => CHANNEL_BIND,
            11..=14 => SEND,
            15 => BINDING,
            16 => dice.next() as u16 & 0x3FFF,
            _ => 0x4000,
        };
        let mut bytes = if kind == 0x4000 {
            let len = dice.pick(&[0, 1, 3, 4, 200]);
            let payload = dice.bytes(len);
            channel_data(0x3FFF + dice.below(12) as u16, &payload)
        } else if client.nonce.is_empty() || dice.one_in(30) {
            client.plain(kind, &[udp()]).0
        } else {
            let mut all = attributes(&mut dice, &world, kind);
            if dice.one_in(3) {
                mangle(&mut dice, &mut all);
            }
            let message = client.plain(kind, &all);
            if kind == SEND || kind == BINDING {
                message.0
            } else {
                let message = client.identify(message);
                if dice.one_in(6) {
                    let mut bytes = message.0;
                    corrupt(&mut dice, &mut bytes);
                    sign_again(client, bytes)
                } else {
                    client.sign(message).0
                }
            }
        };
        if dice.one_in(4) {
            corrupt(&mut dice, &mut bytes);
        }
        let route = client.route;
        match world.feed(route, &bytes) {
            Out::Answer(answer) => {
                assert!(answer.len() <= MAX_REPLY, "step {step}");
                let answer = Answer::read(&answer);
                let code = answer.code();
                *codes.entry(code).or_default() += 1;
                let stranger = !answer.has(MI) && !answer.has(MI256) && code != 0;
                if stranger && route.tuple.transport == Transport::Udp {
                    let book = books.entry(route.tuple.client.0.ip()).or_default();
                    book.1 += answer.bytes.len() as u64 + 28;
                }
                if answer.is_challenge() {
                    client.take(&answer);
                }
            }
            Out::ToPeer { data, .. } => {
                assert!(data.len() <= bytes.len());
                to_peers += 1;
            }
            Out::ToClient { .. } | Out::Forward(_) | Out::Bound(..) => unreachable!(),
            Out::Dropped(_) | Out::Consumed => {}
        }
        if route.tuple.transport == Transport::Udp {
            books.entry(route.tuple.client.0.ip()).or_default().0 += bytes.len() as u64 + 28;
        }
        if dice.one_in(3) && !world.sockets.open.is_empty() {
            let at = dice.below(world.sockets.open.len());
            let id = world.sockets.open.values().nth(at).unwrap().0;
            let from = some_peer(&mut dice, &world);
            let len = dice.pick(&[0, 1, 2, 3, 4, 100, 1200]);
            let payload = dice.bytes(len);
            if let Out::ToClient { bytes, .. } = world.arrives_at(id, from, &payload) {
                to_clients += 1;
                if bytes[0] == 0 {
                    assert_eq!(Answer::read(&bytes).get(DATA), Some(&payload[..]));
                }
            }
        }
        match dice.below(2000) {
            0 => world.pass_secs(dice.pick(&[1, 299, 300, 301, 600])),
            1 => world.server.handle_closed(&world.now, &route, &mut world.sockets),
            2 => world.sockets.exhausted = dice.one_in(5),
            3 => world.sockets.quota = dice.pick(&[None, None, None, None, Some(0), Some(1)]),
            4 => drop(world.events()),
            5 => {
                // Names of time-limited credentials end; new ones come.
                let name = format!("{}:fred", world.now.unix + dice.below(3000) as u64);
                let mut fresh = Client::rest(&name, dice.pick(&["north", "south", "east"]));
                fresh.route = clients[4].route;
                fresh.scheme = dice.pick(&[Scheme::Old, Scheme::Md5, Scheme::Sha256]);
                clients[4] = fresh;
            }
            6..=40 => world.timers(),
            _ => world.pass(Duration::from_micros(dice.below(20_000) as u64)),
        }
        if step % 500 == 0 {
            world.audit();
            let allocations = world.server.allocation_count() as u64;
            assert!(allocations <= clients.len() as u64, "step {step}");
            let counters = world.server.counters();
            assert!(counters.permissions <= 10 * allocations && counters.channels <= 6 * allocations);
        }
    }

    println!("answers by code: {codes:?}; {to_peers} to peers, {to_clients} to clients");
    let seconds = world.now.mono.since(start).as_secs() + 1;
    for (ip, (sent, got)) in &books {
        let bound = sent + 256 * 112 + seconds * 256 * 112 / 300;
        assert!(*got <= bound, "{ip} got {got} for {sent}");
    }
    world.pass_secs(3600);
    world.timers();
    world.audit();
    assert_eq!((world.server.allocation_count(), world.sockets.open.len()), (0, 0));
    drop(world.events());
    let grown = counting::live() - memory;
    assert!(grown < 4 << 20, "{grown} bytes more than at the start");
    if steps >= 100_000 {
        for code in [0, 400, 401, 403, 420, 437, 438, 440, 441, 442, 443, 486, 508] {
            assert!(codes.contains_key(&code), "the mutations must reach {code}");
        }
        assert!(to_peers > steps / 100 && to_clients > steps / 100, "and the relay path");
    }
}
