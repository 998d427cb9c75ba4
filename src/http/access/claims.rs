//! What a verified token says.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Right;
use crate::auth::Policy;

/// How far clocks may disagree about when a token begins, in seconds. Its end has no such grace: a credential would outlive it.
const LEEWAY: u64 = 30;

/// The longest subject in bytes, as OpenID Connect has it.
const MAX_SUBJECT: usize = 255;

/// The most networks in `turn.peers`.
const MAX_PEERS: usize = 8;

/// The longest life of a credential in seconds.
const LONGEST: u64 = 172_800;

/// The members of `turn`.
const LIMITS: [&str; 6] = ["ttl", "quota", "rate", "bytes", "tag", "peers"];

/// What the claims allow at `now`, in Unix seconds. `None`: too early, too late, without a subject, or not understood,
/// which is never taken for no limit.
pub(super) fn right(claims: &Map<String, Value>, now: u64) -> Option<Right> {
    let ends = time(claims, "exp")?.filter(|ends| *ends > now)?;
    let begins = time(claims, "nbf")?;
    if begins.is_some_and(|begins| begins > now.saturating_add(LEEWAY)) {
        return None;
    }
    if !only_limits(claims) {
        return None;
    }
    let ttl = number(claims, "ttl")?;
    let bytes = number(claims, "bytes")?;
    let (ends, issued) = match bytes {
        Some(_) => budgeted(claims, ends, ttl, now).map(|(ends, issued)| (ends, Some(issued)))?,
        None => (ends, None),
    };
    let user = claims.get("sub")?.as_str().filter(|user| (1..=MAX_SUBJECT).contains(&user.len()))?;
    let policy = Policy {
        tag: text(claims, "tag")?,
        rate: number(claims, "rate")?,
        bytes,
        issued,
        allocations: match number(claims, "quota")? {
            Some(quota) => Some(u32::try_from(quota).ok()?),
            None => None,
        },
        peers: match turn(claims, "peers")? {
            None => Vec::new(),
            Some(peers) => {
                let peers = peers.as_array().filter(|peers| (1..=MAX_PEERS).contains(&peers.len()))?;
                peers.iter().map(|peer| peer.as_str()?.parse().ok()).collect::<Option<_>>()?
            }
        },
        ..Policy::default()
    };
    Some(Right {
        key: None,
        user: Some(user.to_owned()),
        ttl: ttl.map(Duration::from_secs),
        ends: Some(ends),
        is_one: bytes.is_some(),
        policy,
        origins: Vec::new(),
    })
}

/// When the one credential of a token with a byte budget ends, and when it was issued. Both follow from the token alone, so
/// whoever asks again gets the same credential and not the bytes once more. `None`: it has ended, or its end does not follow.
fn budgeted(claims: &Map<String, Value>, ends: u64, ttl: Option<u64>, now: u64) -> Option<(u64, u64)> {
    let issued = time(claims, "iat")??;
    let ends = ends.min(issued.saturating_add(ttl.unwrap_or(LONGEST).min(LONGEST)));
    // What counts as issued later than now would outlive what is revoked now.
    let issued = issued.saturating_sub(LEEWAY);
    (ends > now && issued <= now).then_some((ends, issued))
}

/// What is wrong with claims that allow nothing.
pub(super) fn fault(claims: &Map<String, Value>, now: u64) -> &'static str {
    match (time(claims, "exp"), time(claims, "nbf")) {
        (Some(Some(ends)), _) if ends <= now => "exp: the token has expired",
        (_, Some(Some(begins))) if begins > now.saturating_add(LEEWAY) => "nbf: the token is not good yet",
        (None | Some(None), _) | (_, None) => "exp or nbf is missing or no time",
        (Some(Some(ends)), _)
            if matches!((number(claims, "bytes"), number(claims, "ttl")),
                (Some(Some(_)), Some(ttl)) if budgeted(claims, ends, ttl, now).is_none()) =>
        {
            "bytes: the one credential of the token has ended, or iat is missing or later than now"
        }
        _ => "sub is missing or too long, or a limit in turn is not understood",
    }
}

