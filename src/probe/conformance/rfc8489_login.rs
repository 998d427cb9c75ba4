//! RFC 8489 §9.2.4: what the answers 401, 400 and 438 hold.

use super::Probe;
use super::client::{Client, UDP, expect, holds, lacks, lists_sha256, stranger, udp_allocation};
use super::outcome::{Check, Finding, Outcome, must, need, not_offered, should};
use super::raw::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, Raw, Received};
use crate::wire::{AttributeType, attr};

const CHALLENGE: [(AttributeType, &str); 2] = [(attr::REALM, "REALM"), (attr::NONCE, "NONCE")];
const NAMES: [(AttributeType, &str); 2] = [(attr::USERNAME, "USERNAME"), (attr::USERHASH, "USERHASH")];
const INTEGRITY: [(AttributeType, &str); 2] = [
    (attr::MESSAGE_INTEGRITY, "MESSAGE-INTEGRITY"),
    (attr::MESSAGE_INTEGRITY_SHA256, "MESSAGE-INTEGRITY-SHA256"),
];
const ALGORITHMS: [(AttributeType, &str); 1] = [(attr::PASSWORD_ALGORITHMS, "PASSWORD-ALGORITHMS")];
/// What a nonce begins with that tells security features (RFC 8489 §9.2).
const NONCE_COOKIE: &[u8] = b"obMatJos2";

