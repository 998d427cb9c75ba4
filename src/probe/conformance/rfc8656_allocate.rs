//! RFC 8656 §7.2: Allocate, step by step.

use std::net::SocketAddr;

use super::Probe;
use super::client::{Client, UDP, expect, holds, udp_allocation};
use super::outcome::{Check, Finding, Outcome, must, need, not_offered, not_testable, should};
use super::raw::{ALLOCATE, REFRESH, Raw, Received};
use super::rfc8489_form::listed;
use crate::wire::{AttributeType, attr};

/// The R bit of EVEN-PORT.
const RESERVE: [u8; 1] = [0x80];
const EVEN: [u8; 1] = [0];

pub(super) const CHECKS: &[Check] = &[
    must(
        "allocate-relayed-address",
        "8656 §7.2",
        "A success has XOR-RELAYED-ADDRESS and XOR-MAPPED-ADDRESS",
        |p| {
            let answer = allocate(p, udp_allocation())?;
            holds(
                &answer,
                &[
                    (attr::XOR_RELAYED_ADDRESS, "XOR-RELAYED-ADDRESS"),
                    (attr::XOR_MAPPED_ADDRESS, "XOR-MAPPED-ADDRESS"),
                ],
            )
        },
    ),
    must(
        "allocate-mapped-address",
        "8656 §7.2",
        "XOR-MAPPED-ADDRESS is the client's, as Binding says it",
        |p| {
            let mut client = Client::open(p)?.login()?;
            let binding = client.ask(&Raw::request(super::raw::BINDING))?;
            let answer = client.call(udp_allocation())?;
            expect(&answer, 0)?;
            let mapped = |answer: &Received| answer.xor_address(attr::XOR_MAPPED_ADDRESS);
            need(mapped(&answer) == mapped(&binding), "another address")
        },
    ),
    must("allocate-lifetime", "8656 §7.2", "A success has LIFETIME, of 600 seconds at least", |p| {
        lifetime_at_least(&allocate(p, udp_allocation())?, 600)
    }),
    must(
        "allocate-lifetime-zero",
        "8656 §7.2",
        "LIFETIME 0 gets the default of 600 seconds at least",
        |p| lifetime_at_least(&allocate(p, udp_allocation().u32(attr::LIFETIME, 0))?, 600),
    ),
    must("allocate-lifetime-one", "8656 §7.2", "LIFETIME 1 gets the default too", |p| {
        lifetime_at_least(&allocate(p, udp_allocation().u32(attr::LIFETIME, 1))?, 600)
    }),
    should("allocate-lifetime-hour", "8656 §7.2", "No lifetime is greater than an hour", |p| {
        let answer = allocate(p, udp_allocation().u32(attr::LIFETIME, u32::MAX))?;
        let lifetime = answer.u32(attr::LIFETIME);
        need(lifetime.is_some_and(|lifetime| lifetime <= 3600), format!("it is {lifetime:?}"))
    }),
    should(
        "allocate-lifetime-malformed",
        "8656 §18.2",
        "A LIFETIME that has not four bytes gets 400",
        |p| malformed(p, attr::LIFETIME, &[&[], &[1], &[0, 0, 3], &[0, 0, 3, 4, 5], &[0; 8]]),
    ),
    should("allocate-port-range", "8656 §7.2", "The relayed port is 49152 or greater", |p| {
        let relayed = relayed(&allocate(p, udp_allocation())?)?;
        need(relayed.port() >= 49152, format!("it is {}", relayed.port()))
    }),
    should("allocate-no-well-known-port", "8656 §7.2", "The relayed port is not below 1024", |p| {
        let relayed = relayed(&allocate(p, udp_allocation())?)?;
        need(relayed.port() >= 1024, format!("it is {}", relayed.port()))
    }),
    should("allocate-random-port", "8656 §7.2", "Relayed ports are chosen at random", |p| {
        let mut ports = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..4 {
            let (client, relayed) = Client::open(p)?.allocate()?;
            clients.push(client);
            ports.push(i32::from(relayed.port()));
        }
        let steps: Vec<i32> = ports.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
        need(!steps.iter().all(|step| *step <= 8), format!("{ports:?}"))
    }),
    must("allocate-occupied", "8656 §7.2, 2", "A second Allocate on the 5-tuple gets 437", |p| {
        let (mut client, _) = Client::open(p)?.allocate()?;
        client.wants(udp_allocation(), 437)?;
        need(client.is_allocated()?, "the first one is gone")
    }),
    must("allocate-occupied-first", "8656 §7.2, 2", "437 comes before 400 and 442", |p| {
        let (mut client, _) = Client::open(p)?.allocate()?;
        client.wants(Raw::request(ALLOCATE), 437)?;
        client.wants(Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &[99, 0, 0, 0]), 437)
    }),
    must("allocate-transport-missing", "8656 §7.2, 3", "No REQUESTED-TRANSPORT gets 400", |p| {
        Client::open(p)?.login()?.wants(Raw::request(ALLOCATE), 400)
    }),
    must(
        "allocate-transport-malformed",
        "8656 §7.2, 3",
        "A REQUESTED-TRANSPORT that has not four bytes gets 400",
        |p| {
            let wrong: [&[u8]; 4] = [&[], &[17], &[17, 0, 0], &[17, 0, 0, 0, 0]];
            wrong.into_iter().try_for_each(|value| {
                Client::open(p)?
                    .login()?
                    .wants(Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, value), 400)
            })
        },
    ),
    must("allocate-transport-unknown", "8656 §7.2, 3", "A transport that is not served gets 442", |p| {
        [0, 1, 132, 255].into_iter().try_for_each(|number| {
            Client::open(p)?
                .login()?
                .wants(Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &[number, 0, 0, 0]), 442)
        })
    }),
    must(
        "allocate-transport-reserved-bits",
        "8656 §18.8",
        "The reserved bits of REQUESTED-TRANSPORT are ignored",
        |p| {
            Client::open(p)?
                .login()?
                .wants(Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &[17, 0xFF, 0xFF, 0xFF]), 0)
        },
    ),
    must(
        "allocate-dont-fragment",
        "8656 §7.2, 4",
        "DONT-FRAGMENT is supported, or unknown: success or 420 with its type",
        |p| {
            let mut client = Client::open(p)?.login()?;
            let answer = client.call(udp_allocation().attr(attr::DONT_FRAGMENT, &[]))?;
            if answer.code() == 420 { listed(&answer, &[attr::DONT_FRAGMENT]) } else { expect(&answer, 0) }
        },
    ),
    must("allocate-even-port", "8656 §7.2, 8", "EVEN-PORT gets an even port", |p| {
        let relayed = relayed(&allocate(p, udp_allocation().attr(attr::EVEN_PORT, &EVEN))?)?;
        need(relayed.port().is_multiple_of(2), format!("{}", relayed.port()))
    }),
    must("allocate-even-port-no-token", "8656 §7.2", "Without the R bit no port is reserved", |p| {
        let answer = allocate(p, udp_allocation().attr(attr::EVEN_PORT, &EVEN))?;
        need(!answer.has(attr::RESERVATION_TOKEN), "RESERVATION-TOKEN is there")
    }),
    should(
        "allocate-even-port-malformed",
        "8656 §18.7",
        "An EVEN-PORT of no byte or of two gets 400",
        |p| malformed(p, attr::EVEN_PORT, &[&[], &[0, 0], &[0x80, 0, 0, 0]]),
    ),
    must(
        "allocate-even-port-other-bits",
        "8656 §18.7",
        "The other seven bits of EVEN-PORT are ignored",
        |p| {
            let answer = allocate(p, udp_allocation().attr(attr::EVEN_PORT, &[0x7F]))?;
            need(
                relayed(&answer)?.port().is_multiple_of(2) && !answer.has(attr::RESERVATION_TOKEN),
                "they count",
            )
        },
    ),
    must("reservation-token", "8656 §7.2, 8", "The R bit gets RESERVATION-TOKEN, or 508", |p| {
        let mut client = Client::open(p)?.login()?;
        let answer = client.call(udp_allocation().attr(attr::EVEN_PORT, &RESERVE))?;
        match answer.code() {
            508 => Ok(()),
            _ => {
                expect(&answer, 0)?;
                need(
                    answer.get(attr::RESERVATION_TOKEN).is_some_and(|token| token.len() == 8),
                    "no token of eight bytes",
                )?;
                need(relayed(&answer)?.port().is_multiple_of(2), "the port is odd")
            }
        }
    }),
    must("reservation-next-port", "8656 §7.2", "The token gets the next port, from another 5-tuple", |p| {
        let (_client, first, token) = reserved(p)?;
        let second = relayed(&allocate(p, udp_allocation().attr(attr::RESERVATION_TOKEN, &token))?)?;
        need(second == SocketAddr::new(first.ip(), first.port() + 1), format!("{first}, then {second}"))
    }),
    must("reservation-once", "8656 §7.2, 5", "A token that was used gets 508", |p| {
        let (_client, _, token) = reserved(p)?;
        let mut second = Client::open(p)?.login()?;
        second.wants(udp_allocation().attr(attr::RESERVATION_TOKEN, &token), 0)?;
        Client::open(p)?.login()?.wants(udp_allocation().attr(attr::RESERVATION_TOKEN, &token), 508)
    }),
    must(
        "reservation-retransmitted",
        "8656 §7.2",
        "A retransmitted Allocate gets the same token again",
        |p| {
            let (mut client, _, token) = reserved(p)?;
            let request =
                client.allocated.clone().ok_or_else(|| Finding::NotTestable("no request".to_owned()))?;
            let again = client.ask(&request)?;
            expect(&again, 0)?;
            need(again.get(attr::RESERVATION_TOKEN) == Some(&token), "another one or none")
        },
    ),
    must("reservation-unknown", "8656 §7.2, 5", "A token of our own invention gets 508", |p| {
        let (_client, ..) = reserved(p)?;
        Client::open(p)?.login()?.wants(udp_allocation().attr(attr::RESERVATION_TOKEN, b"invented"), 508)
    }),
    should(
        "reservation-malformed",
        "8656 §18.10",
        "A token that has not eight bytes is not redeemed",
        |p| {
            let (_client, _, token) = reserved(p)?;
            [&token[..7], &[], &[token.as_slice(), &[0]].concat()].into_iter().try_for_each(|value| {
                let answer =
                    Client::open(p)?.login()?.call(udp_allocation().attr(attr::RESERVATION_TOKEN, value))?;
                super::rfc8489_attributes::one_of(&answer, &[400, 508])
            })
        },
    ),
    must("reservation-with-even-port", "8656 §7.2, 5", "RESERVATION-TOKEN with EVEN-PORT gets 400", |p| {
        reserved_with(p, attr::EVEN_PORT, &EVEN)
    }),
    must(
        "reservation-with-family",
        "8656 §7.2, 5",
        "RESERVATION-TOKEN with REQUESTED-ADDRESS-FAMILY gets 400",
        |p| reserved_with(p, attr::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]),
    ),
    must(
        "reservation-with-additional-family",
        "8656 §7.2, 5",
        "RESERVATION-TOKEN with ADDITIONAL-ADDRESS-FAMILY gets 400",
        |p| reserved_with(p, attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
    ),
    must(
        "reservation-unsupported",
        "8656 §7.2, 5",
        "Who reserves no port answers RESERVATION-TOKEN with 508, or 420 with its type",
        |p| {
            if reserved(p).is_ok() {
                return not_offered("ports are reserved: see the other checks");
            }
            let answer = Client::open(p)?
                .login()?
                .call(udp_allocation().attr(attr::RESERVATION_TOKEN, b"invented"))?;
            if answer.code() == 420 {
                listed(&answer, &[attr::RESERVATION_TOKEN])
            } else {
                expect(&answer, 508)
            }
        },
    ),
    must(
        "allocate-retransmitted",
        "8656 §7.2",
        "A retransmitted Allocate gets the same relayed address and makes nothing",
        |p| {
            if p.transport != super::Transport::Udp {
                return not_testable("is about datagrams");
            }
            let (mut client, first) = Client::open(p)?.allocate()?;
            let request =
                client.allocated.clone().ok_or_else(|| Finding::NotTestable("no request".to_owned()))?;
            let again = client.ask(&request)?;
            expect(&again, 0)?;
            need(relayed(&again)? == first, "another address")?;
            lifetime_at_least(&again, 590)
        },
    ),
    must("allocate-two-5-tuples", "8656 §6", "Two 5-tuples of a user have two relayed addresses", |p| {
        let ((_one, first), (_two, second)) = (Client::open(p)?.allocate()?, Client::open(p)?.allocate()?);
        need(first != second, "the same one")
    }),
    must(
        "allocate-again-after-delete",
        "8656 §8.2",
        "After the allocation was deleted, the 5-tuple may have another one",
        |p| {
            let (mut client, _) = Client::open(p)?.allocate()?;
            client.wants(Raw::request(REFRESH).u32(attr::LIFETIME, 0), 0)?;
            client.wants(udp_allocation(), 0)
        },
    ),
    must("allocate-refused-makes-nothing", "8656 §7.2", "A refused Allocate makes nothing", |p| {
        let mut client = Client::open(p)?.login()?;
        client.wants(Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &[99, 0, 0, 0]), 442)?;
        client.wants(Raw::request(REFRESH), 437)?;
        client.wants(udp_allocation(), 0)
    }),
    should(
        "allocate-unexpected-attributes",
        "8489 §6.3",
        "Attributes of other methods do not disturb an Allocate",
        |p| {
            let raw = udp_allocation().attr(attr::CHANNEL_NUMBER, &[0x40, 0, 0, 0]).attr(attr::DATA, b"x");
            Client::open(p)?.login()?.wants(raw, 0)
        },
    ),
];

