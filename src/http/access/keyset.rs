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
use tokio::sync::watch;
use tokio::time::Instant;

use super::tokens::Key;

/// The longest set in bytes.
const MAX_SET: usize = 64 << 10;

/// The most keys of a set.
const MAX_KEYS: usize = 32;

/// How long its server has.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long a request waits for it. Anybody can invent a token with a key that is not known; whoever has a good one comes again.
const PATIENCE: Duration = Duration::from_secs(2);

/// The shortest time between two questions as long as there are no keys at all.
const PAUSE_WITHOUT_KEYS: Duration = Duration::from_secs(10);

/// From when on it is asked anew before a key of it is taken, so that one that was withdrawn is not good for longer.
const OLD: Duration = Duration::from_secs(3_600);

/// How long keys are trusted without another answer: whoever cuts the server off from its issuer keeps no key alive.
const TRUSTED: Duration = Duration::from_secs(86_400);

/// Where a set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
    Url(String),
}

/// A set, and when it was asked for.
pub(super) struct KeySet {
    pub(super) source: Source,
    known: watch::Sender<Known>,
    /// The shortest time between two questions.
    pause: Duration,
}

#[derive(Default)]
struct Known {
    keys: Vec<Key>,
    /// When it was asked for last.
    asked: Option<Instant>,
    /// When that was which the last answer came to.
    answered: Option<Instant>,
    /// It is being asked for.
    asking: bool,
}

impl Known {
    /// Those that a token with this `kid` may have been signed with.
    fn find(&self, kid: Option<&str>) -> Vec<Key> {
        self.keys.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid).cloned().collect()
    }

    fn is_older_than(&self, age: Duration) -> bool {
        self.answered.is_some_and(|at| at.elapsed() >= age)
    }
}

impl KeySet {
    pub(super) fn new(source: Source, pause: Duration) -> Self {
        Self { source, known: watch::Sender::default(), pause }
    }

    /// Those that a token with this `kid` may have been signed with. For one that is not known, and when the set is old, it is
    /// asked for anew, if it has not just been; that is waited for, but not for long.
    pub(super) async fn keys(self: &Arc<Self>, kid: Option<&str>) -> Vec<Key> {
        let (found, old) = {
            let known = self.known.borrow();
            (known.find(kid), known.is_older_than(OLD))
        };
        if !found.is_empty() && !old {
            return found;
        }
        self.begin(false);
        let _ = tokio::time::timeout(PATIENCE, self.answer()).await;
        if self.expire() {
            tracing::warn!(
                target: "relais::http",
                source = ?self.source,
                cure = "let what http.tokens names in `jwks` give the key set again; the lines before this one say what is wrong",
                "the keys of http.tokens were last confirmed 24 hours ago: they are no longer trusted, and tokens of their issuer \
                 are refused"
            );
        }
        self.known.borrow().find(kid)
    }

    /// Asks for the set, whether it is there already or not. Returns when the answer is there, or will not come.
    pub(super) async fn refresh(self: &Arc<Self>) {
        self.answer().await;
        self.begin(true);
        self.answer().await;
    }

    /// Returns when nobody is asking for the set.
    async fn answer(&self) {
        // The sender is `self`, so there is one.
        let _ = self.known.subscribe().wait_for(|known| !known.asking).await;
    }

    /// Forgets keys that have gone without an answer for too long. Whether there were any: once for each time.
    fn expire(&self) -> bool {
        self.known.send_if_modified(|known| {
            let too_old = !known.keys.is_empty() && known.is_older_than(TRUSTED);
            if too_old {
                known.keys.clear();
            }
            too_old
        })
    }

    /// Begins to ask for the set, unless somebody does, or that was done a short while ago and nobody insists. The question goes
    /// on when whoever waits for the answer goes away.
    fn begin(self: &Arc<Self>, insists: bool) {
        let mut begins = false;
        self.known.send_if_modified(|known| {
            let pause = if known.keys.is_empty() { self.pause.min(PAUSE_WITHOUT_KEYS) } else { self.pause };
            let is_time = insists || known.asked.is_none_or(|at| at.elapsed() >= pause);
            begins = is_time && !known.asking;
            if begins {
                (known.asked, known.asking) = (Some(Instant::now()), true);
            }
            begins
        });
        if begins {
            let set = Arc::clone(self);
            tokio::spawn(async move { set.ask().await });
        }
    }

