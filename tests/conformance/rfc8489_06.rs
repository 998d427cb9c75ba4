//! RFC 8489 §6: processing.

use crate::world::*;
use relais::turn::{DropReason, Transport};

#[test]
fn rfc8489_6_3_unsupported_methods_meet_silence() {
    let mut world = World::new();
    let route = Client::alice().route;
    for method in (0u16..0x1000).filter(|method| ![1, 3, 4, 8, 9].contains(method)) {
        let kind = (method & 0xF) | (method & 0x70) << 1 | (method & 0xF80) << 2;
        assert!(world.feed(route, &Msg::new(kind, [1; 12]).0).is_silent(), "{method:03x}");
    }
    world.audit();
}

#[test]
fn rfc8489_6_3_classes_that_a_method_does_not_have_meet_silence() {
    let mut world = World::new();
    let route = Client::alice().route;
    for method in [BINDING, ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND, 6, 7] {
        for class in [0x0000, 0x0010, 0x0100, 0x0110] {
            let is_request = class == 0 && ![6, 7].contains(&method);
            if !is_request {
                let out = world.feed(route, &Msg::new(method | class, [1; 12]).0);
                assert!(out.is_silent(), "{:04x}", method | class);
            }
        }
    }
}

#[test]
fn rfc8489_6_3_wrong_fingerprint_meets_silence_even_where_401_would_come() {
    let mut world = World::new();
    for kind in [BINDING, ALLOCATE] {
        let mut bytes = Msg::new(kind, [1; 12]).fingerprint().0;
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(world.feed(Client::alice().route, &bytes), Out::Dropped(DropReason::Fingerprint));
    }
}

#[test]
fn rfc8489_6_3_fingerprint_is_not_required() {
    let mut world = World::new();
    let mut client = Client::alice();
    for fingerprint in [false, true] {
        let request = client.plain(BINDING, &[]);
        let request = if fingerprint { request.fingerprint() } else { request };
        assert_eq!(client.send(&mut world, &request).code(), 0);
    }
}

#[test]
fn rfc8489_6_3_binding_success_has_the_source_address() {
    for text in ["9.9.9.9:40000", "[2a00:1450::5]:65535", "1.2.3.4:1", "[::1]:3"] {
        let mut client = Client::alice().at(text);
        let request = client.plain(BINDING, &[]);
        let answer = client.send(&mut World::new(), &request);
        assert_eq!(answer.address(MAPPED), addr(text));
        assert_eq!(answer.kinds(), [MAPPED]);
    }
}

#[test]
fn rfc8489_6_3_binding_indication_gets_no_answer() {
    assert_eq!(World::new().feed(Client::alice().route, &Msg::new(0x0011, [1; 12]).0), Out::Consumed);
}

#[test]
fn rfc8489_6_3_1_unknown_required_attributes_of_a_binding_get_420_with_their_list() {
    let mut client = Client::alice();
    let unknown = [A::Raw(0x0003, vec![0; 4]), A::Raw(0x7FFF, vec![1]), A::Raw(0x0003, vec![])];
    let request = client.plain(BINDING, &unknown);
    let answer = client.send(&mut World::new(), &request);
    assert_eq!(answer.code(), 420);
    assert_eq!(answer.unknown(), [0x0003, 0x7FFF], "each once");
    answer.assert_unsigned();
}

#[test]
fn rfc8489_6_3_1_unknown_required_attributes_after_login_get_signed_420() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for scheme in [Scheme::Old, Scheme::Md5, Scheme::Sha256] {
        alice.scheme = scheme;
        let answer = alice.ask(&mut world, ALLOCATE, &[udp(), A::Raw(0x7777, vec![])]);
        assert_eq!((answer.code(), answer.unknown()), (420, vec![0x7777]));
    }
    world.audit();
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn rfc8489_6_3_login_is_checked_before_unknown_attributes() {
    let mut world = World::new();
    let mut client = Client::alice();
    let request = client.plain(ALLOCATE, &[udp(), A::Raw(0x7777, vec![])]);
    assert_eq!(client.send(&mut world, &request).code(), 401);
    client.challenge(&mut world);
    client.password = "wrong".into();
    assert_eq!(client.ask_in_vain(&mut world, ALLOCATE, &[A::Raw(0x7777, vec![])]).code(), 401);
}

