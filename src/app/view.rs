//! From what the core knows of an allocation to what people read.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::auth::{is_long_term_key, opaque_string, rest};
use crate::config::ice::{is_signed, rfc3339};
use crate::config::{Auth, UserCredential};
use crate::http::{self, Drops, Refused, Relayed, View};
use crate::observe::{Ended, Why};
use crate::time::Now;
use crate::turn::{Session, Traffic};

/// Whether a password belongs to a user name, expired and revoked or not. It takes as long for users that exist as for
/// those that do not.
pub(super) fn verifies(auth: &Auth, username: &str, password: &str) -> bool {
    let time_limited = rest::parts(username, auth.separator).is_some();
    let mut good = time_limited & is_signed(auth, username, password);
    // Whoever is not in the list is compared with somebody who has no password.
    let mut found = None;
    for user in &auth.users {
        if user.name == username {
            found = Some(&user.credential);
        }
    }
    let prepared = opaque_string(password).unwrap_or_default();
    let (right, key) = match found {
        Some(UserCredential::Password(right)) => (opaque_string(right.expose()), &[][..]),
        Some(UserCredential::Key(key)) => (None, &key[..]),
        None => (None, &[][..]),
    };
    let right = right.unwrap_or_default();
    good |= same(right.as_bytes(), prepared.as_bytes()) & !right.is_empty();
    good |= is_long_term_key(key, username.as_bytes(), auth.realm.as_bytes(), prepared.as_bytes());
    good & !password.is_empty()
}

/// Whether both are the same, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}

/// A session, for the operator.
pub(super) fn session(session: &Session, now: &Now) -> http::Session {
    http::Session {
        user: session.user.to_string(),
        username: session.username.to_string(),
        tag: session.tag.clone(),
        key: session.key.clone(),
        allocation: allocation(session, now, now.mono.since(session.created).as_secs_f64(), None),
    }
}

fn allocation(session: &Session, now: &Now, age: f64, ended: Option<&'static str>) -> http::Allocation {
    let seconds = |duration: Option<core::time::Duration>| duration.map(|duration| duration.as_secs_f64());
    let dropped = session.insight.dropped;
    http::Allocation {
        client: session.tuple.client.0.to_string(),
        transport: session.tuple.transport.name(),
        relayed: session.relayed.0.to_string(),
        also_relayed: session.additional.map(|address| address.0.to_string()),
        created: rfc3339(now.unix.saturating_sub(now.mono.since(session.created).as_secs())),
        age: (age * 10.0).round() / 10.0,
        expires_in: if ended.is_some() { 0 } else { session.expires.since(now.mono).as_secs() },
        permissions: session.permissions.iter().map(ToString::to_string).collect(),
        channels: session.channels,
        first_to_peer: seconds(session.insight.first_to_peer()),
        first_to_client: seconds(session.insight.first_to_client()),
        to_peers: relayed(session.to_peers),
        to_client: relayed(session.to_client),
        drops: Drops {
            no_permission: dropped.no_permission.into(),
            peer_denied: dropped.peer_denied.into(),
            rate: dropped.rate.into(),
            budget: dropped.budget.into(),
        },
        ended,
    }
}

const fn relayed(Traffic { packets, bytes }: Traffic) -> Relayed {
    Relayed { packets, bytes }
}

/// Adds what a credential has and had, with what was dropped of it.
pub(super) fn fill<'s>(
    view: &mut View,
    live: impl Iterator<Item = &'s Session>,
    ended: impl Iterator<Item = &'s Ended>,
    now: &Now,
) {
    let live = live.map(|session| (session, now.mono.since(session.created).as_secs_f64(), None, now.unix));
    let ended = ended.map(|ended| (&ended.session, ended.age, Some(ended.reason.name()), ended.at));
    for (session, age, reason, at) in live.chain(ended) {
        let shown = allocation(session, now, age, reason);
        let requests = session.insight.requests;
        view.requests.allocate += 1;
        view.requests.refresh += u64::from(requests.refresh);
        view.requests.create_permission += u64::from(requests.create_permission);
        view.requests.channel_bind += u64::from(requests.channel_bind);
        let Drops { no_permission, peer_denied, rate, budget } = shown.drops;
        for (why, count) in [
            (Why::NoPermission, no_permission),
            (Why::PeerDenied, peer_denied),
            (Why::Rate, rate),
            (Why::Budget, budget),
        ] {
            if count > 0 {
                view.refusals.push(Refused {
                    at: rfc3339(at),
                    username: None,
                    client: shown.client.clone(),
                    transport: shown.transport,
                    method: "data",
                    code: 0,
                    cause: why.word(),
                    message: why.sentence().to_owned(),
                    cure: why.cure(),
                    peer: None,
                    count,
                });
            }
        }
        view.allocations.push(shown);
    }
}
