//! JSON Web Key Sets (RFC 7517), from a file or a URL.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::tokens::Key;

/// The longest set in bytes.
const MAX_SET: usize = 64 << 10;

/// The most keys of a set.
const MAX_KEYS: usize = 32;

/// How long its server has.
const DEADLINE: Duration = Duration::from_secs(5);

/// The shortest time between two questions as long as there are no keys at all.
const PAUSE_WITHOUT_KEYS: Duration = Duration::from_secs(10);

/// From when on it is asked anew in passing, so that a key that was withdrawn is not good for ever.
const OLD: Duration = Duration::from_secs(3_600);

/// Where a set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
    Url(String),
}

/// A set, and when it was asked for.
pub(super) struct KeySet {
    pub(super) source: Source,
    known: watch::Sender<Arc<Vec<Key>>>,
    /// The shortest time between two questions.
    pause: Duration,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    last: Option<Instant>,
    answered: Option<Instant>,
}

impl KeySet {
    pub(super) fn new(source: Source, pause: Duration) -> Self {
        Self { source, known: watch::Sender::default(), pause, asked: Mutex::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.borrow().is_empty()
    }

    /// Those that a token with this `kid` may have been signed with. For one that is not known the set is asked for anew,
    /// if it has not just been.
    pub(super) async fn keys(self: &Arc<Self>, kid: Option<&str>) -> Vec<Key> {
        let found = self.find(kid);
        if found.is_empty() {
            self.refresh(false).await;
            return self.find(kid);
        }
        if self.asked.try_lock().is_ok_and(|asked| asked.answered.is_some_and(|at| at.elapsed() >= OLD)) {
            let set = Arc::clone(self);
            tokio::spawn(async move { set.refresh(false).await });
        }
        found
    }

    fn find(&self, kid: Option<&str>) -> Vec<Key> {
        let known = self.known.borrow();
        known.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid).cloned().collect()
    }

    /// Asks for the set, unless that was done a short while ago and nobody insists. What goes wrong leaves the old keys.
    pub(super) async fn refresh(&self, insists: bool) {
        let mut asked = self.asked.lock().await;
        let pause = if self.is_empty() { self.pause.min(PAUSE_WITHOUT_KEYS) } else { self.pause };
        if !insists && asked.last.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        asked.last = Some(Instant::now());
        let loaded = tokio::time::timeout(DEADLINE, self.load()).await;
        match loaded.unwrap_or_else(|_| Err("no answer in time".to_owned())).and_then(|text| parse(&text)) {
            Ok(keys) => {
                asked.answered = asked.last;
                self.known.send_replace(Arc::new(keys));
            }
            Err(error) => {
                let kept = self.known.borrow().len();
                tracing::warn!(target: "relais::http", source = ?self.source, error, kept, "the keys of http.tokens cannot be had");
            }
        }
    }

    async fn load(&self) -> Result<Vec<u8>, String> {
        let uri = match &self.source {
            Source::File(path) => {
                let text = std::fs::read(path).map_err(|error| error.to_string())?;
                return if text.len() <= MAX_SET { Ok(text) } else { Err(too_long()) };
            }
            Source::Url(url) => url.parse().map_err(|_| "this is not a URL".to_owned())?,
        };
        let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector()?);
        let response = client.get(uri).await.map_err(|error| explain(&error))?;
        if response.status() != 200 {
            return Err(format!("the answer is {}", response.status()));
        }
        let bytes = axum::body::to_bytes(Body::new(response.into_body()), MAX_SET).await;
        bytes.map(Vec::from).map_err(|_| too_long())
    }
}

fn too_long() -> String {
    format!("it is longer than {MAX_SET} bytes, or breaks off")
}

fn connector() -> Result<HttpsConnector<HttpConnector>, String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|error| format!("the system has no certificate authorities: {error}"))?;
    // Which hosts may be asked without TLS is decided where the configuration is read.
    Ok(builder.https_or_http().enable_http1().build())
}

/// The innermost reason: the outer ones say only that there was one.
fn explain(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}

/// The keys of a set that verify signatures of the algorithms taken here. Others are passed over: sets have keys for others
/// as well. A symmetric one in a public set is nobody's secret.
fn parse(text: &[u8]) -> Result<Vec<Key>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|error| format!("this is no key set: {error}"))?;
    let keys: Vec<Key> = set
        .keys
        .into_iter()
        .filter_map(|key| usable(&serde_json::from_value(key).ok()?))
        .take(MAX_KEYS)
        .collect();
    if keys.is_empty() {
        return Err("none of its keys is for EdDSA, ES256 or RS256".to_owned());
    }
    Ok(keys)
}

fn usable(key: &Jwk) -> Option<Key> {
    let (algorithm, name) = match &key.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let common = &key.common;
    let fits = common.key_algorithm.is_none_or(|algorithm| algorithm == name)
        && common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    let key_itself = DecodingKey::from_jwk(key).ok().filter(|_| fits)?;
    Some(Key { kid: common.key_id.clone(), algorithm, key: key_itself })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    fn algorithms(text: &str) -> Result<Vec<Algorithm>, String> {
        Ok(parse(text.as_bytes())?.iter().map(|key| key.algorithm).collect())
    }

    #[test]
    fn keys_for_other_things_are_passed_over() {
        let set = format!(
            r#"{{"keys":[{{{ED},"kid":"a","use":"sig","alg":"EdDSA"}},{{{ED},"use":"enc"}},{{{ED},"alg":"RS256"}},
                {{{ED},"key_ops":["sign"]}},{{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}},{{"kty":"new"}},5]}}"#
        );
        assert_eq!(algorithms(&set), Ok(vec![Algorithm::EdDSA]));
        for none in [r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#, "{}", "x"] {
            assert!(algorithms(none).is_err(), "{none}");
        }
    }

    #[test]
    fn a_set_is_bounded() {
        let many = vec![format!("{{{ED}}}"); MAX_KEYS + 1].join(",");
        assert_eq!(algorithms(&format!(r#"{{"keys":[{many}]}}"#)).unwrap().len(), MAX_KEYS);
    }
}
