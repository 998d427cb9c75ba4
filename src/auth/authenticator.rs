//! The checks of RFC 8489 §9.2.4, in their order.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use super::credentials::{Candidate, Credentials, Error, Identity, SharedSecret, User};
use super::login::{Expired, Login, Proof, Session, Stage};
use super::nonce::{NonceKey, announces_algorithms};
use super::refusal::{Cause, Refusal};
use super::rest::MAX_USERNAME;
use super::revocation::Revocations;
use super::third_party::ThirdParty;
use super::token::OauthKey;
use crate::time::Now;
use crate::wire::{Integrity, IntegrityKey, Message, MessageWriter, PasswordAlgorithm, attr};

/// What PASSWORD-ALGORITHMS holds in every challenge: SHA-256, then MD5, neither with parameters.
const ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

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
    /// What becomes of allocations whose time-limited credential has expired.
    pub expired: Expired,
    /// The keys of access tokens; without any, tokens are neither announced nor taken.
    pub oauth: Vec<OauthKey>,
    /// The name of this server in tokens and in THIRD-PARTY-AUTHORIZATION (RFC 7635 §6).
    pub server_name: String,
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
    token: Option<&'a [u8]>,
}

/// How the key is made and the answers are signed.
#[derive(Clone, Copy)]
struct Method {
    algorithm: PasswordAlgorithm,
    answer: Integrity,
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
                attr::ACCESS_TOKEN => &mut presented.token,
                _ => continue,
            };
            slot.get_or_insert(attribute.value);
        }
        presented
    }
}

/// The mechanisms of one server.
pub struct Authenticator {
    credentials: Credentials,
    third_party: ThirdParty,
    expired: Expired,
    nonces: NonceKey,
    /// What an unknown user's integrity is compared with, so that it costs what a known one's does: the keys of the list
    /// stand ready like this one.
    nobody: IntegrityKey,
}

impl Authenticator {
    /// Derives all keys. `random` makes nonces unforgeable; servers that share it accept each other's nonces.
    ///
    /// # Errors
    /// When the realm, a name or a password is not allowed (RFC 8265 §4.2), or a key of tokens has a wrong length.
    pub fn new(settings: Settings, random: &[u8; 32]) -> Result<Self, Error> {
        let credentials =
            Credentials::new(&settings.realm, settings.users, settings.secrets, settings.separator)?;
        let third_party = ThirdParty::new(settings.server_name, settings.oauth)?;
        // Names that are in no list, and ids of keys, have to come as they are.
        let anonymity = credentials.supports_anonymity() && third_party.announced().is_none();
        let nonces = NonceKey::new(random, settings.nonce_lifetime, anonymity);
        let nobody = IntegrityKey::new(random);
        Ok(Self { credentials, third_party, expired: settings.expired, nonces, nobody })
    }

    /// Appends what lets a client log in: REALM, NONCE, PASSWORD-ALGORITHMS, and THIRD-PARTY-AUTHORIZATION where
    /// access tokens are taken (RFC 7635 §4).
    pub fn challenge(&self, writer: &mut MessageWriter<'_>, now: &Now, client: SocketAddr, server_port: u16) {
        writer
            .attribute(attr::REALM, self.credentials.realm().as_bytes())
            .attribute(attr::NONCE, &self.nonces.mint(now, client, server_port))
            .attribute(attr::PASSWORD_ALGORITHMS, &ALGORITHMS);
        if let Some(name) = self.third_party.announced() {
            writer.attribute(attr::THIRD_PARTY_AUTHORIZATION, name.as_bytes());
        }
    }

    /// Whether ACCESS-TOKEN is an attribute that this server understands (RFC 7635 §7: only where announced).
    pub fn takes_tokens(&self) -> bool {
        self.third_party.announced().is_some()
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

    /// Checks a request in the order of RFC 8489 §9.2.4, and RFC 7635 §7 for tokens. `nonce_is_known` is what
    /// [`Self::knows_nonce`] says. `known` is the login that made the allocation the request is about: its key is at
    /// hand and need not be derived again, and for tokens it is known from there alone. What is `revoked` is refused.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(
        &self,
        now: &Now,
        message: &Message<'_>,
        nonce_is_known: bool,
        known: Option<&Login>,
        stage: Stage,
        revoked: &Revocations,
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
        let method = Self::method(&presented, nonce)?;
        // 4. The user. 5. The integrity.
        let login =
            self.identify(now, message, &presented, method, realm, known, stage).map_err(|cause| {
                // Nobody without a password can be told from one with a wrong one; a token says what is missing.
                match presented.token {
                    Some(_) if !self.takes_tokens() => Refusal::new(420, Cause::UnexpectedToken),
                    _ => Refusal::new(401, cause),
                }
            })?;
        // Like a wrong password, so that nobody else learns of it.
        if revoked.cover(&login) {
            return Err(Refusal::new(401, Cause::Revoked));
        }
        // 6. The nonce.
        if !nonce_is_known {
            return Err(Refusal::new(438, Cause::StaleNonce));
        }
        Ok(login)
    }