/// Whether all members of `turn`, and all claims that begin with `turn.`, are limits: one with a slip in its name would be
/// none.
fn only_limits(claims: &Map<String, Value>) -> bool {
    let nested =
        claims.get("turn").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str);
    let flat = claims.keys().filter_map(|name| name.strip_prefix("turn."));
    nested.chain(flat).all(|name| LIMITS.contains(&name))
}

/// `"turn": {"name": …}`, or `"turn.name": …`; both at once contradict each other.
#[expect(clippy::option_option, reason = "whether it is understood, and whether it is there")]
fn turn<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<Option<&'c Value>> {
    let nested = match claims.get("turn") {
        None | Some(Value::Null) => None,
        Some(Value::Object(turn)) => turn.get(name),
        Some(_) => return None,
    };
    let flat = claims.get(&format!("turn.{name}"));
    let is_there = |value: &&Value| !value.is_null();
    match (nested.filter(is_there), flat.filter(is_there)) {
        (Some(_), Some(_)) => None,
        (found, None) | (None, found) => Some(found),
    }
}

#[expect(clippy::option_option, reason = "whether it is understood, and whether it is there")]
fn number(claims: &Map<String, Value>, name: &str) -> Option<Option<u64>> {
    match turn(claims, name)? {
        None => Some(None),
        Some(value) => value.as_u64().filter(|number| *number > 0).map(Some),
    }
}

#[expect(clippy::option_option, reason = "whether it is understood, and whether it is there")]
fn text(claims: &Map<String, Value>, name: &str) -> Option<Option<String>> {
    match turn(claims, name)? {
        None => Some(None),
        Some(value) => {
            let fits = |text: &&str| (1..=64).contains(&text.len()) && !text.contains(char::is_control);
            value.as_str().filter(fits).map(|text| Some(text.to_owned()))
        }
    }
}

