//! The TURN server as a state machine (RFC 8656, and Binding of RFC 8489).
//!
//! Its owner feeds it datagrams and the time, and does what the [`Verdict`] says:
//! 1. [`Server::handle_client`] for what a client sent, answered in the lent reply buffer or relayed in place;
//! 2. [`Server::handle_peer`] for what arrived at a relayed transport address;
//! 3. [`Server::handle_icmp`] for what the network says about what was sent from one;
//! 4. [`Server::handle_timeout`] when [`Server::next_timeout`] has come;
//! 5. [`Server::handle_closed`] when a client's stream has ended;
//! 6. [`Server::poll_event`] until it is empty, for logs.
//!
//! Decisions: one call, one verdict, no queue. No I/O, no clock, no randomness but one seed: the same input gives
//! the same bytes. The only call outwards is [`RelaySockets`], on the cold path. Expiry is decided by comparison
//! when a thing is used; timers only free memory. Every drop has a [`DropReason`], every reason a counter.

mod allocate;
mod allocation;
mod allocations;
mod binding;
mod budget;
mod channel;
mod counters;
mod discovery;
mod event;
mod flow;
mod icmp;
mod insight;
mod meter;
mod mobility;
mod permission;
mod policy;
mod redirect;
mod refresh;
mod relay;
mod request;
mod revoke;
mod server;
mod sorted;
mod stream_meter;
mod tcp;
mod transaction;
mod types;

pub use counters::{
    CountedMethod, Counters, DropReason, ERROR_CODES, StreamRefusal, Traffic, Transport, TransportCounters,
};
pub use discovery::{Discovery, DiscoveryAddress};
pub use event::{ConnectionEnd, EndReason, Event, RefusalCause};
pub use icmp::IcmpError;
pub use insight::{Dropped, Insight, Lookup, Requests, Session};
pub use policy::{PeerPolicy, PolicyRule};
pub use redirect::Alternates;
pub use server::{FamilyDefault, Limits, Server, Settings};
pub use stream_meter::{Leave, StreamMeter, Turn};
pub use tcp::{Offer, PeerConnection};
pub use types::{
    AddressError, AllocationId, BindError, Budget, ClientAddress, ClientRoute, ConnectionId, FiveTuple, Hold,
    Owner, Parity, PeerAddress, RelaySockets, RelayToken, RelayedTransportAddress, ReservationToken, Verdict,
    Waiting,
};
