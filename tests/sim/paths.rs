//! What has to hold on every path: all methods, all transports. The order of the checks, the peer policy, the bound on
//! what strangers get. The oracle compares each answer with its own.

use std::net::SocketAddr;

use relais::turn::{ConnectionId, Transport};

use super::cluster::Output;
use super::config::{Config, OWN};
use super::solo::{Solo, alice};
use super::world::*;

/// All requests that need a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Allocate,
    Refresh,
    /// Refresh with a ticket (RFC 8016).
    Move,
    CreatePermission,
    ChannelBind,
    Connect,
    ConnectionBind,
}

impl Asks {
    const ALL: [Self; 7] = [
        Self::Allocate,
        Self::Refresh,
        Self::Move,
        Self::CreatePermission,
        Self::ChannelBind,
        Self::Connect,
        Self::ConnectionBind,
    ];

    fn kind(self) -> u16 {
        match self {
            Self::Allocate => ALLOCATE,
            Self::Refresh | Self::Move => REFRESH,
            Self::CreatePermission => CREATE_PERMISSION,
            Self::ChannelBind => CHANNEL_BIND,
            Self::Connect => CONNECT,
            Self::ConnectionBind => CONNECTION_BIND,
        }
    }

    fn attributes(self) -> Vec<A> {
        match self {
            Self::Allocate => vec![udp()],
            Self::Refresh => vec![lifetime(600)],
            Self::Move => vec![A::Raw(TICKET, vec![7; 32])],
            Self::CreatePermission | Self::Connect => vec![to(peer(1))],
            Self::ChannelBind => vec![channel(0x4001), to(peer(1))],
            Self::ConnectionBind => vec![connection(ConnectionId(99))],
        }
    }

    /// The code when nothing is wrong with the request; `None`: its answer has to wait for a peer.
    fn code(self, held: Held) -> Option<u16> {
        match (self, held) {
            // Neither the ticket nor the connection is anybody's.
            (Self::Move | Self::ConnectionBind, _) => Some(400),
            (Self::Allocate, Held::Nothing) => Some(0),
            (Self::Allocate, _) | (_, Held::Nothing) | (Self::Connect, Held::ForUdp) => Some(437),
            (Self::Connect, Held::ForTcp) => None,
            (Self::ChannelBind, Held::ForTcp) => Some(400),
            _ => Some(0),
        }
    }
}

/// What the 5-tuple of a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    ForUdp,
    ForTcp,
}

/// Everything that a server can offer.
fn all_features(config: &mut Config) {
    config.tcp = true;
    config.discovery = true;
    config.mobility = true;
}

/// What may be wrong with a request, in the order in which it has to be found, and the code it has to get.
const WRONG: [(Wrong, u16); 12] = [
    (Wrong::Form, 0),
    (Wrong::Fingerprint, 0),
    (Wrong::NoIntegrity, 401),
    (Wrong::NoUsername, 400),
    (Wrong::NoRealm, 400),
    (Wrong::NoNonce, 400),
    (Wrong::BidDown, 400),
    (Wrong::Realm, 401),
    (Wrong::User, 401),
    (Wrong::Password, 401),
    (Wrong::Nonce, 438),
    (Wrong::Unknown, 420),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Form,
    Fingerprint,
    NoIntegrity,
    NoUsername,
    NoRealm,
    NoNonce,
    BidDown,
    Realm,
    User,
    Password,
    Nonce,
    Unknown,
}

/// A request with these things wrong.
fn request(kit: &Client, asks: Asks, wrong: &[Wrong], serial: u8) -> Vec<u8> {
    let is = |one| wrong.contains(&one);
    let mut kit = kit.clone();
    if is(Wrong::Realm) {
        kit.realm = "elsewhere".into();
    }
    if is(Wrong::User) {
        kit.user = "nobody".into();
    }
    if is(Wrong::Password) {
        kit.password = "guess".into();
    }
    if is(Wrong::Nonce) {
        kit.nonce[27] ^= 1;
    }
    let mut message = Msg::new(asks.kind(), [serial; 12]).all(&asks.attributes());
    if is(Wrong::Unknown) {
        message = message.raw(0x7FFF, &[1]);
    }
    if !is(Wrong::NoUsername) {
        message = message.raw(USERNAME, kit.user.as_bytes());
    }
    if !is(Wrong::NoRealm) {
        message = message.raw(REALM, kit.realm.as_bytes());
    }
    if !is(Wrong::NoNonce) {
        message = message.raw(NONCE, &kit.nonce);
    }
    if is(Wrong::BidDown) {
        message = message.raw(ALGORITHMS, &OFFER[4..]).raw(ALGORITHM, &OFFER[4..]);
    }
    if !is(Wrong::NoIntegrity) {
        message = kit.sign(message);
    }
    if is(Wrong::Fingerprint) {
        message = message.fingerprint();
        *message.0.last_mut().unwrap() ^= 1;
    }
    if is(Wrong::Form) {
        message.0[3] ^= 4;
    }
    message.0
}

