//! Relaying a datagram allocates nothing, in either direction and in either form.

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
#[path = "conformance/world.rs"]
mod world;

use relais::turn::{ClientRoute, PeerAddress, Transport, Verdict};
use relais::wire::{Datagram, Marks, ReplyBuffer};
use world::*;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Counts the allocations of `rounds` times feeding `bytes`, from the client or from a peer.
fn count(world: &mut World, route: ClientRoute, peer: Option<std::net::SocketAddr>, bytes: &[u8]) -> usize {
    let mut reply = Box::<ReplyBuffer>::default();
    let id = world.sockets.open.values().next().unwrap().0;
    let before = counting::allocations();
    for _ in 0..1000 {
        let mut datagram = Datagram::new(bytes, Marks::default());
        let verdict = match peer {
            None => {
                world.server.handle_client(&world.now, route, &mut datagram, &mut reply, &mut world.sockets)
            }
            Some(peer) => {
                world.server.handle_peer(&world.now, id, PeerAddress(peer), &mut datagram, &world.sockets)
            }
        };
        assert!(matches!(verdict, Verdict::ToPeer { .. } | Verdict::ToClient { .. }), "{verdict:?}");
    }
    counting::allocations() - before
}

#[test]
fn safety_relaying_allocates_nothing() {
    for transport in Transport::ALL {
        let mut world = World::new();
        let mut alice = Client::alice().over(transport);
        alice.allocate(&mut world);
        assert_eq!(alice.bind(&mut world, 0x4000, peer(1)), 0);
        assert_eq!(alice.permit(&mut world, &[peer(2)]), 0);
        let route = alice.route;
        let indication = alice.plain(SEND, &[to(peer(2)), data(&[7; 1001])]);
        let printed = indication.clone().fingerprint().0;
        for (what, from, bytes) in [
            ("ChannelData to a peer", None, channel_data(0x4000, &[7; 1001])),
            ("Send", None, indication.0),
            ("Send with FINGERPRINT", None, printed),
            ("ChannelData to the client", Some(peer(1)), vec![7; 1001]),
            ("Data", Some(peer(2)), vec![7; 1001]),
        ] {
            assert_eq!(count(&mut world, route, from, &bytes), 0, "{what} over {transport:?}");
        }
    }
    // A rate and a budget are kept without memory of their own for each packet.
    let mut world = World::with(|choice| choice.secrets = vec!["north"]);
    let name = format!("{}:alice?policy&rate=1000000000000&bytes=1000000000", START_UNIX + 60);
    let mut metered = Client::rest(&name, "north");
    metered.allocate(&mut world);
    assert_eq!(metered.bind(&mut world, 0x4000, peer(1)), 0);
    // The world's own book of budgets allocates when it is asked: a share is enough for what follows.
    let bytes = channel_data(0x4000, &[7; 10]);
    assert_eq!(count(&mut world, metered.route, None, &bytes), 0, "metered, to a peer");
    assert_eq!(count(&mut world, metered.route, Some(peer(1)), &[7; 10]), 0, "metered, to the client");
    let started = counting::allocations();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(counting::allocations(), started + 1, "the counter counts");
}