pub(super) const CHECKS: &[Check] = &[
    must("challenge-allocate", "8489 §9.2.4", "A request without integrity gets 401 (Allocate)", |p| {
        without_login(p, ALLOCATE)
    }),
    must("challenge-refresh", "8489 §9.2.4", "So does Refresh", |p| without_login(p, REFRESH)),
    must("challenge-create-permission", "8489 §9.2.4", "So does CreatePermission", |p| {
        without_login(p, CREATE_PERMISSION)
    }),
    must("challenge-channel-bind", "8489 §9.2.4", "So does ChannelBind", |p| without_login(p, CHANNEL_BIND)),
    must("challenge-has-realm-and-nonce", "8489 §9.2.4", "401 has REALM and NONCE", |p| {
        holds(&challenge(p)?, &CHALLENGE)
    }),
    should(
        "challenge-has-no-names",
        "8489 §9.2.4",
        "401 has neither USERNAME, USERHASH nor integrity",
        |p| {
            let answer = challenge(p)?;
            lacks(&answer, &NAMES)?;
            lacks(&answer, &INTEGRITY)
        },
    ),
    must("names-without-integrity", "8489 §9.2.4", "Names without integrity are no login: 401", |p| {
        let mut client = Client::open(p)?.login()?;
        let answer = client.ask(&client.name(udp_allocation()))?;
        expect(&answer, 401)?;
        holds(&answer, &CHALLENGE)
    }),
    must("nonce-differs-by-port", "8489 §9.2.4", "No two source ports get the same NONCE", |p| {
        let (one, two) = (Client::open(p)?.login()?, Client::open(p)?.login()?);
        need(one.nonce != two.nonce, "they did")
    }),
    must("nonce-form", "8489 §14.10", "NONCE is qdtext of fewer than 128 characters", |p| {
        let client = Client::open(p)?.login()?;
        let is_text = client.nonce.iter().all(|byte| matches!(byte, b' ' | b'!' | 0x23..=0x5B | 0x5D..=0x7E));
        need(
            !client.nonce.is_empty() && client.nonce.len() < 128 && is_text,
            format!("{} bytes", client.nonce.len()),
        )
    }),
    must("realm-form", "8489 §14.9", "REALM is UTF-8 of fewer than 128 characters", |p| {
        let client = Client::open(p)?.login()?;
        let length = std::str::from_utf8(&client.realm).map(|realm| realm.chars().count());
        need(matches!(length, Ok(1..128)), format!("{} bytes", client.realm.len()))
    }),
    must(
        "nonce-cookie",
        "8489 §9.2",
        "With PASSWORD-ALGORITHMS, NONCE begins with obMatJos2 and four base64 characters",
        |p| {
            let client = Client::open(p)?.login()?;
            if client.algorithms.is_none() {
                return not_offered("no PASSWORD-ALGORITHMS in the challenge");
            }
            features(&client.nonce).map(|_| ())
        },
    ),
    must(
        "feature-bit-of-algorithms",
        "8489 §9.2.4",
        "PASSWORD-ALGORITHMS and its feature bit come together",
        |p| {
            let client = Client::open(p)?.login()?;
            match (&client.algorithms, features(&client.nonce)) {
                (None, Err(_)) => not_offered("neither is there"),
                (None, Ok(bits)) => need(bits & 0x80 == 0, "the bit without the attribute"),
                (Some(_), Ok(bits)) => need(bits & 0x80 != 0, "the attribute without the bit"),
                (Some(_), Err(finding)) => Err(finding),
            }
        },
    ),
    must(
        "algorithms-form",
        "8489 §14.11",
        "PASSWORD-ALGORITHMS is a list of numbers with their parameters",
        |p| {
            let client = Client::open(p)?.login()?;
            let Some(mut list) = client.algorithms.as_deref() else {
                return not_offered("no PASSWORD-ALGORITHMS in the challenge");
            };
            while !list.is_empty() {
                let Some((&[_, _, l0, l1], rest)) = list.split_first_chunk::<4>() else {
                    return need(false, "it ends inside an entry");
                };
                let length = usize::from(u16::from_be_bytes([l0, l1])).next_multiple_of(4);
                list = rest
                    .get(length..)
                    .ok_or_else(|| Finding::Fail("parameters reach behind the end".to_owned()))?;
            }
            Ok(())
        },
    ),
    should("sha256-offered", "8489 §9.2.4", "SHA-256 is among the password algorithms", |p| {
        let client = Client::open(p)?.login()?;
        need(client.algorithms.as_deref().is_some_and(lists_sha256), "it is not offered")
    }),
    must("400-without-username", "8489 §9.2.4", "Integrity without USERNAME gets 400", |p| {
        incomplete(p, attr::USERNAME)
    }),
    must("400-without-realm", "8489 §9.2.4", "Integrity without REALM gets 400", |p| {
        incomplete(p, attr::REALM)
    }),
    must("400-without-nonce", "8489 §9.2.4", "Integrity without NONCE gets 400", |p| {
        incomplete(p, attr::NONCE)
    }),
    must("400-without-any", "8489 §9.2.4", "Integrity alone gets 400", |p| {
        let mut client = Client::open(p)?.login()?;
        expect(&client.ask(&client.seal(udp_allocation()))?, 400)
    }),
    should(
        "400-has-no-names",
        "8489 §9.2.4",
        "This 400 has neither USERNAME, USERHASH, NONCE nor REALM",
        |p| {
            let mut client = Client::open(p)?.login()?;
            let answer = client.ask(&client.seal(udp_allocation()))?;
            lacks(&answer, &NAMES)?;
            lacks(&answer, &CHALLENGE)
        },
    ),
    must("400-has-no-integrity", "8489 §9.2.4", "This 400 has no integrity", |p| {
        let mut client = Client::open(p)?.login()?;
        let answer = client.ask(&client.seal(udp_allocation()))?;
        lacks(&answer, &INTEGRITY)
    }),
    must("unknown-user", "8489 §9.2.4", "An unknown user gets 401", |p| expect(&unknown_user(p)?.1, 401)),
    must("unknown-user-challenge", "8489 §9.2.4", "This 401 has REALM and NONCE", |p| {
        holds(&unknown_user(p)?.1, &CHALLENGE)
    }),
    must(
        "unknown-user-algorithms",
        "8489 §9.2.4",
        "This 401 has PASSWORD-ALGORITHMS, where they are offered",
        |p| {
            let (client, answer) = unknown_user(p)?;
            algorithms(&client, &answer)
        },
    ),
    should("unknown-user-no-names", "8489 §9.2.4", "This 401 has neither USERNAME nor USERHASH", |p| {
        lacks(&unknown_user(p)?.1, &NAMES)
    }),
    must("wrong-password", "8489 §9.2.4", "A wrong password gets 401", |p| {
        expect(&wrong_password(p)?.1, 401)
    }),
    must("wrong-password-challenge", "8489 §9.2.4", "This 401 has REALM and NONCE", |p| {
        holds(&wrong_password(p)?.1, &CHALLENGE)
    }),
    should("wrong-password-no-names", "8489 §9.2.4", "This 401 has neither names nor integrity", |p| {
        let (_, answer) = wrong_password(p)?;
        lacks(&answer, &NAMES)?;
        lacks(&answer, &INTEGRITY)
    }),
    should(
        "wrong-password-as-unknown-user",
        "8489 §16.1.2",
        "A wrong password and an unknown user cannot be told apart",
        |p| {
            let (wrong, unknown) = (wrong_password(p)?.1, unknown_user(p)?.1);
            let kinds = |answer: &Received| {
                [attr::REALM, attr::NONCE, attr::PASSWORD_ALGORITHMS].map(|kind| answer.has(kind))
            };
            need(wrong.code() == unknown.code() && kinds(&wrong) == kinds(&unknown), "they can")
        },
    ),
    must(
        "another-realm",
        "8489 §9.2.4",
        "Another REALM with its own key gets 401 with the right REALM",
        |p| {
            let mut client = Client::open(p)?.login()?;
            let ours = std::mem::replace(&mut client.realm, b"elsewhere.example".to_vec());
            let answer = client.ask(&client.signed(udp_allocation()))?;
            expect(&answer, 401)?;
            need(answer.get(attr::REALM) == Some(&ours), "with another REALM")
        },
    ),
    must("stale-nonce", "8489 §9.2.4", "A NONCE that was never given gets 438", |p| {
        expect(&stale(p)?.1, 438)
    }),
    must("stale-nonce-challenge", "8489 §9.2.4", "438 has REALM and NONCE", |p| {
        let (_, answer) = stale(p)?;
        expect(&answer, 438)?;
        holds(&answer, &CHALLENGE)
    }),
    must(
        "stale-nonce-algorithms",
        "8489 §9.2.4",
        "438 has PASSWORD-ALGORITHMS, where they are offered",
        |p| {
            let (client, answer) = stale(p)?;
            expect(&answer, 438)?;
            algorithms(&client, &answer)
        },
    ),
    should("stale-nonce-no-names", "8489 §9.2.4", "438 has neither USERNAME nor USERHASH", |p| {
        let (_, answer) = stale(p)?;
        expect(&answer, 438)?;
        lacks(&answer, &NAMES)
    }),
    must("stale-nonce-new-one", "8489 §9.2.4", "The NONCE of 438 is valid", |p| {
        let (mut client, answer) = stale(p)?;
        expect(&answer, 438)?;
        client.take(&answer)?;
        expect(&client.ask(&client.signed(udp_allocation()))?, 0)
    }),
    must(
        "failed-login-no-state",
        "8489 §9.2.4",
        "A failed login leaves nothing behind: the true user gets the 5-tuple",
        |p| {
            let (mut client, _) = wrong_password(p)?;
            let forged =
                Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &UDP).attr(attr::USERNAME, b"mallory");
            let forged = client.seal_with(
                forged.attr(attr::REALM, &client.realm).attr(attr::NONCE, &client.nonce),
                b"guess",
            );
            client.ask(&forged)?;
            expect(&client.ask(&client.signed(udp_allocation()))?, 0)
        },
    ),
    must("forged-refresh", "8656 §21.1.3", "A forged Refresh gets 401 and ends no allocation", |p| {
        let (mut client, _) = Client::open(p)?.allocate()?;
        let forged = client.seal_with(client.name(Raw::request(REFRESH).u32(attr::LIFETIME, 0)), b"guess");
        expect(&client.ask(&forged)?, 401)?;
        need(client.is_allocated()?, "the allocation is gone")
    }),
    must("nonce-for-all-methods", "8489 §9.2", "One NONCE serves several requests", |p| {
        let (mut client, relayed) = Client::open(p)?.allocate()?;
        let nonce = client.nonce.clone();
        client.permit(relayed)?;
        client.wants(Raw::request(REFRESH), 0)?;
        need(client.nonce == nonce, "it became stale after two requests")
    }),
];

