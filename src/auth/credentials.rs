//! Who may log in: users of a list, and holders of time-limited credentials.

use core::fmt;
use std::collections::HashMap;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::key::{LongTermKey, opaque_string, userhash};
use super::policy::{BadPolicy, MARK, Policy};
use super::rest;
use crate::wire::{IntegrityKey, PasswordAlgorithm};

/// What a user of the list proves itself with.
pub enum Credential {
    /// A password, turned into keys at once and forgotten (RFC 8656 §6: the password is never stored).
    Password(Zeroizing<String>),
    /// The 16-byte MD5 key alone; such a user cannot choose SHA-256.
    Md5([u8; 16]),
    /// The 32-byte SHA-256 key alone; such a user cannot choose MD5.
    Sha256([u8; 32]),
}

/// A user of the list.
pub struct User {
    /// The name; prepared by OpaqueString here.
    pub name: String,
    /// How it proves itself.
    pub credential: Credential,
}

/// A secret that time-limited credentials are made with.
pub struct SharedSecret {
    /// What logs call it.
    pub name: String,
    /// The secret.
    pub secret: Zeroizing<Vec<u8>>,
}

/// Why a set of credentials cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The realm is empty or has control characters (RFC 8265 §4.2).
    Realm,
    /// The user name is empty or has control characters.
    UserName(String),
    /// The user name looks as if it carried a policy, which only time-limited ones do.
    UserPolicy(String),
    /// The password of this user is empty or has control characters.
    Password(String),
    /// The key with this id is not as long as its algorithm says.
    OauthKey(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Realm => f.write_str("the realm is empty or has control characters"),
            Self::UserName(name) => {
                write!(f, "the user name {name:?} is empty or has control characters")
            }
            Self::UserPolicy(name) => {
                write!(f, "the user name {name:?} has {MARK:?} in it, which is for time-limited names")
            }
            Self::Password(name) => {
                write!(f, "the password of user {name:?} is empty or has control characters")
            }
            Self::OauthKey(kid) => {
                write!(f, "the key {kid:?} is not as long as its algorithm says")
            }
        }
    }
}

impl core::error::Error for Error {}

/// Name and quota owner of somebody who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The user name of the credential: what USERNAME says.
    pub(super) name: Arc<str>,
    /// What quotas count: the name without the expiry of a time-limited credential, and without its policy but for the key;
    /// for tokens each session key.
    pub(super) owner: Arc<str>,
    /// What the credential carries, if it carries anything.
    pub(super) policy: Option<Arc<Policy>>,
}

impl Identity {
    /// The user among [`Self::owner`].
    pub(super) fn user(&self) -> &str {
        self.owner.split_once(MARK).map_or(&self.owner, |(user, _)| user)
    }
}

/// What quotas count for a user of this API key. Each key has users of its own: what they are called is the business of its
/// holder alone. With the mark in it, it is nobody's name.
fn owner_of(key: &str, user: &str) -> Arc<str> {
    format!("{user}{MARK}key={key}").into()
}

/// A key that may fit, with whose it is.
pub(super) struct Candidate {
    pub(super) identity: Identity,
    pub(super) key: Arc<IntegrityKey>,
    /// When a time-limited credential ends, in Unix seconds.
    pub(super) expires: Option<u64>,
    /// The name has the mark of a policy that cannot be read.
    pub(super) bad_policy: bool,
}

/// A user's keys, each ready for use: who is in the list costs no more than who is not.
struct Entry {
    name: Arc<str>,
    md5: Option<Arc<IntegrityKey>>,
    sha256: Option<Arc<IntegrityKey>>,
}

/// All credentials of a server.
pub struct Credentials {
    realm: String,
    users: Vec<Entry>,
    by_name: HashMap<Arc<str>, usize>,
    by_hash: HashMap<[u8; 32], usize>,
    secrets: Vec<SharedSecret>,
    separator: char,
}

impl Credentials {
    /// Derives all keys. `separator` stands between expiry and user in time-limited user names.
    ///
    /// # Errors
    /// When a string is not allowed by the OpaqueString profile.
    pub fn new(
        realm: &str,
        users: Vec<User>,
        secrets: Vec<SharedSecret>,
        separator: char,
    ) -> Result<Self, Error> {
        let realm = opaque_string(realm).ok_or(Error::Realm)?;
        let mut credentials = Self {
            realm,
            users: Vec::new(),
            by_name: HashMap::new(),
            by_hash: HashMap::new(),
            secrets,
            separator,
        };
        for user in users {
            credentials.add(user)?;
        }
        Ok(credentials)
    }

