//! RFC 8016: mobility.

use crate::rfc7635;
use crate::world::*;
use relais::turn::{DropReason, EndReason, Event, Transport};

fn ticket(value: &[u8]) -> A {
    A::Raw(TICKET, value.to_vec())
}

/// Alice with a ticket and a channel to a peer.
fn mobile(world: &mut World) -> (Client, Vec<u8>) {
    let mut alice = Client::alice();
    let answer = alice.ask(world, ALLOCATE, &[udp(), ticket(&[])]);
    let given = answer.get(TICKET).unwrap().to_vec();
    assert_eq!(alice.bind(world, 0x4000, peer(1)), 0);
    (alice, given)
}

/// The same user on another 5-tuple.
fn moved(world: &mut World, alice: &Client, address: &str) -> Client {
    let mut there = alice.clone().at(address);
    there.challenge(world);
    there
}

/// Where a datagram of the peer goes.
fn home(world: &mut World) -> String {
    let id = world.sockets.open.values().next().unwrap().0;
    match world.arrives_at(id, peer(1), b"data") {
        Out::ToClient { route, .. } => route.tuple.client.0.to_string(),
        other => panic!("{other:?}"),
    }
}

const HOME: &str = "9.9.9.9:40000";
const AWAY: &str = "7.7.7.7:1234";
const FAR: &str = "6.6.6.6:77";

#[test]
fn rfc8016_3_1_2_empty_ticket_in_allocate_gets_one() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let request = alice.signed(ALLOCATE, &[udp(), ticket(&[])]);
    let answer = alice.send(&mut world, &request);
    assert_eq!(answer.kinds(), [RELAYED, LIFETIME, MAPPED, TICKET, MI]);
    assert_eq!(answer.get(TICKET).unwrap().len(), 32);
    let again = alice.send(&mut world, &request);
    assert_eq!(again.get(TICKET), answer.get(TICKET), "a retransmission gets the same");
    let plain = Client::alice().at(AWAY).ask(&mut world, ALLOCATE, &[udp()]);
    assert!(!plain.has(TICKET), "who does not ask gets none");
}

#[test]
fn rfc8016_3_1_2_ticket_with_contents_in_allocate_gets_400() {
    let mut world = World::new();
    let (_, given) = mobile(&mut world);
    let mut bob = Client::bob().at(AWAY);
    for value in [&given[..], &[0], &[0; 41]] {
        assert_eq!(bob.ask(&mut world, ALLOCATE, &[udp(), ticket(value)]).code(), 400);
    }
}

#[test]
fn rfc8016_3_1_2_forbidden_mobility_gets_405() {
    let mut world = World::with(|choice| choice.mobility = false);
    let mut alice = Client::alice();
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[udp(), ticket(&[])]).code(), 405);
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[udp(), ticket(&[1])]).code(), 400);
    alice.allocate(&mut world);
}

#[test]
fn rfc8016_3_2_2_mobility_that_was_forbidden_meanwhile_gets_405() {
    let mut world = World::new();
    let (alice, given) = mobile(&mut world);
    world.server.reconfigure(Choice { mobility: false, ..Choice::default() }.settings());
    let mut there = moved(&mut world, &alice, AWAY);
    assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 405);
    assert_eq!(home(&mut world), HOME);
}

#[test]
fn rfc8016_3_2_2_refresh_from_elsewhere_gets_another_ticket() {
    let mut world = World::new();
    let (alice, given) = mobile(&mut world);
    world.pass_secs(200);
    let mut there = moved(&mut world, &alice, AWAY);
    let answer = there.ask(&mut world, REFRESH, &[ticket(&given)]);
    assert_eq!(answer.kinds(), [LIFETIME, TICKET, MI]);
    assert_eq!(answer.lifetime(), 600);
    assert_ne!(answer.get(TICKET), Some(&given[..]));
    assert_eq!(world.sockets.adopted.last().unwrap().tuple.client.0, addr(AWAY));
    assert!(world.server.is_consistent());
}

