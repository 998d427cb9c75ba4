//! What a credential may carry, and its revocation.

use std::sync::Arc;
use std::time::Duration;

use crate::world::*;
use relais::auth::{Cause, Revocation, Revocations, Revoked};
use relais::turn::{
    ConnectionEnd, DropReason, EndReason, Event, Leave, Lookup, RefusalCause, Server, Transport, Turn,
};

fn world() -> World {
    World::with(|choice| {
        (choice.secrets, choice.tcp) = (vec!["north"], true);
        choice.nonce_lifetime = Duration::from_secs(3600);
    })
}

fn name(user: &str, policy: &str) -> String {
    format!("{}:{user}?policy&{policy}", START_UNIX + 3600)
}

fn holder(user: &str, policy: &str, at: &str) -> Client {
    Client::rest(&name(user, policy), "north").at(at)
}

fn causes(world: &mut World) -> Vec<(u16, RefusalCause)> {
    let cause = |event| match event {
        Event::RequestRefused { code, cause, .. } => Some((code, cause?)),
        _ => None,
    };
    world.events().into_iter().filter_map(cause).collect()
}

fn ends(world: &mut World) -> Vec<EndReason> {
    let reason = |event| match event {
        Event::AllocationEnded { reason, .. } => Some(reason),
        _ => None,
    };
    world.events().into_iter().filter_map(reason).collect()
}

