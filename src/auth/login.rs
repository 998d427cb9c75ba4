//! The checks of RFC 8489 §9.2.4, in their order.

use core::net::SocketAddr;
use core::time::Duration;

use super::credentials::{Candidate, Credentials, Error, Identity, SharedSecret, User};
use super::nonce::{NonceKey, announces_algorithms};
use crate::time::Now;
use crate::wire::{Integrity, IntegrityKey, Message, MessageWriter, PasswordAlgorithm, attr};

/// What PASSWORD-ALGORITHMS holds in every challenge: SHA-256, then MD5, neither with parameters.
const ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// The longest USERNAME (RFC 8489 §14.3: fewer than 509 bytes).
const MAX_USERNAME: usize = 508;

/// All that the mechanism needs.
pub struct Settings {
    /// The realm; at most eight bytes keep a challenge at twice the size of a real Allocate.
    pub realm: String,
    /// How long a nonce lives.
    pub nonce_lifetime: Duration,
    /// The list of users.
    pub users: Vec<User>,
    /// The secrets of time-limited credentials; several, for rotation.
    pub secrets: Vec<SharedSecret>,
    /// What stands between expiry and user in a time-limited user name.
    pub separator: char,
}

/// Whether the expiry of a time-limited credential is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// An expired credential is refused.
    Enforce,
    /// It passes: the request belongs to an allocation, which was made in time.
    Ignore,
}

/// Somebody who has passed all checks: who, with which key, and how to sign the answers.
#[derive(Clone, Debug)]
pub struct Login {
    identity: Identity,
    key: IntegrityKey,
    algorithm: PasswordAlgorithm,
    answer: Integrity,
}

impl Login {
    /// The user name.
    pub fn user(&self) -> &str {
        &self.identity.name
    }

    /// The user name, shared.
    pub fn user_shared(&self) -> std::sync::Arc<str> {
        std::sync::Arc::clone(&self.identity.name)
    }

    /// The part of the name that quotas count.
    pub fn owner(&self) -> &str {
        self.identity.name.get(self.identity.owner_from..).unwrap_or(&self.identity.name)
    }

    /// Whether both are the same user (RFC 8656 §5).
    pub fn is_same_user(&self, other: &Self) -> bool {
        self.identity.name == other.identity.name
    }

    /// Appends the one integrity attribute that RFC 8489 §9.2.4 asks for.
    pub fn sign(&self, writer: &mut MessageWriter<'_>) {
        match self.answer {
            Integrity::Sha1 => writer.message_integrity(&self.key),
            Integrity::Sha256 => writer.message_integrity_sha256(&self.key),
        };
    }
}

/// Why a login was refused, in plain terms for the operator. The client learns nothing of it but the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The first request of a client: no credentials yet.
    NoCredentials,
    /// USERNAME (or USERHASH), REALM or NONCE is missing.
    Incomplete,
    /// PASSWORD-ALGORITHM(S) are not what was offered: a bid-down attempt or a broken client.
    Algorithms,
    /// REALM is not ours.
    Realm,
    /// No such user.
    UnknownUser,
    /// The time-limited credential has ended.
    Expired,
    /// The user is there, the password is another one.
    WrongPassword,
    /// The nonce is forged, too old, or was given to another address.
    StaleNonce,
}

impl Cause {
    /// The words for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCredentials => "no credentials",
            Self::Incomplete => "USERNAME, REALM or NONCE missing",
            Self::Algorithms => "password algorithms differ from the offer",
            Self::Realm => "another realm",
            Self::UnknownUser => "unknown user",
            Self::Expired => "credential expired",
            Self::WrongPassword => "wrong password",
            Self::StaleNonce => "stale nonce",
        }
    }
}

/// A refused login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 401 or 438.
    pub code: u16,
    /// Why.
    pub cause: Cause,
}

impl Refusal {
    const fn new(code: u16, cause: Cause) -> Self {
        Self { code, cause }
    }

    /// Whether the answer carries REALM, NONCE and PASSWORD-ALGORITHMS.
    pub const fn is_challenge(&self) -> bool {
        self.code != 400
    }
}

/// The attributes that the mechanism reads, each the first of its kind.
#[derive(Default)]
struct Presented<'a> {
    username: Option<&'a [u8]>,
    userhash: Option<&'a [u8]>,
    realm: Option<&'a [u8]>,
    nonce: Option<&'a [u8]>,
    algorithm: Option<&'a [u8]>,
    algorithms: Option<&'a [u8]>,
}

impl<'a> Presented<'a> {
    fn read(message: &Message<'a>) -> Self {
        let mut presented = Self::default();
        for attribute in message.attributes() {
            let slot = match attribute.kind {
                attr::USERNAME => &mut presented.username,
                attr::USERHASH => &mut presented.userhash,
                attr::REALM => &mut presented.realm,
                attr::NONCE => &mut presented.nonce,
                attr::PASSWORD_ALGORITHM => &mut presented.algorithm,
                attr::PASSWORD_ALGORITHMS => &mut presented.algorithms,
                _ => continue,
            };
            slot.get_or_insert(attribute.value);
        }
        presented
    }
}

/// The long-term credential mechanism of one server.
pub struct Authenticator {
    credentials: Credentials,
    nonces: NonceKey,
    /// What an unknown user's integrity is compared with, so that it costs what a known one's does.
    nobody: IntegrityKey,
}