#[test]
fn rfc8016_3_2_2_data_stay_on_the_old_tuple_until_they_come_on_the_new_one() {
    for by_channel in [true, false] {
        let mut world = World::new();
        let (mut alice, given) = mobile(&mut world);
        let mut there = moved(&mut world, &alice, AWAY);
        there.ask(&mut world, REFRESH, &[ticket(&given)]);
        // Requests and answers on the new 5-tuple move nothing.
        assert_eq!(there.bind(&mut world, 0x4000, peer(1)), 0);
        assert_eq!(there.refresh(&mut world, &[]).code(), 0);
        assert_eq!(home(&mut world), HOME);
        assert!(matches!(alice.frame(&mut world, 0x4000, b"old"), Out::ToPeer { .. }));
        assert!(matches!(alice.indicate(&mut world, peer(1), b"old"), Out::ToPeer { .. }));
        assert_eq!(home(&mut world), HOME);
        let data = if by_channel {
            there.frame(&mut world, 0x4000, b"new")
        } else {
            there.indicate(&mut world, peer(1), b"new")
        };
        assert!(matches!(data, Out::ToPeer { .. }), "channels and permissions have come along");
        assert_eq!(home(&mut world), AWAY);
        assert_eq!(alice.frame(&mut world, 0x4000, b"old"), Out::Dropped(DropReason::NoAllocation));
        assert_eq!(alice.refresh(&mut world, &[]).code(), 437);
        assert_eq!(world.sockets.released.last().unwrap().tuple.client.0, addr(HOME));
        alice.allocate(&mut world);
        assert!(world.server.is_consistent());
    }
}

#[test]
fn rfc8016_3_2_2_moves_between_transports_and_families() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Udp, Transport::Dtls] {
        let mut world = World::new();
        let (alice, given) = mobile(&mut world);
        let mut there = moved(&mut world, &alice.clone().over(transport), "[2a00:1450::5]:9");
        assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 0);
        let frame = if transport.is_stream() { b"four".to_vec() } else { b"xyz".to_vec() };
        assert!(matches!(there.frame(&mut world, 0x4000, &frame), Out::ToPeer { .. }));
        assert_eq!(home(&mut world), "[2a00:1450::5]:9");
        world.audit();
    }
}

#[test]
fn rfc8016_3_2_2_invalid_ticket_gets_400() {
    let mut world = World::new();
    let (alice, given) = mobile(&mut world);
    let mut there = moved(&mut world, &alice, AWAY);
    for at in [0, 15, 16, given.len() - 1] {
        let mut forged = given.clone();
        forged[at] ^= 1;
        assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&forged)]).code(), 400, "byte {at}");
    }
    for value in [vec![], vec![0; 4], given[1..].to_vec(), [&given[..], &[0]].concat()] {
        assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&value)]).code(), 400);
    }
    assert_eq!(home(&mut world), HOME);
}

#[test]
fn rfc8016_3_2_2_ticket_of_an_ended_allocation_gets_437() {
    let mut world = World::new();
    let (mut alice, given) = mobile(&mut world);
    alice.refresh(&mut world, &[lifetime(0)]);
    let mut there = moved(&mut world, &alice, AWAY);
    assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 437);
    // The number of the allocation goes to another one; the ticket does not.
    let (mut alice, given) = mobile(&mut world);
    assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 0);
    world.pass_secs(600);
    let mut far = moved(&mut world, &alice, FAR);
    assert_eq!(far.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 437, "expired, before any timer");
    alice.challenge(&mut world);
    alice.allocate(&mut world);
}

