//! What happened, for whoever keeps logs.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use super::{CountedMethod, FiveTuple, PeerAddress, RelayedTransportAddress, Session, Traffic};
use crate::auth::Cause;

/// How many events wait for their reader. Later ones are lost: of so many at once the log shows a few anyway.
const MAX_WAITING: usize = 1024;

/// Why an allocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client asked with a Refresh of lifetime 0.
    Deleted,
    /// Its lifetime ran out.
    Expired,
    /// The credential or token that bounds its lifetime has ended.
    CredentialExpired,
    /// The client's stream closed.
    ConnectionClosed,
    /// The server stops.
    ServerStopped,
    /// The byte budget of its credential is used up.
    BudgetSpent,
    /// Its credential has been revoked.
    Revoked,
}

impl EndReason {
    /// The name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted by the client",
            Self::Expired => "expired",
            Self::CredentialExpired => "credential expired",
            Self::ConnectionClosed => "connection closed",
            Self::ServerStopped => "server stopped",
            Self::BudgetSpent => "byte budget used up",
            Self::Revoked => "credential revoked",
        }
    }
}

/// Why a connection with a peer ended (RFC 6062).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// Client and peer have both closed it.
    Closed,
    /// Client or peer has reset it, or has gone.
    Reset,
    /// One of them has closed its side and the other has been silent since.
    Silent,
    /// No ConnectionBind came in time (§5.2, §5.3).
    Unbound,
    /// Its allocation has ended (§5.5).
    AllocationEnded,
    /// The thread that relayed it has stopped.
    WorkerStopped,
    /// The byte budget of the credential is used up.
    BudgetSpent,
}

impl ConnectionEnd {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 7] = [
        Self::Closed,
        Self::Reset,
        Self::Silent,
        Self::Unbound,
        Self::AllocationEnded,
        Self::WorkerStopped,
        Self::BudgetSpent,
    ];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Silent => "silent",
            Self::Unbound => "unbound",
            Self::AllocationEnded => "allocation_ended",
            Self::WorkerStopped => "worker_stopped",
            Self::BudgetSpent => "budget_spent",
        }
    }
}

/// Something worth a line.
#[derive(Clone, Debug)]
pub enum Event {
    /// An allocation began.
    AllocationCreated {
        /// Whose it is.
        user: Arc<str>,
        /// Its 5-tuple.
        tuple: FiveTuple,
        /// Its relayed transport address.
        relayed: RelayedTransportAddress,
        /// The one of the other family, in a dual allocation (RFC 8656 §5).
        additional: Option<RelayedTransportAddress>,
    },
    /// A client has announced itself elsewhere with its ticket (RFC 8016).
    AllocationMoved {
        /// Whose allocation it is.
        user: Arc<str>,
        /// Where it was.
        from: FiveTuple,
        /// Where it is coming to.
        to: FiveTuple,
    },
    /// An allocation ended.
    AllocationEnded {
        /// Whose it was.
        user: Arc<str>,
        /// Its 5-tuple.
        tuple: FiveTuple,
        /// The relayed transport address that it had last.
        relayed: RelayedTransportAddress,
        /// The one of the other family, if it had both.
        additional: Option<RelayedTransportAddress>,
        /// How long it lived.
        duration: Duration,
        /// Relayed from the client to peers.
        to_peers: Traffic,
        /// Relayed from peers to the client.
        to_client: Traffic,
        /// Why it ended.
        reason: EndReason,
        /// What it was like at the end.
        session: Box<Session>,
    },
    /// A connection with a peer ended before its allocation did (RFC 6062).
    ConnectionEnded {
        /// Whose it was.
        user: Arc<str>,
        /// The 5-tuple of its allocation.
        tuple: FiveTuple,
        /// The other end.
        peer: PeerAddress,
        /// Why it ended.
        end: ConnectionEnd,
    },
    /// A login failed.
    LoginRefused {
        /// Who asked.
        tuple: FiveTuple,
        /// For what.
        method: CountedMethod,
        /// The user name as it was presented, if it can be read.
        user: Option<Arc<str>>,
        /// The error code of the answer.
        code: u16,
        /// Why.
        cause: Cause,
        /// Whether the client is where the 5-tuple says: it has brought a nonce that was sent there, or has a connection.
        proven: bool,
    },
    /// A request by an authenticated client was refused.
    RequestRefused {
        /// Whose request it was.
        user: Arc<str>,
        /// Its 5-tuple.
        tuple: FiveTuple,
        /// What it asked for.
        method: CountedMethod,
        /// The error code of the answer.
        code: u16,
        /// The peer's address, when the refusal is about one.
        peer: Option<core::net::SocketAddr>,
        /// What the code alone does not say.
        cause: Option<RefusalCause>,
    },
}

/// What the error code of a refused request does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    /// 400: CHANNEL-NUMBER is missing, of another length, or out of range (RFC 8656 §12.2).
    ChannelNumber,
    /// 400: XOR-PEER-ADDRESS is missing or cannot be read.
    NoPeer,
    /// 400: a channel on an allocation for TCP.
    RelaysTcp,
    /// 400: the number belongs to another peer, or the peer has another number.
    BoundOtherwise,
    /// 508: no more permissions for this allocation.
    Permissions,
    /// 508: no more channels or permissions for this allocation.
    Channels,
    /// 403: the credential names the peers that may be reached, and this is none of them.
    PeersOfCredential,
    /// 486: as many allocations as the credential, or the server, allows.
    Allocations,
    /// 403: the byte budget of the credential is used up.
    Budget,
    /// 508: no place to count for one more credential with a byte budget.
    Budgets,
    /// 403: the server is about to stop.
    Draining,
    /// 508: no port, descriptor or memory, or a reservation that does not exist.
    Sockets,
}

impl RefusalCause {
    /// The words in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChannelNumber => "no channel number in 0x4000-0x4FFF",
            Self::NoPeer => "no readable XOR-PEER-ADDRESS",
            Self::RelaysTcp => "the allocation relays TCP",
            Self::BoundOtherwise => "the channel or the peer is bound otherwise",
            Self::Permissions => "as many permissions as allowed",
            Self::Channels => "as many channels or permissions as allowed",
            Self::PeersOfCredential => "not among the peers of the credential",
            Self::Allocations => "as many allocations as allowed",
            Self::Budget => "the byte budget of the credential is used up",
            Self::Budgets => "as many credentials with a byte budget as are counted for",
            Self::Draining => "the server is about to stop",
            Self::Sockets => "no port, descriptor or memory, or no such reservation",
        }
    }
}

/// Events in the order they happened, as many as fit.
#[derive(Default)]
pub(super) struct Events {
    waiting: VecDeque<Event>,
}

impl Events {
    pub(super) fn push(&mut self, event: Event) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(event);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }
}
