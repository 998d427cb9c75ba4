//! What an allocation remembers for those who ask why a call does not work.

use core::time::Duration;
use std::net::IpAddr;
use std::sync::Arc;

use super::allocation::Allocation;
use super::{CountedMethod, DropReason, FiveTuple, RelayedTransportAddress, Server, Traffic};
use crate::time::{Now, Timestamp};

/// How many addresses with a permission a [`Session`] lists.
const PERMISSIONS_SHOWN: usize = 32;

/// Packets of an allocation that did not pass. Each stops at the largest number that it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// No permission for the peer.
    pub no_permission: u32,
    /// The peer policy forbids it.
    pub peer_denied: u32,
    /// Above the rate of the credential.
    pub rate: u32,
    /// Beyond the byte budget of the credential.
    pub budget: u32,
}

/// Requests that an allocation was made and kept with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Refresh.
    pub refresh: u16,
    /// CreatePermission.
    pub create_permission: u16,
    /// ChannelBind.
    pub channel_bind: u16,
}

/// See the head of this file. All allocations have one, so it is small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insight {
    /// Milliseconds from its beginning to the first packet to a peer, and one; 0: there was none.
    first_to_peer: u32,
    /// The same to the client.
    first_to_client: u32,
    /// What did not pass.
    pub dropped: Dropped,
    /// What was asked for and granted.
    pub requests: Requests,
}

impl Insight {
    /// How long after its beginning the first packet went to a peer, in whole milliseconds.
    pub fn first_to_peer(&self) -> Option<Duration> {
        self.first_to_peer.checked_sub(1).map(|millis| Duration::from_millis(millis.into()))
    }

    /// The same to the client.
    pub fn first_to_client(&self) -> Option<Duration> {
        self.first_to_client.checked_sub(1).map(|millis| Duration::from_millis(millis.into()))
    }

    pub(super) fn sent_to_peer(&mut self, age: Duration) {
        if self.first_to_peer == 0 {
            self.first_to_peer = mark(age);
        }
    }

    pub(super) fn sent_to_client(&mut self, age: Duration) {
        if self.first_to_client == 0 {
            self.first_to_client = mark(age);
        }
    }

    pub(super) const fn granted(&mut self, method: CountedMethod) {
        let count = match method {
            CountedMethod::Refresh => &mut self.requests.refresh,
            CountedMethod::CreatePermission => &mut self.requests.create_permission,
            CountedMethod::ChannelBind => &mut self.requests.channel_bind,
            _ => return,
        };
        *count = count.saturating_add(1);
    }

    pub(super) const fn drop(&mut self, reason: DropReason) {
        let count = match reason {
            DropReason::NoPermission => &mut self.dropped.no_permission,
            DropReason::Forbidden => &mut self.dropped.peer_denied,
            DropReason::Rate => &mut self.dropped.rate,
            DropReason::Budget => &mut self.dropped.budget,
            _ => return,
        };
        *count = count.saturating_add(1);
    }
}

fn mark(age: Duration) -> u32 {
    u32::try_from(age.as_millis()).unwrap_or(u32::MAX).saturating_add(1)
}

/// An allocation as others see it.
#[derive(Clone, Debug)]
pub struct Session {
    /// The user name of its credential.
    pub username: Arc<str>,
    /// What quotas count.
    pub user: Arc<str>,
    /// The tag of its credential.
    pub tag: Option<String>,
    /// The API key of its credential.
    pub key: Option<String>,
    /// Its 5-tuple.
    pub tuple: FiveTuple,
    /// Its relayed transport address.
    pub relayed: RelayedTransportAddress,
    /// The one of the other family, in a dual allocation.
    pub additional: Option<RelayedTransportAddress>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends unless it is refreshed.
    pub expires: Timestamp,
    /// Addresses of peers with a permission, some of them if there are many.
    pub permissions: Vec<IpAddr>,
    /// Bound channels.
    pub channels: usize,
    /// From the client to peers.
    pub to_peers: Traffic,
    /// From peers to the client.
    pub to_client: Traffic,
    /// The rest.
    pub insight: Insight,
}

impl Allocation {
    /// Itself as others see it; `None` when it has no relay left.
    pub(super) fn session(&self, now: Timestamp) -> Option<Session> {
        let mut relays = self.relays().map(|relay| relay.address);
        let policy = self.login.policy();
        Some(Session {
            username: self.login.user_shared(),
            user: self.login.subject_shared(),
            tag: policy.and_then(|policy| policy.tag.clone()),
            key: policy.and_then(|policy| policy.key.clone()),
            tuple: self.route.tuple,
            relayed: relays.next()?,
            additional: relays.next(),
            created: self.created,
            expires: self.expires,
            permissions: self.permitted(now).take(PERMISSIONS_SHOWN).collect(),
            channels: self.channel_count(),
            to_peers: self.to_peers,
            to_client: self.to_client,
            insight: self.insight,
        })
    }
}

/// A search among the allocations of a server, for whom it takes several calls: each looks at some of them, so that packets
/// pass meanwhile. What begins or ends during it may be found or not.
#[derive(Debug)]
pub struct Lookup {
    user: Option<Arc<str>>,
    limit: usize,
    next: usize,
    found: Vec<Session>,
}

impl Lookup {
    /// A search for live allocations, `limit` of them at most; if `user` is given, for those of this user, whatever the
    /// key, or of this user name.
    pub const fn new(user: Option<Arc<str>>, limit: usize) -> Self {
        Self { user, limit, next: 0, found: Vec::new() }
    }

    /// What has been found.
    pub fn into_found(self) -> Vec<Session> {
        self.found
    }
}

impl Server {
    /// How many places for allocations one call of [`Self::look_up`] looks at.
    pub const LOOKED_AT: usize = 1024;

    /// Goes on with a search. Whether it has come to its end.
    pub fn look_up(&self, now: &Now, lookup: &mut Lookup) -> bool {
        let end = lookup.next.saturating_add(Self::LOOKED_AT);
        let user = lookup.user.as_deref();
        let is_meant = |allocation: &&Allocation| {
            allocation.expires > now.mono
                && user
                    .is_none_or(|user| allocation.login.user() == user || allocation.login.subject() == user)
        };
        let sessions = self.allocations.among(lookup.next..end).filter(is_meant);
        let sessions = sessions.filter_map(|allocation| allocation.session(now.mono));
        lookup.found.extend(sessions.take(lookup.limit.saturating_sub(lookup.found.len())));
        lookup.next = end;
        lookup.found.len() >= lookup.limit || end >= self.allocations.places()
    }
}