#[test]
fn rfc8016_3_2_2_ticket_from_the_same_tuple_gets_400() {
    let mut world = World::new();
    let (mut alice, given) = mobile(&mut world);
    assert_eq!(alice.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 400);
    let mut there = moved(&mut world, &alice, AWAY);
    let next = there.ask(&mut world, REFRESH, &[ticket(&given)]).get(TICKET).unwrap().to_vec();
    assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&next)]).code(), 400);
    assert_eq!(alice.ask(&mut world, REFRESH, &[ticket(&next)]).code(), 400);
}

#[test]
fn rfc8016_3_2_2_another_user_gets_441() {
    let mut world = World::new();
    let (_, given) = mobile(&mut world);
    let mut bob = Client::bob().at(AWAY);
    assert_eq!(bob.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 441);
    assert_eq!(bob.ask(&mut world, REFRESH, &[ticket(&given), lifetime(0)]).code(), 441);
    assert_eq!(home(&mut world), HOME);
}

#[test]
fn rfc8016_3_2_2_another_holder_of_a_token_gets_441() {
    let mut world = rfc7635::world();
    let mut alice = rfc7635::client_of_session(1);
    let answer = alice.ask(&mut world, ALLOCATE, &[udp(), ticket(&[])]);
    let given = answer.get(TICKET).unwrap().to_vec();
    alice.bind(&mut world, 0x4000, peer(1));
    let mut mallory = rfc7635::client_of_session(2).at(AWAY);
    mallory.challenge(&mut world);
    for attributes in [vec![ticket(&given)], vec![ticket(&given), lifetime(0)]] {
        assert_eq!(mallory.ask(&mut world, REFRESH, &attributes).code(), 441);
    }
    assert_eq!(home(&mut world), HOME);
}

#[test]
fn rfc8656_21_4_nobody_moves_into_a_tunnel() {
    for there in ["[2002:808:808::1]:5", "[2001::1]:5"] {
        let mut world = World::new();
        let (alice, given) = mobile(&mut world);
        let mut there = moved(&mut world, &alice, there);
        assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 403);
        assert_eq!(home(&mut world), HOME);
        assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&given), lifetime(0)]).code(), 0);
    }
}

#[test]
fn rfc8656_5_another_stream_on_the_same_tuple_has_nothing_of_the_first() {
    let mut world = World::new();
    let mut alice = Client::alice().over(Transport::Tcp);
    alice.allocate(&mut world);
    alice.bind(&mut world, 0x4000, peer(1));
    let mut other = alice.clone();
    other.route.link += 1;
    assert_eq!(other.frame(&mut world, 0x4000, b"four"), Out::Dropped(DropReason::NoAllocation));
    assert_eq!(other.indicate(&mut world, peer(1), b"four"), Out::Dropped(DropReason::NoAllocation));
    assert_eq!(other.refresh(&mut world, &[]).code(), 437);
    assert!(matches!(alice.frame(&mut world, 0x4000, b"four"), Out::ToPeer { .. }));
}

#[test]
fn rfc8016_3_2_2_a_ticket_without_login_gets_401() {
    let mut world = World::new();
    let (_, given) = mobile(&mut world);
    let mut mallory = Client::new("alice", "wrong").at(AWAY);
    assert_eq!(mallory.ask_in_vain(&mut world, REFRESH, &[ticket(&given)]).code(), 401);
    let mut nobody = Client::alice().at(FAR);
    let plain = nobody.plain(REFRESH, &[ticket(&given)]);
    assert_eq!(nobody.send(&mut world, &plain).code(), 401);
    assert_eq!(home(&mut world), HOME);
}

#[test]
fn rfc8016_3_2_2_old_ticket_works_for_retransmission_alone_for_30_seconds() {
    let mut world = World::new();
    let (alice, given) = mobile(&mut world);
    let mut there = moved(&mut world, &alice, AWAY);
    let request = there.signed(REFRESH, &[ticket(&given)]);
    let first = there.send(&mut world, &request);
    world.pass_secs(15);
    let again = there.send(&mut world, &request);
    assert_eq!((again.code(), again.get(TICKET)), (0, first.get(TICKET)), "the same answer");
    assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 400, "another request");
    let mut far = moved(&mut world, &alice, FAR);
    assert_eq!(far.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 400, "from elsewhere");
    // Known even after the old 5-tuple has gone.
    there.frame(&mut world, 0x4000, b"new!");
    world.pass_secs(14);
    assert_eq!(there.send(&mut world, &request).get(TICKET), first.get(TICKET));
    world.pass_secs(1);
    assert_eq!(there.send(&mut world, &request).code(), 400, "late");
}

