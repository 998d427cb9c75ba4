//! What has to hold on every path: all methods, all transports. The order of the checks, the peer policy, the bound on
//! what strangers get. The oracle compares each answer with its own.

use relais::turn::Transport;

use super::cluster::Output;
use super::solo::{Solo, alice};
use super::world::*;

const METHODS: [u16; 4] = [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND];

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
fn request(kit: &Client, kind: u16, wrong: &[Wrong], serial: u8) -> Vec<u8> {
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
    let mut message = Msg::new(kind, [serial; 12]);
    message = match kind {
        ALLOCATE => message.put(&udp()),
        REFRESH => message.put(&lifetime(600)),
        CREATE_PERMISSION => message.put(&to(peer(1))),
        _ => message.put(&channel(0x4001)).put(&to(peer(1))),
    };
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
        for held in [false, true] {
            let mut solo = Solo::new(|_| ());
            let mut kit = alice(transport);
            solo.challenge(&mut kit);
            if held {
                solo.allocate(&mut kit);
            }
            for method in METHODS {
                for (i, (first, code)) in WRONG.iter().enumerate() {
                    for (second, _) in &WRONG[i..] {
                        // Failed logins have a rate.
                        solo.pass(1);
                        if solo.now.is_multiple_of(300_000_000) {
                            kit.nonce.clear();
                            solo.challenge(&mut kit);
                            if held {
                                solo.insist(&mut kit, REFRESH, &[lifetime(3600)]);
                            }
                        }
                        let bytes = request(&kit, method, &[*first, *second], i as u8);
                        let answer = solo.answer(kit.route, &bytes).map_or(0, |answer| answer.code());
                        assert_eq!(answer, *code, "{transport:?} {method:04x} {first:?} {second:?}");
                    }
                }
                let bytes = request(&kit, method, &[], 99);
                let code = solo.answer(kit.route, &bytes).map(|answer| answer.code());
                if !held && method != ALLOCATE || held && method == ALLOCATE {
                    assert_eq!(code, Some(437), "{transport:?} {method:04x}");
                } else {
                    assert_eq!(code, Some(0), "{transport:?} {method:04x}");
                }
                if !held && method == ALLOCATE {
                    assert_eq!(solo.insist(&mut kit, REFRESH, &[lifetime(0)]).code(), 0);
                }
            }
            solo.timers();
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

#[test]
fn the_peer_policy_holds_at_every_door_of_every_transport() {
    for transport in Transport::ALL {
        let mut solo = Solo::new(|_| ());
        let mut kit = alice(transport);
        let both = [udp(), A::Raw(ADDITIONAL_FAMILY, vec![2, 0, 0, 0])];
        let relayed = solo.insist(&mut kit, ALLOCATE, &both).addresses(RELAYED);
        for (i, text) in FORBIDDEN.iter().enumerate() {
            let there = addr(text);
            let own = relayed.iter().find(|own| own.is_ipv6() == there.is_ipv6()).unwrap();
            // An address with live relayed ports may be permitted; the port decides with each datagram.
            let by_port = own.ip() == there.ip();
            let permitted = solo.insist(&mut kit, CREATE_PERMISSION, &[to(there)]).code();
            assert_eq!(permitted, if by_port { 0 } else { 403 }, "{transport:?} {text}");
            let number = 0x4000 + i as u16;
            assert_eq!(
                solo.insist(&mut kit, CHANNEL_BIND, &[channel(number), to(there)]).code(),
                403,
                "{text}"
            );
            assert!(!solo.reaches(&mut kit, there), "{transport:?} {text}");
            assert!(!solo.frame_passes(&kit, number), "{transport:?} {text}");
            assert_eq!(solo.hears(*own, there), None, "{transport:?} {text}");
        }
        // A list with one forbidden peer permits none of it.
        let mixed = [to(peer(1)), to(addr("127.0.0.1:1"))];
        assert_eq!(solo.insist(&mut kit, CREATE_PERMISSION, &mixed).code(), 403);
        assert!(!solo.reaches(&mut kit, peer(1)));
        solo.timers();
    }
}

#[test]
fn strangers_get_no_more_than_they_pay_for_by_any_method() {
    for transport in [Transport::Udp, Transport::Dtls] {
        for kind in [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND, SEND, 0x000A, 0x000B, 0x0002] {
            let mut solo = Solo::new(|_| ());
            let kit = alice(transport);
            let (mut sent, mut got) = (0, 0);
            for i in 0..3000u32 {
                let mut tid = [0; 12];
                tid[..4].copy_from_slice(&i.to_be_bytes());
                let mut message = Msg::new(kind, tid);
                if i % 3 == 1 {
                    message = message.raw(USERNAME, b"x").mi(b"guess");
                } else if i % 3 == 2 {
                    message = kit.sign(kit.identify(message));
                }
                sent += message.0.len() + 28;
                if let Output::ToClient { bytes, .. } = solo.say(kit.route, &message.0) {
                    got += bytes.len() + 28;
                }
            }
            assert!(got <= sent + 28_672, "{kind:04x} over {transport:?}: {got} for {sent}");
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