    /// Which algorithm made the key, and which integrity attribute answers carry.
    fn method(presented: &Presented<'_>, nonce: &[u8]) -> Result<Method, Refusal> {
        match (presented.algorithm, presented.algorithms) {
            (None, None) => Ok(Method { algorithm: PasswordAlgorithm::Md5, answer: Integrity::Sha1 }),
            (chosen, offered) => {
                let known = chosen.and_then(PasswordAlgorithm::decode);
                let fits = offered == Some(&ALGORITHMS[..]) && known.is_some();
                if announces_algorithms(nonce) && !fits {
                    return Err(Refusal::new(400, Cause::Algorithms));
                }
                // Without our cookie the nonce is not ours; the request goes on to its 438.
                let algorithm = known.unwrap_or(PasswordAlgorithm::Md5);
                Ok(Method { algorithm, answer: Integrity::Sha256 })
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `check`, cut out for the eye")]
    fn identify(
        &self,
        now: &Now,
        message: &Message<'_>,
        presented: &Presented<'_>,
        method: Method,
        realm: &[u8],
        known: Option<&Login>,
        stage: Stage,
    ) -> Result<Login, Cause> {
        if realm != self.credentials.realm().as_bytes() {
            message.verify(&self.nobody);
            return Err(Cause::Realm);
        }
        if let Some(known) = known
            && presented.username == Some(known.user().as_bytes())
            && self.may_lean_on(now, known, presented, method, stage)
            && message.verify(&known.key)
        {
            return Ok(Login { answer: method.answer, ..known.clone() });
        }
        match presented.token {
            Some(token) if self.takes_tokens() => {
                self.by_token(now, message, presented.username, token, method)
            }
            _ => self.by_password(now, message, presented, method, stage),
        }
    }

    /// Whether the key of the login that made the allocation can do for this request.
    fn may_lean_on(
        &self,
        now: &Now,
        known: &Login,
        presented: &Presented<'_>,
        method: Method,
        stage: Stage,
    ) -> bool {
        match (stage, known.proof) {
            (Stage::Begin, _) | (Stage::GoOn, Proof::Password(_)) => false,
            (Stage::Within, Proof::Password(algorithm)) => algorithm == method.algorithm,
            (Stage::Within, Proof::Token(_)) => true,
            // Without a new token the old one goes on, as long as its key does.
            (Stage::GoOn, Proof::Token(_)) => {
                presented.token.is_none() && self.third_party.key(known.user().as_bytes(), now.unix).is_some()
            }
        }
    }

    /// RFC 7635 §7: key, token, its time, and the integrity under its session key, which is that key as a whole.
    fn by_token(
        &self,
        now: &Now,
        message: &Message<'_>,
        kid: Option<&[u8]>,
        token: &[u8],
        method: Method,
    ) -> Result<Login, Cause> {
        let opened = self.third_party.open(kid, token, now.unix);
        let (shared, token, remaining) = opened.inspect_err(|_| {
            message.verify(&self.nobody);
        })?;
        let key = Arc::new(IntegrityKey::new(&token.mac_key));
        if !message.verify(&key) {
            return Err(Cause::WrongSessionKey);
        }
        let session = Session::of(&token.mac_key);
        Ok(Login {
            identity: Identity {
                name: shared.kid.as_str().into(),
                owner: session.owner(&shared.kid),
                policy: None,
            },
            key,
            proof: Proof::Token(session),
            answer: method.answer,
            expires: Some(now.unix.saturating_add(remaining.as_secs())),
            deadline: Some(now.mono + remaining),
        })
    }

    fn by_password(
        &self,
        now: &Now,
        message: &Message<'_>,
        presented: &Presented<'_>,
        method: Method,
        stage: Stage,
    ) -> Result<Login, Cause> {
        let counts = match stage {
            Stage::Begin => true,
            Stage::GoOn => self.expired != Expired::Grace,
            Stage::Within => false,
        };
        let mut cause = Cause::UnknownUser;
        let mut login = None;
        let mut tried = false;
        let mut attempt = |candidate: Candidate| {
            let Candidate { identity, key, expires, bad_policy } = candidate;
            tried = true;
            if !message.verify(&key) {
                cause = Cause::WrongPassword;
                return false;
            }
            if counts && expires.is_some_and(|expires| expires <= now.unix) {
                cause = Cause::Expired;
            } else if bad_policy {
                cause = Cause::BadPolicy;
            } else {
                let proof = Proof::Password(method.algorithm);
                let deadline = expires
                    .filter(|_| self.expired == Expired::Cut)
                    .map(|expires| now.mono + Duration::from_secs(expires.saturating_sub(now.unix)));
                login = Some(Login { identity, key, proof, answer: method.answer, expires, deadline });
            }
            true
        };
        match (presented.username, presented.userhash) {
            (Some(name), _) if name.len() <= MAX_USERNAME => {
                self.credentials.by_name(name, method.algorithm, &mut attempt);
            }
            (None, Some(hash)) => {
                self.credentials.by_hash(hash, method.algorithm).map(attempt);
            }
            _ => {}
        }
        if !tried {
            message.verify(&self.nobody);
        }
        login.ok_or(cause)
    }
}