impl Authenticator {
    /// Derives all keys. `random` makes nonces unforgeable; servers that share it accept each other's nonces.
    ///
    /// # Errors
    /// When the realm, a name or a password is not allowed (RFC 8265 §4.2).
    pub fn new(settings: Settings, random: &[u8; 32]) -> Result<Self, Error> {
        let credentials =
            Credentials::new(&settings.realm, settings.users, settings.secrets, settings.separator)?;
        let nonces = NonceKey::new(random, settings.nonce_lifetime, credentials.supports_anonymity());
        Ok(Self { credentials, nonces, nobody: IntegrityKey::new(random) })
    }

    /// Appends what lets a client log in: REALM, NONCE, PASSWORD-ALGORITHMS.
    pub fn challenge(&self, writer: &mut MessageWriter<'_>, now: &Now, client: SocketAddr, server_port: u16) {
        writer
            .attribute(attr::REALM, self.credentials.realm().as_bytes())
            .attribute(attr::NONCE, &self.nonces.mint(now, client, server_port))
            .attribute(attr::PASSWORD_ALGORITHMS, &ALGORITHMS);
    }

    /// Whether a request carries a nonce that was given to this very client and has not expired.
    pub fn knows_nonce(
        &self,
        now: &Now,
        client: SocketAddr,
        server_port: u16,
        message: &Message<'_>,
    ) -> bool {
        message.get(attr::NONCE).is_some_and(|nonce| self.nonces.is_valid(nonce, now, client, server_port))
    }

    /// Checks a request in the order of RFC 8489 §9.2.4. `nonce_is_known` is what [`Self::knows_nonce`] says. `known` is the login that made the allocation of the
    /// request's 5-tuple: its key is at hand and need not be derived again.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(
        &self,
        now: &Now,
        message: &Message<'_>,
        nonce_is_known: bool,
        known: Option<&Login>,
        expiry: Expiry,
    ) -> Result<Login, Refusal> {
        // 1. No integrity: a challenge.
        if message.integrity().is_none() {
            return Err(Refusal::new(401, Cause::NoCredentials));
        }
        // 2. Integrity, but not all that belongs to it.
        let presented = Presented::read(message);
        let (Some(realm), Some(nonce)) = (presented.realm, presented.nonce) else {
            return Err(Refusal::new(400, Cause::Incomplete));
        };
        if presented.username.is_none() && presented.userhash.is_none() {
            return Err(Refusal::new(400, Cause::Incomplete));
        }
        // 3. The password algorithm, against bid-down.
        let (algorithm, answer) = Self::algorithm(&presented, nonce)?;
        // 4. The user. 5. The integrity.
        if realm != self.credentials.realm().as_bytes() {
            message.verify(&self.nobody);
            return Err(Refusal::new(401, Cause::Realm));
        }
        let login = self.identify(now, message, &presented, algorithm, answer, known, expiry)?;
        // 6. The nonce.
        if !nonce_is_known {
            return Err(Refusal::new(438, Cause::StaleNonce));
        }
        Ok(login)
    }

    /// Which algorithm made the key, and which integrity attribute answers carry.
    fn algorithm(presented: &Presented<'_>, nonce: &[u8]) -> Result<(PasswordAlgorithm, Integrity), Refusal> {
        match (presented.algorithm, presented.algorithms) {
            (None, None) => Ok((PasswordAlgorithm::Md5, Integrity::Sha1)),
            (chosen, offered) => {
                let known = chosen.and_then(PasswordAlgorithm::decode);
                let fits = offered == Some(&ALGORITHMS[..]) && known.is_some();
                if announces_algorithms(nonce) && !fits {
                    return Err(Refusal::new(400, Cause::Algorithms));
                }
                // Without our cookie the nonce is not ours; the request goes on to its 438.
                Ok((known.unwrap_or(PasswordAlgorithm::Md5), Integrity::Sha256))
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `check`, cut out for the eye")]
    fn identify(
        &self,
        now: &Now,
        message: &Message<'_>,
        presented: &Presented<'_>,
        algorithm: PasswordAlgorithm,
        answer: Integrity,
        known: Option<&Login>,
        expiry: Expiry,
    ) -> Result<Login, Refusal> {
        if let (Some(known), Some(name), Expiry::Ignore) = (known, presented.username, expiry)
            && known.identity.name.as_bytes() == name
            && known.algorithm == algorithm
            && message.verify(&known.key)
        {
            return Ok(Login { answer, ..known.clone() });
        }
        let mut cause = Cause::UnknownUser;
        let mut login = None;
        let mut tried = false;
        let mut attempt = |candidate: Candidate| {
            let Candidate { identity, key, expires } = candidate;
            let key = IntegrityKey::new(key.bytes());
            tried = true;
            if !message.verify(&key) {
                cause = Cause::WrongPassword;
                return false;
            }
            if expiry == Expiry::Enforce && expires.is_some_and(|expires| expires <= now.unix) {
                cause = Cause::Expired;
            } else {
                login = Some(Login { identity, key, algorithm, answer });
            }
            true
        };
        match (presented.username, presented.userhash) {
            (Some(name), _) if name.len() <= MAX_USERNAME => {
                self.credentials.by_name(name, algorithm, &mut attempt);
            }
            (None, Some(hash)) => {
                self.credentials.by_hash(hash, algorithm).map(attempt);
            }
            _ => {}
        }
        if !tried {
            message.verify(&self.nobody);
        }
        login.ok_or_else(|| Refusal::new(401, cause))
    }
}
