//! RFC 8656 §7.2: Allocate.

use crate::world::*;
use relais::turn::{FamilyDefault, Transport};
use std::time::Duration;

#[test]
fn rfc8656_7_2_success_has_relayed_address_lifetime_and_mapped_address() {
    let mut alice = Client::alice();
    let answer = alice.ask(&mut World::new(), ALLOCATE, &[udp()]);
    assert_eq!(answer.kinds(), [RELAYED, LIFETIME, MAPPED, MI]);
    assert_eq!(answer.address(MAPPED), alice.route.tuple.client.0);
    assert_eq!(answer.address(RELAYED), addr("8.34.2.1:49153"));
    assert_eq!(answer.lifetime(), 600);
}

#[test]
fn rfc8656_7_2_step1_request_without_login_makes_nothing() {
    let mut world = World::new();
    Client::alice().challenge(&mut world);
    assert_eq!((world.server.allocation_count(), world.sockets.opened), (0, 0));
}

#[test]
fn rfc8656_7_2_step2_occupied_tuple_gets_437() {
    let (mut world, mut alice, _) = talking();
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[udp()]).code(), 437);
    assert_eq!(Client::bob().ask(&mut world, ALLOCATE, &[udp()]).code(), 437, "by whomever");
    assert_eq!(world.sockets.opened, 1);
    assert!(alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8656_7_2_step2_437_comes_before_400_440_442() {
    let (mut world, mut alice, _) = talking();
    for attributes in [vec![], vec![A::Raw(TRANSPORT, vec![6, 0, 0, 0])], vec![udp(), family(9)]] {
        assert_eq!(alice.ask(&mut world, ALLOCATE, &attributes).code(), 437);
    }
}

#[test]
fn rfc8656_7_2_step3_missing_or_malformed_requested_transport_gets_400() {
    let mut world = World::new();
    let mut alice = Client::alice();
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[]).code(), 400);
    for length in [0usize, 1, 3, 5, 8] {
        let mut value = vec![17];
        value.resize(length, 0);
        assert_eq!(alice.ask(&mut world, ALLOCATE, &[A::Raw(TRANSPORT, value)]).code(), 400, "{length}");
    }
    assert_eq!(world.sockets.opened, 0);
}

#[test]
fn rfc8656_7_2_step3_other_transports_get_442() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for protocol in [0, 6, 16, 18, 132, 255] {
        let answer = alice.ask(&mut world, ALLOCATE, &[A::Raw(TRANSPORT, vec![protocol, 0, 0, 0])]);
        assert_eq!(answer.code(), 442, "{protocol}");
    }
}

#[test]
fn rfc8656_7_2_step3_comes_before_the_family() {
    let mut world = World::new();
    let mut alice = Client::alice();
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[family(9)]).code(), 400);
    assert_eq!(
        alice.ask(&mut world, ALLOCATE, &[A::Raw(TRANSPORT, vec![6, 0, 0, 0]), family(9)]).code(),
        442
    );
}

#[test]
fn rfc8656_18_8_reserved_bits_of_requested_transport_are_ignored() {
    let answer = Client::alice().ask(&mut World::new(), ALLOCATE, &[A::Raw(TRANSPORT, vec![17, 1, 2, 3])]);
    assert_eq!(answer.code(), 0);
}

#[test]
fn rfc8656_7_2_step4_dont_fragment_is_accepted() {
    for attributes in [vec![udp(), dont_fragment()], vec![dont_fragment(), udp(), family(2)]] {
        assert_eq!(Client::alice().ask(&mut World::new(), ALLOCATE, &attributes).code(), 0);
    }
}

#[test]
fn rfc8656_7_2_step7_requested_family_is_given() {
    let mut world = World::new();
    for (number, is_ipv4, port) in [(1, true, 1), (2, false, 2)] {
        let mut alice = Client::alice().at(&format!("9.9.9.9:{port}"));
        let answer = alice.ask(&mut world, ALLOCATE, &[udp(), family(number)]);
        assert_eq!(answer.address(RELAYED).is_ipv4(), is_ipv4);
    }
}

#[test]
fn rfc8656_7_2_step7_unknown_family_gets_440() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for number in [0, 3, 4, 255] {
        assert_eq!(alice.ask(&mut world, ALLOCATE, &[udp(), family(number)]).code(), 440, "{number}");
    }
}

#[test]
fn rfc8656_7_2_step7_family_without_relay_addresses_gets_440() {
    let mut world = World::with(|choice| choice.ipv6 = false);
    assert_eq!(Client::alice().ask(&mut world, ALLOCATE, &[udp(), family(2)]).code(), 440);
    let mut world = World::with(|choice| choice.ipv4 = false);
    assert_eq!(Client::alice().ask(&mut world, ALLOCATE, &[udp(), family(1)]).code(), 440);
}

#[test]
fn rfc8656_7_2_step7_without_request_ipv4_is_given_even_over_ipv6() {
    let mut world = World::new();
    for text in ["9.9.9.9:40000", "[2a00:1450::5]:40000"] {
        assert!(Client::alice().at(text).allocate(&mut world).is_ipv4());
    }
}