#[test]
fn policy_that_cannot_be_read_is_no_policy_of_anybody() {
    let mut world = world();
    let mut eve = holder("eve", "rate=fast", "9.9.9.9:1");
    assert_eq!(eve.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
    let refused: Vec<_> = world
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::LoginRefused { cause, user, .. } => Some((cause, user.as_deref().map(str::to_owned))),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [(Cause::BadPolicy, Some(name("eve", "rate=fast")))]);
    // The mark alone is no key to anything.
    let mut nobody = Client::rest(&name("eve", "rate=1"), "south").at("9.9.9.9:2");
    assert_eq!(nobody.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
}

#[test]
fn policy_rate_holds_both_directions_together_and_is_of_one_allocation() {
    let mut world = world();
    // A quarter of a second is 4,000 bytes; a few packets are more.
    let mut slow = holder("slow", "rate=128000", "9.9.9.9:1");
    let relayed = slow.allocate(&mut world);
    slow.bind(&mut world, 0x4000, peer(1));
    for _ in 0..3 {
        assert!(matches!(slow.frame(&mut world, 0x4000, &[7; 1000]), Out::ToPeer { .. }));
        assert!(matches!(world.arrives(relayed, peer(1), &[7; 1000]), Out::ToClient { .. }));
    }
    assert!(matches!(slow.frame(&mut world, 0x4000, &[7; 1000]), Out::Dropped(DropReason::Rate)));
    assert!(matches!(world.arrives(relayed, peer(1), &[7; 1000]), Out::Dropped(DropReason::Rate)));
    assert!(matches!(slow.indicate(&mut world, peer(1), &[7; 1000]), Out::Dropped(DropReason::Rate)));
    let mut other = holder("slow", "rate=128000", "9.9.9.9:2");
    other.allocate(&mut world);
    other.bind(&mut world, 0x4000, peer(1));
    assert!(matches!(other.frame(&mut world, 0x4000, &[7; 1000]), Out::ToPeer { .. }));
    // 62.5 ms for each packet of 1,000 bytes.
    world.pass(Duration::from_millis(130));
    let passed = (0..10).filter(|_| matches!(slow.frame(&mut world, 0x4000, &[7; 1000]), Out::ToPeer { .. }));
    assert_eq!(passed.count(), 2);
    let session = world.sessions(Some("slow"), 10).swap_remove(0);
    assert_eq!(session.insight.dropped.rate, 3 + 8);
    assert_eq!((session.to_peers.bytes, session.to_client.bytes), (5000, 3000));
    assert_eq!(world.server.counters().by_transport[0].drops[DropReason::Rate as usize], 11);
}

#[test]
fn policy_quotas_are_of_a_user_of_a_key() {
    let mut world = world();
    let code = |world: &mut World, policy: &str, at: &str| {
        holder("alice", policy, at).ask(world, ALLOCATE, &[udp()]).code()
    };
    assert_eq!(code(&mut world, "key=shop&allocations=1", "9.9.9.9:1"), 0);
    assert_eq!(code(&mut world, "key=shop&allocations=1&issued=5", "9.9.9.9:2"), 486);
    assert_eq!(code(&mut world, "key=blog&allocations=1", "9.9.9.9:3"), 0, "another tenant's alice");
    assert_eq!(code(&mut world, "allocations=1", "9.9.9.9:4"), 0, "and nobody's");
    assert_eq!(code(&mut world, "tag=x&allocations=1", "9.9.9.9:5"), 486);
    // To whoever looks and revokes it is one name.
    let shown = world.sessions(Some("alice"), 10);
    assert!(shown.len() == 3 && shown.iter().all(|session| &*session.user == "alice"), "{shown:?}");
    for (issuer, ended) in [(Some("shop"), 1), (None, 2)] {
        let what = Revocation::User("alice".into());
        let new = Revoked { what, issuer: issuer.map(str::to_owned), at: START_UNIX + 10 };
        let list = Arc::new(Revocations::new([new.clone()]));
        assert_eq!(world.server.revoke_one(&world.now, list, Some(&new), &mut world.sockets).len(), ended);
    }
    let mut late = holder("alice", "key=blog", "9.9.9.9:6");
    assert_eq!(late.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
    world.audit();
}

#[test]
fn policy_budget_is_of_the_credential_and_ends_all_of_its_allocations() {
    let mut world = world();
    let budget = |at| holder("alice", "bytes=20000", at);
    let (mut one, mut two) = (budget("9.9.9.9:1"), budget("9.9.9.9:2"));
    for client in [&mut one, &mut two] {
        client.allocate(&mut world);
        client.bind(&mut world, 0x4000, peer(1));
    }
    let mut passed = 0;
    for _ in 0..100 {
        for client in [&mut one, &mut two] {
            if matches!(client.frame(&mut world, 0x4000, &[7; 1000]), Out::ToPeer { .. }) {
                passed += 1000;
            }
        }
    }
    assert!((18_000..=20_000).contains(&passed), "{passed}");
    assert!(matches!(one.frame(&mut world, 0x4000, &[7; 1000]), Out::Dropped(DropReason::NoAllocation)));
    world.timers();
    assert_eq!(ends(&mut world), [EndReason::BudgetSpent; 2]);
    assert_eq!(world.server.allocation_count(), 0);
    // RFC 8656 §7.2, §7.4: 486 may be tried again after a while, 403 not.
    let mut three = budget("9.9.9.9:3");
    for left in [0, 1499] {
        world.sockets.budgets.borrow_mut().insert(name("alice", "bytes=20000"), left);
        assert_eq!(three.ask(&mut world, ALLOCATE, &[udp()]).code(), 403);
        assert_eq!(causes(&mut world), [(403, RefusalCause::Budget)]);
        assert_eq!(world.sockets.budgets.borrow()[&name("alice", "bytes=20000")], left);
    }
    // Another credential of the same user has its own.
    holder("alice", "bytes=20001", "9.9.9.9:4").allocate(&mut world);
    world.audit();
}

#[test]
fn policy_budget_that_was_not_used_is_given_back() {
    let mut world = world();
    let name = name("alice", "bytes=20000");
    let mut alice = holder("alice", "bytes=20000", "9.9.9.9:1");
    alice.allocate(&mut world);
    alice.bind(&mut world, 0x4000, peer(1));
    assert!(matches!(alice.frame(&mut world, 0x4000, &[7; 1000]), Out::ToPeer { .. }));
    assert_eq!(alice.refresh(&mut world, &[lifetime(0)]).code(), 0);
    assert_eq!(world.sockets.budgets.borrow()[&name], 19_000);
    // And so is that of a request that fails later.
    world.sockets.exhausted = true;
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[udp()]).code(), 508);
    assert_eq!(world.sockets.budgets.borrow()[&name], 19_000);
}

