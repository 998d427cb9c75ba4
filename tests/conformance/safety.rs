//! What strangers and users may cost: sizes, budgets, limits.

use crate::world::*;
use relais::turn::{DropReason, Transport};
use std::time::Duration;

/// IPv4 and UDP headers.
const WIRE: usize = 28;

#[test]
fn safety_binding_success_is_exactly_32_bytes() {
    let mut client = Client::alice();
    let request = client.plain(BINDING, &[]);
    assert_eq!(client.send(&mut World::new(), &request).bytes.len(), 32);
    let client = Client::alice().at("[2a00:1450::5]:1");
    assert_eq!(client.send(&mut World::new(), &request).bytes.len(), 44);
}

#[test]
fn safety_challenge_is_exactly_84_bytes() {
    let answer = Client::alice().challenge(&mut World::new());
    assert_eq!(answer.kinds(), [ERROR_CODE, REALM, NONCE, ALGORITHMS]);
    assert_eq!((answer.get(REALM).unwrap().len(), answer.bytes.len()), (8, 84));
    assert_eq!(84 + WIRE, 2 * (20 + 8 + WIRE), "twice a real Allocate on the wire");
}

#[test]
fn safety_other_unauthenticated_answers_stay_below_1_6_on_the_wire() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let request = alice.plain(ALLOCATE, &[udp()]).mi(b"x");
    let answer = alice.send(&mut world, &request);
    assert!(10 * (answer.bytes.len() + WIRE) <= 16 * (request.0.len() + WIRE), "400");
    for unknown in 1..=32 {
        let request = (0..unknown).fold(alice.plain(BINDING, &[]), |message, i| message.raw(0x7F00 + i, b""));
        let answer = alice.send(&mut world, &request);
        assert!(10 * (answer.bytes.len() + WIRE) <= 16 * (request.0.len() + WIRE), "420 with {unknown}");
    }
    alice.challenge(&mut world);
    alice.password = "wrong".into();
    let request = alice.signed(ALLOCATE, &[udp()]);
    let answer = alice.send(&mut world, &request);
    assert!(10 * (answer.bytes.len() + WIRE) <= 16 * (request.0.len() + WIRE), "401 after an attempt");
}

#[test]
fn safety_answers_have_no_software() {
    let mut world = World::new();
    let mut alice = Client::alice();
    assert!(!alice.challenge(&mut world).has(SOFTWARE));
    assert!(!alice.ask(&mut world, ALLOCATE, &[udp(), A::Raw(SOFTWARE, b"me".to_vec())]).has(SOFTWARE));
}

#[test]
fn safety_an_office_of_256_behind_one_address_is_challenged_at_once() {
    let mut world = World::new();
    for port in 1..=256 {
        Client::alice().at(&format!("9.9.9.9:{port}")).challenge(&mut world);
    }
}

#[test]
fn safety_sustained_answers_to_one_source_are_not_more_than_it_sends() {
    let mut world = World::new();
    let (mut sent, mut answered) = (0u64, 0u64);
    let mut phases = Vec::new();
    for i in 0..60_000u64 {
        let mut client = Client::alice().at(&format!("9.9.9.9:{}", 1 + i % 60_000));
        let request = client.plain(ALLOCATE, &[udp()]);
        sent += (request.0.len() + WIRE) as u64;
        match world.feed(client.route, &request.0) {
            Out::Answer(bytes) => answered += (bytes.len() + WIRE) as u64,
            Out::Dropped(reason) => assert_eq!(reason, DropReason::AnswerBudget),
            other => panic!("{other:?}"),
        }
        world.pass(Duration::from_micros(100));
        if i % 20_000 == 19_999 {
            phases.push((sent, answered));
        }
    }
    // After the burst: out is at most in, plus what trickles back (a burst in five minutes).
    let (first, last) = (phases[0], phases[2]);
    assert!(last.1 - first.1 <= last.0 - first.0 + 112 * 256 * 4 / 300 + 112);
    assert!(last.1 - first.1 > (last.0 - first.0) / 2, "genuine clients still get through");
}

#[test]
fn safety_a_flood_from_one_source_does_not_silence_others() {
    let mut world = World::new();
    for i in 0..5000u32 {
        let mut flood = Client::alice().at(&format!("9.9.9.9:{}", 1 + i));
        let request = flood.plain(REFRESH, &[]);
        world.feed(flood.route, &request.0);
    }
    Client::alice().at("9.9.9.10:1").allocate(&mut world);
    Client::alice().at("[2a00:1450::5]:1").allocate(&mut world);
}