fn allocate(p: &Probe, raw: Raw) -> Result<Received, Finding> {
    let answer = Client::open(p)?.login()?.call(raw)?;
    expect(&answer, 0)?;
    Ok(answer)
}

pub(super) fn relayed(answer: &Received) -> Result<SocketAddr, Finding> {
    let relayed = answer.xor_address(attr::XOR_RELAYED_ADDRESS);
    relayed.ok_or_else(|| Finding::Fail("no readable XOR-RELAYED-ADDRESS".to_owned()))
}

pub(super) fn lifetime_at_least(answer: &Received, seconds: u32) -> Outcome {
    match answer.u32(attr::LIFETIME) {
        Some(lifetime) => need(lifetime >= seconds, format!("{lifetime} seconds")),
        None => need(false, "LIFETIME is missing or malformed"),
    }
}

/// Each value of an attribute gets 400 in an Allocate.
pub(super) fn malformed(p: &Probe, kind: AttributeType, values: &[&[u8]]) -> Outcome {
    values
        .iter()
        .try_for_each(|value| Client::open(p)?.login()?.wants(udp_allocation().attr(kind, value), 400))
}

/// An allocation with a reserved port behind it.
fn reserved(p: &Probe) -> Result<(Client<'_>, SocketAddr, Vec<u8>), Finding> {
    let mut client = Client::open(p)?.login()?;
    let raw = Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &UDP).attr(attr::EVEN_PORT, &RESERVE);
    let answer = client.call(raw)?;
    match (answer.code(), answer.get(attr::RESERVATION_TOKEN)) {
        (0, Some(token)) => Ok((client, relayed(&answer)?, token.to_vec())),
        (0, None) => Err(Finding::Fail("a success without RESERVATION-TOKEN".to_owned())),
        (code, _) => not_offered(&format!("EVEN-PORT with the R bit gets {code}")),
    }
}

fn reserved_with(p: &Probe, kind: AttributeType, value: &[u8]) -> Outcome {
    let (_client, _, token) = reserved(p)?;
    Client::open(p)?
        .login()?
        .wants(udp_allocation().attr(attr::RESERVATION_TOKEN, &token).attr(kind, value), 400)
}
