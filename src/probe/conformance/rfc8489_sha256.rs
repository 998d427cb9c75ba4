//! RFC 8489 §9.2, §14.4, §14.6, §14.11, §14.12: SHA-256, USERHASH and PASSWORD-ALGORITHM(S), where they are offered.

use sha2::{Digest as _, Sha256};

use super::Probe;
use super::client::{ALGORITHM_SHA256, Client, Sign, expect, udp_allocation};
use super::outcome::{Check, Finding, Outcome, must, need, not_offered};
use super::raw::{REFRESH, Raw};
use super::rfc8489_attributes::one_of;
use super::rfc8489_login::features;
use crate::wire::attr;

const MD5: [u8; 4] = [0, 1, 0, 0];

pub(super) const CHECKS: &[Check] = &[
    must("sha256-login", "8489 §9.2.4", "A login with SHA-256 succeeds", |p| {
        offered(p)?.wants(udp_allocation(), 0)
    }),
    must("sha256-answer", "8489 §9.2.4", "Its answers have MESSAGE-INTEGRITY-SHA256 alone", |p| {
        let mut client = offered(p)?;
        let answer = client.call(udp_allocation())?;
        expect(&answer, 0)?;
        need(client.is_signed(&answer) && !answer.has(attr::MESSAGE_INTEGRITY), "another or none or both")
    }),
    must("sha256-answer-to-error", "8489 §9.2.4", "So have its errors", |p| {
        let mut client = offered(p)?;
        let answer = client.call(Raw::request(REFRESH))?;
        expect(&answer, 437)?;
        need(client.is_signed(&answer) && !answer.has(attr::MESSAGE_INTEGRITY), "another or none or both")
    }),
    must("sha256-answer-length", "8489 §14.6", "MESSAGE-INTEGRITY-SHA256 of answers has 32 bytes", |p| {
        let answer = offered(p)?.call(udp_allocation())?;
        expect(&answer, 0)?;
        need(
            answer.get(attr::MESSAGE_INTEGRITY_SHA256).is_some_and(|value| value.len() == 32),
            "another length",
        )
    }),
    must(
        "sha256-by-message-integrity",
        "8489 §9.2.4",
        "MESSAGE-INTEGRITY under the SHA-256 key is taken, and answered with SHA-256",
        |p| {
            let mut client = offered(p)?;
            let raw = client.name(udp_allocation()).sha1(&client.key());
            let answer = client.ask(&raw)?;
            expect(&answer, 0)?;
            need(answer.sha256_holds(&client.key()), "the answer has no right MESSAGE-INTEGRITY-SHA256")
        },
    ),
    must(
        "md5-by-algorithm",
        "8489 §9.2.4",
        "MD5 may be named too, and is answered with MESSAGE-INTEGRITY-SHA256",
        |p| {
            let mut client = offered(p)?;
            let list = client.algorithms.clone().unwrap_or_default();
            if !list.as_chunks::<4>().0.contains(&MD5) {
                return not_offered("MD5 is not in the list");
            }
            client.sign = Sign::Sha1;
            let raw = client
                .name(udp_allocation())
                .attr(attr::PASSWORD_ALGORITHMS, &list)
                .attr(attr::PASSWORD_ALGORITHM, &MD5);
            let answer = client.ask(&raw.sha256(&client.key(), 32))?;
            expect(&answer, 0)?;
            need(answer.sha256_holds(&client.key()), "the answer has no right MESSAGE-INTEGRITY-SHA256")
        },
    ),
    must(
        "no-algorithm-is-md5",
        "8489 §9.2.4",
        "A request that names no algorithm is processed as MD5",
        |p| {
            let mut client = offered(p)?;
            client.sign = Sign::Sha1;
            expect(&client.ask(&client.signed(udp_allocation()))?, 0)
        },
    ),
    must("algorithm-alone", "8489 §9.2.4", "PASSWORD-ALGORITHM alone gets 400", |p| {
        algorithms(p, |raw, _| raw.attr(attr::PASSWORD_ALGORITHM, &ALGORITHM_SHA256))
    }),
    must("algorithms-alone", "8489 §9.2.4", "PASSWORD-ALGORITHMS alone gets 400", |p| {
        algorithms(p, |raw, list| raw.attr(attr::PASSWORD_ALGORITHMS, list))
    }),
    must("algorithms-bid-down", "8489 §9.2.4", "PASSWORD-ALGORITHMS other than offered get 400", |p| {
        algorithms(p, |raw, _| raw.attr(attr::PASSWORD_ALGORITHMS, &MD5).attr(attr::PASSWORD_ALGORITHM, &MD5))
    }),
    must("algorithms-reversed", "8489 §9.2.4", "In another order too", |p| {
        let client = offered(p)?;
        let list = client.algorithms.clone().unwrap_or_default();
        let (entries, _) = list.as_chunks::<4>();
        let reversed: Vec<u8> = entries.iter().rev().flatten().copied().collect();
        if reversed == list {
            return not_offered("there is only one algorithm");
        }
        algorithms(p, |raw, _| {
            raw.attr(attr::PASSWORD_ALGORITHMS, &reversed).attr(attr::PASSWORD_ALGORITHM, &ALGORITHM_SHA256)
        })
    }),
    must("algorithms-empty", "8489 §9.2.4", "An empty list too", |p| {
        algorithms(p, |raw, _| {
            raw.attr(attr::PASSWORD_ALGORITHMS, &[]).attr(attr::PASSWORD_ALGORITHM, &ALGORITHM_SHA256)
        })
    }),
    must("algorithms-cut", "8489 §14.11", "A list that ends inside an entry too", |p| {
        algorithms(p, |raw, list| {
            raw.attr(attr::PASSWORD_ALGORITHMS, list.get(..list.len() - 1).unwrap_or_default())
                .attr(attr::PASSWORD_ALGORITHM, &ALGORITHM_SHA256)
        })
    }),
    must("algorithms-longer", "8489 §9.2.4", "A list with an entry more too", |p| {
        algorithms(p, |raw, list| {
            raw.attr(attr::PASSWORD_ALGORITHMS, &[list, &[0, 9, 0, 0]].concat())
                .attr(attr::PASSWORD_ALGORITHM, &ALGORITHM_SHA256)
        })
    }),
    must("algorithm-not-listed", "8489 §9.2.4", "An algorithm that is not in the list gets 400", |p| {
        algorithms(p, |raw, list| {
            raw.attr(attr::PASSWORD_ALGORITHMS, list).attr(attr::PASSWORD_ALGORITHM, &[0, 9, 0, 0])
        })
    }),
    must("algorithm-empty", "8489 §14.12", "PASSWORD-ALGORITHM without a value gets 400", |p| {
        algorithm(p, &[])
    }),
    must("algorithm-short", "8489 §14.12", "PASSWORD-ALGORITHM of two bytes gets 400", |p| {
        algorithm(p, &[0, 2])
    }),
    must("algorithm-parameters", "8489 §14.12", "Parameters that SHA-256 does not have get 400", |p| {
        algorithm(p, &[0, 2, 0, 4, 1, 2, 3, 4])
    }),
    must("algorithm-lying", "8489 §14.12", "Parameters that are not there get 400", |p| {
        algorithm(p, &[0, 2, 0, 4])
    }),
    must("sha256-wrong-password", "8489 §9.2.4", "A wrong password gets 401 with SHA-256 too", |p| {
        let mut client = offered(p)?;
        let raw = client.seal_with(client.name(udp_allocation()), b"wrong");
        expect(&client.ask(&raw)?, 401)
    }),
    must(
        "sha256-counts",
        "8489 §9.2.4",
        "With both attributes MESSAGE-INTEGRITY-SHA256 is the one that counts",
        |p| {
            let mut client = offered(p)?;
            let raw = client.name(udp_allocation()).sha1(b"wrong");
            expect(&client.ask(&client.seal(raw))?, 0)
        },
    ),
    must(
        "sha256-wrong-beside-right-sha1",
        "8489 §9.2.4",
        "So a wrong one beside a right MESSAGE-INTEGRITY gets 401",
        |p| {
            let mut client = offered(p)?;
            let raw = client.name(udp_allocation()).sha1(&client.key()).sha256(b"wrong", 32);
            expect(&client.ask(&raw)?, 401)
        },
    ),
    must(
        "sha256-truncated",
        "8489 §14.6",
        "A truncated MESSAGE-INTEGRITY-SHA256 proves nothing in TURN",
        |p| [28, 24, 20, 16].into_iter().try_for_each(|length| integrity(p, length)),
    ),
    must(
        "sha256-other-lengths",
        "8489 §14.6",
        "One of less than 16 bytes, or of no multiple of four, proves nothing",
        |p| [0, 1, 4, 12, 15, 17, 31].into_iter().try_for_each(|length| integrity(p, length)),
    ),
    must(
        "userhash-login",
        "8489 §14.4",
        "USERHASH stands for USERNAME, where the server asks for it",
        |p| {
            let mut client = anonymous(p)?;
            let hash = Sha256::digest([client.user().as_bytes(), b":", &client.realm].concat());
            let raw = client.algorithm(
                udp_allocation()
                    .attr(attr::USERHASH, &hash)
                    .attr(attr::REALM, &client.realm)
                    .attr(attr::NONCE, &client.nonce),
            );
            expect(&client.ask(&client.seal(raw))?, 0)
        },
    ),
    must("userhash-unknown", "8489 §9.2.4", "A USERHASH of nobody gets 401", |p| {
        userhash(p, &[7; 32], &[401])
    }),
    must("userhash-short", "8489 §14.4", "A USERHASH of 31 bytes is nobody's", |p| {
        userhash(p, &[7; 31], &[401, 400])
    }),
    must("userhash-long", "8489 §14.4", "A USERHASH of 33 bytes is nobody's", |p| {
        userhash(p, &[7; 33], &[401, 400])
    }),
    must("userhash-empty", "8489 §14.4", "An empty USERHASH is nobody's", |p| userhash(p, &[], &[401, 400])),
    must(
        "feature-bits-cleared",
        "8489 §9.2.1",
        "A NONCE whose feature bits were cleared on the way is no valid one",
        |p| {
            let mut client = offered(p)?;
            features(&client.nonce)?;
            if let Some(bits) = client.nonce.get_mut(9..13) {
                bits.copy_from_slice(b"AAAA");
            }
            client.sign = Sign::Sha1;
            expect(&client.ask(&client.signed(udp_allocation()))?, 438)
        },
    ),
];

