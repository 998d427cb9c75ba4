//! RFC 8489 §14: attributes, whole and malformed; what stands behind the integrity.

use super::Probe;
use super::client::{Client, TCP, UDP, expect, permission, udp_allocation};
use super::outcome::{Check, Finding, Outcome, must, need, should};
use super::raw::{ALLOCATE, BINDING, CREATE_PERMISSION, REFRESH, Raw, Received};
use crate::wire::{AttributeType, attr};

pub(super) const CHECKS: &[Check] = &[
    must("padding-of-requests", "8489 §14", "Padding of any value is ignored", |p| {
        let mut client = Client::open(p)?.login()?;
        let raw = udp_allocation()
            .attr_padded(attr::SOFTWARE, b"x", 0xFF)
            .attr_padded(attr::USERNAME, client.user().as_bytes(), 0xFF)
            .attr_padded(attr::REALM, &client.realm, 0xEE)
            .attr_padded(attr::NONCE, &client.nonce, 0xDD);
        expect(&client.ask(&client.seal(raw))?, 0)
    }),
    must("attribute-order", "8489 §14", "Attributes may stand in any order", |p| {
        let mut client = Client::open(p)?.login()?;
        let raw = Raw::request(ALLOCATE)
            .attr(attr::NONCE, &client.nonce)
            .attr(attr::SOFTWARE, b"x")
            .attr(attr::REALM, &client.realm)
            .attr(attr::REQUESTED_TRANSPORT, &UDP)
            .attr(attr::USERNAME, client.user().as_bytes());
        expect(&client.ask(&client.seal(raw))?, 0)
    }),
    should("first-of-several", "8489 §14", "The first of several attributes of a type counts", |p| {
        Client::open(p)?.login()?.wants(udp_allocation().attr(attr::REQUESTED_TRANSPORT, &TCP), 0)
    }),
    should("empty-optional", "8489 §14", "A known optional attribute without a value harms nothing", |p| {
        expect(&Client::open(p)?.ask(&Raw::request(BINDING).attr(attr::SOFTWARE, b""))?, 0)
    }),
    should(
        "malformed-unexpected",
        "8489 §6.3",
        "Malformed attributes that do not belong into a Binding are ignored",
        |p| {
            [
                (attr::MAPPED_ADDRESS, &[0, 9, 1][..]),
                (attr::XOR_MAPPED_ADDRESS, &[]),
                (attr::ERROR_CODE, &[1]),
                (attr::UNKNOWN_ATTRIBUTES, &[0, 1, 2]),
                (attr::ALTERNATE_SERVER, &[0, 1]),
                (attr::ALTERNATE_DOMAIN, &[0xFF, 0xFE]),
            ]
            .into_iter()
            .try_for_each(|(kind, value)| {
                expect(&Client::open(p)?.ask(&Raw::request(BINDING).attr(kind, value))?, 0)
            })
        },
    ),
    must("behind-integrity-lifetime", "8489 §14.5", "LIFETIME behind MESSAGE-INTEGRITY is ignored", |p| {
        let (client, _) = Client::open(p)?.allocate()?;
        survives(client, |client, refresh| client.seal(refresh).u32(attr::LIFETIME, 0))
    }),
    must(
        "behind-integrity-peer",
        "8489 §14.5",
        "XOR-PEER-ADDRESS behind MESSAGE-INTEGRITY is ignored",
        |p| {
            let (mut client, relayed) = Client::open(p)?.allocate()?;
            let raw =
                client.signed(Raw::request(CREATE_PERMISSION)).xor_address(attr::XOR_PEER_ADDRESS, relayed);
            expect(&client.ask(&raw)?, 400)
        },
    ),
    must(
        "behind-integrity-unknown",
        "8489 §14.5",
        "An unknown required attribute behind MESSAGE-INTEGRITY is ignored",
        |p| {
            let mut client = Client::open(p)?.login()?;
            let raw = client.signed(udp_allocation()).attr(AttributeType(0x7F31), b"1234");
            expect(&client.ask(&raw)?, 0)
        },
    ),
    must(
        "behind-integrity-names",
        "8489 §14.5",
        "USERNAME, REALM and NONCE behind MESSAGE-INTEGRITY do not count",
        |p| {
            let mut client = Client::open(p)?.login()?;
            let raw = client.name(client.seal(udp_allocation()));
            expect(&client.ask(&raw)?, 400)
        },
    ),
    must("behind-integrity-second", "8489 §14.5", "A second MESSAGE-INTEGRITY does not count", |p| {
        let mut client = Client::open(p)?.login()?;
        let raw = client.seal_with(client.name(udp_allocation()), b"another key");
        expect(&client.ask(&client.seal(raw))?, 401)
    }),
    must("behind-integrity-fingerprint", "8489 §14.5", "FINGERPRINT may follow", |p| {
        let mut client = Client::open(p)?.login()?;
        let raw = client.signed(udp_allocation()).fingerprint();
        expect(&client.ask(&raw)?, 0)
    }),
    must(
        "behind-sha256-lifetime",
        "8489 §14.6",
        "LIFETIME behind MESSAGE-INTEGRITY-SHA256 is ignored",
        |p| {
            let (client, _) = Client::open(p)?.login()?.with_sha256()?.allocate()?;
            survives(client, |client, refresh| client.seal(refresh).u32(attr::LIFETIME, 0))
        },
    ),
    must("between-integrities-lifetime", "8489 §14.5", "So is LIFETIME between the two integrities", |p| {
        let (client, _) = Client::open(p)?.login()?.with_sha256()?.allocate()?;
        survives(client, |client, refresh| client.seal(refresh.sha1(&client.key()).u32(attr::LIFETIME, 0)))
    }),
    must(
        "integrity-lengths",
        "8489 §14.5",
        "MESSAGE-INTEGRITY of any length but 20 bytes proves nothing",
        |p| {
            [0, 1, 4, 16, 19, 21, 24, 32].into_iter().try_for_each(|length| {
                let mut client = Client::open(p)?.login()?;
                let right = client.signed(udp_allocation());
                let mac = right.bytes().get(right.bytes().len() - 20..).unwrap_or_default().to_vec();
                let mac: Vec<u8> = mac.into_iter().chain([0; 12]).take(length).collect();
                refused(&mut client, |client| {
                    client.name(udp_allocation()).attr(attr::MESSAGE_INTEGRITY, &mac)
                })
            })
        },
    ),
    must("integrity-zeroes", "8489 §9.2.4", "MESSAGE-INTEGRITY of zeroes gets 401", |p| {
        let mut client = Client::open(p)?.login()?;
        let raw = client.name(udp_allocation()).attr(attr::MESSAGE_INTEGRITY, &[0; 20]);
        expect(&client.ask(&raw)?, 401)
    }),
    must("integrity-empty-key", "8489 §9.2.4", "MESSAGE-INTEGRITY under an empty key gets 401", |p| {
        let mut client = Client::open(p)?.login()?;
        let raw = client.seal_with(client.name(udp_allocation()), b"");
        expect(&client.ask(&raw)?, 401)
    }),
    must("integrity-covers-header", "8489 §14.5", "It covers the method and the transaction id", |p| {
        let mut client = Client::open(p)?.login()?;
        let raw = client.signed(udp_allocation());
        expect(&client.ask(&raw.flipped(19))?, 401)?;
        expect(&client.ask(&client.signed(Raw::request(REFRESH)).typed(0x0003))?, 401)
    }),
    must(
        "integrity-covers-attributes",
        "8489 §14.5",
        "It covers the attributes before it, padding included",
        |p| {
            let mut client = Client::open(p)?.login()?;
            let raw = client.signed(udp_allocation().attr(attr::SOFTWARE, b"12345"));
            [24, 32, 39].into_iter().try_for_each(|at| expect(&client.ask(&raw.clone().flipped(at))?, 401))
        },
    ),
    must("username-empty", "8489 §14.3", "An empty USERNAME gets 401 or 400", |p| {
        named(p, attr::USERNAME, b"", &[401, 400])
    }),
    must("username-not-utf8", "8489 §14.3", "A USERNAME that is no UTF-8 gets 401 or 400", |p| {
        named(p, attr::USERNAME, &[0xFF, 0xFE, 0x80], &[401, 400])
    }),
    must("username-508", "8489 §14.3", "A USERNAME of 508 bytes is read, and is nobody's", |p| {
        named(p, attr::USERNAME, &[b'a'; 508], &[401])
    }),
    must("username-1200", "8489 §14.3", "A USERNAME of 1200 bytes is nobody's", |p| {
        named(p, attr::USERNAME, &[b'a'; 1200], &[401, 400])
    }),
    must("username-nul", "8489 §14.3", "A name that continues behind a NUL is another name", |p| {
        let name = [p.username.as_bytes(), b"\0and more"].concat();
        named(p, attr::USERNAME, &name, &[401, 400])
    }),
    should("realm-empty", "8489 §14.9", "An empty REALM gets 401 or 400", |p| {
        named(p, attr::REALM, b"", &[401, 400])
    }),
    should("realm-not-utf8", "8489 §14.9", "A REALM that is no UTF-8 gets 401 or 400", |p| {
        named(p, attr::REALM, &[0xFF, 0xC0], &[401, 400])
    }),
    should("realm-763", "8489 §14.9", "A REALM of 763 bytes is read, and is another one", |p| {
        named(p, attr::REALM, &[b'r'; 763], &[401, 400])
    }),
    must("nonce-empty", "8489 §9.2.4", "An empty NONCE gets 438", |p| nonce(p, |_| Vec::new())),
    must("nonce-one-byte", "8489 §9.2.4", "A NONCE of one byte gets 438", |p| nonce(p, |_| vec![b'0'])),
    must("nonce-cut", "8489 §9.2.4", "A NONCE that was cut gets 438", |p| {
        nonce(p, |nonce| nonce.get(..nonce.len() - 1).unwrap_or_default().to_vec())
    }),
    must("nonce-longer", "8489 §9.2.4", "A NONCE with a character more gets 438", |p| {
        nonce(p, |nonce| [nonce, b"0"].concat())
    }),
    must("nonce-763", "8489 §9.2.4", "A NONCE of 763 bytes gets 438", |p| nonce(p, |_| vec![b'n'; 763])),
    must("nonce-not-ascii", "8489 §9.2.4", "A NONCE of other bytes gets 438", |p| {
        nonce(p, |_| vec![0, 0xFF, 0x80, 10])
    }),
    must("nonce-changed", "8489 §9.2.4", "A NONCE with a changed character gets 438", |p| {
        nonce(p, |nonce| {
            let mut nonce = nonce.to_vec();
            if let Some(last) = nonce.last_mut() {
                *last = if *last == b'0' { b'1' } else { b'0' };
            }
            nonce
        })
    }),
    must("alternate-server-not-unasked", "8489 §10", "ALTERNATE-SERVER is in no answer but 300", |p| {
        let answer = Client::open(p)?.ask(&Raw::request(BINDING))?;
        need(answer.code() == 300 || !answer.has(attr::ALTERNATE_SERVER), "it is in the answer")
    }),
    must("300-after-login-alone", "8489 §10", "300 is given to nobody who has not logged in", |p| {
        super::need_login(p)?;
        let answer =
            Client::open(p)?.ask(&super::client::stranger(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &UDP))?;
        need(answer.code() != 300, "300 without a login")
    }),
    must(
        "peer-malformed-first",
        "8489 §14.2",
        "An address of another length than its family's is malformed",
        |p| {
            let (mut client, relayed) = Client::open(p)?.allocate()?;
            [
                &[0, 1, 0, 9, 1, 2, 3][..],
                &[0, 2, 0, 9, 1, 2, 3, 4],
                &[0, 1, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
            ]
            .into_iter()
            .try_for_each(|value| {
                client.wants(Raw::request(CREATE_PERMISSION).attr(attr::XOR_PEER_ADDRESS, value), 400)
            })?;
            client.permit(relayed)
        },
    ),
    must("address-first-byte", "8489 §14.1", "The first byte of an address is ignored", |p| {
        let (mut client, relayed) = Client::open(p)?.allocate()?;
        let raw = permission(&[relayed]).flipped(24);
        client.wants(raw, 0)
    }),
];

/// A request that is signed wrongly in some way must be refused, whatever the code, and make no allocation.
fn refused(client: &mut Client<'_>, raw: impl Fn(&Client<'_>) -> Raw) -> Outcome {
    match client.ask_or_silence_behind(&raw(client))? {
        Some(answer) => need(answer.is_error(), "success"),
        None => Ok(()),
    }
}

