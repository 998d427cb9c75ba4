//! Time-limited credentials (draft-uberti-behave-turn-rest): the user name carries its expiry, the password is an
//! HMAC over it, and the server needs to know nothing but the shared secret.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

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
pub(super) fn parse(name: &str, separator: char) -> Option<(u64, &str)> {
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
    fn draft_uberti_2_2_password_is_base64_of_hmac_sha1() {
        // printf %s 1433895918:hello | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(password(b"north", b"1433895918:hello").len(), 28);
        assert_eq!(
            password(b"key", b"The quick brown fox jumps over the lazy dog"),
            "3nybhbi3iqa8ino29wqQcBydtNk="
        );
    }
}