#[test]
fn safety_ipv6_sources_are_counted_by_56_bits() {
    let mut world = World::new();
    let mut dropped = 0;
    for i in 0..2000u32 {
        let mut flood = Client::alice().at(&format!("[2a00:1450:0:1{:x}::{i:x}]:9", i % 16));
        let request = flood.plain(REFRESH, &[]);
        dropped += u32::from(world.feed(flood.route, &request.0).is_silent());
    }
    assert!(dropped > 500, "{dropped}");
}

#[test]
fn safety_streams_need_no_budget() {
    let mut world = World::new();
    for i in 0..2000 {
        let mut client = Client::alice().over(Transport::Tcp).at(&format!("9.9.9.9:{}", 1 + i));
        client.challenge(&mut world);
    }
}

#[test]
fn safety_authenticated_clients_need_no_budget() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    for i in 0..5000u32 {
        let mut flood = Client::alice().at(&format!("9.9.9.9:{}", 1 + i));
        let request = flood.plain(REFRESH, &[]);
        world.feed(flood.route, &request.0);
    }
    for _ in 0..5000 {
        assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    }
}

#[test]
fn safety_binding_success_is_never_dropped() {
    let mut world = World::new();
    for _ in 0..5000 {
        let mut client = Client::alice();
        let request = client.plain(BINDING, &[]);
        client.send(&mut world, &request);
    }
}

#[test]
fn safety_a_hundred_failed_logins_a_second_then_silence() {
    let mut world = World::new();
    let mut mallory = Client::new("alice", "guess");
    mallory.challenge(&mut world);
    let mut judged = 0;
    for i in 0..3000u32 {
        mallory.password = format!("guess {i}");
        let request = mallory.signed(ALLOCATE, &[udp()]);
        match world.feed(mallory.route, &request.0) {
            Out::Answer(_) | Out::Dropped(DropReason::AnswerBudget) => judged += 1,
            Out::Dropped(reason) => assert_eq!(reason, DropReason::LoginRate),
            other => panic!("{other:?}"),
        }
        world.pass(Duration::from_millis(1));
    }
    assert!((300..=401).contains(&judged), "{judged} in three seconds");
    Client::alice().at("9.9.9.10:1").allocate(&mut world);
    world.pass_secs(2);
    mallory.password = "wonder".into();
    mallory.allocate(&mut world);
}

#[test]
fn safety_login_rate_does_not_touch_live_allocations_behind_the_same_address() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    let mut mallory = Client::new("alice", "guess").at("9.9.9.9:2");
    mallory.challenge(&mut world);
    for _ in 0..1000 {
        let request = mallory.signed(ALLOCATE, &[udp()]);
        world.feed(mallory.route, &request.0);
    }
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    assert_eq!(alice.refresh(&mut world, &[]).code(), 0);
}

#[test]
fn safety_answers_that_the_budget_swallows_are_not_counted_as_sent() {
    let mut world = World::new();
    let mut answered = (0, 0);
    for i in 0..3000u32 {
        let mut client = Client::alice().at(&format!("9.9.9.9:{}", 1 + i));
        let unknown = [A::Raw(0x7777, vec![])];
        let request = if i % 2 == 0 { client.plain(ALLOCATE, &[]) } else { client.plain(BINDING, &unknown) };
        if let Out::Answer(bytes) = world.feed(client.route, &request.0) {
            answered = (answered.0 + 1, answered.1 + bytes.len() as u64);
        }
    }
    let counters = world.server.counters().by_transport[0];
    assert_eq!((counters.answered.packets, counters.answered.bytes), answered);
    assert_eq!(counters.errors.iter().sum::<u64>(), answered.0);
    assert_eq!(counters.drops.iter().sum::<u64>(), 3000 - answered.0);
}

#[test]
fn safety_1024_permissions_then_508() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    for start in (0..1024u16).step_by(64) {
        let peers: Vec<_> = (start..start + 64).map(peer).collect();
        assert_eq!(alice.permit(&mut world, &peers), 0);
    }
    assert_eq!(alice.permit(&mut world, &[peer(1024)]), 508);
    assert_eq!(alice.bind(&mut world, 0x4000, peer(1024)), 508);
    assert_eq!(world.server.counters().permissions, 1024);
    world.audit();
}