    /// Asks for the set. An answer replaces all keys, also one without any; what goes wrong leaves the old ones.
    async fn ask(&self) {
        let loaded = tokio::time::timeout(DEADLINE, self.load()).await;
        let loaded =
            loaded.unwrap_or_else(|_| Err("no answer in time".to_owned())).and_then(|text| parse(&text));
        let source = &self.source;
        match &loaded {
            Ok(keys) if keys.is_empty() => tracing::warn!(
                target: "relais::http",
                ?source,
                "the key set of http.tokens has no key for EdDSA, ES256 or RS256: tokens of its issuer are refused"
            ),
            Ok(_) => {}
            Err(error) => {
                let kept = self.known.borrow().keys.len();
                tracing::warn!(target: "relais::http", ?source, error, kept, "the keys of http.tokens cannot be had");
            }
        }
        self.known.send_modify(|known| {
            known.asking = false;
            if let Ok(keys) = loaded {
                (known.keys, known.answered) = (keys, known.asked);
            }
        });
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
    let keys = set.keys.into_iter().filter_map(|key| usable(&serde_json::from_value(key).ok()?));
    Ok(keys.take(MAX_KEYS).collect())
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
        for none in [r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#] {
            assert_eq!(algorithms(none), Ok(vec![]), "{none}");
        }
        for bad in ["{}", "x", r#"{"keys":5}"#] {
            assert!(algorithms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_set_is_bounded() {
        let many = vec![format!("{{{ED}}}"); MAX_KEYS + 1].join(",");
        assert_eq!(algorithms(&format!(r#"{{"keys":[{many}]}}"#)).unwrap().len(), MAX_KEYS);
    }

    fn file(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("relais-keyset-{name}-{}.json", std::process::id()));
        std::fs::write(&path, format!(r#"{{"keys":[{{{ED},"kid":"a"}}]}}"#)).unwrap();
        path
    }

    fn of(source: Source) -> Arc<KeySet> {
        Arc::new(KeySet::new(source, Duration::from_secs(300)))
    }

    /// As if the last answer had come so long ago, and the last question too.
    fn age(set: &KeySet, age: Duration) {
        let at = Instant::now().checked_sub(age);
        set.known.send_modify(|known| (known.asked, known.answered) = (at, at));
    }

    #[tokio::test]
    async fn keys_that_nothing_confirms_are_trusted_for_a_day() {
        let path = file("trust");
        let set = of(Source::File(path.clone()));
        assert_eq!(set.keys(Some("a")).await.len(), 1);
        age(&set, TRUSTED);
        assert_eq!(set.keys(Some("a")).await.len(), 1, "where nobody came for a day, it is asked first");
        std::fs::remove_file(&path).unwrap();
        age(&set, TRUSTED - OLD);
        assert_eq!(set.keys(Some("a")).await.len(), 1, "what fails leaves the old keys");
        set.answer().await;
        age(&set, TRUSTED);
        assert!(set.keys(Some("a")).await.is_empty() && set.keys(None).await.is_empty());
        file("trust");
        set.refresh().await;
        assert_eq!(set.keys(Some("a")).await.len(), 1, "an answer brings them back");
        age(&set, TRUSTED);
        assert!(set.expire() && !set.expire(), "it is told once");
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn a_key_that_was_withdrawn_is_not_taken_from_an_old_set() {
        let path = file("withdrawn");
        let set = of(Source::File(path.clone()));
        assert_eq!(set.keys(Some("a")).await.len(), 1);
        std::fs::write(&path, r#"{"keys":[]}"#).unwrap();
        assert_eq!(set.keys(Some("a")).await.len(), 1, "it is not asked for each token");
        age(&set, OLD);
        assert!(set.keys(Some("a")).await.is_empty());
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn an_answer_without_keys_takes_the_old_ones_away() {
        let path = file("empty");
        let set = of(Source::File(path.clone()));
        assert_eq!(set.keys(None).await.len(), 1);
        std::fs::write(&path, r#"{"keys":[]}"#).unwrap();
        set.refresh().await;
        assert!(set.keys(None).await.is_empty());
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_asked_once_and_holds_nobody_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let set = of(Source::Url(format!("http://{}/", listener.local_addr().unwrap())));
        let crowd = (0..50).map(|number| {
            let (set, kid) = (Arc::clone(&set), number.to_string());
            async move { set.keys(Some(&kid)).await.len() }
        });
        assert_eq!(futures_util::future::join_all(crowd).await.iter().sum::<usize>(), 0);
        assert!(set.known.borrow().asking, "nobody waits as long as the question may take");
        set.answer().await;
        let asked = set.known.borrow().asked;
        assert!(set.keys(Some("again")).await.is_empty());
        assert_eq!(set.known.borrow().asked, asked, "it is not asked again so soon");
        drop(listener);
    }
}