/// Refreshes with something behind the integrity that would delete, and looks whether the allocation still lives.
fn survives(mut client: Client<'_>, write: impl Fn(&Client<'_>, Raw) -> Raw) -> Outcome {
    let raw = write(&client, client.name(Raw::request(REFRESH)));
    let answer = client.ask(&raw)?;
    expect(&answer, 0)?;
    need(answer.u32(attr::LIFETIME) != Some(0), "the allocation was deleted")?;
    need(client.is_allocated()?, "the allocation was deleted")
}

/// A request whose USERNAME or REALM is `value`, signed with the right key otherwise.
fn named(p: &Probe, kind: AttributeType, value: &[u8], codes: &[u16]) -> Outcome {
    let mut client = Client::open(p)?.login()?;
    let (user, realm) = (client.user().as_bytes(), client.realm.clone());
    let (user, realm) = if kind == attr::USERNAME { (value, &realm[..]) } else { (user, value) };
    let raw =
        udp_allocation().attr(attr::USERNAME, user).attr(attr::REALM, realm).attr(attr::NONCE, &client.nonce);
    one_of(&client.ask(&client.seal(raw))?, codes)
}

pub(super) fn one_of(answer: &Received, codes: &[u16]) -> Outcome {
    let wanted: Vec<String> = codes.iter().map(ToString::to_string).collect();
    match answer.code() {
        seen if codes.contains(&seen) => Ok(()),
        0 => Err(Finding::Fail(format!("success instead of {}", wanted.join(" or ")))),
        seen => Err(Finding::Fail(format!("{seen} instead of {}", wanted.join(" or ")))),
    }
}

/// A request that is signed rightly, but with another NONCE.
fn nonce(p: &Probe, change: impl Fn(&[u8]) -> Vec<u8>) -> Outcome {
    let mut client = Client::open(p)?.login()?;
    client.nonce = change(&client.nonce);
    expect(&client.ask(&client.signed(udp_allocation()))?, 438)
}
