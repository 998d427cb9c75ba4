//! RFC 8016: mobility, where it is offered.

use std::net::SocketAddr;

use super::Probe;
use super::client::{Client, expect, udp_allocation};
use super::outcome::{Check, Finding, must, need, not_offered};
use super::pair::Pair;
use super::raw::{REFRESH, Raw, Received};
use crate::wire::attr;

pub(super) const CHECKS: &[Check] = &[
    must(
        "mobility-unknown",
        "8016 §3.1.2",
        "Who has no mobility ignores MOBILITY-TICKET, or answers 405",
        |p| {
            super::need_login(p)?;
            if p.survey.has_mobility {
                return not_offered("mobility is offered: see the other checks");
            }
            let answer = Client::open(p)?.login()?.call(udp_allocation().attr(attr::MOBILITY_TICKET, &[]))?;
            super::rfc8489_attributes::one_of(&answer, &[0, 405])
        },
    ),
    must("ticket-only-when-asked", "8016 §3.1.2", "Nobody gets a ticket who has not asked", |p| {
        let answer = Client::open(p)?.login()?.call(udp_allocation())?;
        expect(&answer, 0)?;
        need(!answer.has(attr::MOBILITY_TICKET), "MOBILITY-TICKET is in the answer")
    }),
    must("ticket-in-allocate", "8016 §3.1.2", "An Allocate with a ticket that is not empty gets 400", |p| {
        mobile(p)?;
        Client::open(p)?.login()?.wants(udp_allocation().attr(attr::MOBILITY_TICKET, b"not empty"), 400)
    }),
    must(
        "move",
        "8016 §3.2.2",
        "A Refresh with the ticket from another 5-tuple succeeds with another ticket",
        |p| {
            let old = mobile(p)?;
            let (_client, answer) = moved(p, &old.ticket)?;
            let ticket = answer.get(attr::MOBILITY_TICKET);
            need(ticket.is_some_and(|ticket| !ticket.is_empty() && ticket != old.ticket), "no other ticket")
        },
    ),
    must("move-lifetime", "8016 §3.2.2", "Its success has LIFETIME", |p| {
        let old = mobile(p)?;
        super::rfc8656_allocate::lifetime_at_least(&moved(p, &old.ticket)?.1, 600)
    }),
    must("move-nowhere", "8016 §3.2.2", "From the same 5-tuple it gets 400", |p| {
        let mut old = mobile(p)?;
        let raw = Raw::request(REFRESH).attr(attr::MOBILITY_TICKET, &old.ticket);
        old.client.wants(raw, 400)
    }),
    must("ticket-garbage", "8016 §3.2.2", "A ticket of our own invention gets 400", |p| {
        mobile(p)?;
        Client::open(p)?.login()?.wants(Raw::request(REFRESH).attr(attr::MOBILITY_TICKET, &[0x5A; 64]), 400)
    }),
    must("ticket-changed", "8016 §3.2.2", "A ticket with a changed bit gets 400", |p| {
        let Mobile { client: _client, mut ticket, .. } = mobile(p)?;
        if let Some(last) = ticket.last_mut() {
            *last ^= 1;
        }
        Client::open(p)?.login()?.wants(Raw::request(REFRESH).attr(attr::MOBILITY_TICKET, &ticket), 400)
    }),
    must("ticket-cut", "8016 §3.2.2", "A ticket that was cut gets 400", |p| {
        let old = mobile(p)?;
        let ticket = old.ticket.get(..old.ticket.len() / 2).unwrap_or_default();
        Client::open(p)?.login()?.wants(Raw::request(REFRESH).attr(attr::MOBILITY_TICKET, ticket), 400)
    }),
    must(
        "ticket-of-dead-allocation",
        "8016 §3.2.2",
        "A true ticket of an allocation that has ended gets 437",
        |p| {
            let mut old = mobile(p)?;
            old.client.wants(Raw::request(REFRESH).u32(attr::LIFETIME, 0), 0)?;
            Client::open(p)?
                .login()?
                .wants(Raw::request(REFRESH).attr(attr::MOBILITY_TICKET, &old.ticket), 437)
        },
    ),
    must("ticket-of-another-user", "8016 §3.2.2", "Another user's ticket gets 441", |p| {
        let old = mobile(p)?;
        let mut other = Client::open(p)?.login()?;
        let raw = other.signed_by_other(Raw::request(REFRESH).attr(attr::MOBILITY_TICKET, &old.ticket))?;
        expect(&other.ask(&raw)?, 441)
    }),
    must(
        "move-wrong-password",
        "8016 §3.2.2",
        "A ticket alone proves nothing: a wrong password gets 401",
        |p| {
            let old = mobile(p)?;
            let mut thief = Client::open(p)?.login()?;
            let raw = thief.name(Raw::request(REFRESH).attr(attr::MOBILITY_TICKET, &old.ticket));
            expect(&thief.ask(&thief.seal_with(raw, b"wrong"))?, 401)
        },
    ),
    must("move-repeated", "8016 §3.2.2", "The old ticket is good for a retransmission", |p| {
        let old = mobile(p)?;
        let mut new = Client::open(p)?.login()?;
        let request = new.signed(Raw::request(REFRESH).attr(attr::MOBILITY_TICKET, &old.ticket));
        expect(&new.ask(&request)?, 0)?;
        expect(&new.ask(&request)?, 0)
    }),
    must(
        "move-old-tuple-goes-on",
        "8016 §3.2.2",
        "Until data come on the new 5-tuple, the old one sends and receives",
        |p| {
            let old = mobile(p)?;
            let mut pair = pair(p, old.client, old.relayed)?;
            let (_new, _) = moved(p, &old.ticket)?;
            pair.carries(b"by the old 5-tuple")?;
            pair.peer_says(b"to the old 5-tuple")?;
            let heard = pair.client.hear()?;
            need(heard.data == b"to the old 5-tuple", "other data came")
        },
    ),
    must(
        "move-new-tuple-takes-over",
        "8016 §3.2.2",
        "Data on the new 5-tuple bring the peer's data there",
        |p| {
            let old = mobile(p)?;
            let mut pair = pair(p, old.client, old.relayed)?;
            let (mut new, _) = moved(p, &old.ticket)?;
            new.say(pair.peer, b"by the new 5-tuple")?;
            let heard = pair.peer_hears()?;
            need(heard == b"by the new 5-tuple", "other data arrived")?;
            pair.peer_says(b"to the new 5-tuple")?;
            let heard = new.hear()?;
            need(heard.data == b"to the new 5-tuple", "other data came")
        },
    ),
    must("move-then-old-tuple-is-free", "8016 §3.2.2", "Then the old 5-tuple has no allocation: 437", |p| {
        let old = mobile(p)?;
        let mut pair = pair(p, old.client, old.relayed)?;
        let (mut new, _) = moved(p, &old.ticket)?;
        new.say(pair.peer, b"by the new 5-tuple")?;
        pair.peer_hears()?;
        pair.client.wants(Raw::request(REFRESH), 437)
    }),
];

