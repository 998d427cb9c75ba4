//! Who may have `iceServers` beside pages and programs: holders of API keys and of JSON Web Tokens.

mod claims;
mod keys;
mod keyset;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::auth::Policy;
pub use keys::ApiKey;
pub(super) use keys::Presented;
use tokens::Tokens;
pub use tokens::{TokenIssuer, TokenKey};

/// The keys and tokens that are taken, which may change while the server runs. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Access {
    known: watch::Sender<Arc<Known>>,
    pause: Duration,
}

impl Default for Access {
    fn default() -> Self {
        Self::asking_every(Duration::from_secs(300))
    }
}

#[derive(Debug, Default)]
struct Known {
    keys: keys::Keys,
    tokens: Tokens,
}

/// What a key or a token allows.
#[derive(Clone, Debug, Default)]
pub(super) struct Right {
    /// The name of the key; `None` for a token.
    pub(super) key: Option<String>,
    /// The holder of a token, who alone it makes credentials for.
    pub(super) user: Option<String>,
    /// The longest lifetime.
    pub(super) ttl: Option<Duration>,
    /// When the token ends, in Unix seconds: no credential outlives it.
    pub(super) ends: Option<u64>,
    /// Whether all that it buys is one and the same credential, which lasts until it ends: its bytes are to be had once.
    pub(super) is_one: bool,
    /// What credentials carry at least.
    pub(super) policy: Policy,
    /// Pages that may use it; empty: those of the configuration.
    pub(super) origins: Vec<String>,
}

impl Right {
    /// Whether it is for pages: it stands in their source then, so its holder may be anybody.
    pub(super) const fn is_public(&self) -> bool {
        !self.origins.is_empty()
    }

    /// Whether it is for a page of this origin. Those of the configuration, `listed`, are for whatever names none itself.
    pub(super) fn is_for(&self, origin: Option<&str>, listed: bool) -> bool {
        if self.origins.is_empty() {
            return origin.is_none() || listed;
        }
        let fits = |own: &String| own == "*" || origin == Some(own.as_str());
        self.origins.iter().any(fits)
    }

    /// Whom rate limits count.
    pub(super) fn holder(&self) -> String {
        match (&self.key, &self.user) {
            (Some(key), _) => format!("key {key}"),
            (None, user) => format!("user {}", user.as_deref().unwrap_or_default()),
        }
    }
}

impl Access {
    /// Nobody's yet, with the shortest time between two fetches of a key set.
    pub fn asking_every(pause: Duration) -> Self {
        Self { known: watch::Sender::default(), pause }
    }

    /// Takes these keys and tokens from now on. Key sets that have been fetched already stay as long as their source does.
    ///
    /// # Errors
    /// When a public key cannot be read.
    pub fn replace(&self, keys: Vec<ApiKey>, issuers: Vec<TokenIssuer>) -> Result<(), String> {
        let old = Arc::clone(&self.known.borrow());
        let known =
            Known { keys: keys::Keys::new(keys), tokens: Tokens::new(issuers, &old.tokens, self.pause)? };
        self.known.send_replace(Arc::new(known));
        Ok(())
    }

    /// Fetches the key sets of tokens, whether they are there already or not: keys that are withdrawn are gone then.
    pub async fn prefetch(&self) {
        let known = Arc::clone(&self.known.borrow());
        known.tokens.prefetch().await;
    }

    /// What whoever presents this may do. `now` is in Unix seconds.
    ///
    /// # Errors
    /// Why nothing, for the operator alone.
    pub(super) async fn check(&self, presented: &Presented, now: u64) -> Result<Right, &'static str> {
        let known = Arc::clone(&self.known.borrow());
        let key = known.keys.find(presented);
        if key.is_some() || !presented.may_be_token() {
            return key.ok_or("unknown key");
        }
        known.tokens.verify(presented.secret(), now).await
    }

    /// Whether there are neither keys nor tokens.
    pub(super) fn is_empty(&self) -> bool {
        let known = self.known.borrow();
        known.keys.is_empty() && known.tokens.is_empty()
    }

    /// Whether some key is for pages of this origin, and whether one is for those of all.
    pub(super) fn lists(&self, origin: &str) -> (bool, bool) {
        let known = self.known.borrow();
        (known.keys.has_origin(origin), known.keys.has_origin("*"))
    }
}
