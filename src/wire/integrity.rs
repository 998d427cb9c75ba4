//! MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and FINGERPRINT (RFC 8489 §14.5-§14.7).

use hmac::block_api::HmacCore;
use hmac::digest::block_api::CoreProxy;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// A key with its HMAC states begun, so that each message costs no key schedule. Holds no password, and no buffer: those
/// of the messages come and go.
#[derive(Clone)]
pub struct IntegrityKey {
    sha1: HmacCore<Sha1>,
    sha256: HmacCore<Sha256>,
}

impl core::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("IntegrityKey(..)")
    }
}

impl IntegrityKey {
    /// Begins both HMACs with a long-term key of 16 (MD5) or 32 (SHA-256) bytes, or any other length.
    pub fn new(key: &[u8]) -> Self {
        match (HmacCore::new_from_slice(key), HmacCore::new_from_slice(key)) {
            (Ok(sha1), Ok(sha256)) => Self { sha1, sha256 },
            _ => unreachable!("HMAC takes keys of any length"),
        }
    }

    /// HMAC-SHA1 over a message whose header gets `length` in its length field first.
    pub(super) fn sha1(&self, message: &[u8], length: u16) -> [u8; 20] {
        let mut mac = Hmac::<Sha1>::compose(self.sha1.clone(), Default::default());
        feed(&mut mac, message, length);
        mac.finalize().into_bytes().into()
    }

    /// HMAC-SHA256, likewise.
    pub(super) fn sha256(&self, message: &[u8], length: u16) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::compose(self.sha256.clone(), Default::default());
        feed(&mut mac, message, length);
        mac.finalize().into_bytes().into()
    }
}

/// Feeds type, the given length, and the rest of `message`.
fn feed(mac: &mut impl Mac, message: &[u8], length: u16) {
    // A whole block in front keeps what follows aligned to blocks, which are then hashed where they stand.
    if let Some((mut first, rest)) = message.split_first_chunk::<64>().map(|(first, rest)| (*first, rest)) {
        [first[2], first[3]] = length.to_be_bytes();
        mac.update(&first);
        mac.update(rest);
    } else if let Some((&[t0, t1, _, _], rest)) = message.split_first_chunk::<4>() {
        let [l0, l1] = length.to_be_bytes();
        mac.update(&[t0, t1, l0, l1]);
        mac.update(rest);
    }
}

/// Compares without telling by time where the difference is.
pub(super) fn equal(ours: &[u8], theirs: &[u8]) -> bool {
    ours.ct_eq(theirs).into()
}

/// The value of FINGERPRINT for all that stands in front of it; the header's length already counts it.
pub fn fingerprint(message: &[u8]) -> u32 {
    crc32fast::hash(message) ^ 0x5354_554E
}