#[test]
fn policy_budget_is_asked_for_now_and_then() {
    let mut world = world();
    let mut alice = holder("alice", "bytes=100000000", "9.9.9.9:1");
    alice.allocate(&mut world);
    alice.bind(&mut world, 0x4000, peer(1));
    for _ in 0..5000 {
        assert!(matches!(alice.frame(&mut world, 0x4000, &[7; 1000]), Out::ToPeer { .. }));
    }
    assert!(world.sockets.drawn.get() <= 6, "{}", world.sockets.drawn.get());
}

#[test]
fn policy_allocations_are_counted_by_user() {
    let mut world = world();
    let one = |at| holder("alice", "allocations=1", at);
    one("9.9.9.9:1").allocate(&mut world);
    let mut second = one("9.9.9.9:2");
    assert_eq!(second.ask(&mut world, ALLOCATE, &[udp()]).code(), 486);
    assert_eq!(causes(&mut world), [(486, RefusalCause::Allocations)]);
    // The server's own limit is another one, and the smaller counts.
    world.sockets.quota = Some(1);
    let mut third = holder("alice", "allocations=5", "9.9.9.9:3");
    assert_eq!(third.ask(&mut world, ALLOCATE, &[udp()]).code(), 486);
}

#[test]
fn policy_peers_are_the_only_ones_and_open_nothing() {
    let mut world = world();
    let mut alice = holder("alice", "peers=8.8.0.1,10.0.0.0/8,2a01:4f8::/32", "9.9.9.9:1");
    alice.allocate(&mut world);
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    assert_eq!(alice.permit(&mut world, &[peer(2)]), 403);
    assert_eq!(alice.permit(&mut world, &[peer(1), peer(2)]), 403, "all or nothing");
    assert_eq!(alice.bind(&mut world, 0x4000, peer(2)), 403);
    assert_eq!(alice.bind(&mut world, 0x4000, peer(1)), 0);
    assert_eq!(causes(&mut world), [(403, RefusalCause::PeersOfCredential); 3]);
    assert_eq!(alice.permit(&mut world, &[addr("10.0.0.1:80")]), 403, "the server's rules stay");
    assert!(matches!(alice.indicate(&mut world, peer(2), b"x"), Out::Dropped(DropReason::NoPermission)));
    assert!(alice.reaches(&mut world, peer(1)));
    let session = world.sessions(None, 10).swap_remove(0);
    assert_eq!(session.insight.dropped.no_permission, 1);
    assert_eq!((session.insight.requests.create_permission, session.insight.requests.channel_bind), (1, 1));
}

#[test]
fn policy_budget_is_that_of_tcp_connections_too_and_ends_their_allocation() {
    let mut world = world();
    let name = name("alice", "bytes=20000");
    let budget = |at| holder("alice", "bytes=20000", at).over(Transport::Tcp);
    let mut alice = budget("9.9.9.9:1");
    alice.allocate_tcp(&mut world);
    alice.connect_to(&mut world, peer(1));
    alice.connect_to(&mut world, peer(2));
    let mut turn = Turn::default();
    assert_eq!(world.read(&mut turn, 1000), Leave::Read(1000));
    // What was not used is there for the next one.
    assert_eq!(alice.refresh(&mut world, &[lifetime(0)]).code(), 0);
    assert_eq!(world.sockets.budgets.borrow()[&name], 19_000);
    assert_eq!(ends(&mut world), [EndReason::Deleted]);

    alice.allocate_tcp(&mut world);
    alice.connect_to(&mut world, peer(1));
    let other = alice.connect_to(&mut world, peer(2));
    let mut read = 0;
    let end = loop {
        match world.read(&mut turn, 1000) {
            Leave::Read(len) => read += len,
            end => break end,
        }
    };
    assert_eq!((end, read), (Leave::Spent, 19_000), "to the last byte");
    world.sockets.cut.clear();
    world.connection_ended(peer(1), ConnectionEnd::BudgetSpent);
    assert_eq!(ends(&mut world), [EndReason::BudgetSpent]);
    assert_eq!((world.sockets.cut.clone(), world.server.allocation_count()), (vec![other], 0));
    assert_eq!(world.server.counters().connection_ends[ConnectionEnd::BudgetSpent as usize], 1);
    // As with UDP.
    assert_eq!(budget("9.9.9.9:3").ask(&mut world, ALLOCATE, &[tcp()]).code(), 403);
    assert_eq!(causes(&mut world), [(403, RefusalCause::Budget)]);
    world.audit();
}