struct Mobile<'a> {
    client: Client<'a>,
    relayed: SocketAddr,
    ticket: Vec<u8>,
}

/// An allocation with a ticket.
fn mobile(p: &Probe) -> Result<Mobile<'_>, Finding> {
    super::need_login(p)?;
    if !p.survey.has_mobility {
        return not_offered("an Allocate with MOBILITY-TICKET gets none");
    }
    let mut client = Client::open(p)?.login()?;
    let answer = client.call(udp_allocation().attr(attr::MOBILITY_TICKET, &[]))?;
    expect(&answer, 0)?;
    let relayed = super::rfc8656_allocate::relayed(&answer)?;
    let ticket = answer.get(attr::MOBILITY_TICKET).unwrap_or_default().to_vec();
    need(!ticket.is_empty(), "the ticket is empty")?;
    Ok(Mobile { client, relayed, ticket })
}

/// A Refresh with the ticket from a new 5-tuple.
fn moved<'a>(p: &'a Probe, ticket: &[u8]) -> Result<(Client<'a>, Received), Finding> {
    let mut new = Client::open(p)?.login()?;
    let answer = new.call(Raw::request(REFRESH).attr(attr::MOBILITY_TICKET, ticket))?;
    expect(&answer, 0)?;
    Ok((new, answer))
}

/// A peer for an allocation that is there already, with permissions on both sides.
fn pair<'a>(p: &'a Probe, mut client: Client<'a>, relayed: SocketAddr) -> Result<Pair<'a>, Finding> {
    let (mut other, peer) = Client::open(p)?.allocate()?;
    other.permit(relayed)?;
    client.permit(peer)?;
    Ok(Pair { client, relayed, other, peer })
}
