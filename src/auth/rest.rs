//! Time-limited credentials (draft-uberti-behave-turn-rest): the user name carries its expiry, the password is an
//! HMAC over it, and the server needs to know nothing but the shared secret.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::policy::{BadPolicy, MARK, Policy};

/// The longest USERNAME, in bytes (RFC 8489 §14.3: fewer than 509).
pub const MAX_USERNAME: usize = 508;

/// Why no user name can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsernameError {
    /// The user has the mark of a policy in its name.
    Mark,
    /// It would be longer than [`MAX_USERNAME`].
    TooLong,
}

impl core::fmt::Display for UsernameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Mark => f.write_str("a user name with ?policy& in it cannot be used"),
            Self::TooLong => f.write_str("user and policy together are longer than 508 bytes"),
        }
    }
}

impl core::error::Error for UsernameError {}

/// The user name of a time-limited credential for `user` (may be empty) that ends at `expiry`, in Unix seconds. An empty
/// policy leaves no trace.
///
/// # Errors
/// See [`UsernameError`].
pub fn username(expiry: u64, separator: char, user: &str, policy: &Policy) -> Result<String, UsernameError> {
    if user.contains(MARK) {
        return Err(UsernameError::Mark);
    }
    let mut name = if user.is_empty() { expiry.to_string() } else { format!("{expiry}{separator}{user}") };
    if !policy.is_empty() {
        name.push_str(MARK);
        name.push_str(&policy.to_string());
    }
    if name.len() > MAX_USERNAME { Err(UsernameError::TooLong) } else { Ok(name) }
}

/// What a time-limited user name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// When the credential ends, in Unix seconds.
    pub expiry: u64,
    /// What quotas count: the user, or the whole name without its policy when there is none.
    pub user: &'a str,
    /// What it carries, unless it cannot be read.
    pub policy: Result<Policy, BadPolicy>,
}

/// Reads a user name; `None` when it is not of a time-limited credential.
pub fn parts(name: &str, separator: char) -> Option<Parts<'_>> {
    let head = name.split_once(MARK).map_or(name, |(head, _)| head);
    let (expiry, user) = parse(head, separator)?;
    Some(Parts { expiry, user, policy: Policy::split(name).map(|(_, policy)| policy) })
}

/// The password that belongs to a time-limited `username`: base64 of HMAC-SHA1 over it, keyed with the shared
/// `secret` (draft-uberti-behave-turn-rest §2.2).
pub fn password(secret: &[u8], username: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(username);
    STANDARD.encode(mac.finalize().into_bytes())
}

/// The expiry in a user name, in Unix seconds, and what quotas count: the user, or the whole name when there is none.
///
/// The forms that are met: `expiry` (Prosody), `expiry:user` (Nextcloud Talk, ejabberd), also with separators in the
/// user (Synapse: `expiry:@alice:example.org`), and `user:expiry`, which older drafts had. In front the expiry ends
/// at the first separator, at the end it begins behind the last.
fn parse(name: &str, separator: char) -> Option<(u64, &str)> {
    let Some((front, user)) = name.split_once(separator) else {
        return Some((expiry(name)?, name));
    };
    let (expires, user) = if is_number(front) {
        (expiry(front)?, user)
    } else {
        let (user, back) = name.rsplit_once(separator)?;
        (expiry(back)?, user)
    };
    Some((expires, if user.is_empty() { name } else { user }))
}

fn expiry(text: &str) -> Option<u64> {
    is_number(text).then(|| text.parse().ok()).flatten()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draft_uberti_2_2_expiry_stands_in_front_of_the_user_or_behind() {
        for (name, owner) in [
            ("1700000000:alice", "alice"),
            ("1700000000", "1700000000"),
            ("1700000000:", "1700000000:"),
            ("1700000000:a:b", "a:b"),
            ("1700000000:@alice:example.org", "@alice:example.org"),
            ("1700000000:5", "5"),
            ("alice:1700000000", "alice"),
            ("@alice:example.org:1700000000", "@alice:example.org"),
            (":1700000000", ":1700000000"),
        ] {
            assert_eq!(parse(name, ':'), Some((1_700_000_000, owner)), "{name}");
        }
        assert_eq!(parse("1700000000-alice", '-'), Some((1_700_000_000, "alice")));
        assert_eq!(parse("1700000000-alice", ':'), None);
        for not in
            ["", ":", "alice", "-1:alice", "+1:a", "99999999999999999999999:5", "1e9:a", "alice: 5", "a:5:"]
        {
            assert_eq!(parse(not, ':'), None, "{not}");
        }
    }

    #[test]
    fn the_policy_is_no_part_of_the_user() {
        let policy = Policy::parse("rate=5&peers=2001:db8::/32").unwrap();
        let name = username(1_700_000_000, ':', "alice", &policy).unwrap();
        assert_eq!(name, "1700000000:alice?policy&rate=5&peers=2001:db8::/32");
        let read = parts(&name, ':').unwrap();
        assert_eq!(read, Parts { expiry: 1_700_000_000, user: "alice", policy: Ok(policy.clone()) });
        let nameless = username(1_700_000_000, ':', "", &policy).unwrap();
        assert_eq!(parts(&nameless, ':').unwrap().user, "1700000000");
        assert_eq!(username(5, ':', "alice", &Policy::default()).unwrap(), "5:alice");
        assert_eq!(parts("5:alice", ':').unwrap().policy, Ok(Policy::default()));
        assert_eq!(parts("5:alice?policy&rate=x", ':').unwrap().policy, Err(BadPolicy));
        // The expiry stands before the mark, or nowhere.
        assert_eq!(parts("alice?policy&rate=5:1700000000", ':'), None);
        assert!(parts("alice:1700000000?policy&rate=5", ':').is_some_and(|parts| parts.user == "alice"));
        assert_eq!(username(5, ':', "a?policy&b", &policy), Err(UsernameError::Mark));
        let longest = "x".repeat(MAX_USERNAME - 2);
        assert!(username(5, ':', &longest, &Policy::default()).is_ok());
        assert_eq!(username(5, ':', &(longest + "x"), &Policy::default()), Err(UsernameError::TooLong));
    }

    #[test]
    fn draft_uberti_2_2_password_is_base64_of_hmac_sha1() {
        // printf %s 1433895918:hello | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(password(b"north", b"1433895918:hello").len(), 28);
        assert_eq!(
            password(b"key", b"The quick brown fox jumps over the lazy dog"),
            "3nybhbi3iqa8ino29wqQcBydtNk="
        );
    }
}
