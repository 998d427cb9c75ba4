//! JSON Web Tokens: what they buy, and everything that must not pass for one.

use super::ice::{NOW, with};
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use relais::auth::rest;
use relais::http::{Access, TokenIssuer, TokenKey};
use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const ISSUER: &str = "https://id.example";

fn issuer(key: TokenKey) -> TokenIssuer {
    TokenIssuer { issuer: ISSUER.into(), audience: "turn".into(), key }
}

async fn server(keys: Vec<TokenKey>) -> Server {
    let access = Access::default();
    access.replace(vec![], keys.into_iter().map(issuer).collect()).unwrap();
    with(Options { access, ..Options::default() }).await
}

fn hs256() -> TokenKey {
    TokenKey::Secret(SECRET.to_vec().into())
}

/// Good claims with some changed; `null` takes one away.
fn claims(changes: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": "turn", "sub": "alice", "exp": NOW + 600});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn signed(algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, claims, key).unwrap()
}

fn by_secret(changes: Value) -> String {
    signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET), None, &claims(changes))
}

/// A token with this header and these claims, and whatever for a signature.
fn forged(header: Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&header), part(claims), URL_SAFE_NO_PAD.encode(signature))
}

async fn ask_with(server: &Server, token: &str) -> Answer {
    send(server, "GET /v1/ice-servers", &[("Authorization", &format!("Bearer {token}"))], "").await
}

struct Pair {
    algorithm: Algorithm,
    key: EncodingKey,
    public_pem: String,
    /// The public half as a JSON Web Key.
    jwk: Value,
}

fn pairs() -> [Pair; 3] {
    let ed = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let pem = |pair: &KeyPair| pair.serialize_pem();
    let (x, point) = (ed.public_key_raw(), ec.public_key_raw());
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let rsa_key = EncodingKey::from_rsa_pem(pem(&rsa).as_bytes()).unwrap();
    [
        Pair {
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_pem(pem(&ed).as_bytes()).unwrap(),
            public_pem: ed.public_key_pem(),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": part(x)}),
        },
        Pair {
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_pem(pem(&ec).as_bytes()).unwrap(),
            public_pem: ec.public_key_pem(),
            jwk: json!({"kty": "EC", "crv": "P-256", "x": part(&point[1..33]), "y": part(&point[33..])}),
        },
        Pair {
            algorithm: Algorithm::RS256,
            jwk: json!(Jwk::from_encoding_key(&rsa_key, Algorithm::RS256).unwrap()),
            key: rsa_key,
            public_pem: rsa.public_key_pem(),
        },
    ]
}