#[test]
fn rfc8489_6_3_unknown_attributes_are_checked_before_the_allocation() {
    let mut world = World::new();
    for kind in [REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
        assert_eq!(Client::alice().ask(&mut world, kind, &[A::Raw(0x7777, vec![])]).code(), 420);
        assert_eq!(Client::alice().ask(&mut world, kind, &[]).code(), 437);
    }
}

#[test]
fn rfc8489_6_3_unknown_optional_attributes_are_ignored() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let optional = [A::Raw(0x8000, vec![2, 0, 0, 0]), A::Raw(0xFFFF, vec![9; 5]), A::Raw(0xC057, vec![])];
    let request = alice.plain(BINDING, &optional);
    assert_eq!(alice.send(&mut world, &request).code(), 0);
    let mut all = vec![udp()];
    all.extend(optional);
    assert_eq!(alice.ask(&mut world, ALLOCATE, &all).code(), 0);
}

#[test]
fn rfc8489_6_3_known_but_unexpected_attributes_are_ignored() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let unexpected =
        [channel(0x4000), data(b"x"), to(peer(1)), A::Raw(MAPPED, vec![1]), A::Raw(ERROR_CODE, vec![])];
    let request = alice.plain(BINDING, &unexpected);
    assert_eq!(alice.send(&mut world, &request).code(), 0);
    let mut all = vec![udp()];
    all.extend(unexpected);
    assert_eq!(alice.ask(&mut world, ALLOCATE, &all).code(), 0);
}

#[test]
fn rfc8489_6_3_2_indication_with_unknown_required_attribute_is_discarded() {
    let (mut world, mut alice, _) = talking();
    let unknown = A::Raw(0x7777, vec![]);
    let message = alice.plain(SEND, &[to(peer(1)), data(b"x"), unknown]);
    assert_eq!(world.feed(alice.route, &message.0), Out::Dropped(DropReason::UnknownAttribute));
    let optional = A::Raw(0x8777, vec![]);
    let message = alice.plain(SEND, &[to(peer(1)), optional, data(b"x")]);
    assert!(matches!(world.feed(alice.route, &message.0), Out::ToPeer { .. }));
}

#[test]
fn rfc8489_6_3_1_binding_may_be_repeated_with_the_same_answer() {
    let mut world = World::new();
    let mut client = Client::alice();
    let request = client.plain(BINDING, &[]);
    let first = client.send(&mut world, &request);
    world.pass_secs(39);
    assert_eq!(client.send(&mut world, &request).bytes, first.bytes);
}

#[test]
fn rfc8489_6_3_1_retransmitted_requests_leave_the_state_of_one() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    for (kind, attributes) in [
        (REFRESH, vec![lifetime(1200)]),
        (CREATE_PERMISSION, vec![to(peer(1)), to(peer(2))]),
        (CHANNEL_BIND, vec![channel(0x4001), to(peer(3))]),
    ] {
        let request = alice.signed(kind, &attributes);
        let first = alice.send(&mut world, &request);
        assert_eq!(first.code(), 0);
        world.pass_secs(1);
        assert_eq!(alice.send(&mut world, &request).bytes, first.bytes);
    }
    let counters = world.server.counters();
    assert_eq!((counters.permissions, counters.channels), (3, 1));
    world.audit();
}

#[test]
fn rfc8489_6_3_1_2_answers_go_back_over_either_transport() {
    for transport in Transport::ALL {
        let mut world = World::new();
        let mut alice = Client::alice().over(transport);
        alice.allocate(&mut world);
        let counters = world.server.counters().by_transport[transport as usize];
        assert_eq!((counters.allocations, counters.allocations_created), (1, 1));
    }
}

#[test]
fn rfc8489_6_1_answers_stay_below_the_smallest_path_mtu() {
    let mut world = World::new();
    let mut alice = Client::alice().with(Scheme::Sha256);
    alice.fingerprint = true;
    let unknown: Vec<A> = (0..64).map(|kind| A::Raw(0x7000 + kind, vec![])).collect();
    let mut longest = alice.challenge(&mut world).bytes.len();
    for (kind, attributes) in
        [(ALLOCATE, &unknown[..]), (ALLOCATE, &[udp()]), (REFRESH, &[]), (BINDING, &unknown)]
    {
        let answer = if kind == BINDING {
            let message = alice.plain(kind, attributes);
            alice.send(&mut world, &message)
        } else {
            alice.ask(&mut world, kind, attributes)
        };
        longest = longest.max(answer.bytes.len());
    }
    assert!((100..576 - 48).contains(&longest), "{longest} bytes; IPv6 and UDP add 48");
}
