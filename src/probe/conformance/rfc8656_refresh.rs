//! RFC 8656 §8: Refresh; and §5: who may ask for it.

use super::client::{Client, UDP, expect, stranger, udp_allocation};
use super::outcome::{Check, must, need, should};
use super::pair::Pair;
use super::raw::{ALLOCATE, REFRESH, Raw};
use super::rfc8489_attributes::one_of;
use super::rfc8656_allocate::lifetime_at_least;
use crate::wire::attr;

pub(super) const CHECKS: &[Check] = &[
    must("refresh-lifetime", "8656 §8.2", "A success has LIFETIME, of 600 seconds at least", |p| {
        let answer = Client::open(p)?.allocate()?.0.call(Raw::request(REFRESH))?;
        expect(&answer, 0)?;
        lifetime_at_least(&answer, 600)
    }),
    must("refresh-lifetime-one", "8656 §8.2", "LIFETIME 1 gets the default", |p| {
        let answer = Client::open(p)?.allocate()?.0.call(Raw::request(REFRESH).u32(attr::LIFETIME, 1))?;
        expect(&answer, 0)?;
        lifetime_at_least(&answer, 600)
    }),
    should("refresh-lifetime-hour", "8656 §7.2", "No lifetime is greater than an hour", |p| {
        let answer =
            Client::open(p)?.allocate()?.0.call(Raw::request(REFRESH).u32(attr::LIFETIME, u32::MAX))?;
        let lifetime = answer.u32(attr::LIFETIME);
        need(lifetime.is_some_and(|lifetime| lifetime <= 3600), format!("it is {lifetime:?}"))
    }),
    should(
        "refresh-lifetime-malformed",
        "8656 §18.2",
        "A LIFETIME that has not four bytes gets 400 and deletes nothing",
        |p| {
            let (mut client, _) = Client::open(p)?.allocate()?;
            let wrong: [&[u8]; 5] = [&[], &[0], &[0, 0, 0], &[0; 5], &[0; 8]];
            wrong
                .into_iter()
                .try_for_each(|value| client.wants(Raw::request(REFRESH).attr(attr::LIFETIME, value), 400))?;
            need(client.is_allocated()?, "the allocation is gone")
        },
    ),
    should(
        "refresh-family-malformed",
        "8656 §18.6",
        "A REQUESTED-ADDRESS-FAMILY that has not four bytes gets 400 or 443, and deletes nothing",
        |p| {
            let (mut client, _) = Client::open(p)?.allocate()?;
            let wrong: [&[u8]; 3] = [&[], &[1], &[1, 0, 0, 0, 0]];
            wrong.into_iter().try_for_each(|value| {
                let raw =
                    Raw::request(REFRESH).attr(attr::REQUESTED_ADDRESS_FAMILY, value).u32(attr::LIFETIME, 0);
                one_of(&client.call(raw)?, &[400, 443])
            })?;
            need(client.is_allocated()?, "the allocation is gone")
        },
    ),
    must("refresh-delete", "8656 §8.2", "LIFETIME 0 gets a success with LIFETIME 0", |p| {
        let answer = Client::open(p)?.allocate()?.0.call(Raw::request(REFRESH).u32(attr::LIFETIME, 0))?;
        expect(&answer, 0)?;
        need(answer.u32(attr::LIFETIME) == Some(0), format!("LIFETIME is {:?}", answer.u32(attr::LIFETIME)))
    }),
    must(
        "refresh-delete-at-once",
        "8656 §8.2",
        "It deletes the allocation at once: another Refresh gets 437",
        |p| {
            let (mut client, _) = Client::open(p)?.allocate()?;
            client.wants(Raw::request(REFRESH).u32(attr::LIFETIME, 0), 0)?;
            client.wants(Raw::request(REFRESH), 437)
        },
    ),
    must(
        "refresh-delete-repeated",
        "8656 §8.2",
        "A deletion that comes again gets 437, or its success again",
        |p| {
            let (mut client, _) = Client::open(p)?.allocate()?;
            let request = client.signed(Raw::request(REFRESH).u32(attr::LIFETIME, 0));
            expect(&client.ask(&request)?, 0)?;
            one_of(&client.ask(&request)?, &[437, 0])
        },
    ),
    must(
        "refresh-delete-ends-relaying",
        "8656 §8.2",
        "After the deletion nothing is relayed any more",
        |p| {
            let mut pair = Pair::open(p)?;
            pair.client.wants(Raw::request(REFRESH).u32(attr::LIFETIME, 0), 0)?;
            pair.client.say(pair.peer, b"late")?;
            pair.client.fence()?;
            let mut fresh = Client::open(p)?.allocate()?;
            fresh.0.permit(pair.peer)?;
            pair.other.permit(fresh.1)?;
            fresh.0.say(pair.peer, b"behind")?;
            let heard = pair.other.hear()?;
            need(heard.data == b"behind", "what was sent after it arrived")
        },
    ),
    must("refresh-keeps-permissions", "8656 §8.2", "Permissions and data go on over a Refresh", |p| {
        let mut pair = Pair::open(p)?;
        pair.client.wants(Raw::request(REFRESH), 0)?;
        pair.carries(b"after")
    }),
    must("refresh-repeated", "8656 §8.2", "A Refresh that comes again gets a success again", |p| {
        let (mut client, _) = Client::open(p)?.allocate()?;
        let request = client.signed(Raw::request(REFRESH));
        expect(&client.ask(&request)?, 0)?;
        expect(&client.ask(&request)?, 0)
    }),
    should(
        "refresh-unexpected-transport",
        "8489 §6.3",
        "REQUESTED-TRANSPORT in a Refresh does not disturb",
        |p| {
            let (mut client, _) = Client::open(p)?.allocate()?;
            client.wants(Raw::request(REFRESH).attr(attr::REQUESTED_TRANSPORT, &UDP), 0)
        },
    ),
    must(
        "refresh-without-login",
        "8489 §9.2.4",
        "A Refresh without a login gets 401, also on a live allocation",
        |p| {
            let (mut client, _) = Client::open(p)?.allocate()?;
            expect(&client.ask(&stranger(REFRESH).u32(attr::LIFETIME, 0))?, 401)?;
            need(client.is_allocated()?, "the allocation is gone")
        },
    ),
    must(
        "refresh-of-another-5-tuple",
        "8656 §5",
        "A Refresh from another 5-tuple does not find the allocation: 437",
        |p| {
            let (mut client, _) = Client::open(p)?.allocate()?;
            let mut stranger = Client::open(p)?.login()?;
            stranger.wants(Raw::request(REFRESH).u32(attr::LIFETIME, 0), 437)?;
            need(client.is_allocated()?, "the allocation is gone")
        },
    ),
    must("another-user-refresh", "8656 §5", "Another user on the 5-tuple gets 441 (Refresh)", |p| {
        let (mut client, _) = Client::open(p)?.allocate()?;
        let refresh = client.signed_by_other(Raw::request(REFRESH).u32(attr::LIFETIME, 0))?;
        expect(&client.ask(&refresh)?, 441)?;
        need(client.is_allocated()?, "the allocation is gone")
    }),
    must(
        "another-user-permission",
        "8656 §5",
        "Another user on the 5-tuple gets 441 (CreatePermission)",
        |p| {
            let (mut client, relayed) = Client::open(p)?.allocate()?;
            let request = client.signed_by_other(super::client::permission(&[relayed]))?;
            expect(&client.ask(&request)?, 441)
        },
    ),
    must("another-user-channel", "8656 §5", "Another user on the 5-tuple gets 441 (ChannelBind)", |p| {
        let (mut client, relayed) = Client::open(p)?.allocate()?;
        let request = client.signed_by_other(super::client::binding(0x4000, relayed))?;
        expect(&client.ask(&request)?, 441)
    }),
    must("another-user-before-400", "8656 §5", "441 comes before 400", |p| {
        let (mut client, _) = Client::open(p)?.allocate()?;
        let request = client.signed_by_other(Raw::request(super::raw::CREATE_PERMISSION))?;
        expect(&client.ask(&request)?, 441)
    }),
    must("another-user-allocate", "8656 §7.2, 2", "Another user's Allocate on the 5-tuple gets 437", |p| {
        let (mut client, _) = Client::open(p)?.allocate()?;
        let request = client.signed_by_other(udp_allocation())?;
        let answer = client.ask(&request)?;
        expect(&answer, 437)
    }),
    must(
        "allocate-then-nothing-else-needed",
        "8656 §7.2",
        "An Allocate without SOFTWARE, FINGERPRINT and LIFETIME succeeds",
        |p| {
            let mut client = Client::open(p)?.login()?;
            expect(
                &client.ask(&client.signed(Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &UDP)))?,
                0,
            )
        },
    ),
];
