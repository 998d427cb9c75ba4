//! Who may have `iceServers`, and which.

use std::time::Duration;

use axum::http::StatusCode;
use ipnet::IpNet;

use super::access::Presented;
use super::admission::Admission;
use super::caller::{Caller, PageOrigin};
pub(super) use super::cors::{preflight, share};
use super::dialects::{Dialect, native};
use super::error::Refusal;
use super::fields::bad;
use super::grant::{GrantRequest, IceGrant};
use super::{Shared, random_name};
use crate::auth::{Network, Policy};

/// The longest lifetime of credentials.
const LONGEST: Duration = Duration::from_secs(172_800);

/// The longest name of a user in bytes, percent-encoded.
const MAX_USER: usize = 128;

/// What a request would like to have.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// Seconds.
    pub(super) ttl: Option<u64>,
    pub(super) user: Option<String>,
    pub(super) policy: Policy,
}

/// Who has been let in.
#[derive(Debug)]
pub(super) enum Holder {
    /// A program on this machine, for its users.
    Local,
    /// A page of a listed origin, or anybody where the operator wants that.
    Visitor,
    /// A key or a token.
    Right(Box<super::access::Right>),
}

/// Lets in whoever asks, or says why not.
pub(super) async fn admit(
    shared: &Shared,
    caller: &Caller,
    dialect: Dialect,
    presented: Option<Presented>,
) -> Result<Holder, Refusal> {
    let Some(presented) = presented else { return without_credentials(shared, caller, dialect).await };
    count(shared, caller, &shared.holders).await?;
    let right = shared.options.access.check(&presented, shared.ice.now_unix()).await;
    let right = right.map_err(|cause| unauthorized(dialect).because(cause))?;
    let ours = matches!(caller.origin, PageOrigin::Same | PageOrigin::Listed);
    if !right.is_for(caller.origin_value.as_ref().map(|_| caller.origin_text().unwrap_or_default()), ours) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "This key or token is not for pages of this origin.",
        )
        .help(
            "The operator writes the origins of pages into the key's `origins`, or into http.origins. A key with origins is \
             for pages alone: servers need one without.",
        ));
    }
    if right.is_public() {
        charged(shared.admission.charge(caller.prefix).await)?;
    }
    let rights = if right.key.is_some() { &shared.keys } else { &shared.subjects };
    charged(rights.charge(right.holder()).await)?;
    Ok(Holder::Right(Box::new(right)))
}

async fn without_credentials(shared: &Shared, caller: &Caller, dialect: Dialect) -> Result<Holder, Refusal> {
    let options = &shared.options;
    if dialect != Dialect::Native {
        Err(unauthorized(dialect))
    } else if caller.is_local && options.access.is_empty() {
        // A proxy that says nothing of itself looks the same, with a crowd behind it.
        count(shared, caller, &shared.admission).await?;
        Ok(Holder::Local)
    } else if !options.open && caller.origin != PageOrigin::Listed {
        if !options.access.is_empty() {
            return Err(nothing_brought(dialect));
        }
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "not_allowed",
            "This server does not give iceServers to you.",
        )
        .help(
            "They go to programs on the same machine that ask for localhost, to pages whose origin is in \
                 http.origins, to holders of a key (http.keys) or a token (http.tokens), to members of a room \
                 (/ws), and with http.open = true to anybody.",
        ))
    } else {
        charged(shared.admission.charge(caller.prefix).await)?;
        Ok(Holder::Visitor)
    }
}

/// One answer for what is missing, unknown, wrong, expired or forged.
fn unauthorized(dialect: Dialect) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", "A key or token of this server is needed.")
        .help(
            "The operator makes keys with `relais credentials key` and lists them in http.keys; tokens have to be of an \
             issuer in http.tokens, for its audience, and not expired.",
        )
        .with(dialect.challenge())
}

/// Who brings nothing learns nothing of keys, and more of what to do: the server's own page may ask so, and no one else would
/// expect to be turned away on the machine itself.
fn nothing_brought(dialect: Dialect) -> Refusal {
    let message = "This server gives iceServers for a key or token, and the request brings none.";
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
        .help(
            "As soon as http.keys or http.tokens has entries, everybody needs one, on this machine and on the server's own page too. \
             Programs send it as `Authorization: Bearer KEY`. For the trial page set http.rooms = \"named\", since members of a \
             room get iceServers, or paste what `relais ice-servers` prints into it; pages of your own are listed in http.origins.",
        )
        .with(dialect.challenge())
}

