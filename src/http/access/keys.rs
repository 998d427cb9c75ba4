//! API keys. Only their hashes are in memory, and all are compared, each in constant time.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::Right;
use crate::auth::Policy;

/// A key of an application, without the key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// What its credentials and the log call it.
    pub name: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// The longest lifetime of its credentials; `None`: that of all.
    pub ttl: Option<Duration>,
    /// Pages that may use it; `["*"]`: all. Empty: those of [`Options::origins`](super::super::Options::origins).
    pub origins: Vec<String>,
    /// What its credentials carry at least; its own name is added.
    pub policy: Policy,
}

#[derive(Debug, Default)]
pub(super) struct Keys(Vec<ApiKey>);

/// What a request brings to log in with.
pub(in super::super) struct Presented {
    /// What it may call the key, where the dialect names one; empty: nothing was said.
    names: Vec<String>,
    secret: Zeroizing<String>,
    /// Whether the dialect has a place for tokens here.
    token: bool,
}

impl Presented {
    /// A key that one of `names` has to fit, if there are any.
    pub(in super::super) fn key(names: Vec<String>, secret: impl Into<String>) -> Self {
        Self { names, secret: Zeroizing::new(secret.into()), token: false }
    }

    /// A key or a token.
    pub(in super::super) fn bearer(names: Vec<String>, secret: impl Into<String>) -> Self {
        Self { token: true, ..Self::key(names, secret) }
    }

    pub(super) const fn may_be_token(&self) -> bool {
        self.token
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }
}

impl Keys {
    pub(super) fn new(mut keys: Vec<ApiKey>) -> Self {
        for key in &mut keys {
            key.policy.key = Some(key.name.clone());
        }
        Self(keys)
    }

    /// The same effort whether there is such a key or not.
    pub(super) fn find(&self, presented: &Presented) -> Option<Right> {
        let hash = Sha256::digest(presented.secret());
        let fits = |key: &&ApiKey| bool::from(key.hash.ct_eq(&hash));
        let found = self.0.iter().fold(None, |found, key| if fits(&key) { Some(key) } else { found })?;
        if !presented.names.is_empty() && !presented.names.contains(&found.name) {
            return None;
        }
        Some(Right {
            key: Some(found.name.clone()),
            user: None,
            ttl: found.ttl,
            ends: None,
            is_one: false,
            policy: found.policy.clone(),
            origins: found.origins.clone(),
        })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has_origin(&self, origin: &str) -> bool {
        self.0.iter().any(|key| key.origins.iter().any(|listed| listed == origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_hash_and_its_name_has_to_fit() {
        let key = |name: &str, text: &str| ApiKey {
            name: name.into(),
            hash: Sha256::digest(text).into(),
            ttl: None,
            origins: vec![],
            policy: Policy::default(),
        };
        let keys = Keys::new(vec![key("shop", "shop-key-0123456"), key("blog", "blog-key-0123456")]);
        let find = |names: &[&str], secret: &str| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            keys.find(&Presented::key(names, secret)).and_then(|right| right.key)
        };
        assert_eq!(find(&[], "blog-key-0123456").as_deref(), Some("blog"));
        assert_eq!(find(&["blog"], "blog-key-0123456").as_deref(), Some("blog"));
        assert_eq!(find(&["AC1", "blog"], "blog-key-0123456").as_deref(), Some("blog"));
        for (names, secret) in
            [(&["shop"][..], "blog-key-0123456"), (&[], "blog-key-012345"), (&[], ""), (&["blog"], "blog")]
        {
            assert_eq!(find(names, secret), None);
        }
        assert_eq!(
            keys.find(&Presented::key(vec![], "shop-key-0123456")).unwrap().policy.key.unwrap(),
            "shop"
        );
    }
}
