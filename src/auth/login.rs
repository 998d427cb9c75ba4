//! Somebody who has logged in: what the server keeps of it, and for how long.

use core::time::Duration;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::credentials::Identity;
use super::policy::Policy;
use crate::time::Timestamp;
use crate::wire::{Integrity, IntegrityKey, MessageWriter, PasswordAlgorithm};

/// What becomes of an allocation whose time-limited credential (draft-uberti-behave-turn-rest) has expired. Access
/// tokens are not asked: RFC 7635 §9 has its own rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expired {
    /// It goes on and can be refreshed as long as the secret is among the credentials.
    Grace,
    /// It cannot be refreshed, and ends with the lifetime it has got.
    #[default]
    Refresh,
    /// It ends: no lifetime reaches beyond the expiry.
    Cut,
}

/// What a request means for the life of an allocation, and with that how much its login has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// An allocation shall begin: the credential has to be good now.
    Begin,
    /// One shall go on for longer: what was withdrawn or has expired ends here.
    GoOn,
    /// Anything else within one, its deletion among it: the key that it was made with is enough.
    Within,
}

/// A session key, told from others by the beginning of its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session([u8; 8]);

impl Session {
    pub(super) fn of(mac_key: &[u8]) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&Sha256::digest(mac_key)[..8]);
        Self(id)
    }

    /// What quotas count for it: a client has as many session keys as its authorization server gives it, and the
    /// id of the key that seals them is common to all clients.
    pub(super) fn owner(self, kid: &str) -> Arc<str> {
        format!("{kid}#{:016x}", u64::from_be_bytes(self.0)).into()
    }
}

/// What a login was proved with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A password, turned into a key by this algorithm.
    Password(PasswordAlgorithm),
    /// The session key of an access token.
    Token(Session),
}

impl Proof {
    const fn is_token(self) -> bool {
        matches!(self, Self::Token(_))
    }
}

/// Somebody who has passed all checks: who, with which key, until when, and how to sign the answers.
#[derive(Clone, Debug)]
pub struct Login {
    pub(super) identity: Identity,
    /// Shared by all logins of a user of the list.
    pub(super) key: Arc<IntegrityKey>,
    pub(super) proof: Proof,
    pub(super) answer: Integrity,
    /// When the credential ends, in Unix seconds.
    pub(super) expires: Option<u64>,
    /// When an allocation has to end, reckoned at the login: the wall clock may jump later.
    pub(super) deadline: Option<Timestamp>,
}

impl Login {
    /// The user name; of a token the id of its key.
    pub fn user(&self) -> &str {
        &self.identity.name
    }

    /// The user name, shared.
    pub fn user_shared(&self) -> Arc<str> {
        Arc::clone(&self.identity.name)
    }

    /// What quotas count: [`Self::subject`], and the API key that the credential was issued for, if it names one. For
    /// comparison alone.
    pub fn owner(&self) -> &str {
        &self.identity.owner
    }

    /// The same, shared.
    pub fn owner_shared(&self) -> Arc<str> {
        Arc::clone(&self.identity.owner)
    }

    /// Who it is: the user name without expiry and policy; of a token its session key, as a hash.
    pub fn subject(&self) -> &str {
        self.identity.user()
    }

    /// The same, shared.
    pub fn subject_shared(&self) -> Arc<str> {
        let (owner, subject) = (&self.identity.owner, self.subject());
        if owner.len() == subject.len() { Arc::clone(owner) } else { subject.into() }
    }

    /// What the credential carries, if it carries anything.
    pub fn policy(&self) -> Option<&Policy> {
        self.identity.policy.as_deref()
    }

    /// When the time-limited credential or token ends, in Unix seconds. `None`: it lasts.
    pub const fn expires(&self) -> Option<u64> {
        self.expires
    }

    /// Whether both are the same user (RFC 8656 §5): the same user name, the expiry of a time-limited one included.
    /// With tokens the user name is but the name of a key, so there it is the same session key.
    pub fn is_same_user(&self, other: &Self) -> bool {
        match (self.proof, other.proof) {
            (Proof::Token(own), Proof::Token(others)) => own == others,
            (Proof::Password(_), Proof::Password(_)) => self.identity.name == other.identity.name,
            _ => false,
        }
    }

    /// Whether a request with this login may use what `maker` has made, or gets 441: the same user may (RFC 8656 §5).
    /// A `refresh` may also replace one token by another, since clients MUST refresh with their newest one (RFC 7635
    /// §9), and when its key is a new one so is the user name.
    pub fn may_use(&self, maker: &Self, refresh: bool) -> bool {
        self.is_same_user(maker) || refresh && self.proof.is_token() && maker.proof.is_token()
    }

    /// Takes over key and end of the login that a Refresh came with. Who owns the allocation stays: the quota has
    /// been charged.
    pub fn renew(&mut self, newer: &Self) {
        let owner = Arc::clone(&self.identity.owner);
        *self = newer.clone();
        self.identity.owner = owner;
    }

    /// The lifetime that may be given when `wanted` would be: with a token no more than what is left of it (RFC 7635
    /// §9), with a time-limited credential under [`Expired::Cut`] likewise. At least a second at the time of the login.
    pub fn bound(&self, now: Timestamp, wanted: Duration) -> Duration {
        self.deadline.map_or(wanted, |deadline| wanted.min(deadline.since(now)))
    }

    /// Whether the end that [`Self::bound`] keeps to has come.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Appends the one integrity attribute that RFC 8489 §9.2.4 asks for.
    pub fn sign(&self, writer: &mut MessageWriter<'_>) {
        match self.answer {
            Integrity::Sha1 => writer.message_integrity(&self.key),
            Integrity::Sha256 => writer.message_integrity_sha256(&self.key),
        };
    }
}
