//! Requests that checks begin with, and what they look for in answers.

use std::net::SocketAddr;

use super::outcome::{Outcome, fail};
use super::raw::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, Raw, Received};
use crate::wire::{AttributeType, attr};

/// REQUESTED-TRANSPORT of UDP.
pub(super) const UDP: [u8; 4] = [17, 0, 0, 0];
/// REQUESTED-TRANSPORT of TCP.
pub(super) const TCP: [u8; 4] = [6, 0, 0, 0];
/// PASSWORD-ALGORITHM of SHA-256 without parameters.
pub(super) const ALGORITHM_SHA256: [u8; 4] = [0, 2, 0, 0];

/// What requests to strangers carry, so that no answer is larger than its request and none is refused as
/// amplification.
const SOFTWARE: &[u8] =
    b"relais probe --conformance: this request is as long as the answer it asks for, or longer";

/// Whether PASSWORD-ALGORITHMS has SHA-256 in it.
pub(super) fn lists_sha256(mut list: &[u8]) -> bool {
    while let Some((&[a0, a1, l0, l1], rest)) = list.split_first_chunk::<4>() {
        if [a0, a1] == [0, 2] {
            return true;
        }
        let parameters = usize::from(u16::from_be_bytes([l0, l1])).next_multiple_of(4);
        list = rest.get(parameters..).unwrap_or_default();
    }
    false
}

/// A first request, as long as its answer.
pub(super) fn stranger(method: u16) -> Raw {
    Raw::request(method).attr(attr::SOFTWARE, SOFTWARE)
}

pub(super) fn udp_allocation() -> Raw {
    Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &UDP)
}

pub(super) fn permission(peers: &[SocketAddr]) -> Raw {
    let raw = Raw::request(CREATE_PERMISSION);
    peers.iter().fold(raw, |raw, peer| raw.xor_address(attr::XOR_PEER_ADDRESS, *peer))
}

pub(super) fn binding(number: u16, peer: SocketAddr) -> Raw {
    let [high, low] = number.to_be_bytes();
    Raw::request(CHANNEL_BIND)
        .attr(attr::CHANNEL_NUMBER, &[high, low, 0, 0])
        .xor_address(attr::XOR_PEER_ADDRESS, peer)
}

/// Whether an answer has this code; 0 for success.
pub(super) fn expect(answer: &Received, code: u16) -> Outcome {
    match (answer.code(), code) {
        (seen, wanted) if seen == wanted => Ok(()),
        (0, wanted) => fail(format!("success instead of {wanted}")),
        (1, _) => fail("an error without a readable ERROR-CODE"),
        (seen, 0) => fail(format!("{seen} instead of success")),
        (seen, wanted) => fail(format!("{seen} instead of {wanted}")),
    }
}

/// Whether an answer lacks all of these attributes.
pub(super) fn lacks(answer: &Received, kinds: &[(AttributeType, &str)]) -> Outcome {
    match kinds.iter().find(|(kind, _)| answer.has(*kind)) {
        Some((_, name)) => fail(format!("{name} is in the answer")),
        None => Ok(()),
    }
}

/// Whether an answer has all of these attributes.
pub(super) fn holds(answer: &Received, kinds: &[(AttributeType, &str)]) -> Outcome {
    match kinds.iter().find(|(kind, _)| !answer.has(*kind)) {
        Some((_, name)) => fail(format!("{name} is missing in the answer")),
        None => Ok(()),
    }
}