fn charged(wait: Result<(), Duration>) -> Result<(), Refusal> {
    wait.map_err(|wait| {
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "You ask too often.")
            .help("Keep the iceServers that you got until they expire; Retry-After says when to ask again.")
            .wait(wait)
    })
}

/// Counts a request by its address; those of this machine together, since one of them may ask for many.
async fn count(shared: &Shared, caller: &Caller, admission: &Admission) -> Result<(), Refusal> {
    charged(shared.count(caller, admission).await)
}

/// The grant of a credential that is at hand already.
pub(super) async fn recall(
    shared: &Shared,
    caller: &Caller,
    dialect: Dialect,
    username: &str,
    credential: &str,
) -> Result<IceGrant, Refusal> {
    count(shared, caller, &shared.holders).await?;
    let host = caller.turn_host(&shared.options);
    shared.ice.recall(&host, username, credential).ok_or_else(|| unauthorized(dialect))
}

/// The grant that a holder gets.
pub(super) async fn grant(
    shared: &Shared,
    caller: &Caller,
    holder: Holder,
    wish: Wish,
) -> Result<IceGrant, Refusal> {
    let request = request(shared, caller, holder, wish)?;
    shared.ice.grant(request).await.map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "too_long", "No user name can be made of this.")
            .help(format!("{error}: shorten user and tag, or name fewer peers."))
    })
}

/// The `iceServers` of a room's member, whom quotas count by address as all visitors: joining again gives no new quota.
pub(super) async fn for_member(shared: &Shared, caller: &Caller, id: &str) -> serde_json::Value {
    let request = GrantRequest {
        host: caller.turn_host(&shared.options),
        // On this machine, where all have one address, members are told apart.
        user: if caller.is_local { id.to_owned() } else { caller.prefix.label() },
        ..GrantRequest::default()
    };
    // Both are short, so there is always a user name for it.
    let granted = shared.ice.grant(request).await;
    granted.map_or_else(|_| serde_json::json!([]), |grant| native::servers(&grant))
}

fn request(shared: &Shared, caller: &Caller, holder: Holder, wish: Wish) -> Result<GrantRequest, Refusal> {
    let default = shared.ice.default_ttl();
    let mut ends = None;
    let host = caller.turn_host(&shared.options);
    let wanted = wish.ttl.map_or(default, Duration::from_secs).min(LONGEST);
    let named = wish.user.as_deref().map(user_name).transpose()?;
    let random = || random_name::<9>().ok_or_else(Refusal::no_randomness);
    let (user, ttl, policy) = match holder {
        Holder::Local => {
            // A program asks for its users, one call for each; they do not share a quota.
            (named.map_or_else(random, Ok)?, wanted, wish.policy)
        }
        Holder::Visitor => {
            refuse_wishes(&wish)?;
            (caller.prefix.label(), wanted.min(default), Policy::default())
        }
        Holder::Right(right) => {
            let right = *right;
            // What is one credential ends with `ends`, whenever and however often somebody asks.
            let ttl = if right.is_one { Duration::MAX } else { wanted.min(right.ttl.unwrap_or(LONGEST)) };
            ends = right.ends;
            let user = match (&right.user, named) {
                (Some(own), named) => {
                    let own = user_name(own)?;
                    if named.is_some_and(|named| named != own) || !wish.policy.is_empty() {
                        return Err(not_yours());
                    }
                    own
                }
                // The holder of a key for pages may be anybody, and would be somebody else each time.
                (None, named) if right.is_public() => {
                    // Limits of the key it may still narrow, for itself.
                    if named.is_some() || wish.policy.tag.is_some() && wish.policy.tag != right.policy.tag {
                        return Err(not_yours());
                    }
                    caller.prefix.label()
                }
                (None, named) => named.map_or_else(random, Ok)?,
            };
            // What is one credential was issued with its token.
            let issued = right.policy.issued;
            let policy = Policy { issued, ..narrowed(right.policy, wish.policy)? };
            (user, ttl, policy)
        }
    };
    Ok(GrantRequest { host, user, ttl: Some(ttl), ends, policy })
}

