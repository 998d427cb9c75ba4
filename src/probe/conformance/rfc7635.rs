//! RFC 7635: third-party authorization, as far as it shows without an authorization server.

use super::Probe;
use super::client::{Client, expect, udp_allocation};
use super::outcome::{Check, Finding, must, need, not_offered};
use super::raw::Received;
use super::rfc8489_attributes::one_of;
use super::rfc8489_form::listed;
use crate::wire::attr;

pub(super) const CHECKS: &[Check] = &[
    must(
        "access-token-unannounced",
        "7635 §4.1",
        "Who announces no third party does not know ACCESS-TOKEN: 420 with its type",
        |p| {
            if p.survey.has_third_party {
                return not_offered("a third party is announced: see the other checks");
            }
            let answer =
                Client::open(p)?.login()?.call(udp_allocation().attr(attr::ACCESS_TOKEN, &[0; 64]))?;
            listed(&answer, &[attr::ACCESS_TOKEN])
        },
    ),
    must(
        "third-party-form",
        "7635 §6.1",
        "THIRD-PARTY-AUTHORIZATION names the server in fewer than 128 characters",
        |p| {
            let challenge = announced(p)?;
            let name = challenge.get(attr::THIRD_PARTY_AUTHORIZATION).unwrap_or_default();
            let length = std::str::from_utf8(name).map(|name| name.chars().count());
            need(matches!(length, Ok(1..128)), format!("{} bytes", name.len()))
        },
    ),
    must("access-token-garbage", "7635 §4.1", "A token that cannot be opened gets 401", |p| {
        token(p, &[0x5A; 96], &[401])
    }),
    must("access-token-empty", "7635 §6.2", "An empty token gets 401, or 400", |p| {
        token(p, &[], &[401, 400])
    }),
    must("access-token-lying", "7635 §6.2", "A nonce length beyond the token gets 401, or 400", |p| {
        token(p, &[0xFF, 0xFF, 1, 2], &[401, 400])
    }),
];

fn announced(p: &Probe) -> Result<Received, Finding> {
    super::need_login(p)?;
    if !p.survey.has_third_party {
        return not_offered("the challenge has no THIRD-PARTY-AUTHORIZATION");
    }
    let answer = Client::open(p)?.ask(&super::client::stranger(super::raw::ALLOCATE))?;
    expect(&answer, 401)?;
    Ok(answer)
}

fn token(p: &Probe, value: &[u8], codes: &[u16]) -> super::outcome::Outcome {
    announced(p)?;
    let mut client = Client::open(p)?.login()?;
    let raw = udp_allocation()
        .attr(attr::ACCESS_TOKEN, value)
        .attr(attr::USERNAME, b"some-key-id")
        .attr(attr::REALM, &client.realm)
        .attr(attr::NONCE, &client.nonce);
    one_of(&client.ask(&client.seal_with(raw, &[9; 20]))?, codes)
}
