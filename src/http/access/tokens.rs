//! JSON Web Tokens (RFC 7519). The key says which algorithm is taken, never the token; `none` is no algorithm at all.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::Right;
use super::claims;
use super::keyset::{KeySet, Source};

/// The longest token in bytes.
const MAX_TOKEN: usize = 8 << 10;

/// Somebody whose tokens are taken.
#[derive(Clone, Debug)]
pub struct TokenIssuer {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be, or hold.
    pub audience: String,
    /// How the signature is verified.
    pub key: TokenKey,
}

/// What verifies a token's signature.
#[derive(Clone)]
pub enum TokenKey {
    /// The secret of HS256.
    Secret(Zeroizing<Vec<u8>>),
    /// A public key in PEM: Ed25519 for EdDSA, P-256 for ES256, or RSA for RS256.
    PublicKey(String),
    /// A file with a JSON Web Key Set.
    KeySetFile(PathBuf),
    /// The URL of one.
    KeySetUrl(String),
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret(<redacted>)"),
            Self::PublicKey(_) => f.write_str("PublicKey"),
            Self::KeySetFile(path) => f.debug_tuple("KeySetFile").field(path).finish(),
            Self::KeySetUrl(url) => f.debug_tuple("KeySetUrl").field(url).finish(),
        }
    }
}

#[derive(Default)]
pub(super) struct Tokens(Vec<Issuer>);

struct Issuer {
    issuer: String,
    audience: String,
    verifier: Verifier,
}

enum Verifier {
    One(Key),
    Set(Arc<KeySet>),
}

/// A key and the one algorithm it is for.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|issuer| &issuer.issuer)).finish()
    }
}

impl Tokens {
    pub(super) fn new(issuers: Vec<TokenIssuer>, old: &Self, pause: Duration) -> Result<Self, String> {
        let mut all = Vec::new();
        for TokenIssuer { issuer, audience, key } in issuers {
            let verifier = match key {
                TokenKey::Secret(secret) => Verifier::One(Key {
                    kid: None,
                    algorithm: Algorithm::HS256,
                    key: DecodingKey::from_secret(&secret),
                }),
                TokenKey::PublicKey(pem) => Verifier::One(public_key(&pem).ok_or_else(|| {
                    format!("the public key of {issuer} is neither Ed25519 nor P-256 nor RSA, in PEM")
                })?),
                TokenKey::KeySetFile(path) => Verifier::Set(old.set_of(Source::File(path), pause)),
                TokenKey::KeySetUrl(url) => Verifier::Set(old.set_of(Source::Url(url), pause)),
            };
            all.push(Issuer { issuer, audience, verifier });
        }
        Ok(Self(all))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set that has been fetched from `source`, or one that is empty yet.
    fn set_of(&self, source: Source, pause: Duration) -> Arc<KeySet> {
        let same = self.sets().find(|set| set.source == source);
        same.map_or_else(|| Arc::new(KeySet::new(source, pause)), Arc::clone)
    }

    fn sets(&self) -> impl Iterator<Item = &Arc<KeySet>> {
        self.0.iter().filter_map(|issuer| match &issuer.verifier {
            Verifier::Set(set) => Some(set),
            Verifier::One(_) => None,
        })
    }

    pub(super) async fn prefetch(&self) {
        futures_util::future::join_all(self.sets().map(KeySet::refresh)).await;
    }

    /// What the token allows at `now`, in Unix seconds.
    ///
    /// # Errors
    /// What is wrong with it, for the operator alone. Where issuers find different things, what the one has found that came
    /// farthest.
    pub(super) async fn verify(&self, token: &str, now: u64) -> Result<Right, &'static str> {
        let header = if token.len() <= MAX_TOKEN { decode_header(token).ok() } else { None };
        let header = header.ok_or("neither a known key nor a token")?;
        // RFC 7515 §4.1.11: what is critical and not understood makes the token invalid; here nothing is understood.
        if header.crit.is_some() {
            return Err("the token has critical headers");
        }
        // Only the issuer that the token names is asked for keys: another's server that hangs holds nothing up.
        let named = named_issuer(token).ok_or("iss is missing")?;
        let mut fault = Fault::Issuer;
        for issuer in self.0.iter().filter(|issuer| issuer.issuer == named) {
            let keys = match &issuer.verifier {
                Verifier::One(key) => vec![key.clone()],
                Verifier::Set(set) => set.keys(header.kid.as_deref()).await,
            };
            fault = fault.max(Fault::NoKey);
            for key in keys.iter().filter(|key| key.algorithm == header.alg) {
                match issuer.claims(token, key) {
                    Ok(claims) => {
                        return claims::right(&claims, now).ok_or_else(|| claims::fault(&claims, now));
                    }
                    Err(other) => fault = fault.max(other),
                }
            }
        }
        Err(fault.words())
    }
}

/// Why no issuer takes a token, in the order of how far it came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Issuer,
    NoKey,
    Signature,
    Claims,
    Audience,
}

impl Fault {
    fn of(error: &jsonwebtoken::errors::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::InvalidAudience => Self::Audience,
            _ => Self::Claims,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::NoKey => "no key for the token's alg and kid",
            Self::Signature => "bad signature",
            Self::Claims => "the token lacks a claim or cannot be read",
            Self::Issuer => "iss: another issuer",
            Self::Audience => "aud: another audience",
        }
    }
}

impl Issuer {
    /// The claims, if the signature is this issuer's and the token is for this audience. Times are looked at elsewhere, by the
    /// server's clock.
    fn claims(&self, token: &str, key: &Key) -> Result<Map<String, Value>, Fault> {
        let mut validation = Validation::new(key.algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        decode(token, &key.key, &validation).map(|token| token.claims).map_err(|error| Fault::of(&error))
    }
}

/// Whose token it says it is, before anything is verified.
fn named_issuer(token: &str) -> Option<String> {
    use base64::Engine as _;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Map<String, Value>>(&claims).ok()?.get("iss")?.as_str().map(str::to_owned)
}

/// A public key in PEM, with the algorithm that its kind is for.
fn public_key(pem: &str) -> Option<Key> {
    /// An uncompressed point of P-256.
    const POINT: usize = 65;
    let bytes = pem.as_bytes();
    let with = |algorithm, key: DecodingKey| Some(Key { kid: None, algorithm, key });
    if let Ok(key) = DecodingKey::from_ed_pem(bytes) {
        return with(Algorithm::EdDSA, key);
    }
    if let Ok(key) = DecodingKey::from_ec_pem(bytes) {
        let fits = key.try_get_as_bytes().is_ok_and(|point| point.len() == POINT);
        return if fits { with(Algorithm::ES256, key) } else { None };
    }
    with(Algorithm::RS256, DecodingKey::from_rsa_pem(bytes).ok()?)
}