#[test]
fn the_order_of_checks_holds_for_every_method_and_transport() {
    for transport in Transport::ALL {
        for held in [Held::Nothing, Held::ForUdp, Held::ForTcp] {
            if held == Held::ForTcp && !transport.is_stream() {
                continue;
            }
            let mut solo = Solo::new(all_features);
            let mut kit = alice(transport);
            solo.challenge(&mut kit);
            match held {
                Held::Nothing => {}
                Held::ForUdp => _ = solo.allocate(&mut kit),
                Held::ForTcp => _ = solo.allocate_tcp(&mut kit, false),
            }
            for asks in Asks::ALL {
                for (i, (first, code)) in WRONG.iter().enumerate() {
                    for (second, _) in &WRONG[i..] {
                        // Failed logins have a rate.
                        solo.pass(1);
                        if solo.now.is_multiple_of(300_000_000) {
                            kit.nonce.clear();
                            solo.challenge(&mut kit);
                            if held != Held::Nothing {
                                solo.insist(&mut kit, REFRESH, &[lifetime(3600)]);
                            }
                        }
                        let bytes = request(&kit, asks, &[*first, *second], i as u8);
                        let answer = solo.answer(kit.route, &bytes).map_or(0, |answer| answer.code());
                        assert_eq!(answer, *code, "{transport:?} {asks:?} {held:?} {first:?} {second:?}");
                    }
                }
                let bytes = request(&kit, asks, &[], 99);
                let code = solo.answer(kit.route, &bytes).map(|answer| answer.code());
                assert_eq!(code, asks.code(held), "{transport:?} {asks:?} {held:?}");
                if held == Held::Nothing && asks == Asks::Allocate {
                    assert_eq!(solo.insist(&mut kit, REFRESH, &[lifetime(0)]).code(), 0);
                }
            }
            solo.timers();
        }
    }
}

/// RFC 8489 §6.3, RFC 5780 §6.1: Binding has no login, but its checks have an order too.
#[test]
fn the_order_of_checks_holds_for_binding_with_and_without_discovery() {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fault {
        Form,
        Fingerprint,
        Unknown,
        Wish,
    }
    let order = [(Fault::Form, 0), (Fault::Fingerprint, 0), (Fault::Unknown, 420), (Fault::Wish, 400)];
    for transport in Transport::ALL {
        for discovery in [false, true] {
            let mut solo = Solo::new(|config| config.discovery = discovery);
            let kit = alice(transport);
            let offered = discovery && transport == Transport::Udp;
            for (i, (first, code)) in order.into_iter().enumerate() {
                for (second, _) in order.into_iter().skip(i) {
                    let is = |fault| first == fault || second == fault;
                    let mut message = Msg::new(BINDING, [i as u8; 12]);
                    if is(Fault::Unknown) {
                        message = message.raw(0x7FFF, &[1]);
                    }
                    if is(Fault::Wish) {
                        message = message.raw(CHANGE_REQUEST, &[0; 3]);
                    }
                    if is(Fault::Fingerprint) {
                        message = message.fingerprint();
                        *message.0.last_mut().unwrap() ^= 1;
                    }
                    if is(Fault::Form) {
                        message.0[3] ^= 4;
                    }
                    let answer = solo.answer(kit.route, &message.0).map_or(0, |answer| answer.code());
                    // Where it is not offered its attributes are unknown.
                    let code = if code == 400 && !offered { 420 } else { code };
                    assert_eq!(answer, code, "{transport:?} {discovery} {i}");
                }
            }
        }
    }
}

