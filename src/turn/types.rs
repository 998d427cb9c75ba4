//! The values that cross the border of the core.

use core::hash::{Hash, Hasher};
use core::net::{IpAddr, SocketAddr};

use super::{DropReason, StreamMeter, Traffic, Transport};
use crate::auth::Login;
use crate::time::{Now, Timestamp};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiveTuple {
    /// Where the client sends from.
    pub client: ClientAddress,
    /// Where it sends to, never a wildcard address.
    pub server: SocketAddr,
    /// How.
    pub transport: Transport,
}

impl Hash for FiveTuple {
    /// In one piece for IPv4: each packet of a client is looked up by it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ports = u64::from(self.client.0.port()) << 16 | u64::from(self.server.port());
        let rest = ports << 8 | self.transport as u64;
        match (self.client.0.ip(), self.server.ip()) {
            (IpAddr::V4(client), IpAddr::V4(server)) => {
                let addresses = u64::from(u32::from(client)) << 32 | u64::from(u32::from(server));
                state.write_u128(u128::from(addresses) << 64 | u128::from(rest));
            }
            (client, server) => {
                for ip in [client, server] {
                    state.write_u128(match ip {
                        IpAddr::V4(ip) => u32::from(ip).into(),
                        IpAddr::V6(ip) => ip.into(),
                    });
                }
                state.write_u64(rest);
            }
        }
    }
}

/// A 5-tuple, and the owner's number for the socket or stream that leads to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRoute {
    /// The 5-tuple.
    pub tuple: FiveTuple,
    /// Opaque to the core.
    pub link: u32,
}

impl ClientRoute {
    /// The link of a client whose stream has closed: it leads nowhere.
    pub const NOWHERE: u32 = u32::MAX;
}

/// The owner's number for an open relay socket. Opaque to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayToken(pub u32);

/// What CONNECTION-ID calls a peer data connection (RFC 6062 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// Who may claim a peer data connection, and until when.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The login of its allocation.
    pub login: Login,
    /// When it is closed.
    pub until: Timestamp,
}

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

/// Whose quota a relay socket counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// What is counted.
    pub name: &'a str,
    /// The most allocations that the credential itself allows; the smaller of this and the server's own limit counts.
    pub most: u32,
}

/// What is left of the byte budget of a credential, and to whom it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget<'a> {
    /// The user name, expiry and policy included: each credential has a budget of its own.
    pub username: &'a str,
    /// What quotas count, user and key; each has a share of the places for budgets.
    pub owner: &'a str,
    /// All of it, in bytes.
    pub total: u64,
    /// When the credential ends, in Unix seconds. A day later nothing of it need be known.
    pub until: u64,
    /// The time.
    pub now: Now,
    /// An allocation begins with it. Otherwise a budget that nobody knows of is one that has been forgotten: there is nothing
    /// left of it.
    pub begins: bool,
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
        owner: Owner<'_>,
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
        owner: Owner<'_>,
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
        owner: Owner<'_>,
        now: Timestamp,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError>;

    /// Closes a relay socket and gives its port and quota back.
    fn close(&mut self, relay: RelayToken, owner: &str);

    /// Takes up to `bytes` out of what all workers together have left of a credential's byte budget. Asked now and then, when
    /// an allocation has used what it has. Less than `bytes` means that there is no more, `None` that there is no place
    /// for one more budget. Who knows no budgets has none.
    fn draw(&self, _budget: Budget<'_>, _bytes: u64) -> Option<u64> {
        None
    }

    /// Gives back what was drawn and has not been used.
    fn restore(&self, _budget: Budget<'_>, _bytes: u64) {}

    /// Whether this is a live relayed transport address of this server, of any worker.
    fn is_live(&self, address: SocketAddr) -> bool;

    /// A client has moved to this route (RFC 8016). If the route leads through another worker, that one hands over what
    /// comes on it from now on.
    fn adopt(&mut self, _route: &ClientRoute) {}

    /// A client that has moved no longer uses this route.
    fn release(&mut self, _route: &ClientRoute) {}

    /// Opens a listening TCP socket of `family` for allocation `id` (RFC 6062 §5.1), counted against the quota of
    /// `owner`. [`Self::close`] closes it too. With a `meter`, whoever reads from the connections of the allocation has to
    /// ask it for leave; the owner of the sockets keeps it until [`Self::settle`].
    ///
    /// This and all below is for TCP allocations: an owner that never sets [`Settings::tcp`](super::Settings::tcp) has no
    /// use for it.
    ///
    /// # Errors
    /// See [`BindError`]; nothing has been opened or counted then.
    fn listen(
        &mut self,
        _id: AllocationId,
        _family: AddressFamily,
        _owner: Owner<'_>,
        _meter: Option<StreamMeter>,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        Err(BindError::Exhausted)
    }

    /// Closes the meter of a listening socket, as [`StreamMeter::close`] says. Returns what that does; 0 without a meter.
    fn settle(&mut self, _relay: RelayToken) -> u64 {
        0
    }

    /// Whether this is a live relayed transport address for TCP, of any worker.
    fn is_listening(&self, _address: SocketAddr) -> bool {
        false
    }

    /// Whether this machine has an address, now.
    fn is_ours(&self, _ip: IpAddr) -> bool {
        false
    }

    /// Begins a TCP connection to a peer, from the relayed transport address behind `relay` (RFC 6062 §5.2).
    ///
    /// # Errors
    /// [`BindError::Exhausted`] when there is no descriptor for it, or its user has too many.
    fn connect(
        &mut self,
        _allocation: AllocationId,
        _relay: RelayToken,
        _peer: PeerAddress,
    ) -> Result<ConnectionId, BindError> {
        Err(BindError::Exhausted)
    }

    /// Who may claim a connection of any worker that waits for its ConnectionBind. `None`: no such connection waits.
    fn waiting(&self, _connection: ConnectionId) -> Option<Waiting> {
        None
    }

    /// Takes a waiting connection for the request that is being handled. `false`: it waits no more.
    fn claim(&mut self, _connection: ConnectionId) -> bool {
        false
    }

    /// Closes a connection of this worker that waits for its ConnectionBind. `false`: it waits no more, since it has been
    /// claimed.
    fn abandon(&mut self, _connection: ConnectionId) -> bool {
        false
    }

    /// Closes a connection of this worker in whatever state it is, or gives it up. Returns what it has relayed to the peer
    /// and to the client.
    fn disconnect(&mut self, _connection: ConnectionId) -> (Traffic, Traffic) {
        Default::default()
    }
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
    /// Send the answer from another address than the request came to (RFC 5780).
    ReplyFrom {
        /// The local address and port it leaves from; the server listens there.
        server: SocketAddr,
        /// Where it goes.
        client: SocketAddr,
    },
    /// Send the answer as with [`Self::Reply`]. Whatever else comes or goes by this stream is data of a peer
    /// (RFC 6062 §5.4).
    Bind {
        /// The peer data connection that the request has claimed.
        connection: ConnectionId,
    },
    /// Hand the datagram, which is as it came, to the worker that owns its allocation (RFC 8016).
    Forward {
        /// The number of that worker.
        worker: u8,
    },
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