#[test]
fn safety_1024_channels_then_508() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    for n in 0..1024u16 {
        assert_eq!(alice.bind(&mut world, 0x4000 + n, peer(n)), 0);
    }
    let mut one_more = peer(1);
    one_more.set_port(9);
    assert_eq!(alice.bind(&mut world, 0x4FFF, one_more), 508);
    assert_eq!(world.server.counters().channels, 1024);
    world.audit();
}

#[test]
fn safety_draining_refuses_new_allocations_with_403_and_keeps_the_others() {
    let (mut world, mut alice, _) = talking();
    world.server.drain();
    let mut second = Client::alice().at("9.9.9.9:2");
    assert_eq!(second.ask(&mut world, ALLOCATE, &[udp()]).code(), 403);
    assert_eq!(second.ask(&mut world, ALLOCATE, &[]).code(), 400, "a bad request is still a bad one");
    assert_eq!(alice.refresh(&mut world, &[]).code(), 0);
    assert_eq!(alice.permit(&mut world, &[peer(2)]), 0);
    assert!(alice.reaches(&mut world, peer(2)));
}

#[test]
fn safety_draining_answers_a_retransmitted_allocate() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let request = alice.signed(ALLOCATE, &[udp()]);
    assert_eq!(alice.send(&mut world, &request).code(), 0);
    world.server.drain();
    assert_eq!(alice.send(&mut world, &request).code(), 0);
}

#[test]
fn safety_same_input_gives_the_same_bytes() {
    let run = || {
        let (mut world, mut alice, relayed) = talking();
        let mut out = vec![format!("{:?}", alice.refresh(&mut world, &[]).bytes)];
        for n in 0..50 {
            out.push(format!("{:?}", world.arrives(relayed, peer(1), &[n; 9])));
        }
        out
    };
    assert_eq!(run(), run());
}

#[test]
fn safety_timers_do_a_bounded_amount_in_one_call() {
    let mut world = World::new();
    for port in 1..=1000 {
        Client::alice().at(&format!("9.9.{}.9:{port}", port % 250)).allocate(&mut world);
    }
    world.pass_secs(600);
    world.server.handle_timeout(&world.now, &mut world.sockets);
    let left = world.server.allocation_count();
    assert!((1000 - 64..1000).contains(&left), "{left}");
    world.timers();
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn safety_events_waiting_for_nobody_are_bounded() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for _ in 0..3000 {
        alice.ask(&mut world, REFRESH, &[]);
    }
    assert!(world.events().len() <= 1024);
}

#[test]
fn safety_forged_sources_do_not_lock_out_who_has_a_nonce_of_its_own() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    // A forger writes her address on its datagrams; the challenges go to her, so it has no nonce that fits.
    let mut forger = Client::new("alice", "guess").at("9.9.9.9:77");
    forger.nonce = b"obMatJos2gAAA000000000000000".to_vec();
    let mut dropped = 0;
    for _ in 0..1000 {
        let request = forger.signed(ALLOCATE, &[udp()]);
        dropped +=
            u32::from(matches!(world.feed(forger.route, &request.0), Out::Dropped(DropReason::LoginRate)));
    }
    assert!(dropped >= 890, "{dropped}");
    alice.allocate(&mut world);
}

#[test]
fn safety_an_allocation_of_ones_own_gives_no_leave_to_guess() {
    let mut world = World::new();
    let mut bob = Client::bob();
    bob.allocate(&mut world);
    let mut guesser = Client::new("alice", "guess");
    guesser.route = bob.route;
    guesser.nonce.clone_from(&bob.nonce);
    let mut dropped = 0;
    for _ in 0..1000 {
        let request = guesser.signed(CREATE_PERMISSION, &[to(peer(1))]);
        dropped +=
            u32::from(matches!(world.feed(guesser.route, &request.0), Out::Dropped(DropReason::LoginRate)));
    }
    assert!(dropped >= 890, "{dropped}");
    assert_eq!(bob.permit(&mut world, &[peer(1)]), 0, "who goes on with its own name is not held up");
}

#[test]
fn safety_long_requests_of_strangers_are_not_judged() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let long = A::Raw(0x8022, vec![b'x'; 2048]);
    let request = alice.signed(ALLOCATE, &[udp(), long]);
    assert!(matches!(world.feed(alice.route, &request.0), Out::Dropped(DropReason::TooLong)));
}