/// What nobody may reach, in forms that have got through elsewhere.
const FORBIDDEN: [&str; 22] = [
    "127.0.0.1:80",
    "10.0.0.1:80",
    "172.16.0.1:80",
    "192.168.1.1:80",
    "169.254.169.254:80",
    "100.64.0.1:80",
    "0.0.0.0:80",
    "255.255.255.255:80",
    "224.0.0.1:80",
    "8.34.2.2:22",
    "8.34.2.1:3478",
    "8.34.2.1:49999",
    "[::1]:80",
    "[::]:80",
    "[::ffff:127.0.0.1]:80",
    "[::127.0.0.1]:80",
    "[64:ff9b::10.0.0.1]:80",
    "[2002:7f00:1::1]:80",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]:80",
    "[fe80::1]:80",
    "[fd00::1]:80",
    "[2a01:4f8:34::1]:3478",
];

/// Tries all doors of an allocation for UDP with all forbidden peers.
fn try_forbidden(solo: &mut Solo, kit: &mut Client, relayed: &[SocketAddr]) {
    for (i, text) in FORBIDDEN.iter().enumerate() {
        let there = addr(text);
        let own = relayed.iter().find(|own| own.is_ipv6() == there.is_ipv6()).unwrap();
        // An address with live relayed ports may be permitted; the port decides with each datagram.
        let by_port = own.ip() == there.ip();
        let permitted = solo.insist(kit, CREATE_PERMISSION, &[to(there)]).code();
        assert_eq!(permitted, if by_port { 0 } else { 403 }, "{text}");
        let number = 0x4000 + i as u16;
        assert_eq!(solo.insist(kit, CHANNEL_BIND, &[channel(number), to(there)]).code(), 403, "{text}");
        assert!(!solo.reaches(kit, there), "{text}");
        assert!(!solo.frame_passes(kit, number), "{text}");
        assert_eq!(solo.hears(*own, there), None, "{text}");
        assert_eq!(solo.hears_icmp(*own, there, 3), by_port, "{text}");
        assert_eq!(solo.insist(kit, CONNECT, &[to(there)]).code(), 437, "{text}");
        assert_eq!(solo.incoming(*own, there), None, "{text}");
    }
    // A list with one forbidden peer permits none of it.
    let mixed = [to(peer(1)), to(addr("127.0.0.1:1"))];
    assert_eq!(solo.insist(kit, CREATE_PERMISSION, &mixed).code(), 403);
    assert!(!solo.reaches(kit, peer(1)));
}

#[test]
fn the_peer_policy_holds_at_every_door_of_every_transport() {
    for transport in Transport::ALL {
        let mut solo = Solo::new(all_features);
        let mut kit = alice(transport);
        let both =
            [udp(), A::Raw(ADDITIONAL_FAMILY, vec![2, 0, 0, 0]), A::Raw(TICKET, Vec::new()), lifetime(3600)];
        let answer = solo.insist(&mut kit, ALLOCATE, &both);
        let (relayed, ticket) = (answer.addresses(RELAYED), answer.get(TICKET).unwrap().to_vec());
        try_forbidden(&mut solo, &mut kit, &relayed);
        // Nor does a move open any.
        for next in Transport::ALL {
            let mut moved = alice(next).at("9.9.9.30:7");
            moved.route.link = 99;
            let to_there = solo.insist(&mut moved, REFRESH, &[A::Raw(TICKET, ticket.clone())]);
            if next == Transport::Udp {
                assert_eq!(to_there.code(), 0, "{transport:?}");
                try_forbidden(&mut solo, &mut moved, &relayed);
            } else {
                assert_eq!(to_there.code(), 400, "a ticket works once");
            }
        }
        solo.timers();
    }
}

/// RFC 6062 §5.2, §5.3: no connection to nor from whom nobody may reach.
#[test]
fn the_peer_policy_holds_for_connections() {
    for transport in Transport::ALL {
        let mut solo = Solo::new(all_features);
        for v6 in [false, true] {
            let mut kit = alice(transport).at(if v6 { "9.9.9.40:1" } else { "9.9.9.41:1" });
            if !transport.is_stream() {
                assert_eq!(solo.insist(&mut kit, ALLOCATE, &[tcp()]).code(), 400);
                assert_eq!(solo.insist(&mut kit, CONNECT, &[to(peer(1))]).code(), 437);
                continue;
            }
            let own = solo.allocate_tcp(&mut kit, v6);
            for text in FORBIDDEN {
                let there = addr(text);
                let code = if there.is_ipv6() == v6 { 403 } else { 443 };
                assert_eq!(solo.insist(&mut kit, CONNECT, &[to(there)]).code(), code, "{text}");
                if there.is_ipv6() == v6 {
                    solo.insist(&mut kit, CREATE_PERMISSION, &[to(there)]);
                    assert_eq!(solo.incoming(own, there), None, "{text}");
                }
            }
            assert_eq!(solo.connects(&mut kit, own), Err(403), "with itself");
            let friend = if v6 { peer6(1) } else { peer(1) };
            assert_eq!(solo.incoming(own, friend), None, "without a permission");
            assert_eq!(solo.insist(&mut kit, CREATE_PERMISSION, &[to(friend)]).code(), 0);
            assert!(solo.incoming(own, friend).is_some());
            solo.cluster.reload(|config| config.deny = vec![(friend.ip(), 32)]);
            assert_eq!(solo.incoming(own, friend), None, "the policy of the moment counts");
            solo.cluster.reload(|config| config.deny.clear());
            solo.timers();
        }
    }
}

