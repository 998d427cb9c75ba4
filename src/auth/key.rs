//! From passwords to keys (RFC 8489 §9.2.2, §18.5.1).

use md5::Md5;
use precis_core::profile::PrecisFastInvocation as _;
use precis_profiles::OpaqueString;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::wire::{IntegrityKey, PasswordAlgorithm};

/// A long-term key: 16 bytes for MD5, 32 for SHA-256.
#[derive(Clone)]
pub(super) enum LongTermKey {
    /// MD5(username ":" realm ":" password).
    Md5([u8; 16]),
    /// SHA-256 of the same.
    Sha256([u8; 32]),
}

impl LongTermKey {
    /// Derives a key. All three strings have been prepared.
    pub(super) fn derive(
        algorithm: PasswordAlgorithm,
        username: &[u8],
        realm: &[u8],
        password: &[u8],
    ) -> Self {
        match algorithm {
            PasswordAlgorithm::Md5 => Self::Md5(hash::<Md5>(username, realm, password).into()),
            PasswordAlgorithm::Sha256 => Self::Sha256(hash::<Sha256>(username, realm, password).into()),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Md5(key) => key,
            Self::Sha256(key) => key,
        }
    }
}

impl Drop for LongTermKey {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        match self {
            Self::Md5(key) => key.zeroize(),
            Self::Sha256(key) => key.zeroize(),
        }
    }
}

fn hash<D: sha2::Digest>(username: &[u8], realm: &[u8], password: &[u8]) -> sha2::digest::Output<D> {
    D::new()
        .chain_update(username)
        .chain_update(b":")
        .chain_update(realm)
        .chain_update(b":")
        .chain_update(password)
        .finalize()
}

/// The key that a client signs its requests with, and its server the answers (RFC 8489 §9.2.2). All three strings have
/// been prepared.
pub fn long_term_key(
    algorithm: PasswordAlgorithm,
    username: &[u8],
    realm: &[u8],
    password: &[u8],
) -> IntegrityKey {
    IntegrityKey::new(LongTermKey::derive(algorithm, username, realm, password).bytes())
}

/// Whether `key` is the long-term key of `password`, by either algorithm. The strings have been prepared. It takes as long
/// for any key.
pub fn is_long_term_key(key: &[u8], username: &[u8], realm: &[u8], password: &[u8]) -> bool {
    let fits = |algorithm| {
        let right = LongTermKey::derive(algorithm, username, realm, password);
        bool::from(right.bytes().ct_eq(key))
    };
    fits(PasswordAlgorithm::Md5) | fits(PasswordAlgorithm::Sha256)
}

/// What USERHASH holds for a user (RFC 8489 §14.4). Both strings have been prepared.
pub fn userhash(username: &[u8], realm: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(username).chain_update(b":").chain_update(realm).finalize().into()
}

/// Prepares a user name, realm or password by the OpaqueString profile (RFC 8265 §4.2). `None` for what the
/// profile forbids: the empty string and control characters.
pub fn opaque_string(text: &str) -> Option<String> {
    OpaqueString::enforce(text).ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8489_9_2_2_key_of_the_example() {
        let key = LongTermKey::derive(PasswordAlgorithm::Md5, b"user", b"realm", b"pass");
        assert_eq!(key.bytes()[..4], [0x84, 0x93, 0xfb, 0xc5]);
        assert_eq!(key.bytes()[12..], [0x6b, 0xdc, 0x40, 0xeb]);
    }

    #[test]
    fn rfc8265_4_2_opaque_string_maps_spaces_and_composes() {
        assert_eq!(opaque_string("a\u{3000}b").as_deref(), Some("a b"));
        assert_eq!(opaque_string("e\u{301}").as_deref(), Some("é"));
        assert_eq!(opaque_string("Case Kept").as_deref(), Some("Case Kept"));
        assert_eq!(opaque_string(""), None);
        assert_eq!(opaque_string("tab\t"), None);
    }
}