/// Whoever is counted by address does not choose by what.
fn refuse_wishes(wish: &Wish) -> Result<(), Refusal> {
    if wish.user.is_some() || !wish.policy.is_empty() { Err(not_yours()) } else { Ok(()) }
}

fn not_yours() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "not_yours_to_set", "The request names what its sender does not decide.")
        .help("A user, a tag and limits are named by programs on the server's machine and by holders of a key that is not public.")
}

/// A name of letters, digits and `-._~@:|+`; all else is percent-encoded.
pub(super) fn user_name(text: &str) -> Result<String, Refusal> {
    use std::fmt::Write as _;
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@:|+".contains(&byte) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    if name.is_empty() || name.len() > MAX_USER {
        return Err(bad(
            "user",
            "takes 1 to 128 bytes, percent-encoded where they are not letters or digits",
        ));
    }
    Ok(name)
}

/// What a key allows, made narrower.
fn narrowed(key: Policy, wish: Policy) -> Result<Policy, Refusal> {
    fn less<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
        match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
    let beyond = |what| {
        Refusal::new(StatusCode::FORBIDDEN, "beyond_key", "The key does not allow that.")
            .help(format!("`{what}` is fixed by the key; ask for a part of it, or leave it out."))
    };
    if key.tag.is_some() && wish.tag.is_some() && key.tag != wish.tag {
        return Err(beyond("tag"));
    }
    let within = |peer: &Network| key.peers.iter().any(|allowed| covers(allowed, peer));
    if !key.peers.is_empty() && !wish.peers.iter().all(within) {
        return Err(beyond("peers"));
    }
    Ok(Policy {
        tag: key.tag.or(wish.tag),
        key: key.key,
        issued: None,
        rate: less(key.rate, wish.rate),
        bytes: less(key.bytes, wish.bytes),
        allocations: less(key.allocations, wish.allocations),
        peers: if wish.peers.is_empty() { key.peers } else { wish.peers },
    })
}

fn covers(outer: &Network, inner: &Network) -> bool {
    let net = |network: &Network| {
        let text = network.to_string();
        text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).ok()
    };
    matches!((net(outer), net(inner)), (Some(outer), Some(inner)) if outer.contains(&inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_cannot_write_a_policy_or_anything_odd() {
        for (text, name) in [
            ("alice", "alice"),
            ("@alice:example.org", "@alice:example.org"),
            ("auth0|5f", "auth0|5f"),
            ("eve?policy&rate=9", "eve%3Fpolicy%26rate%3D9"),
            ("Zoë \u{1F600}", "Zo%C3%AB%20%F0%9F%98%80"),
            ("a%20b", "a%2520b"),
        ] {
            assert_eq!(user_name(text).unwrap(), name);
        }
        assert!(
            user_name("").is_err()
                && user_name(&"é".repeat(22)).is_err()
                && user_name(&"a".repeat(129)).is_err()
        );
    }

    #[test]
    fn a_wish_makes_a_key_narrower_and_never_wider() {
        let policy =
            |text: &str| if text.is_empty() { Policy::default() } else { Policy::parse(text).unwrap() };
        let ask = |key: &str, wish: &str| narrowed(policy(key), policy(wish)).map(|found| found.to_string());
        assert_eq!(
            ask("key=k&rate=5&bytes=7", "rate=9&allocations=2").unwrap(),
            "key=k&rate=5&bytes=7&allocations=2"
        );
        assert_eq!(ask("key=k", "tag=t&rate=9").unwrap(), "tag=t&key=k&rate=9");
        assert_eq!(ask("key=k&tag=t", "tag=t").unwrap(), "tag=t&key=k");
        assert_eq!(ask("key=k&tag=t", "tag=u").unwrap_err().code(), "beyond_key");
        assert_eq!(ask("key=k", "key=other").unwrap(), "key=k");
        assert_eq!(ask("peers=10.0.0.0/8", "").unwrap(), "peers=10.0.0.0/8");
        assert_eq!(
            ask("peers=10.0.0.0/8", "peers=10.1.0.0/16,10.2.0.1").unwrap(),
            "peers=10.1.0.0/16,10.2.0.1"
        );
        for wider in ["peers=0.0.0.0/0", "peers=10.0.0.0/7", "peers=10.0.0.1,11.0.0.1", "peers=::/0"] {
            assert_eq!(ask("peers=10.0.0.0/8", wider).unwrap_err().code(), "beyond_key", "{wider}");
        }
    }
}