#[test]
fn rfc8656_7_2_step7_without_request_and_without_ipv4_440_is_answered() {
    for text in ["9.9.9.9:40000", "[2a00:1450::5]:40000"] {
        let mut world = World::with(|choice| choice.ipv4 = false);
        assert_eq!(Client::alice().at(text).ask(&mut world, ALLOCATE, &[udp()]).code(), 440);
    }
}

#[test]
fn rfc8656_7_2_step7_following_the_client_is_a_choice() {
    let follow = |ipv4, ipv6, text| {
        let mut world = World::with(|choice| {
            (choice.ipv4, choice.ipv6, choice.family_default) = (ipv4, ipv6, FamilyDefault::Follow);
        });
        Client::alice().at(text).allocate(&mut world).is_ipv4()
    };
    assert!(follow(true, true, "9.9.9.9:1"));
    assert!(!follow(true, true, "[2a00:1450::5]:1"));
    assert!(follow(true, false, "[2a00:1450::5]:1"));
    assert!(!follow(false, true, "9.9.9.9:1"));
}

#[test]
fn rfc8656_18_6_malformed_family_gets_400() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for value in [vec![], vec![1], vec![1, 0, 0], vec![1, 0, 0, 0, 0]] {
        assert_eq!(alice.ask(&mut world, ALLOCATE, &[udp(), A::Raw(FAMILY, value)]).code(), 400);
    }
    let reserved = A::Raw(FAMILY, vec![2, 9, 9, 9]);
    assert!(alice.ask(&mut world, ALLOCATE, &[udp(), reserved]).address(RELAYED).is_ipv6());
}

#[test]
fn rfc8656_7_2_step10_quota_gets_486() {
    let mut world = World::new();
    world.sockets.quota = Some(1);
    Client::alice().at("9.9.9.9:1").allocate(&mut world);
    let mut second = Client::alice().at("9.9.9.9:2");
    assert_eq!(second.ask(&mut world, ALLOCATE, &[udp()]).code(), 486);
    assert_eq!(second.ask(&mut world, REFRESH, &[]).code(), 437, "nothing was made");
    Client::bob().at("9.9.9.9:3").allocate(&mut world);
    world.audit();
}

#[test]
fn rfc8656_7_2_step10_quota_comes_back_when_an_allocation_ends() {
    let mut world = World::new();
    world.sockets.quota = Some(1);
    let mut first = Client::alice().at("9.9.9.9:1");
    first.allocate(&mut world);
    assert_eq!(first.refresh(&mut world, &[lifetime(0)]).code(), 0);
    Client::alice().at("9.9.9.9:2").allocate(&mut world);
}

#[test]
fn rfc8656_7_2_exhaustion_gets_508_and_leaves_nothing() {
    let mut world = World::new();
    world.sockets.exhausted = true;
    let mut alice = Client::alice();
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[udp()]).code(), 508);
    world.sockets.exhausted = false;
    alice.allocate(&mut world);
    world.audit();
}

#[test]
fn rfc8656_7_2_lifetime_is_never_below_the_default() {
    for (asked, given) in [(0, 600), (1, 600), (599, 600), (600, 600), (601, 601), (777, 777)] {
        let answer = Client::alice().ask(&mut World::new(), ALLOCATE, &[udp(), lifetime(asked)]);
        assert_eq!((answer.code(), answer.lifetime()), (0, given), "{asked}");
    }
}

#[test]
fn rfc8656_7_2_lifetime_is_at_most_an_hour() {
    for asked in [3600, 3601, 86_400, u32::MAX] {
        let answer = Client::alice().ask(&mut World::new(), ALLOCATE, &[udp(), lifetime(asked)]);
        assert_eq!(answer.lifetime(), 3600, "{asked}");
    }
}

#[test]
fn rfc8656_7_2_maximum_lifetime_is_a_choice_but_never_below_the_default() {
    for (max, given) in [(60, 600), (900, 900)] {
        let mut world = World::with(|choice| choice.limits.max_lifetime = Duration::from_secs(max));
        let answer = Client::alice().ask(&mut world, ALLOCATE, &[udp(), lifetime(3600)]);
        assert_eq!(answer.lifetime(), given);
    }
}

#[test]
fn rfc8656_18_2_malformed_lifetime_gets_400() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for length in [0usize, 1, 3, 5, 8] {
        let bad = A::Raw(LIFETIME, vec![0; length]);
        assert_eq!(alice.ask(&mut world, ALLOCATE, &[udp(), bad]).code(), 400, "{length}");
    }
    alice.allocate(&mut world);
    for length in [0usize, 1, 3, 5, 8] {
        let bad = A::Raw(LIFETIME, vec![0; length]);
        assert_eq!(alice.refresh(&mut world, &[bad]).code(), 400, "{length}");
    }
}

