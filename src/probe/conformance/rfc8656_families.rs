//! RFC 8656 §7.2, 5 to 9: address families and dual allocations.

use std::net::SocketAddr;

use super::Probe;
use super::client::{Client, expect, udp_allocation};
use super::outcome::{Check, Finding, Outcome, must, need, not_offered, should};
use super::raw::{REFRESH, Raw, Received};
use super::rfc8489_attributes::one_of;
use super::rfc8656_allocate::{lifetime_at_least, malformed, relayed};
use crate::wire::attr;

const IPV4: [u8; 4] = [1, 0, 0, 0];
const IPV6: [u8; 4] = [2, 0, 0, 0];

pub(super) const CHECKS: &[Check] = &[
    must(
        "family-ipv4",
        "8656 §7.2, 7",
        "REQUESTED-ADDRESS-FAMILY of IPv4 gets an IPv4 address, or 440",
        |p| requested(p, IPV4),
    ),
    must(
        "family-ipv6",
        "8656 §7.2, 7",
        "REQUESTED-ADDRESS-FAMILY of IPv6 gets an IPv6 address, or 440",
        |p| requested(p, IPV6),
    ),
    must("family-default", "8656 §7.2, 7", "Without REQUESTED-ADDRESS-FAMILY the address is IPv4", |p| {
        super::need_login(p)?;
        if !p.survey.has_ipv4 {
            return not_offered("the server has no IPv4 addresses");
        }
        need(p.survey.relayed.is_some_and(|relayed| relayed.is_ipv4()), "it is IPv6")
    }),
    must("family-unknown", "8656 §7.2, 7", "An unknown family gets 440", |p| {
        [0, 3, 255].into_iter().try_for_each(|number| {
            Client::open(p)?
                .login()?
                .wants(udp_allocation().attr(attr::REQUESTED_ADDRESS_FAMILY, &[number, 0, 0, 0]), 440)
        })
    }),
    should(
        "family-malformed",
        "8656 §18.6",
        "A REQUESTED-ADDRESS-FAMILY that has not four bytes gets 400 or 440",
        |p| {
            let wrong: [&[u8]; 4] = [&[], &[1], &[1, 0, 0], &[1, 0, 0, 0, 0]];
            wrong.into_iter().try_for_each(|value| {
                let raw = udp_allocation().attr(attr::REQUESTED_ADDRESS_FAMILY, value);
                one_of(&Client::open(p)?.login()?.call(raw)?, &[400, 440])
            })
        },
    ),
    must("family-reserved-bytes", "8656 §18.6", "Its reserved bytes are ignored", |p| {
        super::need_login(p)?;
        let number = if p.survey.has_ipv4 { 1 } else { 2 };
        Client::open(p)?
            .login()?
            .wants(udp_allocation().attr(attr::REQUESTED_ADDRESS_FAMILY, &[number, 0xFF, 0xFF, 0xFF]), 0)
    }),
    must(
        "family-both-attributes",
        "8656 §7.2, 6",
        "REQUESTED- and ADDITIONAL-ADDRESS-FAMILY together get 400",
        |p| {
            dual_offered(p)?;
            let raw = udp_allocation()
                .attr(attr::REQUESTED_ADDRESS_FAMILY, &IPV4)
                .attr(attr::ADDITIONAL_ADDRESS_FAMILY, &IPV6);
            Client::open(p)?.login()?.wants(raw, 400)
        },
    ),
    must("dual-ipv4", "8656 §7.2, 9", "ADDITIONAL-ADDRESS-FAMILY of IPv4 gets 400", |p| {
        dual_offered(p)?;
        Client::open(p)?.login()?.wants(udp_allocation().attr(attr::ADDITIONAL_ADDRESS_FAMILY, &IPV4), 400)
    }),
    should(
        "dual-malformed",
        "8656 §18.11",
        "An ADDITIONAL-ADDRESS-FAMILY that has not four bytes gets 400",
        |p| {
            dual_offered(p)?;
            malformed(p, attr::ADDITIONAL_ADDRESS_FAMILY, &[&[], &[2], &[2, 0, 0], &[2, 0, 0, 0, 0]])
        },
    ),
    must(
        "dual-even-port",
        "8656 §7.2, 8",
        "EVEN-PORT with the R bit and ADDITIONAL-ADDRESS-FAMILY get 400",
        |p| {
            dual_offered(p)?;
            let raw =
                udp_allocation().attr(attr::EVEN_PORT, &[0x80]).attr(attr::ADDITIONAL_ADDRESS_FAMILY, &IPV6);
            Client::open(p)?.login()?.wants(raw, 400)
        },
    ),
    must(
        "dual-two-addresses",
        "8656 §7.2, 9",
        "ADDITIONAL-ADDRESS-FAMILY of IPv6 gets both, or one with ADDRESS-ERROR-CODE",
        |p| {
            let (_client, answer) = dual(p)?;
            let addresses = relayed_all(&answer);
            let code = answer.get(attr::ADDRESS_ERROR_CODE);
            match (addresses.iter().filter(|address| address.is_ipv4()).count(), addresses.len(), code) {
                (1, 2, None) => Ok(()),
                (_, 1, Some(_)) => Ok(()),
                (four, all, code) => {
                    need(false, format!("{four} of {all} addresses are IPv4, ADDRESS-ERROR-CODE {code:?}"))
                }
            }
        },
    ),
    must(
        "dual-error-code",
        "8656 §18.12",
        "ADDRESS-ERROR-CODE names the family that is missing, with 440 or 508",
        |p| {
            let (_client, answer) = dual(p)?;
            let Some(value) = answer.get(attr::ADDRESS_ERROR_CODE) else {
                return not_offered("the server gives both families");
            };
            let missing = if relayed(&answer)?.is_ipv4() { 2 } else { 1 };
            match *value {
                [family, _, class, number, ..] if family == missing => {
                    let code = u16::from(class & 7) * 100 + u16::from(number);
                    need(matches!(code, 440 | 508), format!("the code is {code}"))
                }
                _ => need(false, format!("it is {value:02x?}")),
            }
        },
    ),
    must("dual-refresh", "8656 §8.2", "A Refresh without a family keeps both", |p| {
        let (mut client, _) = both(p)?;
        let answer = client.call(Raw::request(REFRESH))?;
        expect(&answer, 0)?;
        lifetime_at_least(&answer, 600)?;
        client.wants(Raw::request(REFRESH).attr(attr::REQUESTED_ADDRESS_FAMILY, &IPV4), 0)?;
        client.wants(Raw::request(REFRESH).attr(attr::REQUESTED_ADDRESS_FAMILY, &IPV6), 0)
    }),
    must(
        "dual-half-deleted",
        "8656 §8.1",
        "A Refresh with a family and LIFETIME 0 ends this half; then the family gets 443",
        |p| {
            let (mut client, _) = both(p)?;
            let half = |lifetime| {
                Raw::request(REFRESH)
                    .attr(attr::REQUESTED_ADDRESS_FAMILY, &IPV6)
                    .u32(attr::LIFETIME, lifetime)
            };
            client.wants(half(0), 0)?;
            client.wants(half(600), 443)?;
            client.wants(Raw::request(REFRESH), 0)
        },
    ),
    must("dual-permissions", "8656 §7.2", "A dual allocation takes peers of both families", |p| {
        let (mut client, addresses) = both(p)?;
        client.wants(super::client::permission(&addresses), 0)
    }),
    must("dual-retransmitted", "8656 §7.2", "A retransmitted dual Allocate gets the same addresses", |p| {
        let (mut client, addresses) = both(p)?;
        let request =
            client.allocated.clone().ok_or_else(|| Finding::NotTestable("no request".to_owned()))?;
        let again = client.ask(&request)?;
        expect(&again, 0)?;
        need(relayed_all(&again) == addresses, "other ones")
    }),
    must(
        "refresh-other-family",
        "8656 §8.2",
        "A Refresh for another family than the allocation's gets 443",
        |p| {
            let (mut client, relayed) = Client::open(p)?.allocate()?;
            let other = if relayed.is_ipv4() { IPV6 } else { IPV4 };
            client.wants(Raw::request(REFRESH).attr(attr::REQUESTED_ADDRESS_FAMILY, &other), 443)?;
            need(client.is_allocated()?, "the allocation is gone")
        },
    ),
    must("refresh-other-family-delete", "8656 §8.2", "With LIFETIME 0 too, and deletes nothing", |p| {
        let (mut client, relayed) = Client::open(p)?.allocate()?;
        let other = if relayed.is_ipv4() { IPV6 } else { IPV4 };
        let raw = Raw::request(REFRESH).attr(attr::REQUESTED_ADDRESS_FAMILY, &other).u32(attr::LIFETIME, 0);
        client.wants(raw, 443)?;
        need(client.is_allocated()?, "the allocation is gone")
    }),
    must("refresh-own-family", "8656 §8.2", "A Refresh for the allocation's own family succeeds", |p| {
        let (mut client, relayed) = Client::open(p)?.allocate()?;
        let own = if relayed.is_ipv4() { IPV4 } else { IPV6 };
        client.wants(Raw::request(REFRESH).attr(attr::REQUESTED_ADDRESS_FAMILY, &own), 0)
    }),
];