fn without_login(p: &Probe, method: u16) -> Outcome {
    super::need_login(p)?;
    expect(&Client::open(p)?.ask(&stranger(method))?, 401)
}

fn challenge(p: &Probe) -> Result<Received, Finding> {
    super::need_login(p)?;
    let answer = Client::open(p)?.ask(&stranger(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &UDP))?;
    expect(&answer, 401)?;
    Ok(answer)
}

/// The first byte of the security features of a nonce.
pub(super) fn features(nonce: &[u8]) -> Result<u8, Finding> {
    use base64::Engine as _;
    let bits = nonce.strip_prefix(NONCE_COOKIE).and_then(|rest| rest.get(..4));
    bits.and_then(|bits| base64::engine::general_purpose::STANDARD_NO_PAD.decode(bits).ok())
        .and_then(|bytes| bytes.first().copied())
        .ok_or_else(|| Finding::Fail("the nonce has no cookie with security features".to_owned()))
}

/// A request with integrity, but without one of what belongs to it.
fn incomplete(p: &Probe, missing: AttributeType) -> Outcome {
    let mut client = Client::open(p)?.login()?;
    let all = [
        (attr::USERNAME, client.user().as_bytes().to_vec()),
        (attr::REALM, client.realm.clone()),
        (attr::NONCE, client.nonce.clone()),
    ];
    let there = all.iter().filter(|(kind, _)| *kind != missing);
    let raw = there.fold(udp_allocation(), |raw, (kind, value)| raw.attr(*kind, value));
    expect(&client.ask(&client.seal(raw))?, 400)
}

fn unknown_user(p: &Probe) -> Result<(Client<'_>, Received), Finding> {
    let mut client = Client::open(p)?.login()?;
    let raw = udp_allocation()
        .attr(attr::USERNAME, b"nobody of this name")
        .attr(attr::REALM, &client.realm)
        .attr(attr::NONCE, &client.nonce);
    let answer = client.ask(&client.seal(raw))?;
    Ok((client, answer))
}

fn wrong_password(p: &Probe) -> Result<(Client<'_>, Received), Finding> {
    let mut client = Client::open(p)?.login()?;
    let key = client.key_of("not the password");
    let answer = client.ask(&client.seal_with(client.name(udp_allocation()), &key))?;
    Ok((client, answer))
}

/// A login that is right but for a nonce of our own invention.
fn stale(p: &Probe) -> Result<(Client<'_>, Received), Finding> {
    let mut client = Client::open(p)?.login()?;
    let given = std::mem::replace(&mut client.nonce, b"ffffffffffffffff".to_vec());
    let answer = client.ask(&client.signed(udp_allocation()))?;
    client.nonce = given;
    Ok((client, answer))
}

fn algorithms(client: &Client<'_>, answer: &Received) -> Outcome {
    if client.algorithms.is_none() {
        return not_offered("no PASSWORD-ALGORITHMS in the challenge");
    }
    holds(answer, &ALGORITHMS)
}
