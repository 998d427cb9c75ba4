//! The client of `relais bench` against the server, both without sockets: what RFC 8489 and RFC 8656 ask of a client.

#![expect(
    unreachable_pub,
    reason = "the world is a module of the conformance suite, where it is public to its siblings"
)]
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "test code; its numbers are small")]

#[allow(dead_code, reason = "the conformance suite uses all of it")]
#[path = "conformance/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use relais::client::{Account, Client, DataHead, Event, Failure, Incoming, Task, Timers, read};
use relais::time::Timestamp;
use relais::turn::{Alternates, ClientRoute};
use relais::wire::{
    AddressFamily, ChannelNumber, Class, IntegrityKey, Message, MessageWriter, TransactionId, attr, method,
};

use crate::world::{Out, World, addr};

const IPV4: Task = Task::Allocate { family: AddressFamily::Ipv4 };

fn client(name: &str, password: &str) -> Client {
    Client::new(Account::new(name, password).map(Arc::new), Timers::DATAGRAMS)
}

fn route() -> ClientRoute {
    world::Client::alice().route
}

/// Gives ids one by one, and counts them.
#[derive(Default)]
struct Ids(u32);

impl Ids {
    fn next(&mut self) -> TransactionId {
        self.0 += 1;
        let mut id = [7; 12];
        id[..4].copy_from_slice(&self.0.to_be_bytes());
        TransactionId(id)
    }
}

/// Carries messages to and fro until both are silent, and tells what has become of the tasks.
fn talk(world: &mut World, client: &mut Client, ids: &mut Ids) -> Vec<Event> {
    while let Some(request) = client.poll_transmit(world.now.mono, || ids.next()) {
        let request = request.to_vec();
        match world.feed(route(), &request) {
            Out::Answer(bytes) => {
                assert!(client.handle(&Message::parse(&bytes).unwrap(), world.now.mono));
            }
            Out::Dropped(_) => {}
            other => panic!("{other:?}"),
        }
    }
    std::iter::from_fn(|| client.poll_event()).collect()
}

fn channel() -> ChannelNumber {
    ChannelNumber::new(0x4001).unwrap()
}

#[test]
fn own_client_allocates_binds_talks_refreshes_and_deletes() {
    // Without secrets the server asks for USERHASH, with them for USERNAME.
    for secrets in [vec![], vec!["shared"]] {
        let mut world = World::with(|choice| choice.secrets = secrets);
        let (mut alice, mut ids) = (client("alice", "wonder"), Ids::default());
        let peer = addr("8.8.0.1:5000");
        for task in [Task::Bind, IPV4, Task::BindChannel { channel: channel(), peer }] {
            assert!(alice.ask(task));
        }
        let events = talk(&mut world, &mut alice, &mut ids);
        let [
            Event::Bound { mapped },
            Event::Allocated { relayed, lifetime: 600 },
            Event::ChannelBound(bound),
        ] = events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!((mapped, bound), (route().tuple.client.0, channel()));
        let head = DataHead::of_channel(channel(), 5, false).unwrap();
        let out = world.feed(route(), &[head.bytes(), b"there"].concat());
        assert!(matches!(out, Out::ToPeer { peer: to, data, .. } if to == peer && data == b"there"));
        let Out::ToClient { bytes, .. } = world.arrives(relayed, peer, b"back") else { panic!() };
        assert!(matches!(read(&bytes), Incoming::Channel(by, b"back") if by == channel()));

        let other = addr("8.8.0.2:6000");
        alice.ask(Task::Permit { peer: other });
        assert_eq!(talk(&mut world, &mut alice, &mut ids), [Event::Permitted(other)]);
        let head = DataHead::of_indication(other, 5, TransactionId([3; 12])).unwrap();
        let message = [head.bytes(), b"there", &[0; 3][..head.padding()]].concat();
        let out = world.feed(route(), &message);
        assert!(matches!(out, Out::ToPeer { peer: to, data, .. } if to == other && data == b"there"));
        let Out::ToClient { bytes, .. } = world.arrives(relayed, other, b"back") else { panic!() };
        assert!(matches!(read(&bytes), Incoming::Data(from, b"back") if from == other));

        alice.ask(Task::Refresh { lifetime: 0 });
        assert_eq!(talk(&mut world, &mut alice, &mut ids), [Event::Refreshed { lifetime: 0 }]);
        assert_eq!((world.server.allocation_count(), alice.next_timeout()), (0, None));
        world.audit();
    }
}