#[test]
fn rfc8016_3_2_2_moving_on_with_the_new_ticket() {
    let mut world = World::new();
    let (mut alice, given) = mobile(&mut world);
    let mut there = moved(&mut world, &alice, AWAY);
    let next = there.ask(&mut world, REFRESH, &[ticket(&given)]).get(TICKET).unwrap().to_vec();
    // Before any data came from there.
    let mut far = moved(&mut world, &alice, FAR);
    let third = far.ask(&mut world, REFRESH, &[ticket(&next)]).get(TICKET).unwrap().to_vec();
    assert_eq!(there.frame(&mut world, 0x4000, b"lost"), Out::Dropped(DropReason::NoAllocation));
    assert_eq!(home(&mut world), HOME);
    far.frame(&mut world, 0x4000, b"here");
    assert_eq!(home(&mut world), FAR);
    // And home again.
    alice.challenge(&mut world);
    assert_eq!(alice.ask(&mut world, REFRESH, &[ticket(&third)]).code(), 0);
    alice.frame(&mut world, 0x4000, b"home");
    assert_eq!(home(&mut world), HOME);
    assert!(world.server.is_consistent());
}

#[test]
fn rfc8016_3_2_2_tuple_with_an_allocation_of_its_own_gets_437() {
    let mut world = World::new();
    let (alice, given) = mobile(&mut world);
    let mut there = moved(&mut world, &alice, AWAY);
    there.allocate(&mut world);
    assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 437);
    assert_eq!(home(&mut world), HOME);
    assert_eq!(there.refresh(&mut world, &[]).code(), 0);
    // And the other way round: the announced 5-tuple is taken.
    let mut far = moved(&mut world, &alice, FAR);
    far.ask(&mut world, REFRESH, &[ticket(&given)]);
    assert_eq!(far.ask(&mut world, ALLOCATE, &[udp()]).code(), 437);
}

#[test]
fn rfc8016_3_2_2_lifetime_zero_from_elsewhere_deletes() {
    let mut world = World::new();
    let (alice, given) = mobile(&mut world);
    let mut there = moved(&mut world, &alice, AWAY);
    let answer = there.ask(&mut world, REFRESH, &[ticket(&given), lifetime(0)]);
    assert_eq!((answer.kinds(), answer.lifetime()), (vec![LIFETIME, MI], 0));
    assert_eq!(world.server.allocation_count(), 0);
    world.audit();
}

#[test]
fn rfc8016_3_2_2_end_of_the_allocation_frees_both_tuples() {
    let mut world = World::new();
    let (mut alice, given) = mobile(&mut world);
    let mut there = moved(&mut world, &alice, AWAY);
    there.ask(&mut world, REFRESH, &[ticket(&given)]);
    there.refresh(&mut world, &[lifetime(0)]);
    let mut gone: Vec<_> = world.sockets.released.iter().map(|route| route.tuple.client.0).collect();
    gone.sort();
    assert_eq!(gone, [addr(AWAY), addr(HOME)]);
    alice.allocate(&mut world);
    there.allocate(&mut world);
    world.audit();
}

