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

/// Splits `expiry[separator user]` into the expiry in Unix seconds and the offset of what quotas count: the user,
/// or the whole name when there is none.
pub(super) fn parse(name: &str, separator: char) -> Option<(u64, usize)> {
    let (expiry, owner_from) = match name.find(separator) {
        Some(at) => (name.get(..at)?, at + separator.len_utf8()),
        None => (name, 0),
    };
    let all_digits = !expiry.is_empty() && expiry.bytes().all(|byte| byte.is_ascii_digit());
    let owner_from = if owner_from == name.len() { 0 } else { owner_from };
    all_digits.then(|| expiry.parse().ok().map(|expires| (expires, owner_from))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draft_uberti_2_2_expiry_stands_in_front_of_the_user() {
        assert_eq!(parse("1700000000:alice", ':'), Some((1_700_000_000, 11)));
        assert_eq!(parse("1700000000", ':'), Some((1_700_000_000, 0)));
        assert_eq!(parse("1700000000:", ':'), Some((1_700_000_000, 0)));
        assert_eq!(parse("1700000000:a:b", ':'), Some((1_700_000_000, 11)));
        assert_eq!(parse("1700000000-alice", '-'), Some((1_700_000_000, 11)));
        assert_eq!(parse("1700000000-alice", ':'), None);
        for not in ["", ":", "alice", "-1:alice", "+1:a", "99999999999999999999999:a", "1e9:a"] {
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
