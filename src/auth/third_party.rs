//! Third-party authorization (RFC 7635): which tokens this server takes.

use core::time::Duration;

use super::credentials::Error;
use super::refusal::Cause;
use super::token::{AccessToken, OauthKey};

/// The keys shared with authorization servers, and the name they know this server by.
pub(super) struct ThirdParty {
    server_name: String,
    keys: Vec<OauthKey>,
}

impl ThirdParty {
    /// Checks that each key is as long as its algorithm says.
    pub(super) fn new(server_name: String, keys: Vec<OauthKey>) -> Result<Self, Error> {
        match keys.iter().find(|key| key.key.len() != key.algorithm.key_len()) {
            Some(key) => Err(Error::OauthKey(key.kid.clone())),
            None => Ok(Self { server_name, keys }),
        }
    }

    /// What THIRD-PARTY-AUTHORIZATION says, if tokens are taken at all (RFC 7635 §6.1).
    pub(super) fn announced(&self) -> Option<&str> {
        (!self.keys.is_empty()).then_some(&self.server_name)
    }

    /// The key that `kid` names, as long as it may be used.
    pub(super) fn key(&self, kid: &[u8], unix: u64) -> Option<&OauthKey> {
        let live = |key: &&OauthKey| key.expires.is_none_or(|expires| unix < expires);
        self.keys.iter().filter(live).find(|key| key.kid.as_bytes() == kid)
    }

    /// The token in an ACCESS-TOKEN attribute that came with `kid` as its USERNAME, and how long it may be used
    /// from now on (RFC 7635 §7).
    pub(super) fn open(
        &self,
        kid: Option<&[u8]>,
        value: &[u8],
        unix: u64,
    ) -> Result<(&OauthKey, AccessToken, Duration), Cause> {
        let key = kid.and_then(|kid| self.key(kid, unix)).ok_or(Cause::UnknownKey)?;
        let token = AccessToken::open(value, key, &self.server_name).ok_or(Cause::ForeignToken)?;
        let remaining = token.remaining(unix).ok_or(Cause::Expired)?;
        Ok((key, token, remaining))
    }
}