#[test]
fn own_client_keeps_allocation_permission_and_channel_alive() {
    let mut world = World::new();
    let (mut alice, mut ids) = (client("alice", "wonder"), Ids::default());
    let (bound, permitted) = (addr("8.8.0.1:5000"), addr("8.8.0.2:6000"));
    alice.ask(IPV4);
    alice.ask(Task::BindChannel { channel: channel(), peer: bound });
    alice.ask(Task::Permit { peer: permitted });
    let events = talk(&mut world, &mut alice, &mut ids);
    let [Event::Allocated { relayed, .. }, ..] = events[..] else { panic!("{events:?}") };
    // Longer than any lifetime there is, nonces included.
    for _ in 0..100 {
        world.pass_secs(30);
        world.timers();
        talk(&mut world, &mut alice, &mut ids);
        for peer in [bound, permitted] {
            assert!(matches!(world.arrives(relayed, peer, b"x"), Out::ToClient { .. }));
        }
    }
    let Out::ToClient { bytes, .. } = world.arrives(relayed, bound, b"x") else { panic!() };
    assert!(matches!(read(&bytes), Incoming::Channel(..)), "the channel is still there");
}

#[test]
fn rfc8489_9_2_5_own_client_takes_a_stale_nonce_for_a_new_one_and_a_wrong_password_for_what_it_is() {
    let mut world = World::with(|choice| choice.nonce_lifetime = Duration::from_secs(60));
    let (mut alice, mut ids) = (client("alice", "wonder"), Ids::default());
    alice.ask(IPV4);
    assert!(matches!(talk(&mut world, &mut alice, &mut ids)[..], [Event::Allocated { .. }]));
    world.pass_secs(61);
    let before = ids.0;
    alice.ask(Task::Refresh { lifetime: 600 });
    assert_eq!(talk(&mut world, &mut alice, &mut ids), [Event::Refreshed { lifetime: 600 }]);
    assert_eq!(ids.0 - before, 2, "one request with the old nonce, one with the new");

    let mut world = World::new();
    let mut mallory = client("alice", "guess");
    mallory.ask(IPV4);
    let refused = Failure::Refused { code: 401, alternate: None };
    assert_eq!(talk(&mut world, &mut mallory, &mut ids), [Event::Failed(IPV4, refused)]);
    let mut nobody = Client::new(None, Timers::DATAGRAMS);
    nobody.ask(IPV4);
    assert_eq!(talk(&mut world, &mut nobody, &mut ids), [Event::Failed(IPV4, refused)]);
}

#[test]
fn rfc8656_5_own_client_hears_why_it_is_refused() {
    let mut world = World::new();
    let (mut alice, mut ids) = (client("alice", "wonder"), Ids::default());
    let task = Task::BindChannel { channel: channel(), peer: addr("10.0.0.1:5000") };
    for task in [IPV4, task, IPV4] {
        alice.ask(task);
    }
    let events = talk(&mut world, &mut alice, &mut ids);
    let refused = |code| Failure::Refused { code, alternate: None };
    let [Event::Allocated { .. }, forbidden, mismatch] = events[..] else { panic!("{events:?}") };
    assert_eq!(forbidden, Event::Failed(task, refused(403)));
    assert_eq!(mismatch, Event::Failed(IPV4, refused(437)));
}

#[test]
fn rfc8489_10_own_client_tells_the_alternate_server() {
    let other = addr("8.34.9.9:3478");
    let mut world = World::with(|choice| {
        choice.alternates = Alternates { servers: vec![other], ..Alternates::default() };
    });
    let (mut alice, mut ids) = (client("alice", "wonder"), Ids::default());
    alice.ask(IPV4);
    let refused = Failure::Refused { code: 300, alternate: Some(other) };
    assert_eq!(talk(&mut world, &mut alice, &mut ids), [Event::Failed(IPV4, refused)]);
}