    fn add(&mut self, user: User) -> Result<(), Error> {
        let Some(name) = opaque_string(&user.name) else { return Err(Error::UserName(user.name)) };
        if name.contains(MARK) {
            return Err(Error::UserPolicy(user.name));
        }
        let derive = |algorithm, password: &str| {
            LongTermKey::derive(algorithm, name.as_bytes(), self.realm.as_bytes(), password.as_bytes())
        };
        let (md5, sha256) = match user.credential {
            Credential::Password(password) => {
                let Some(password) = opaque_string(&password).map(Zeroizing::new) else {
                    return Err(Error::Password(user.name));
                };
                (
                    Some(derive(PasswordAlgorithm::Md5, &password)),
                    Some(derive(PasswordAlgorithm::Sha256, &password)),
                )
            }
            Credential::Md5(key) => (Some(LongTermKey::Md5(key)), None),
            Credential::Sha256(key) => (None, Some(LongTermKey::Sha256(key))),
        };
        let name: Arc<str> = name.into();
        let index = self.users.len();
        self.by_hash.insert(userhash(name.as_bytes(), self.realm.as_bytes()), index);
        self.by_name.insert(Arc::clone(&name), index);
        let ready = |key: LongTermKey| Arc::new(IntegrityKey::new(key.bytes()));
        self.users.push(Entry { name, md5: md5.map(ready), sha256: sha256.map(ready) });
        Ok(())
    }

    /// The realm, prepared.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Whether each credential can be found by its USERHASH. Those made with a shared secret cannot: their names
    /// are not known before they are used.
    pub(super) fn supports_anonymity(&self) -> bool {
        self.secrets.is_empty()
    }

    /// The keys that a USERNAME may stand for, best first, at most one for each secret and one of the list.
    pub(super) fn by_name(
        &self,
        name: &[u8],
        algorithm: PasswordAlgorithm,
        mut offer: impl FnMut(Candidate) -> bool,
    ) {
        let Ok(name) = core::str::from_utf8(name) else { return };
        if let Some(candidate) = self.by_name.get(name).and_then(|index| self.candidate(*index, algorithm))
            && offer(candidate)
        {
            return;
        }
        let Some(rest::Parts { expiry, user, policy }) = rest::parts(name, self.separator) else {
            return;
        };
        let policy = policy.map(|policy| (!policy.is_empty()).then(|| Arc::new(policy)));
        let key = policy.as_ref().ok().and_then(|policy| policy.as_ref()?.key.as_deref());
        let owner: Arc<str> = key.map_or_else(|| user.into(), |key| owner_of(key, user));
        for secret in &self.secrets {
            let password = Zeroizing::new(rest::password(&secret.secret, name.as_bytes()));
            let key =
                LongTermKey::derive(algorithm, name.as_bytes(), self.realm.as_bytes(), password.as_bytes());
            let key = Arc::new(IntegrityKey::new(key.bytes()));
            let (bad_policy, policy) = match &policy {
                Ok(policy) => (false, policy.clone()),
                Err(BadPolicy) => (true, None),
            };
            let identity = Identity { name: name.into(), owner: Arc::clone(&owner), policy };
            if offer(Candidate { identity, key, expires: Some(expiry), bad_policy }) {
                return;
            }
        }
    }

    /// The key of the user with this USERHASH.
    pub(super) fn by_hash(&self, hash: &[u8], algorithm: PasswordAlgorithm) -> Option<Candidate> {
        let hash = <&[u8; 32]>::try_from(hash).ok()?;
        self.candidate(*self.by_hash.get(hash)?, algorithm)
    }

    fn candidate(&self, index: usize, algorithm: PasswordAlgorithm) -> Option<Candidate> {
        let entry = self.users.get(index)?;
        let key = match algorithm {
            PasswordAlgorithm::Md5 => entry.md5.clone(),
            PasswordAlgorithm::Sha256 => entry.sha256.clone(),
        }?;
        let name = Arc::clone(&entry.name);
        let identity = Identity { owner: Arc::clone(&name), name, policy: None };
        Some(Candidate { identity, key, expires: None, bad_policy: false })
    }
}