fn requested(p: &Probe, family: [u8; 4]) -> Outcome {
    let answer =
        Client::open(p)?.login()?.call(udp_allocation().attr(attr::REQUESTED_ADDRESS_FAMILY, &family))?;
    if answer.code() == 440 {
        return Ok(());
    }
    expect(&answer, 0)?;
    need(relayed(&answer)?.is_ipv4() == (family == IPV4), "it is of the other family")
}

fn dual(p: &Probe) -> Result<(Client<'_>, Received), Finding> {
    let mut client = Client::open(p)?.login()?;
    let answer = client.call(udp_allocation().attr(attr::ADDITIONAL_ADDRESS_FAMILY, &IPV6))?;
    expect(&answer, 0)?;
    if relayed_all(&answer).len() < 2 && !answer.has(attr::ADDRESS_ERROR_CODE) {
        return not_offered("ADDITIONAL-ADDRESS-FAMILY is ignored");
    }
    Ok((client, answer))
}

/// The attribute is comprehension-optional; who ignores it has no dual allocations.
fn dual_offered(p: &Probe) -> Outcome {
    dual(p).map(|_| ())
}

/// A dual allocation that has both addresses.
fn both(p: &Probe) -> Result<(Client<'_>, Vec<SocketAddr>), Finding> {
    let (client, answer) = dual(p)?;
    let addresses = relayed_all(&answer);
    if addresses.len() < 2 {
        return not_offered("the server has one family only");
    }
    Ok((client, addresses))
}

fn relayed_all(answer: &Received) -> Vec<SocketAddr> {
    answer.all(attr::XOR_RELAYED_ADDRESS).filter_map(|value| answer.read_xor(value)).collect()
}
