//! RFC 8489 §6.3, §9.2.4 and RFC 8656 §5: the order of the checks, told by requests that break several rules at once; and
//! which answers are signed.

use super::Probe;
use super::client::{Client, expect, udp_allocation};
use super::outcome::{Check, Finding, Outcome, must, need, should};
use super::raw::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, Raw, Received};
use super::rfc8489_form::listed;
use crate::wire::{AttributeType, attr};

const UNKNOWN_REQUIRED: AttributeType = AttributeType(0x7F31);

pub(super) const CHECKS: &[Check] = &[
    must("order-401-before-420", "8489 §6.3", "Without a login, an unknown attribute gets 401", |p| {
        super::need_login(p)?;
        expect(&Client::open(p)?.ask(&super::client::stranger(ALLOCATE).attr(UNKNOWN_REQUIRED, &[]))?, 401)
    }),
    must(
        "order-401-before-400",
        "8489 §9.2.4",
        "Without a login, an empty Allocate gets 401, not 400",
        |p| {
            super::need_login(p)?;
            expect(&Client::open(p)?.ask(&super::client::stranger(ALLOCATE))?, 401)
        },
    ),
    must("order-400-before-401", "8489 §9.2.4", "Missing names come before a wrong password: 400", |p| {
        let mut client = Client::open(p)?.login()?;
        let raw =
            udp_allocation().attr(attr::USERNAME, client.user().as_bytes()).attr(attr::REALM, &client.realm);
        expect(&client.ask(&client.seal_with(raw, b"wrong"))?, 400)
    }),
    must("order-401-before-438", "8489 §9.2.4", "A wrong password comes before a stale NONCE: 401", |p| {
        let mut client = Client::open(p)?.login()?;
        client.nonce = b"ffffffffffffffff".to_vec();
        expect(&client.ask(&client.seal_with(client.name(udp_allocation()), b"wrong"))?, 401)
    }),
    must(
        "order-wrong-password-before-420",
        "8489 §6.3",
        "A wrong password comes before an unknown attribute: 401",
        |p| {
            let mut client = Client::open(p)?.login()?;
            let raw = client.name(udp_allocation().attr(UNKNOWN_REQUIRED, &[]));
            expect(&client.ask(&client.seal_with(raw, b"wrong"))?, 401)
        },
    ),
    must("order-438-before-420", "8489 §6.3", "A stale NONCE comes before an unknown attribute: 438", |p| {
        let mut client = Client::open(p)?.login()?;
        client.nonce = b"ffffffffffffffff".to_vec();
        expect(&client.ask(&client.signed(udp_allocation().attr(UNKNOWN_REQUIRED, &[])))?, 438)
    }),
    must(
        "order-420-before-442",
        "8489 §6.3.1",
        "An unknown attribute comes before the transport: 420 with its list",
        |p| {
            let raw = Raw::request(ALLOCATE)
                .attr(attr::REQUESTED_TRANSPORT, &[99, 0, 0, 0])
                .attr(UNKNOWN_REQUIRED, b"1");
            listed(&Client::open(p)?.login()?.call(raw)?, &[UNKNOWN_REQUIRED])
        },
    ),
    must(
        "order-420-before-437",
        "8489 §6.3.1",
        "An unknown attribute comes before the missing allocation: 420",
        |p| Client::open(p)?.login()?.wants(Raw::request(REFRESH).attr(UNKNOWN_REQUIRED, &[]), 420),
    ),
    must(
        "order-401-before-437-refresh",
        "8656 §5",
        "Without an allocation, a wrong password gets 401 (Refresh)",
        |p| wrong(p, REFRESH),
    ),
    must("order-401-before-437-permission", "8656 §5", "So it does for CreatePermission", |p| {
        wrong(p, CREATE_PERMISSION)
    }),
    must("order-401-before-437-channel", "8656 §5", "So it does for ChannelBind", |p| {
        wrong(p, CHANNEL_BIND)
    }),
    must("no-allocation-refresh", "8656 §5", "Refresh without an allocation gets 437", |p| {
        Client::open(p)?.login()?.wants(Raw::request(REFRESH), 437)
    }),
    must("no-allocation-permission", "8656 §5", "CreatePermission without an allocation gets 437", |p| {
        Client::open(p)?.login()?.wants(super::client::permission(&[p.server]), 437)
    }),
    must("no-allocation-channel", "8656 §5", "ChannelBind without an allocation gets 437", |p| {
        Client::open(p)?.login()?.wants(super::client::binding(0x4000, p.server), 437)
    }),
    must(
        "order-437-before-400-permission",
        "8656 §5",
        "437 comes before 400 (CreatePermission without a peer)",
        |p| Client::open(p)?.login()?.wants(Raw::request(CREATE_PERMISSION), 437),
    ),
    must(
        "order-437-before-400-channel",
        "8656 §5",
        "437 comes before 400 (ChannelBind without anything)",
        |p| Client::open(p)?.login()?.wants(Raw::request(CHANNEL_BIND), 437),
    ),
    must(
        "order-437-before-400-refresh",
        "8656 §5",
        "437 comes before 400 (Refresh with a malformed LIFETIME)",
        |p| Client::open(p)?.login()?.wants(Raw::request(REFRESH).attr(attr::LIFETIME, &[1]), 437),
    ),
    must(
        "order-401-on-live-allocation",
        "8656 §5",
        "Another name with a wrong key on a live allocation gets 401, not 441",
        |p| {
            let (mut client, _) = Client::open(p)?.allocate()?;
            let raw = Raw::request(REFRESH).attr(attr::USERNAME, b"mallory").attr(attr::REALM, &client.realm);
            let raw = client.seal_with(raw.attr(attr::NONCE, &client.nonce), b"wrong");
            expect(&client.ask(&raw)?, 401)
        },
    ),
    must("signed-success", "8489 §9.2.4", "A success is signed", |p| signed(p, 0, udp_allocation())),
    must("signed-400", "8489 §9.2.4", "400 to a logged-in client is signed", |p| {
        signed(p, 400, Raw::request(ALLOCATE))
    }),
    must("signed-420", "8489 §9.2.4", "420 is signed", |p| {
        signed(p, 420, udp_allocation().attr(UNKNOWN_REQUIRED, &[]))
    }),
    must("signed-437", "8489 §9.2.4", "437 is signed", |p| signed(p, 437, Raw::request(REFRESH))),
    must("signed-442", "8489 §9.2.4", "442 is signed", |p| {
        signed(p, 442, Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &[99, 0, 0, 0]))
    }),
    must("signed-refresh", "8489 §9.2.4", "The success of a Refresh is signed", |p| {
        later(p, 0, |_| Raw::request(REFRESH))
    }),
    must("signed-permission", "8489 §9.2.4", "That of a CreatePermission too", |p| {
        later(p, 0, |relayed| super::client::permission(&[relayed]))
    }),
    must("signed-channel", "8489 §9.2.4", "That of a ChannelBind too", |p| {
        later(p, 0, |relayed| super::client::binding(0x4000, relayed))
    }),
    must("signed-permission-400", "8489 §9.2.4", "The 400 of a CreatePermission too", |p| {
        later(p, 400, |_| Raw::request(CREATE_PERMISSION))
    }),
    must("signed-channel-400", "8489 §9.2.4", "The 400 of a ChannelBind too", |p| {
        later(p, 400, |_| Raw::request(CHANNEL_BIND))
    }),
    must(
        "signed-once",
        "8489 §9.2.4",
        "There is one integrity attribute, MESSAGE-INTEGRITY for who names no algorithm",
        |p| {
            let answer = Client::open(p)?.login()?.call(udp_allocation())?;
            need(
                answer.has(attr::MESSAGE_INTEGRITY) && !answer.has(attr::MESSAGE_INTEGRITY_SHA256),
                "another or none or both",
            )
        },
    ),
    must(
        "signed-then-fingerprint-alone",
        "8489 §14.5",
        "Nothing but FINGERPRINT follows the integrity of an answer",
        |p| {
            let mut client = Client::open(p)?.login()?;
            let answer = client.call(udp_allocation())?;
            let rest = answer.behind_integrity();
            need(
                rest.iter().all(|kind| *kind == attr::FINGERPRINT),
                format!("{} attributes follow", rest.len()),
            )
        },
    ),
    should(
        "signed-has-no-names",
        "8489 §9.2.4",
        "Signed answers have neither REALM, NONCE, USERNAME nor USERHASH",
        |p| {
            let answer = Client::open(p)?.login()?.call(udp_allocation())?;
            let kinds = [
                (attr::REALM, "REALM"),
                (attr::NONCE, "NONCE"),
                (attr::USERNAME, "USERNAME"),
                (attr::USERHASH, "USERHASH"),
            ];
            super::client::lacks(&answer, &kinds)
        },
    ),
];

fn wrong(p: &Probe, method: u16) -> Outcome {
    let mut client = Client::open(p)?.login()?;
    expect(&client.ask(&client.seal_with(client.name(Raw::request(method)), b"wrong"))?, 401)
}

fn signed(p: &Probe, code: u16, raw: Raw) -> Outcome {
    let mut client = Client::open(p)?.login()?;
    let answer = client.call(raw)?;
    expect(&answer, code)?;
    is_signed(&client, &answer)
}

/// The same on a live allocation.
fn later(p: &Probe, code: u16, raw: impl Fn(std::net::SocketAddr) -> Raw) -> Outcome {
    let (mut client, relayed) = Client::open(p)?.allocate()?;
    let answer = client.call(raw(relayed))?;
    expect(&answer, code)?;
    is_signed(&client, &answer)
}

fn is_signed(client: &Client<'_>, answer: &Received) -> Outcome {
    match (client.is_signed(answer), answer.is_signed()) {
        (true, _) => Ok(()),
        (false, true) => {
            Err(Finding::Fail("the integrity of the answer is wrong, or the other kind".to_owned()))
        }
        (false, false) => Err(Finding::Fail("the answer is not signed".to_owned())),
    }
}