#[test]
fn rfc8489_6_2_1_own_client_sends_seven_times_and_gives_up_after_39_500_ms() {
    let mut bob = client("bob", "builder");
    let mut ids = Ids::default();
    bob.ask(IPV4);
    let start = Timestamp::START;
    let (mut times, mut now, mut bytes) = (Vec::new(), start, None);
    while let Some(request) = bob.poll_transmit(now, || ids.next()) {
        assert_eq!(bytes.get_or_insert_with(|| request.to_vec()), request, "word by word the same");
        times.push(now.since(start).as_millis());
        assert_eq!(bob.poll_transmit(now, || ids.next()), None, "not before its time");
        now = bob.next_timeout().unwrap();
    }
    assert_eq!(times, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_eq!(now.since(start).as_millis(), 39_500);
    assert_eq!((bob.poll_event(), ids.0), (Some(Event::Failed(IPV4, Failure::Silence)), 1));

    let mut stream = Client::new(None, Timers::STREAM);
    stream.ask(IPV4);
    assert!(stream.poll_transmit(start, || ids.next()).is_some());
    assert_eq!(stream.next_timeout().unwrap().since(start).as_millis(), 39_500);
}

#[test]
fn rfc8489_9_2_5_own_client_believes_no_answer_with_a_wrong_signature() {
    let mut world = World::new();
    let (mut alice, mut ids) = (client("alice", "wonder"), Ids::default());
    alice.ask(IPV4);
    let request = alice.poll_transmit(world.now.mono, || ids.next()).unwrap().to_vec();
    let Out::Answer(challenge) = world.feed(route(), &request) else { panic!() };
    assert!(alice.handle(&Message::parse(&challenge).unwrap(), world.now.mono));
    let id =
        Message::parse(alice.poll_transmit(world.now.mono, || ids.next()).unwrap()).unwrap().transaction();
    let forged = |id, key: Option<&IntegrityKey>| {
        let mut buffer = [0; 512];
        let mut writer = MessageWriter::to(&mut buffer, method::ALLOCATE, Class::SuccessResponse, id);
        writer.xor_address(attr::XOR_RELAYED_ADDRESS, addr("6.6.6.6:666")).u32(attr::LIFETIME, 600);
        if let Some(key) = key {
            writer.message_integrity_sha256(key);
        }
        let len = writer.finish().unwrap();
        buffer[..len].to_vec()
    };
    let stranger = IntegrityKey::new(b"another key");
    assert!(!alice.handle(&Message::parse(&forged(TransactionId([1; 12]), None)).unwrap(), world.now.mono));
    for key in [None, Some(&stranger)] {
        assert!(alice.handle(&Message::parse(&forged(id, key)).unwrap(), world.now.mono));
        assert_eq!(alice.poll_event(), None);
    }
    while let Some(next) = alice.next_timeout() {
        world.now.mono = next;
        alice.poll_transmit(next, || ids.next());
    }
    assert_eq!(alice.poll_event(), Some(Event::Failed(IPV4, Failure::Unsigned)));
}

#[test]
fn rfc8489_9_2_5_own_client_logs_in_at_servers_that_know_md5_alone() {
    let (mut alice, mut ids) = (client("alice", "wonder"), Ids::default());
    alice.ask(IPV4);
    let now = Timestamp::START;
    let request = alice.poll_transmit(now, || ids.next()).unwrap().to_vec();
    let id = Message::parse(&request).unwrap().transaction();
    let mut buffer = [0; 256];
    let mut writer = MessageWriter::to(&mut buffer, method::ALLOCATE, Class::ErrorResponse, id);
    writer.error_code(401).attribute(attr::REALM, b"old.example").attribute(attr::NONCE, b"once");
    let len = writer.finish().unwrap();
    assert!(alice.handle(&Message::parse(&buffer[..len]).unwrap(), now));
    let signed = alice.poll_transmit(now, || ids.next()).unwrap().to_vec();
    let signed = Message::parse(&signed).unwrap();
    assert_eq!(signed.get(attr::USERNAME), Some(&b"alice"[..]));
    assert_eq!(
        (signed.get(attr::REALM), signed.get(attr::NONCE)),
        (Some(&b"old.example"[..]), Some(&b"once"[..]))
    );
    assert_eq!(signed.get(attr::PASSWORD_ALGORITHM), None);
    assert!(signed.verify(&IntegrityKey::new(&world::md5(b"alice:old.example:wonder"))));
}

/// Sends what is due and gives what the server answers.
fn ask(world: &mut World, alice: &mut Client, ids: &mut Ids) -> Vec<u8> {
    let request = alice.poll_transmit(world.now.mono, || ids.next()).unwrap().to_vec();
    let Out::Answer(answer) = world.feed(route(), &request) else { panic!() };
    answer
}

#[test]
fn own_client_that_leaves_ends_an_allocation_of_which_it_has_not_heard() {
    // With the answer to Allocate, and without it.
    for is_heard in [true, false] {
        let mut world = World::new();
        let (mut alice, mut ids) = (client("alice", "wonder"), Ids::default());
        alice.ask(IPV4);
        alice.ask(Task::BindChannel { channel: channel(), peer: addr("8.8.0.1:5000") });
        let challenge = ask(&mut world, &mut alice, &mut ids);
        assert!(alice.handle(&Message::parse(&challenge).unwrap(), world.now.mono));
        let answer = ask(&mut world, &mut alice, &mut ids);
        assert_eq!(world.server.allocation_count(), 1);
        alice.leave(false);
        assert_eq!(alice.poll_transmit(world.now.mono, || ids.next()), None, "the answer tells what to do");
        if is_heard {
            assert!(alice.handle(&Message::parse(&answer).unwrap(), world.now.mono));
        } else {
            alice.leave(true);
        }
        assert!(talk(&mut world, &mut alice, &mut ids).contains(&Event::Refreshed { lifetime: 0 }));
        assert_eq!((world.server.allocation_count(), alice.next_timeout()), (0, None));
    }
}

#[test]
fn own_client_that_leaves_waits_for_nothing_but_the_end_of_its_allocation() {
    let mut world = World::new();
    let (mut alice, mut ids) = (client("alice", "wonder"), Ids::default());
    alice.ask(IPV4);
    talk(&mut world, &mut alice, &mut ids);
    for number in 0x4001..0x4004 {
        let peer = addr("8.8.0.1:5000");
        alice.ask(Task::BindChannel { channel: ChannelNumber::new(number).unwrap(), peer });
    }
    assert!(alice.poll_transmit(world.now.mono, || ids.next()).is_some(), "the first is under way");
    alice.leave(false);
    assert_eq!(talk(&mut world, &mut alice, &mut ids), [Event::Refreshed { lifetime: 0 }]);
    assert_eq!((world.server.allocation_count(), alice.next_timeout()), (0, None));
}

#[test]
fn own_client_that_leaves_begins_nothing_and_ends_nothing_that_is_not_there() {
    let mut world = World::new();
    let (mut alice, mut ids) = (client("alice", "wonder"), Ids::default());
    alice.leave(false);
    assert_eq!(alice.next_timeout(), None);
    let (mut bob, mut ids_of_bob) = (client("alice", "wonder"), Ids::default());
    bob.ask(IPV4);
    let challenge = ask(&mut world, &mut bob, &mut ids_of_bob);
    bob.leave(false);
    assert!(bob.handle(&Message::parse(&challenge).unwrap(), world.now.mono));
    assert_eq!(bob.poll_transmit(world.now.mono, || ids.next()), None);
    assert_eq!((world.server.allocation_count(), bob.next_timeout()), (0, None));
}

#[test]
fn own_client_refuses_more_tasks_than_it_can_remember() {
    let mut alice = client("alice", "wonder");
    assert!((0..256).all(|_| alice.ask(Task::Bind)));
    assert!(!alice.ask(Task::Bind));
}
