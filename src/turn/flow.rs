//! The last flow of each direction. Datagrams come in runs: what was looked up for the first of a run, at one reading of
//! the clock, holds for those behind it until anything changes.

use core::net::SocketAddr;

use super::allocations::Allocations;
use super::{AllocationId, ClientRoute, PeerAddress, RelayToken};
use crate::time::Timestamp;
use crate::wire::ChannelNumber;

/// How a client names the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// ChannelData.
    Channel(ChannelNumber),
    /// A Send indication.
    Address(SocketAddr),
}

/// Where a client's data go.
#[derive(Clone, Copy)]
pub(super) struct ToPeer {
    pub(super) id: AllocationId,
    pub(super) relay: RelayToken,
    pub(super) peer: PeerAddress,
}

/// Where a peer's data go: as ChannelData if there is a number.
#[derive(Clone, Copy)]
pub(super) struct ToClient {
    pub(super) client: ClientRoute,
    pub(super) number: Option<ChannelNumber>,
}

/// What was found last, and what had been asked.
#[derive(Default)]
pub(super) struct Flows {
    to_peer: Option<((Timestamp, ClientRoute, Via), ToPeer)>,
    to_client: Option<((Timestamp, AllocationId, SocketAddr), ToClient)>,
}

impl Flows {
    /// Forgets both: something that they rest on has changed.
    pub(super) fn forget(&mut self) {
        (self.to_peer, self.to_client) = (None, None);
    }
}

impl Allocations {
    /// Where the last datagram of this client to this peer went, if nothing has changed since.
    pub(super) fn same_to_peer(&self, now: Timestamp, from: &ClientRoute, via: Via) -> Option<ToPeer> {
        let (asked, found) = self.flows.to_peer.as_ref()?;
        (asked.2 == via && asked.0 == now && asked.1 == *from).then_some(*found)
    }

    /// Remembers it. What depends on more than this table and the time is not to be remembered.
    pub(super) fn remember_to_peer(&mut self, now: Timestamp, from: ClientRoute, via: Via, found: ToPeer) {
        self.flows.to_peer = Some(((now, from, via), found));
    }

    /// The same of the last datagram of this peer to this allocation.
    pub(super) fn same_to_client(
        &self,
        now: Timestamp,
        id: AllocationId,
        peer: SocketAddr,
    ) -> Option<ToClient> {
        let (asked, found) = self.flows.to_client.as_ref()?;
        (asked.1 == id && asked.0 == now && asked.2 == peer).then_some(*found)
    }

    /// Remembers it.
    pub(super) fn remember_to_client(
        &mut self,
        now: Timestamp,
        id: AllocationId,
        peer: SocketAddr,
        found: ToClient,
    ) {
        self.flows.to_client = Some(((now, id, peer), found));
    }
}
