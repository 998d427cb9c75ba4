//! RFC 8656 §8.2: Refresh.

use crate::world::*;
use relais::turn::{DropReason, EndReason, Event};

#[test]
fn rfc8656_8_2_success_has_the_lifetime_alone() {
    let (mut world, mut alice, _) = talking();
    let answer = alice.refresh(&mut world, &[]);
    assert_eq!(answer.kinds(), [LIFETIME, MI]);
    assert_eq!(answer.lifetime(), 600);
}

#[test]
fn rfc8656_8_2_lifetime_is_computed_as_in_allocate() {
    let (mut world, mut alice, _) = talking();
    for (asked, given) in [(1, 600), (600, 600), (601, 601), (3600, 3600), (3601, 3600), (u32::MAX, 3600)] {
        assert_eq!(alice.refresh(&mut world, &[lifetime(asked)]).lifetime(), given, "{asked}");
    }
}

#[test]
fn rfc8656_8_2_refresh_sets_the_time_anew() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    world.pass_secs(599);
    alice.refresh(&mut world, &[]);
    world.timers();
    world.pass_secs(599);
    world.timers();
    assert!(world.server.has_allocation(&world.now, &alice.route.tuple));
    world.pass_secs(1);
    assert!(!world.server.has_allocation(&world.now, &alice.route.tuple));
}

#[test]
fn rfc8656_8_2_refresh_may_shorten() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.ask(&mut world, ALLOCATE, &[udp(), lifetime(3600)]);
    alice.refresh(&mut world, &[]);
    world.pass_secs(600);
    assert!(!world.server.has_allocation(&world.now, &alice.route.tuple));
    world.timers();
    assert_eq!(world.sockets.open.len(), 0, "and the timer has moved forward");
}

#[test]
fn rfc8656_8_2_lifetime_zero_deletes_at_once() {
    let (mut world, mut alice, relayed) = talking();
    alice.bind(&mut world, 0x4000, peer(1));
    let id = world.sockets.open.values().next().unwrap().0;
    let answer = alice.refresh(&mut world, &[lifetime(0)]);
    assert_eq!((answer.code(), answer.lifetime()), (0, 0));
    assert!(world.sockets.open.is_empty(), "{relayed} is closed when the answer leaves");
    assert_eq!(alice.indicate(&mut world, peer(1), b"x"), Out::Dropped(DropReason::NoAllocation));
    assert_eq!(alice.frame(&mut world, 0x4000, b"x"), Out::Dropped(DropReason::NoAllocation));
    assert_eq!(world.arrives_at(id, peer(1), b"x"), Out::Dropped(DropReason::NoAllocation));
    alice.allocate(&mut world);
    assert!(!alice.reaches(&mut world, peer(1)), "nothing of the old one is left");
    assert!(world.arrives_at(id, peer(1), b"x").is_silent(), "its number is not the new one's");
    world.audit();
}

#[test]
fn rfc8656_8_2_retransmitted_delete_gets_437() {
    let (mut world, mut alice, _) = talking();
    let request = alice.signed(REFRESH, &[lifetime(0)]);
    assert_eq!(alice.send(&mut world, &request).code(), 0);
    assert_eq!(alice.send(&mut world, &request).code(), 437);
}

#[test]
fn rfc8656_8_2_another_family_gets_443() {
    let (mut world, mut alice, _) = talking();
    for number in [0, 2, 3, 255] {
        assert_eq!(alice.refresh(&mut world, &[family(number)]).code(), 443, "{number}");
        assert_eq!(alice.refresh(&mut world, &[family(number), lifetime(0)]).code(), 443);
    }
    assert_eq!(alice.refresh(&mut world, &[family(1)]).code(), 0);
    assert_eq!(alice.refresh(&mut world, &[family(1), lifetime(0)]).code(), 0);
    let mut six = Client::alice().at("9.9.9.9:6");
    six.allocate6(&mut world);
    assert_eq!(six.refresh(&mut world, &[family(1)]).code(), 443);
    assert_eq!(six.refresh(&mut world, &[family(2)]).code(), 0);
}

#[test]
fn rfc8656_8_2_malformed_family_gets_400() {
    let (mut world, mut alice, _) = talking();
    assert_eq!(alice.refresh(&mut world, &[A::Raw(FAMILY, vec![1])]).code(), 400);
}

#[test]
fn rfc8656_8_2_443_comes_before_a_malformed_lifetime() {
    let (mut world, mut alice, _) = talking();
    assert_eq!(alice.refresh(&mut world, &[family(2), A::Raw(LIFETIME, vec![])]).code(), 443);
}

#[test]
fn rfc8656_8_2_refused_refresh_changes_nothing() {
    let (mut world, mut alice, _) = talking();
    world.pass_secs(300);
    alice.refresh(&mut world, &[family(2), lifetime(3600)]);
    alice.refresh(&mut world, &[A::Raw(LIFETIME, vec![1])]);
    world.pass_secs(300);
    assert!(!world.server.has_allocation(&world.now, &alice.route.tuple));
}

#[test]
fn rfc8656_8_2_refresh_touches_no_permission() {
    let (mut world, mut alice, _) = talking();
    world.pass_secs(299);
    alice.refresh(&mut world, &[]);
    world.pass_secs(1);
    assert!(!alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8656_8_2_data_do_not_refresh_an_allocation() {
    let (mut world, mut alice, relayed) = talking();
    world.pass_secs(299);
    alice.permit(&mut world, &[peer(1)]);
    world.pass_secs(299);
    alice.permit(&mut world, &[peer(1)]);
    world.pass_secs(1);
    assert!(alice.reaches(&mut world, peer(1)));
    assert!(!world.arrives(relayed, peer(1), b"x").is_silent());
    world.pass_secs(1);
    assert!(!alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8656_8_2_each_end_is_told_once_with_its_reason() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    alice.refresh(&mut world, &[lifetime(0)]);
    alice.allocate(&mut world);
    world.pass_secs(600);
    world.timers();
    world.timers();
    let ends: Vec<EndReason> = world
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::AllocationEnded { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [EndReason::Deleted, EndReason::Expired]);
}