#[test]
fn rfc8016_3_2_2_closed_streams_hand_over_or_wait() {
    for data_before in [true, false] {
        let mut world = World::new();
        let mut alice = Client::alice().over(Transport::Tcp);
        let given = alice.ask(&mut world, ALLOCATE, &[udp(), ticket(&[])]).get(TICKET).unwrap().to_vec();
        alice.bind(&mut world, 0x4000, peer(1));
        let mut there = moved(&mut world, &alice, AWAY);
        there.route.link = 8;
        there.ask(&mut world, REFRESH, &[ticket(&given)]);
        if data_before {
            there.frame(&mut world, 0x4000, b"here");
        }
        world.closes(alice.route);
        assert_eq!(home(&mut world), AWAY, "the old connection has gone");
        assert!(world.server.is_consistent());
        world.audit();
    }
    // The announced one closes: all stays as it was.
    let mut world = World::new();
    let (alice, given) = mobile(&mut world);
    let mut there = moved(&mut world, &alice.over(Transport::Tcp), AWAY);
    there.ask(&mut world, REFRESH, &[ticket(&given)]);
    world.closes(there.route);
    assert_eq!(home(&mut world), HOME);
    assert!(world.server.is_consistent());
}

#[test]
fn rfc8016_3_break_before_make_over_a_stream() {
    let mut world = World::new();
    let mut alice = Client::alice().over(Transport::Tls);
    let given = alice.ask(&mut world, ALLOCATE, &[udp(), ticket(&[]), lifetime(3600)]);
    let given = given.get(TICKET).unwrap().to_vec();
    alice.bind(&mut world, 0x4000, peer(1));
    world.closes(alice.route);
    assert_eq!(world.server.allocation_count(), 1, "it waits for its client");
    let id = world.sockets.open.values().next().unwrap().0;
    match world.arrives_at(id, peer(1), b"data") {
        Out::ToClient { route, .. } => assert_eq!(route.link, u32::MAX, "nobody else's stream"),
        other => panic!("{other:?}"),
    }
    world.pass_secs(59);
    world.timers();
    let mut there = moved(&mut world, &alice, AWAY);
    assert_eq!(there.ask(&mut world, REFRESH, &[ticket(&given)]).code(), 0);
    assert_eq!(home(&mut world), AWAY, "there is no old way");
    assert!(world.server.is_consistent());
    // Who does not come back within a minute has lost it; who has no ticket, at once.
    world.closes(there.route);
    world.pass_secs(60);
    world.timers();
    assert_eq!(world.server.allocation_count(), 0);
    let mut bob = Client::bob().over(Transport::Tcp);
    bob.allocate(&mut world);
    world.closes(bob.route);
    assert_eq!(world.server.allocation_count(), 0);
    let ended =
        |event: &Event| matches!(event, Event::AllocationEnded { reason: EndReason::ConnectionClosed, .. });
    assert_eq!(world.events().iter().filter(|event| ended(event)).count(), 1);
    world.audit();
}

#[test]
fn rfc8016_tickets_of_other_workers_are_handed_to_them() {
    let key = [9; 32];
    let mut worlds = [World::new(), World::new()];
    for (number, world) in (3u8..).zip(&mut worlds) {
        world.server = relais::turn::Server::new(Choice::default().settings(), [1, 2, 3, u64::from(number)])
            .in_a_group(key, number, 5);
    }
    let [first, second] = &mut worlds;
    let (alice, given) = mobile(first);
    let mut there = moved(second, &alice, AWAY);
    let request = there.signed(REFRESH, &[ticket(&given)]);
    assert_eq!(second.feed(there.route, &request.0), Out::Forward(3));
    // Only after login: a stranger's ticket travels nowhere.
    let mut mallory = Client::new("alice", "wrong").at(FAR);
    assert_eq!(mallory.ask_in_vain(second, REFRESH, &[ticket(&given)]).code(), 401);
    assert_eq!(there.send(first, &request).code(), 0, "its own worker knows it, and the nonce");
    // A worker that has begun anew has lost it.
    first.server =
        relais::turn::Server::new(Choice::default().settings(), [1, 2, 3, 3]).in_a_group(key, 3, 6);
    assert_eq!(there.send(first, &request).code(), 437);
}