fn offered(p: &Probe) -> Result<Client<'_>, Finding> {
    Client::open(p)?.login()?.with_sha256()
}

/// A server that asks for USERHASH by the second feature bit.
fn anonymous(p: &Probe) -> Result<Client<'_>, Finding> {
    let client = offered(p)?;
    if features(&client.nonce)? & 0x40 == 0 {
        return not_offered("the nonce does not ask for USERHASH");
    }
    Ok(client)
}

/// A login whose algorithm attributes are written by `write`, which must get 400.
fn algorithms(p: &Probe, write: impl Fn(Raw, &[u8]) -> Raw) -> Outcome {
    let mut client = offered(p)?;
    let list = client.algorithms.clone().unwrap_or_default();
    let raw = udp_allocation()
        .attr(attr::USERNAME, client.user().as_bytes())
        .attr(attr::REALM, &client.realm)
        .attr(attr::NONCE, &client.nonce);
    expect(&client.ask(&client.seal(write(raw, &list)))?, 400)
}

fn algorithm(p: &Probe, value: &[u8]) -> Outcome {
    algorithms(p, |raw, list| raw.attr(attr::PASSWORD_ALGORITHMS, list).attr(attr::PASSWORD_ALGORITHM, value))
}

/// The right MESSAGE-INTEGRITY-SHA256, cut to `length`, must be refused.
fn integrity(p: &Probe, length: usize) -> Outcome {
    let mut client = offered(p)?;
    let raw = client.name(udp_allocation()).sha256(&client.key(), length);
    match client.ask_or_silence_behind(&raw)? {
        Some(answer) => need(answer.is_error(), format!("{length} bytes were taken")),
        None => Ok(()),
    }
}

fn userhash(p: &Probe, hash: &[u8], codes: &[u16]) -> Outcome {
    let mut client = anonymous(p)?;
    let raw = client.algorithm(
        udp_allocation()
            .attr(attr::USERHASH, hash)
            .attr(attr::REALM, &client.realm)
            .attr(attr::NONCE, &client.nonce),
    );
    one_of(&client.ask(&client.seal(raw))?, codes)
}