#[test]
fn rfc8656_7_2_retransmission_gets_the_same_address_and_the_time_left() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let request = alice.signed(ALLOCATE, &[udp(), lifetime(1000)]);
    let first = alice.send(&mut world, &request);
    assert_eq!(alice.send(&mut world, &request).bytes, first.bytes);
    world.pass_secs(30);
    let again = alice.send(&mut world, &request);
    again.assert_signed(MI, &alice.key());
    assert_eq!((again.address(RELAYED), again.lifetime()), (first.address(RELAYED), 970));
    assert_eq!((world.sockets.opened, world.server.counters().by_transport[0].allocations_created), (1, 1));
}

#[test]
fn rfc8656_7_2_retransmission_does_not_refresh() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let request = alice.signed(ALLOCATE, &[udp()]);
    alice.send(&mut world, &request);
    alice.permit(&mut world, &[peer(1)]);
    world.pass_secs(200);
    alice.send(&mut world, &request);
    alice.permit(&mut world, &[peer(1)]);
    world.pass_secs(399);
    alice.send(&mut world, &request);
    world.pass_secs(1);
    assert_eq!(
        alice.indicate(&mut world, peer(1), b""),
        Out::Dropped(relais::turn::DropReason::NoAllocation)
    );
}

#[test]
fn rfc8656_7_2_same_transaction_id_of_another_user_gets_437() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let mut bob = Client::bob();
    alice.allocate(&mut world);
    bob.challenge(&mut world);
    let request = bob.signed(ALLOCATE, &[udp()]);
    assert_eq!(bob.send(&mut world, &request).code(), 437);
}

#[test]
fn rfc8656_7_2_retransmission_of_a_refused_request_is_judged_anew() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    world.sockets.exhausted = true;
    let request = alice.signed(ALLOCATE, &[udp()]);
    assert_eq!(alice.send(&mut world, &request).code(), 508);
    assert_eq!(alice.send(&mut world, &request).code(), 508);
    world.sockets.exhausted = false;
    assert_eq!(alice.send(&mut world, &request).code(), 0);
}

#[test]
fn rfc8656_7_2_allocation_ends_at_the_second_without_any_timer() {
    for (passed, lives) in [(599, true), (600, false), (601, false)] {
        let (mut world, mut alice, relayed) = talking();
        world.pass_secs(290);
        alice.permit(&mut world, &[peer(1)]);
        world.pass_secs(passed - 290 - 10);
        // A new permission shortly before the end, so that only the allocation decides.
        let nonce_is_fresh = alice.permit(&mut world, &[peer(1)]);
        assert_eq!(nonce_is_fresh, 0);
        world.pass_secs(10);
        assert_eq!(alice.reaches(&mut world, peer(1)), lives, "{passed}");
        assert_eq!(!world.arrives(relayed, peer(1), b"x").is_silent(), lives, "{passed}");
        assert_eq!(world.server.has_allocation(&world.now, &alice.route.tuple), lives);
    }
}

#[test]
fn rfc8656_7_2_tuple_of_an_expired_allocation_is_free_without_any_timer() {
    let (mut world, mut alice, relayed) = talking();
    world.pass_secs(600);
    alice.nonce.clear();
    let again = alice.allocate(&mut world);
    assert_ne!(again, relayed);
    assert_eq!((world.sockets.opened, world.sockets.closed), (2, 1));
    assert!(!alice.reaches(&mut world, peer(1)), "permissions have ended with it");
    world.audit();
}

#[test]
fn rfc8656_7_2_requests_to_an_expired_allocation_get_437() {
    for kind in [REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
        let (mut world, mut alice, _) = talking();
        world.pass_secs(600);
        alice.nonce.clear();
        assert_eq!(alice.ask(&mut world, kind, &[to(peer(1))]).code(), 437);
        assert_eq!(world.sockets.closed, 1, "the first look frees it");
    }
}

#[test]
fn rfc8656_6_timers_free_what_has_expired() {
    let mut world = World::new();
    for port in 1..=300 {
        let mut client = Client::alice().at(&format!("9.9.{}.9:{port}", port % 200));
        client.allocate(&mut world);
        client.permit(&mut world, &[peer(1), peer(2)]);
        client.bind(&mut world, 0x4000, peer(3));
    }
    world.pass_secs(301);
    world.timers();
    assert_eq!((world.server.counters().permissions, world.server.counters().channels), (0, 300));
    world.audit();
    world.pass_secs(299);
    world.timers();
    assert_eq!((world.server.allocation_count(), world.sockets.open.len()), (0, 0));
    assert_eq!(world.server.next_timeout(), None);
    world.audit();
}

#[test]
fn rfc8656_7_2_over_tcp_works_alike() {
    let mut world = World::new();
    let mut alice = Client::alice().over(Transport::Tcp);
    alice.allocate(&mut world);
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    assert!(alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8656_21_4_allocate_from_teredo_and_6to4_clients_gets_403() {
    let mut world = World::new();
    for text in ["[2001:0:1:2::3]:40000", "[2002:808:808::1]:40000"] {
        assert_eq!(Client::alice().at(text).ask(&mut world, ALLOCATE, &[udp()]).code(), 403, "{text}");
    }
    Client::alice().at("[2a00:1450::5]:40000").allocate(&mut world);
}
