//! Time-limited credentials (draft-uberti-behave-turn-rest).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// The password that belongs to a time-limited `username`: base64 of HMAC-SHA1 over it, keyed with the shared
/// `secret` (draft-uberti-behave-turn-rest §2.2).
pub fn password(secret: &[u8], username: &[u8]) -> String {
    let mut mac = match Hmac::<Sha1>::new_from_slice(secret) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    mac.update(username);
    STANDARD.encode(mac.finalize().into_bytes())
}