/// A NumericDate (RFC 7519 §2), which may have a fraction.
#[expect(clippy::option_option, reason = "whether it is understood, and whether it is there")]
fn time(claims: &Map<String, Value>, name: &str) -> Option<Option<u64>> {
    match claims.get(name) {
        None => Some(None),
        Some(value) => match (value.as_u64(), value.as_f64()) {
            (Some(whole), _) => Some(Some(whole)),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "within the bounds of the guard"
            )]
            (None, Some(broken)) if (0.0..1e15).contains(&broken) => Some(Some(broken as u64)),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(claims: Value) -> Option<Right> {
        right(claims.as_object().unwrap(), 1_000)
    }

    #[test]
    fn limits_stand_in_turn_or_with_a_dot() {
        for claims in [
            json!({"sub": "a", "exp": 2000, "turn": {"ttl": 60, "quota": 3, "rate": 9, "tag": "t", "peers": ["10.0.0.0/8"]}}),
            json!({"sub": "a", "exp": 2000.5, "turn.ttl": 60, "turn.quota": 3, "turn.rate": 9, "turn": {"tag": "t"}, "turn.peers": ["10.0.0.0/8"]}),
        ] {
            let right = read(claims).unwrap();
            assert_eq!((right.user.as_deref(), right.ends), (Some("a"), Some(2000)));
            assert_eq!(right.ttl, Some(Duration::from_secs(60)));
            assert_eq!(right.policy.to_string(), "tag=t&rate=9&allocations=3&peers=10.0.0.0/8");
            assert!(right.key.is_none() && !right.is_one);
        }
    }

    #[test]
    fn with_a_byte_budget_the_token_fixes_end_and_issue() {
        let of = |claims: Value| {
            let right = read(claims).filter(|right| right.is_one)?;
            Some((right.ends?, right.policy.to_string()))
        };
        let found = |ends, policy: &str| Some((ends, policy.to_owned()));
        let ahead = json!({"sub": "a", "exp": 2000, "iat": 1030, "turn.bytes": 8});
        assert_eq!(of(ahead), found(2000, "issued=1000&bytes=8"));
        let issued = json!({"sub": "a", "exp": 2000, "iat": 900, "turn": {"bytes": 8, "ttl": 300}});
        assert_eq!(of(issued), found(1200, "issued=870&bytes=8"));
        let week = json!({"sub": "a", "exp": 604_800, "iat": 900, "turn.bytes": 8});
        assert_eq!(of(week), found(900 + LONGEST, "issued=870&bytes=8"));
        for not in [
            json!({"sub": "a", "exp": 2000, "turn": {"bytes": 8, "ttl": 300}}),
            json!({"sub": "a", "exp": 2000, "iat": 700, "turn": {"bytes": 8, "ttl": 300}}),
            json!({"sub": "a", "exp": 2000, "iat": "now", "turn": {"bytes": 8}}),
            json!({"sub": "a", "exp": 2000, "turn": {"bytes": 8}}),
            json!({"sub": "a", "exp": 2000, "iat": 1031, "turn": {"bytes": 8}}),
        ] {
            assert_eq!(of(not.clone()), None, "{not}");
            assert!(fault(not.as_object().unwrap(), 1_000).starts_with("bytes:"), "{not}");
        }
    }

    #[test]
    fn a_fault_has_a_name() {
        let fault = |claims: Value| fault(claims.as_object().unwrap(), 1_000);
        assert!(fault(json!({"sub": "a", "exp": 1000})).starts_with("exp:"));
        assert!(fault(json!({"sub": "a", "exp": 2000, "nbf": 1031})).starts_with("nbf:"));
        assert!(fault(json!({"sub": "a"})).starts_with("exp or nbf"));
        assert!(fault(json!({"sub": "a", "exp": 2000, "turn.rat": 5})).contains("a limit in turn"));
    }

    #[test]
    fn what_is_not_understood_allows_nothing() {
        assert!(read(json!({"sub": "a", "exp": 1001})).is_some());
        assert!(read(json!({"sub": "a", "exp": 1001, "nbf": 1030})).is_some());
        for claims in [
            json!({"sub": "a"}),
            json!({"exp": 2000}),
            json!({"sub": "", "exp": 2000}),
            json!({"sub": "a".repeat(256), "exp": 2000}),
            json!({"sub": 5, "exp": 2000}),
            json!({"sub": "a", "exp": 1000}),
            json!({"sub": "a", "exp": "2000"}),
            json!({"sub": "a", "exp": -1}),
            json!({"sub": "a", "exp": 2000, "nbf": 1031}),
            json!({"sub": "a", "exp": 2000, "nbf": "soon"}),
            json!({"sub": "a", "exp": 2000, "turn": 5}),
            json!({"sub": "a", "exp": 2000, "turn": {"rate": "9"}}),
            json!({"sub": "a", "exp": 2000, "turn": {"rate": 0}}),
            json!({"sub": "a", "exp": 2000, "turn": {"rate": 1.5}}),
            json!({"sub": "a", "exp": 2000, "turn": {"rate": 9}, "turn.rate": 10}),
            json!({"sub": "a", "exp": 2000, "turn": {"quota": 4_294_967_296_u64}}),
            json!({"sub": "a", "exp": 2000, "turn": {"peers": []}}),
            json!({"sub": "a", "exp": 2000, "turn": {"peers": ["x"]}}),
            json!({"sub": "a", "exp": 2000, "turn": {"peers": ["10.0.0.1/8"]}}),
            json!({"sub": "a", "exp": 2000, "turn": {"peers": "10.0.0.0/8"}}),
            json!({"sub": "a", "exp": 2000, "turn": {"tag": ""}}),
            json!({"sub": "a", "exp": 2000, "turn": {"ttl": 0}}),
            json!({"sub": "a", "exp": 2000, "turn": {"qota": 4}}),
            json!({"sub": "a", "exp": 2000, "turn": {"quota": 4, "Rate": 9}}),
            json!({"sub": "a", "exp": 2000, "turn": {"qota": null}}),
            json!({"sub": "a", "exp": 2000, "turn.rat": 5}),
            json!({"sub": "a", "exp": 2000, "turn.": 5}),
        ] {
            assert!(read(claims.clone()).is_none(), "{claims}");
        }
    }
}