/// RFC 6062 §5.2-§5.4: one connection to a peer, claimed once, by its user, in time, and gone with its allocation.
#[test]
fn connections_are_claimed_once_and_by_their_user() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut solo = Solo::new(all_features);
        let mut kit = alice(transport);
        let own = solo.allocate_tcp(&mut kit, false);
        let id = solo.connects(&mut kit, peer(1)).unwrap();
        assert_eq!(solo.connects(&mut kit, peer(1)), Err(446), "pending");
        assert_eq!(solo.binds(&kit, "9.9.9.50:1", id).code(), 400, "nobody has answered");
        let now = solo.now;
        solo.cluster.peer_answers(now, id, true);
        assert_eq!(solo.connects(&mut kit, peer(1)), Err(446), "connected");
        let mut thief = Client::new("mallory", "malice").over(transport);
        thief.route = kit.route;
        assert_eq!(solo.binds(&thief, "9.9.9.51:1", id).code(), 441);
        assert_eq!(
            solo.ask(&mut kit, CONNECTION_BIND, &[connection(id)]).code(),
            400,
            "a control connection"
        );
        assert_eq!(solo.binds(&kit, "9.9.9.52:1", id).code(), 0);
        assert_eq!(solo.binds(&kit, "9.9.9.53:1", id).code(), 400, "claimed");
        // Another one, which nobody claims in time.
        assert_eq!(solo.insist(&mut kit, CREATE_PERMISSION, &[to(peer(2))]).code(), 0);
        let second = solo.incoming(own, peer(2)).unwrap();
        solo.pass(29);
        assert_eq!(solo.connects(&mut kit, peer(2)), Err(446));
        solo.pass(1);
        assert_eq!(solo.binds(&kit, "9.9.9.54:1", second).code(), 400, "too late");
        solo.timers();
        assert_eq!(solo.cluster.pool.links.iter().count(), 1, "one is bound");
        // A peer that does not answer.
        let third = solo.connects(&mut kit, peer(3)).unwrap();
        let now = solo.now;
        solo.cluster.peer_answers(now, third, false);
        solo.check();
        let fourth = solo.connects(&mut kit, peer(3)).unwrap();
        assert_eq!(solo.insist(&mut kit, REFRESH, &[lifetime(0)]).code(), 0);
        assert_eq!(solo.cluster.pool.links.iter().count(), 0, "they end with the allocation");
        solo.cluster.peer_answers(now, fourth, true);
        solo.timers();
    }
}

/// RFC 5780 §6.1: whatever is asked for, an answer goes to the IP address that asked.
#[test]
fn discovery_answers_the_asker_alone_from_one_of_four() {
    let mut solo = Solo::new(all_features);
    for (server, corner) in [("8.34.2.1:3478", true), ("8.34.2.1:3479", true), ("8.34.2.1:5349", false)] {
        for transport in Transport::ALL {
            for flags in 0..8u8 {
                for port in [None, Some(53u16)] {
                    let mut kit = alice(transport);
                    kit.route.tuple.server = addr(server);
                    let mut message = Msg::new(BINDING, [flags; 12]).raw(CHANGE_REQUEST, &[0, 0, 0, flags]);
                    if let Some(port) = port {
                        let [high, low] = port.to_be_bytes();
                        message = message.raw(RESPONSE_PORT, &[high, low, 0, 0]);
                    }
                    let Output::ToClient { route, bytes } = solo.say(kit.route, &message.0) else {
                        panic!("an answer is due")
                    };
                    let offered = corner && transport == Transport::Udp;
                    assert_eq!(Answer::read(&bytes).code(), if offered { 0 } else { 420 });
                    let (asker, to) = (kit.route.tuple.client.0, route.tuple.client.0);
                    assert_eq!(to.ip(), asker.ip());
                    assert_eq!(to.port(), port.filter(|_| offered).unwrap_or_else(|| asker.port()));
                    let other_ip = offered && flags & 4 != 0;
                    assert_eq!(route.tuple.server.ip().to_string() == OWN, other_ip, "{flags}");
                }
            }
        }
        solo.pass(300);
    }
}