#[test]
fn policy_of_tcp_that_fails_to_listen_gives_its_share_back() {
    let mut world = world();
    world.sockets.exhausted = true;
    let mut alice = holder("alice", "bytes=20000", "9.9.9.9:1").over(Transport::Tcp);
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[tcp()]).code(), 508);
    assert_eq!(world.sockets.budgets.borrow()[&name("alice", "bytes=20000")], 20_000);
}

#[test]
fn policy_rate_makes_tcp_connections_wait() {
    let mut world = world();
    let mut alice = holder("alice", "rate=128000", "9.9.9.9:1").over(Transport::Tcp);
    alice.allocate_tcp(&mut world);
    let mut turns = [Turn::default(); 2];
    let mut read = 0;
    for _ in 0..1000 {
        for turn in &mut turns {
            match world.read(turn, 1000) {
                Leave::Read(len) => read += len,
                end => assert!(matches!(end, Leave::Wait(_)), "{end:?}"),
            }
        }
        world.pass(Duration::from_millis(10));
    }
    // 16,000 bytes a second for ten seconds, and what runs ahead.
    assert!((160_000..=160_000 + 6000 + 2 * 1000).contains(&read), "{read}");
    // Without one nothing is metered.
    let mut other = self::world();
    holder("alice", "tag=x", "9.9.9.9:2").over(Transport::Tcp).allocate_tcp(&mut other);
    assert!(other.sockets.meters.is_empty());
}

#[test]
fn safety_a_search_looks_at_so_many_allocations_in_one_call() {
    const COUNT: usize = 3 * Server::LOOKED_AT + 100;
    let mut world = world();
    for number in 0..COUNT {
        let at = format!("9.9.{}.9:{}", number % 250, 1000 + number);
        Client::alice().at(&at).allocate(&mut world);
    }
    holder("bob", "tag=x", "9.9.9.9:1").allocate(&mut world);
    let calls = |world: &World, lookup: &mut Lookup| {
        let mut calls = 1;
        while !world.server.look_up(&world.now, lookup) {
            calls += 1;
        }
        calls
    };
    for user in ["nobody", "bob"] {
        let mut lookup = Lookup::new(Some(user.into()), 10);
        assert!(calls(&world, &mut lookup) > COUNT / Server::LOOKED_AT, "{user}");
        assert_eq!(lookup.into_found().len(), usize::from(user == "bob"));
    }
    let mut first = Lookup::new(None, 10);
    assert_eq!((calls(&world, &mut first), first.into_found().len()), (1, 10), "enough is enough");
    let mut all = Lookup::new(None, usize::MAX);
    world.server.look_up(&world.now, &mut all);
    assert!(all.into_found().len() <= Server::LOOKED_AT);
    assert_eq!(world.sessions(None, usize::MAX).len(), COUNT + 1);
}

fn revoke(world: &mut World, kind: &str, value: &str) -> usize {
    let what = Revocation::of(kind, value.to_owned()).unwrap();
    let new = Revoked { what, issuer: None, at: START_UNIX + 10 };
    let list = Arc::new(Revocations::new([new.clone()]));
    let ended = world.server.revoke_one(&world.now, Arc::clone(&list), Some(&new), &mut world.sockets).len();
    // Nothing is left for who looks through the whole list.
    assert!(world.server.revoke(&world.now, list, &mut world.sockets).is_empty());
    ended
}