#[tokio::test]
async fn a_token_buys_what_it_says_and_nothing_that_outlives_it() {
    let server = server(vec![hs256()]).await;
    let token = by_secret(json!({"turn": {"quota": 3, "rate": 5, "tag": "t"}, "sub": "auth0|5f ü"}));
    let answer = ask_with(&server, &token).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    let name = body["iceServers"][1]["username"].as_str().unwrap();
    let parts = rest::parts(name, ':').unwrap();
    assert_eq!((parts.expiry, parts.user), (NOW + 600, "auth0|5f%20%C3%BC"), "it ends with the token");
    assert_eq!(parts.policy.unwrap().to_string(), format!("tag=t&issued={NOW}&rate=5&allocations=3"));
    let shorter = by_secret(json!({"turn": {"ttl": 60}}));
    assert_eq!(ask_with(&server, &shorter).await.json()["ttl"], 60);
    let long = by_secret(json!({"exp": NOW + 10_000_000, "aud": ["x", "turn"], "nbf": NOW + 20}));
    assert_eq!(ask_with(&server, &long).await.json()["ttl"], 14_400);
    let headers = [("Authorization", format!("Bearer {long}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let longest = send(&server, "GET /v1/ice-servers?ttl=999999", &headers, "").await;
    assert_eq!(longest.json()["ttl"], 172_800);
    for body in [r#"{"user":"bob"}"#, r#"{"rate":9}"#] {
        let refused = send(&server, "POST /v1/ice-servers", &headers, body).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "not_yours_to_set"));
    }
    let own = send(&server, "POST /v1/ice-servers", &headers, r#"{"user":"alice"}"#).await;
    assert_eq!(own.status, 200);
    let revoke = send(&server, "POST /v1/revoke", &headers, r#"{"user":"alice"}"#).await;
    assert_eq!(revoke.code(), "not_yours_to_revoke");
    let matrix = send(&server, "GET /_matrix/client/v3/voip/turnServer", &headers, "").await;
    assert_eq!(matrix.status, 200);
}

#[tokio::test]
async fn a_token_with_a_byte_budget_buys_it_once() {
    let server = server(vec![hs256()]).await;
    let token = by_secret(json!({"exp": NOW + 100_000, "iat": NOW - 5, "turn": {"bytes": 1000}}));
    let headers = [("Authorization", format!("Bearer {token}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    for query in ["", "?ttl=60", "?ttl=999999", "?user=alice"] {
        let answer = send(&server, &format!("GET /v1/ice-servers{query}"), &headers, "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let body = answer.json();
        let name = body["iceServers"][1]["username"].as_str().unwrap();
        let wanted = format!("{}:alice?policy&issued={}&bytes=1000", NOW + 100_000, NOW - 35);
        assert_eq!((name, &body["ttl"]), (wanted.as_str(), &json!(100_000)), "{query}");
    }
    let matrix = send(&server, "GET /_matrix/client/v3/voip/turnServer", &headers, "").await.json();
    assert!(matrix["username"].as_str().unwrap().starts_with(&format!("{}:alice", NOW + 100_000)));
    let narrower = send(&server, "POST /v1/ice-servers", &headers, r#"{"bytes":10}"#).await;
    assert_eq!(narrower.code(), "not_yours_to_set", "it would have another name, and a budget of its own");
}

#[tokio::test]
async fn each_kind_of_key_takes_its_own_algorithm_alone() {
    let pairs = pairs();
    for pair in &pairs {
        let server = server(vec![TokenKey::PublicKey(pair.public_pem.clone())]).await;
        let good = signed(pair.algorithm, &pair.key, Some("any"), &claims(json!({})));
        assert_eq!(ask_with(&server, &good).await.status, 200, "{:?}", pair.algorithm);
        for other in &pairs {
            if other.algorithm != pair.algorithm {
                let token = signed(other.algorithm, &other.key, None, &claims(json!({})));
                assert_eq!(ask_with(&server, &token).await.status, 401, "{:?}", other.algorithm);
            }
        }
        // The public key, which everybody has, is no secret of an HMAC.
        for secret in
            [pair.public_pem.clone(), pair.public_pem.replace('\n', ""), pair.public_pem.trim().to_owned()]
        {
            let confused = signed(
                Algorithm::HS256,
                &EncodingKey::from_secret(secret.as_bytes()),
                None,
                &claims(json!({})),
            );
            assert_eq!(ask_with(&server, &confused).await.status, 401, "{:?} as HS256", pair.algorithm);
        }
        let mut changed = good.clone().into_bytes();
        let middle = good.find('.').unwrap() + 12;
        changed[middle] ^= 1;
        assert_eq!(ask_with(&server, &String::from_utf8(changed).unwrap()).await.status, 401);
    }
    let rsa = &pairs[2];
    let server = server(vec![TokenKey::PublicKey(rsa.public_pem.clone())]).await;
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        let token = signed(algorithm, &rsa.key, None, &claims(json!({})));
        assert_eq!(ask_with(&server, &token).await.status, 401, "{algorithm:?}");
    }
}

#[tokio::test]
async fn forged_stale_and_foreign_tokens_all_get_the_same_answer() {
    let server = server(vec![hs256()]).await;
    assert_eq!(ask_with(&server, &by_secret(json!({}))).await.status, 200);
    let wanted = ask_with(&server, "nothing").await;
    assert_eq!((wanted.status, wanted.code().as_str()), (401, "unauthorized"));
    let good = claims(json!({}));
    let other = EncodingKey::from_secret(b"another-secret-of-32-bytes-12345");
    let critical = Header { crit: Some(vec!["exp".into()]), ..Header::new(Algorithm::HS256) };
    for (what, token) in [
        ("none", forged(json!({"alg": "none"}), &good, b"")),
        ("None", forged(json!({"alg": "None", "typ": "JWT"}), &good, b"")),
        ("no algorithm", forged(json!({"typ": "JWT"}), &good, b"")),
        ("an empty signature", forged(json!({"alg": "HS256"}), &good, b"")),
        ("no signature", by_secret(json!({})).rsplit_once('.').unwrap().0.to_owned()),
        ("another secret", signed(Algorithm::HS256, &other, None, &good)),
        ("HS512", signed(Algorithm::HS512, &EncodingKey::from_secret(SECRET), None, &good)),
        ("something critical", encode(&critical, &good, &EncodingKey::from_secret(SECRET)).unwrap()),
        ("expired", by_secret(json!({"exp": NOW}))),
        ("no end", by_secret(json!({"exp": null}))),
        ("an end in words", by_secret(json!({"exp": "tomorrow"}))),
        ("too early", by_secret(json!({"nbf": NOW + 31}))),
        ("another audience", by_secret(json!({"aud": "other"}))),
        ("other audiences", by_secret(json!({"aud": ["other", "turn2"]}))),
        ("no audience", by_secret(json!({"aud": null}))),
        ("another issuer", by_secret(json!({"iss": "https://evil.example"}))),
        ("no issuer", by_secret(json!({"iss": null}))),
        ("no subject", by_secret(json!({"sub": null}))),
        ("a limit that is none", by_secret(json!({"turn": {"rate": "fast"}}))),
        ("too long", by_secret(json!({"x": "y".repeat(9000)}))),
        ("rubbish", "a.b.c".to_owned()),
        (
            "a key in its header",
            forged(json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "YQ"}}), &good, b"x"),
        ),
    ] {
        let answer = ask_with(&server, &token).await;
        assert_eq!((answer.status, &answer.body), (401, &wanted.body), "{what}");
        assert_eq!(answer.header("www-authenticate"), wanted.header("www-authenticate"), "{what}");
    }
    let query = format!("GET /v1/ice-servers?apiKey={}", by_secret(json!({})));
    assert_eq!(send(&server, &query, &[], "").await.status, 401, "a token does not stand in URLs");
}

#[tokio::test]
async fn tokens_have_a_rate_for_each_subject() {
    let access = Access::default();
    access.replace(vec![], vec![issuer(hs256())]).unwrap();
    let limits = Limits { grant_burst: 3, grants_per_second: 1, ..Limits::default() };
    let server = with(Options { access, limits, ..Options::default() }).await;
    let mut refused = None;
    for _ in 0..20 {
        let answer = ask_with(&server, &by_secret(json!({}))).await;
        if answer.status != 200 {
            refused = Some(answer.status);
            break;
        }
    }
    assert_eq!(refused, Some(429));
    assert_eq!(ask_with(&server, &by_secret(json!({"sub": "bob"}))).await.status, 200);
}

/// A server of key sets: answers what it is told to, and counts.
struct Keys {
    url: String,
    answer: Arc<RwLock<String>>,
    asked: Arc<AtomicUsize>,
}

impl Keys {
    async fn start() -> Self {
        let (listener, address) = listener().await;
        let (answer, asked) = (Arc::new(RwLock::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let keys = Self {
            url: format!("http://{address}/jwks.json"),
            answer: Arc::clone(&answer),
            asked: Arc::clone(&asked),
        };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                asked.fetch_add(1, Ordering::Relaxed);
                let text = answer.read().unwrap().clone();
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        keys
    }

    fn says(&self, status: &str, body: &str) {
        let length = body.len();
        *self.answer.write().unwrap() =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn key(&self) -> TokenKey {
        TokenKey::KeySetUrl(self.url.clone())
    }
}

/// A set with these keys' public halves.
fn set(keys: &[(&str, &Pair)]) -> String {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(kid, pair)| {
            let mut key = pair.jwk.clone();
            key["kid"] = json!(kid);
            key["use"] = json!("sig");
            key
        })
        .collect();
    json!({"keys": keys}).to_string()
}

#[tokio::test]
async fn a_key_set_is_asked_for_when_a_key_is_not_known_and_keys_rotate() {
    let [first, second, third] = pairs();
    let keys = Keys::start().await;
    keys.says("200 OK", &set(&[("1", &first)]));
    let access = Access::asking_every(Duration::ZERO);
    access.replace(vec![], vec![issuer(keys.key())]).unwrap();
    access.prefetch().await;
    assert_eq!(keys.asked(), 1);
    let server = with(Options { access: access.clone(), ..Options::default() }).await;
    let token = |kid: &str, pair: &Pair| signed(pair.algorithm, &pair.key, Some(kid), &claims(json!({})));
    let one = token("1", &first);
    assert_eq!(ask_with(&server, &one).await.status, 200);
    assert_eq!(keys.asked(), 1, "a known key is asked for no more");
    assert_eq!(
        ask_with(&server, &token("1", &second)).await.status,
        401,
        "signed with another key than its kid's"
    );
    assert_eq!(keys.asked(), 1);

    keys.says("200 OK", &set(&[("1", &first), ("2", &second), ("3", &third)]));
    assert_eq!(ask_with(&server, &token("2", &second)).await.status, 200);
    assert_eq!(ask_with(&server, &token("3", &third)).await.status, 200);
    assert_eq!((ask_with(&server, &one).await.status, keys.asked()), (200, 2));

    let oversized = format!("{{\"keys\":[],\"x\":\"{}\"}}", "y".repeat(70_000));
    for (status, body) in
        [("500 Oh", ""), ("200 OK", "{}"), ("200 OK", oversized.as_str()), ("302 Found", "")]
    {
        keys.says(status, body);
        assert_eq!(ask_with(&server, &token("4", &first)).await.status, 401);
        assert_eq!(ask_with(&server, &one).await.status, 200, "what fails leaves the old keys");
    }
    assert_eq!(keys.asked(), 6);
    access.replace(vec![], vec![issuer(keys.key())]).unwrap();
    assert_eq!(
        (ask_with(&server, &one).await.status, keys.asked()),
        (200, 6),
        "a reload keeps what was fetched"
    );

    keys.says("200 OK", &set(&[("2", &second)]));
    assert_eq!(ask_with(&server, &token("4", &first)).await.status, 401);
    assert_eq!(ask_with(&server, &one).await.status, 401, "a key that was withdrawn is gone");
    keys.says("200 OK", r#"{"keys":[]}"#);
    assert_eq!(ask_with(&server, &token("4", &first)).await.status, 401);
    assert_eq!(
        ask_with(&server, &token("2", &second)).await.status,
        401,
        "and all of them, if the issuer says so"
    );
}

#[tokio::test]
async fn a_key_set_is_not_asked_for_more_often_than_that() {
    let [first, second, _] = pairs();
    let keys = Keys::start().await;
    keys.says("200 OK", &set(&[("1", &first)]));
    let server = server(vec![keys.key()]).await;
    let token = |kid: &str, pair: &Pair| signed(pair.algorithm, &pair.key, Some(kid), &claims(json!({})));
    assert_eq!(ask_with(&server, &token("1", &first)).await.status, 200);
    keys.says("200 OK", &set(&[("2", &second)]));
    for kid in 0..20 {
        assert_eq!(ask_with(&server, &token(&format!("x{kid}"), &second)).await.status, 401);
    }
    assert_eq!(ask_with(&server, &token("2", &second)).await.status, 401);
    assert_eq!(keys.asked(), 1);
}

#[tokio::test]
async fn a_symmetric_key_in_a_public_set_signs_nothing() {
    let [first, ..] = pairs();
    let keys = Keys::start().await;
    let mut set: Value = serde_json::from_str(&set(&[("1", &first)])).unwrap();
    let symmetric = json!({"kty": "oct", "kid": "2", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "HS256"});
    set["keys"].as_array_mut().unwrap().push(symmetric);
    keys.says("200 OK", &set.to_string());
    let server = server(vec![keys.key()]).await;
    let token = signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET), Some("2"), &claims(json!({})));
    assert_eq!(ask_with(&server, &token).await.status, 401);
    let without_kid = signed(first.algorithm, &first.key, None, &claims(json!({})));
    assert_eq!(ask_with(&server, &without_kid).await.status, 200, "a token may leave the key to be found");
}

#[tokio::test]
async fn a_key_set_may_be_a_file() {
    let [first, second, _] = pairs();
    let path = std::env::temp_dir().join(format!("relais-jwks-{}.json", std::process::id()));
    std::fs::write(&path, set(&[("1", &first)])).unwrap();
    let access = Access::asking_every(Duration::ZERO);
    access.replace(vec![], vec![issuer(TokenKey::KeySetFile(path.clone()))]).unwrap();
    let server = with(Options { access, ..Options::default() }).await;
    let token = |kid: &str, pair: &Pair| signed(pair.algorithm, &pair.key, Some(kid), &claims(json!({})));
    assert_eq!(ask_with(&server, &token("1", &first)).await.status, 200);
    std::fs::write(&path, set(&[("2", &second)])).unwrap();
    assert_eq!(ask_with(&server, &token("2", &second)).await.status, 200);
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_reload_reads_the_sets_again_and_one_that_hangs_holds_up_no_other_issuer() {
    let [first, second, _] = pairs();
    let (_hangs, address) = listener().await;
    let slow = TokenKey::KeySetUrl(format!("http://{address}/jwks.json"));
    let keys = Keys::start().await;
    keys.says("200 OK", &set(&[("1", &first)]));
    let access = Access::default();
    let other = TokenIssuer { issuer: "https://slow.example".into(), audience: "turn".into(), key: slow };
    access.replace(vec![], vec![other, issuer(keys.key())]).unwrap();
    let server = with(Options { access: access.clone(), ..Options::default() }).await;
    let token = |kid: &str, pair: &Pair| signed(pair.algorithm, &pair.key, Some(kid), &claims(json!({})));
    let begin = Instant::now();
    assert_eq!(ask_with(&server, &token("1", &first)).await.status, 200);
    assert!(begin.elapsed() < Duration::from_millis(4500), "the other issuer's server has five seconds");
    keys.says("200 OK", &set(&[("2", &second)]));
    access.prefetch().await;
    assert_eq!(ask_with(&server, &token("2", &second)).await.status, 200);
    assert_eq!(ask_with(&server, &token("1", &first)).await.status, 401, "withdrawn");
}
