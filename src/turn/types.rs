//! The values that cross the border of the core.

use core::net::SocketAddr;

use super::{DropReason, Transport};
use crate::time::Timestamp;
use crate::wire::AddressFamily;

/// A client's transport address as the server sees it: its server-reflexive address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub SocketAddr);

/// A peer's transport address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub SocketAddr);

/// A transport address on this server that peers send to (RFC 8656 §6), as peers see it: with 1:1 NAT in front of
/// the server, the public one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayedTransportAddress(pub SocketAddr);

/// What identifies an allocation to its client (RFC 8656 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    /// Where the client sends from.
    pub client: ClientAddress,
    /// Where it sends to, never a wildcard address.
    pub server: SocketAddr,
    /// How.
    pub transport: Transport,
}

/// A 5-tuple, and the owner's number for the socket or stream that leads to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRoute {
    /// The 5-tuple.
    pub tuple: FiveTuple,
    /// Opaque to the core.
    pub link: u32,
}

/// The owner's number for an open relay socket. Opaque to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayToken(pub u32);

/// An allocation's number. Numbers are used again, generations are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllocationId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// What a client redeems a held relayed transport address with (RFC 8656 §18.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReservationToken(pub [u8; 8]);

/// Why one of the two families that a client asked for was not given (RFC 8656 §18.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressError {
    /// The family.
    pub family: AddressFamily,
    /// 440 or 508.
    pub code: u16,
}

/// Which ports will do for a relayed transport address (RFC 8656 §18.6, EVEN-PORT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// All of them.
    Any,
    /// Even ones.
    Even,
}

/// Why a relay socket could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// The owner has as many allocations as it may (486).
    Quota,
    /// No port, descriptor or memory is free (508).
    Exhausted,
}

/// From when until when a port is held in reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Now.
    pub from: Timestamp,
    /// When it may be given to others.
    pub until: Timestamp,
}

/// The only call of the core outwards, and only when an allocation begins or ends.
pub trait RelaySockets {
    /// Opens a relay socket of `family` on a port of `parity` for allocation `id`, counted against the quota of `owner`.
    ///
    /// # Errors
    /// See [`BindError`]; nothing has been opened or counted then.
    fn bind(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        parity: Parity,
        owner: &str,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError>;

    /// Opens a relay socket on an even port as [`Self::bind`] does, and holds the next port for whoever redeems the token
    /// (RFC 8656 §7.2).
    ///
    /// # Errors
    /// See [`BindError`]; nothing has been opened, held or counted then.
    fn bind_pair(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        owner: &str,
        hold: Hold,
    ) -> Result<(RelayToken, RelayedTransportAddress, ReservationToken), BindError>;

    /// Opens the relay socket that is held for a token, counted against the quota of `owner`. A token works once.
    ///
    /// # Errors
    /// See [`BindError`]; [`BindError::Exhausted`] when nothing is held for the token.
    fn redeem(
        &mut self,
        id: AllocationId,
        token: ReservationToken,
        owner: &str,
        now: Timestamp,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError>;

    /// Closes a relay socket and gives its port and quota back.
    fn close(&mut self, relay: RelayToken, owner: &str);

    /// Whether this is a live relayed transport address of this server, of any worker.
    fn is_live(&self, address: SocketAddr) -> bool;
}

/// What is to be done with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it has been dropped and counted.
    Drop(DropReason),
    /// Nothing: it asked for no answer.
    Consumed,
    /// Send the answer that stands in the reply buffer back to where the request came from.
    Reply,
    /// Send what is left of the datagram to a peer.
    ToPeer {
        /// From this relay socket.
        relay: RelayToken,
        /// To here.
        peer: PeerAddress,
    },
    /// Send the datagram, with its header in front, to the client.
    ToClient {
        /// On this way.
        client: ClientRoute,
    },
}