#[test]
fn revocation_ends_what_lives_and_refuses_what_comes_like_a_wrong_password() {
    let full = name("alice", "tag=demo&key=web");
    for (kind, value) in [("username", full.as_str()), ("user", "alice"), ("tag", "demo"), ("key", "web")] {
        let mut world = world();
        let mut alice = holder("alice", "tag=demo&key=web", "9.9.9.9:1");
        let mut bob = holder("bob", "tag=other&key=app", "9.9.9.9:2");
        alice.allocate(&mut world);
        bob.allocate(&mut world);
        assert_eq!(revoke(&mut world, kind, value), 1, "{kind}");
        assert_eq!(ends(&mut world), [EndReason::Revoked], "{kind}");
        assert_eq!(world.server.allocation_count(), 1);
        for (method, attributes) in [
            (ALLOCATE, vec![udp()]),
            (REFRESH, vec![]),
            (CREATE_PERMISSION, vec![to(peer(1))]),
            (CHANNEL_BIND, vec![channel(0x4000), to(peer(1))]),
        ] {
            assert_eq!(alice.ask_in_vain(&mut world, method, &attributes).code(), 401, "{kind} {method}");
        }
        assert!(matches!(
            world.events()[..],
            [.., Event::LoginRefused { cause: Cause::Revoked, code: 401, .. }]
        ));
        assert_eq!(bob.permit(&mut world, &[peer(1)]), 0);
        world.audit();
    }
}

#[test]
fn revocation_looks_like_any_other_401() {
    let mut world = world();
    let mut revoked = holder("alice", "tag=x", "9.9.9.9:1");
    let mut wrong = Client::rest(&name("alice", "tag=y"), "south").at("9.9.9.9:1");
    revoke(&mut world, "tag", "x");
    revoked.challenge(&mut world);
    wrong.take(&revoked.challenge(&mut world));
    let transaction = |mut message: Msg| {
        message.0[8..20].copy_from_slice(&[9; 12]);
        message
    };
    let answer = |world: &mut World, client: &mut Client| {
        let request = client.plain(ALLOCATE, &[udp()]);
        let request = client.sign(transaction(client.identify(request)));
        match world.feed(client.route, &request.0) {
            Out::Answer(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (answer(&mut world, &mut revoked), answer(&mut world, &mut wrong));
    assert_eq!(first, second);
}

#[test]
fn revocation_of_a_user_spares_what_is_issued_later() {
    let mut world = world();
    revoke(&mut world, "user", "alice");
    let mut before = holder("alice", &format!("issued={}", START_UNIX + 10), "9.9.9.9:1");
    assert_eq!(before.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
    holder("alice", &format!("issued={}", START_UNIX + 11), "9.9.9.9:2").allocate(&mut world);
}

#[test]
fn revocation_of_a_listed_user_and_lifting_it() {
    let mut world = world();
    Client::alice().allocate(&mut world);
    assert_eq!(revoke(&mut world, "user", "alice"), 1);
    assert_eq!(Client::alice().ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
    world.server.revoke(&world.now, Arc::default(), &mut world.sockets);
    Client::alice().allocate(&mut world);
}

#[test]
fn who_has_not_shown_where_it_is_leaves_no_refusal_under_anybodys_name() {
    let mut world = world();
    let mut refused = |client: &mut Client| {
        assert_eq!(client.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
        match world.events().pop() {
            Some(Event::LoginRefused { proven, .. }) => proven,
            other => panic!("{other:?}"),
        }
    };
    let mut wrong = Client::rest(&name("alice", "tag=y"), "south").at("9.9.9.9:1");
    assert!(refused(&mut wrong), "it has brought the nonce that was sent there");
    let mut forged = wrong.at("9.9.9.9:2");
    assert!(!refused(&mut forged), "the nonce was sent elsewhere");
    assert!(refused(&mut forged.over(Transport::Tcp)), "nobody forges a connection");
}
