//! Who logs in, and the login itself: the client's side of the long-term credential mechanism (RFC 8489 §9.2).

use zeroize::Zeroizing;

use crate::auth::{Features, long_term_key, opaque_string, userhash};
use crate::wire::{IntegrityKey, Message, MessageWriter, PasswordAlgorithm, attr};

/// A user name and its password, prepared (RFC 8265 §4.2).
pub struct Account {
    name: String,
    password: Zeroizing<String>,
}

impl core::fmt::Debug for Account {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Account(..)")
    }
}

impl Account {
    /// `None` when one of the two is empty or has control characters.
    pub fn new(name: &str, password: &str) -> Option<Self> {
        Some(Self { name: opaque_string(name)?, password: Zeroizing::new(opaque_string(password)?) })
    }
}

/// What a challenge has led to: all that goes into requests from then on.
pub(super) struct Login {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: IntegrityKey,
    /// What PASSWORD-ALGORITHMS offered, word by word, and which one was taken.
    algorithm: Option<(Vec<u8>, PasswordAlgorithm)>,
    /// USERHASH, where the server wants that.
    hash: Option<[u8; 32]>,
}

impl Login {
    /// Answers a challenge (RFC 8489 §9.2.5): SHA-256 when it is offered. `None` when realm or nonce is missing, or no
    /// algorithm that is known here is offered.
    pub(super) fn new(account: &Account, challenge: &Message<'_>) -> Option<Self> {
        let realm = challenge.get(attr::REALM)?;
        let nonce = challenge.get(attr::NONCE)?;
        let prepared = opaque_string(core::str::from_utf8(realm).ok()?)?;
        let features = Features::of(nonce);
        let algorithm = match challenge.get(attr::PASSWORD_ALGORITHMS) {
            Some(offered) if features.offers_algorithms => Some((offered.to_vec(), strongest(offered)?)),
            _ => None,
        };
        let key = long_term_key(
            algorithm.as_ref().map_or(PasswordAlgorithm::Md5, |(_, algorithm)| *algorithm),
            account.name.as_bytes(),
            prepared.as_bytes(),
            account.password.as_bytes(),
        );
        let hash =
            features.username_anonymity.then(|| userhash(account.name.as_bytes(), prepared.as_bytes()));
        Some(Self { realm: realm.to_vec(), nonce: nonce.to_vec(), key, algorithm, hash })
    }

    /// Appends all that proves the login; only FINGERPRINT may follow.
    pub(super) fn sign(&self, account: &Account, writer: &mut MessageWriter<'_>) {
        match &self.hash {
            Some(hash) => writer.attribute(attr::USERHASH, hash),
            None => writer.attribute(attr::USERNAME, account.name.as_bytes()),
        };
        writer.attribute(attr::REALM, &self.realm).attribute(attr::NONCE, &self.nonce);
        match &self.algorithm {
            Some((offered, algorithm)) => {
                let [n0, n1] = algorithm.number().to_be_bytes();
                writer
                    .attribute(attr::PASSWORD_ALGORITHMS, offered)
                    .attribute(attr::PASSWORD_ALGORITHM, &[n0, n1, 0, 0])
                    .message_integrity_sha256(&self.key);
            }
            None => {
                writer.message_integrity(&self.key);
            }
        }
    }

    /// Whether an answer was signed by somebody who knows the password.
    pub(super) fn holds(&self, answer: &Message<'_>) -> bool {
        answer.verify(&self.key)
    }
}

/// The best of the algorithms in PASSWORD-ALGORITHMS (RFC 8489 §14.11): number, length of parameters, parameters.
fn strongest(offered: &[u8]) -> Option<PasswordAlgorithm> {
    let mut found = None;
    let mut rest = offered;
    while let Some((&[n0, n1, l0, l1], tail)) = rest.split_first_chunk::<4>() {
        match PasswordAlgorithm::decode(&[n0, n1, l0, l1]) {
            Some(PasswordAlgorithm::Sha256) => return Some(PasswordAlgorithm::Sha256),
            Some(PasswordAlgorithm::Md5) => found = Some(PasswordAlgorithm::Md5),
            None => {}
        }
        let parameters = usize::from(u16::from_be_bytes([l0, l1]));
        rest = tail.get(crate::wire::padded(parameters)..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8489_9_2_5_the_strongest_algorithm_that_is_known_is_taken() {
        assert_eq!(strongest(&[0, 1, 0, 0, 0, 2, 0, 0]), Some(PasswordAlgorithm::Sha256));
        assert_eq!(strongest(&[0, 1, 0, 0]), Some(PasswordAlgorithm::Md5));
        assert_eq!(strongest(&[0, 9, 0, 3, 1, 2, 3, 0, 0, 1, 0, 0]), Some(PasswordAlgorithm::Md5));
        assert_eq!(strongest(&[0, 9, 0, 0]), None);
        assert_eq!(strongest(&[]), None);
    }

    #[test]
    fn an_account_shows_nothing_and_needs_both_halves() {
        let account = Account::new("alice", "wonderland").unwrap();
        assert!(!format!("{account:?}").contains("wonder"));
        assert!(Account::new("", "x").is_none() && Account::new("x", "").is_none());
    }
}