/// What strangers may send: a type, and what stands in it.
fn strange_requests() -> Vec<(u16, Vec<A>)> {
    let mut all: Vec<(u16, Vec<A>)> = Asks::ALL.iter().map(|asks| (asks.kind(), asks.attributes())).collect();
    all.extend([SEND, 0x0011, 0x0002, 0x001C].map(|kind| (kind, Vec::new())));
    let raw = |kind, value: &[u8]| A::Raw(kind, value.to_vec());
    all.extend([
        (BINDING, vec![raw(CHANGE_REQUEST, &[0, 0, 0, 6])]),
        (BINDING, vec![raw(RESPONSE_PORT, &[0, 53, 0, 0])]),
        (BINDING, vec![raw(PADDING, &[0; 1])]),
        (BINDING, vec![raw(PADDING, &[0; 1400])]),
        (BINDING, vec![raw(CHANGE_REQUEST, &[6])]),
        (BINDING, vec![raw(0x7FFF, &[])]),
    ]);
    all
}

#[test]
fn strangers_get_no_more_than_they_pay_for_by_any_method() {
    for transport in Transport::ALL {
        for (kind, attributes) in strange_requests() {
            let mut solo = Solo::new(all_features);
            let kit = alice(transport);
            let (mut sent, mut got, mut longest) = (0, 0, 0);
            for i in 0..1500u32 {
                let mut tid = [0; 12];
                tid[..4].copy_from_slice(&i.to_be_bytes());
                let mut message = Msg::new(kind, tid).all(&attributes);
                if i % 3 == 1 {
                    message = message.raw(USERNAME, b"x").mi(b"guess");
                } else if i % 3 == 2 {
                    message = kit.sign(kit.identify(message));
                }
                sent += message.0.len() + 28;
                if let Output::ToClient { route, bytes } = solo.say(kit.route, &message.0) {
                    assert_eq!(route.tuple.client.0.ip(), kit.route.tuple.client.0.ip());
                    got += bytes.len() + 28;
                    longest = longest.max(bytes.len().saturating_sub(message.0.len()));
                }
            }
            if transport.is_stream() {
                // The other end has proved where it is; one answer for each request all the same, and a short one.
                assert!(longest <= 160, "{kind:04x} over {transport:?}: {longest} more than it has");
            } else {
                assert!(got <= sent + 28_672, "{kind:04x} over {transport:?}: {got} for {sent}");
            }
        }
    }
}

/// RFC 8016 §3.2.2, RFC 8656 §5: one 5-tuple, one allocation, whichever workers the two belong to.
#[test]
fn a_ticket_does_not_lead_to_a_5_tuple_that_has_an_allocation() {
    let mut solo = Solo::new(|_| ());
    let mut kit = alice(Transport::Udp);
    let answer = solo.insist(&mut kit, ALLOCATE, &[udp(), A::Raw(TICKET, Vec::new())]);
    let ticket = answer.get(TICKET).unwrap().to_vec();
    let mut workers = std::collections::BTreeSet::new();
    for port in 1..12 {
        let mut other = alice(Transport::Udp).at(&format!("9.9.9.20:{port}"));
        workers.insert(solo.cluster.worker_of(&other.route.tuple));
        solo.allocate(&mut other);
        let moved = solo.insist(&mut other, REFRESH, &[A::Raw(TICKET, ticket.clone())]);
        assert_eq!(moved.code(), 437);
        assert_eq!(solo.insist(&mut other, REFRESH, &[lifetime(0)]).code(), 0);
    }
    assert_eq!(workers.len(), solo.cluster.worker_count());
    let mut other = alice(Transport::Udp).at("9.9.9.20:1");
    assert_eq!(solo.insist(&mut other, REFRESH, &[A::Raw(TICKET, ticket)]).code(), 0);
    solo.timers();
}
