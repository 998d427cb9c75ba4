//! iceServers in all their forms: who gets them, what is in them, and how everybody else is turned away.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relais::auth::{Policy, rest};
use relais::http::{
    Access, ApiKey, ControlError, Dialect, Refused, Revocation, RevocationEntry, Revoked, Session,
    SessionFilter, View, ViewRequest,
};
use sha2::{Digest as _, Sha256};
use std::sync::RwLock;

pub(crate) const NOW: u64 = 1_790_000_000;
const SHOP: &str = "shop-key-of-24-letters-1";
const PUBLIC: &str = "public-key-of-25-letters-";
const SITE: &str = "site-key-of-24-letters-1";

/// Signs as the server does.
pub(crate) struct Source;

impl Source {
    fn sign(request: &GrantRequest) -> Result<IceGrant, UsernameError> {
        let left = request.ends.map_or(u64::MAX, |ends| ends - NOW);
        let ttl = request.ttl.unwrap_or(Duration::from_secs(14_400)).as_secs().min(left);
        let policy = Policy { issued: request.policy.issued.or(Some(NOW)), ..request.policy.clone() };
        let username = rest::username(NOW + ttl, ':', &request.user, &policy)?;
        let credential = rest::password(b"north", username.as_bytes());
        let host = &request.host;
        let turn = vec![format!("turn:{host}:3478?transport=udp"), format!("turns:{host}:443?transport=tcp")];
        let stun = vec![format!("stun:{host}:3478")];
        Ok(IceGrant { stun, turn, username, credential, expires_unix: NOW + ttl, ttl })
    }
}

impl IceSource for Source {
    fn grant(&self, request: GrantRequest) -> BoxFuture<'_, Result<IceGrant, UsernameError>> {
        async move { Self::sign(&request) }.boxed()
    }

    fn recall(&self, host: &str, username: &str, credential: &str) -> Option<IceGrant> {
        let parts = rest::parts(username, ':')?;
        let good = parts.expiry > NOW && rest::password(b"north", username.as_bytes()) == credential;
        let request = GrantRequest { host: host.to_owned(), ..GrantRequest::default() };
        let (username, credential) = (username.to_owned(), credential.to_owned());
        let ttl = parts.expiry.saturating_sub(NOW);
        good.then(|| IceGrant {
            username,
            credential,
            ttl,
            expires_unix: NOW + ttl,
            ..Self::sign(&request).unwrap()
        })
    }

    fn default_ttl(&self) -> Duration {
        Duration::from_secs(14_400)
    }

    fn now_unix(&self) -> u64 {
        NOW
    }
}

/// Remembers what it was asked to revoke.
#[derive(Default)]
struct Desk(RwLock<Vec<(Revocation, Option<String>)>>);

impl Control for Desk {
    fn revoke(
        &self,
        what: Revocation,
        issuer: Option<String>,
    ) -> BoxFuture<'static, Result<Revoked, ControlError>> {
        self.0.write().unwrap().push((what, issuer));
        async { Ok(Revoked { allocations_ended: 2, until: None }) }.boxed()
    }

    fn lift(
        &self,
        what: Revocation,
        issuer: Option<String>,
    ) -> BoxFuture<'static, Result<bool, ControlError>> {
        Nobody.lift(what, issuer)
    }

    fn revocations(&self) -> BoxFuture<'static, Vec<RevocationEntry>> {
        Nobody.revocations()
    }

    fn sessions(&self, filter: SessionFilter) -> BoxFuture<'static, Result<Vec<Session>, ControlError>> {
        Nobody.sessions(filter)
    }

    fn refusals(&self, user: Option<String>) -> BoxFuture<'static, Vec<Refused>> {
        Nobody.refusals(user)
    }

    fn view(&self, asked: ViewRequest) -> BoxFuture<'static, Result<View, ControlError>> {
        Nobody.view(asked)
    }
}

fn key(name: &str, secret: &str, policy: &str) -> ApiKey {
    let policy = if policy.is_empty() { Policy::default() } else { Policy::parse(policy).unwrap() };
    ApiKey { name: name.into(), hash: Sha256::digest(secret).into(), ttl: None, origins: vec![], policy }
}

fn options() -> Options {
    let access = Access::default();
    let shop = ApiKey {
        ttl: Some(Duration::from_secs(3600)),
        ..key("shop", SHOP, "tag=web&rate=1000000&peers=203.0.113.0/24")
    };
    let public = ApiKey { origins: vec!["*".into()], ..key("public", PUBLIC, "allocations=2") };
    let site = ApiKey { origins: vec!["https://shop.example".into()], ..key("site", SITE, "tag=web") };
    access.replace(vec![key("plain", "plain-key-of-24-letters-", ""), shop, public, site], vec![]).unwrap();
    Options { access, origins: vec!["https://app.example".into()], ..Options::default() }
}

pub(crate) async fn with(options: Options) -> Server {
    start_with(listener().await.0, options, Arc::new(Source), Arc::new(Desk::default())).await
}

fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))
}

fn bearer(secret: &str) -> String {
    format!("Bearer {secret}")
}

/// The user and the policy in a user name, which is right for its password.
fn parts(username: &Value, credential: &Value) -> (u64, String, String) {
    let (name, credential) = (username.as_str().unwrap(), credential.as_str().unwrap());
    assert_eq!(credential, rest::password(b"north", name.as_bytes()));
    let found = rest::parts(name, ':').unwrap();
    (found.expiry - NOW, found.user.to_owned(), found.policy.unwrap().to_string())
}

/// A browser that asks loopback for this name does so through a proxy.
const PROXY: (&str, &str) = ("X-Forwarded-For", "203.0.113.5");
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

#[tokio::test]
async fn native_takes_a_key_in_each_place_for_it() {
    let server = with(options()).await;
    let (as_bearer, as_basic) = (bearer(SHOP), basic("shop", SHOP));
    let query = format!("GET /v1/ice-servers?apiKey={SHOP}");
    for (line, header) in [
        ("GET /v1/ice-servers", ("Authorization", as_bearer.as_str())),
        ("POST /v1/ice-servers", ("Authorization", as_basic.as_str())),
        ("GET /v1/ice-servers", ("X-API-Key", SHOP)),
        (query.as_str(), ("X-Other", "1")),
    ] {
        let answer = send(&server, line, &[header], "").await;
        assert_eq!(answer.status, 200, "{line} {header:?} {}", answer.body);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("vary"), Some("origin"));
        let body = answer.json();
        let turn = &body["iceServers"][1];
        let (ttl, user, policy) = parts(&turn["username"], &turn["credential"]);
        assert_eq!((ttl, body["ttl"].as_u64()), (3600, Some(3600)), "the key's own bound");
        assert_eq!(user.len(), 12);
        assert_eq!(policy, format!("tag=web&key=shop&issued={NOW}&rate=1000000&peers=203.0.113.0/24"));
        assert_eq!(turn["urls"][0], "turn:relay.example:3478?transport=udp");
        assert_eq!(body["expiresAt"], "2026-09-21T15:13:20Z");
    }
}

#[tokio::test]
async fn native_narrows_what_a_key_allows_and_widens_nothing() {
    let server = with(options()).await;
    let headers = [("X-API-Key", SHOP)];
    let body = r#"{"ttl":60,"user":"zoë@shop","rate":5,"allocations":3,"bytes":9,"peers":["203.0.113.7"],"tag":"web"}"#;
    let query = "?ttl=60&user=zo%C3%AB%40shop&rate=5&allocations=3&bytes=9&peers=203.0.113.7&tag=web";
    for answer in [
        send(&server, "POST /v1/ice-servers", &headers, body).await,
        send(&server, &format!("GET /v1/ice-servers{query}"), &headers, "").await,
    ] {
        let turn = answer.json()["iceServers"][1].take();
        let wanted = format!("tag=web&key=shop&issued={NOW}&rate=5&bytes=9&allocations=3&peers=203.0.113.7");
        assert_eq!(parts(&turn["username"], &turn["credential"]), (60, "zo%C3%AB@shop".into(), wanted));
    }
    let wide = r#"{"ttl":999999,"rate":99000000}"#;
    let turn = send(&server, "POST /v1/ice-servers", &headers, wide).await.json()["iceServers"][1].take();
    let (ttl, _, policy) = parts(&turn["username"], &turn["credential"]);
    assert!(ttl == 3600 && policy.contains("rate=1000000&"), "{ttl} {policy}");
    for (body, status, code) in [
        (r#"{"peers":["0.0.0.0/0"]}"#, 403, "beyond_key"),
        (r#"{"tag":"other"}"#, 403, "beyond_key"),
        (r#"{"ttl":0}"#, 400, "bad_field"),
        (r#"{"ttl":"1h"}"#, 400, "bad_field"),
        (r#"{"alocations":3}"#, 400, "unknown_field"),
        (r#"{"peers":["x"]}"#, 400, "bad_field"),
        (r#"{"peers":["203.0.113.7/24"]}"#, 400, "bad_field"),
        (r#"{"allocations":4294967296}"#, 400, "bad_field"),
        ("{\"ttl\":60,}", 400, "bad_json"),
    ] {
        let answer = send(&server, "POST /v1/ice-servers", &headers, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body}");
    }
    let long = format!(r#"{{"user":"{}"}}"#, "x".repeat(129));
    assert_eq!(send(&server, "POST /v1/ice-servers", &headers, &long).await.code(), "bad_field");
    let plain = [("X-API-Key", "plain-key-of-24-letters-")];
    let turn = send(&server, "POST /v1/ice-servers", &plain, r#"{"ttl":999999}"#).await.json()["iceServers"]
        [1]
    .take();
    assert_eq!(
        parts(&turn["username"], &turn["credential"]).0,
        172_800,
        "nothing lasts longer than 48 hours"
    );
}

#[tokio::test]
async fn a_visitor_decides_nothing_but_a_program_on_this_machine_does() {
    let server = with(options()).await;
    let page = [("X-Forwarded-For", "203.0.113.5"), ("Origin", "https://app.example")];
    let answer = send(&server, "POST /v1/ice-servers", &page, r#"{"ttl":60}"#).await;
    let turn = answer.json()["iceServers"][1].take();
    let issued = format!("issued={NOW}");
    assert_eq!(parts(&turn["username"], &turn["credential"]), (60, "203.0.113.5".into(), issued.clone()));
    let longer = send(&server, "POST /v1/ice-servers", &page, r#"{"ttl":99999}"#).await.json();
    assert_eq!(longer["ttl"], 14_400);
    for body in [r#"{"user":"eve"}"#, r#"{"rate":5}"#] {
        assert_eq!(send(&server, "POST /v1/ice-servers", &page, body).await.code(), "not_yours_to_set");
    }
    // With no key about, the machine itself is the boundary.
    let server = with(Options::default()).await;
    let local = [("Host", "localhost")];
    let turn = send(&server, "POST /v1/ice-servers", &local, r#"{"user":"bob","rate":5}"#).await.json()["iceServers"][1]
        .take();
    let wanted = (14_400, "bob".into(), format!("{issued}&rate=5"));
    assert_eq!(parts(&turn["username"], &turn["credential"]), wanted);
}

#[tokio::test]
async fn link_headers_for_whip() {
    let server = with(options()).await;
    let authorization = bearer(SHOP);
    for method in ["GET", "OPTIONS"] {
        let answer = send(
            &server,
            &format!("{method} /v1/ice-servers?user=a"),
            &[("Authorization", &authorization)],
            "",
        )
        .await;
        assert_eq!(answer.status, if method == "GET" { 200 } else { 204 });
        let links: Vec<&str> = answer.head.lines().filter_map(|line| line.strip_prefix("link: ")).collect();
        assert_eq!(links[0], r#"<stun:relay.example:3478>; rel="ice-server""#);
        let name = format!(
            "{}:a?policy&tag=web&key=shop&issued={NOW}&rate=1000000&peers=203.0.113.0/24",
            NOW + 3600
        );
        let credential = rest::password(b"north", name.as_bytes());
        assert_eq!(
            links[1],
            format!(
                r#"<turn:relay.example:3478?transport=udp>; rel="ice-server"; username="{name}"; credential="{credential}"; credential-type="password""#
            )
        );
        assert_eq!(links.len(), 3);
    }
    let wrong = bearer("wrong-key-of-24-letters-");
    let refused = send(&server, "OPTIONS /v1/ice-servers", &[("Authorization", &wrong)], "").await;
    assert_eq!((refused.status, refused.header("link")), (401, None));
    let preflight = [("Authorization", authorization.as_str()), ("Access-Control-Request-Method", "GET")];
    let answer = send(&server, "OPTIONS /v1/ice-servers", &preflight, "").await;
    assert_eq!((answer.status, answer.header("link")), (204, None), "a preflight is no request");
    let stranger = send(&server, "OPTIONS /v1/ice-servers", &[], "").await;
    assert_eq!((stranger.status, stranger.header("link")), (204, None));
}

#[tokio::test]
async fn cloudflare_answers_201_with_a_list_or_one_object_and_204() {
    let desk = Arc::new(Desk::default());
    let control: Arc<dyn Control> = Arc::<Desk>::clone(&desk);
    let server = start_with(listener().await.0, options(), Arc::new(Source), control).await;
    let authorization = bearer(SHOP);
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let base = "POST /v1/turn/keys/shop/credentials";
    let answer = send(&server, &format!("{base}/generate-ice-servers"), &headers, r#"{"ttl":600}"#).await;
    assert_eq!(answer.status, 201);
    let list = answer.json()["iceServers"].take();
    assert_eq!(list[0], json!({"urls": ["stun:relay.example:3478"]}));
    assert_eq!(parts(&list[1]["username"], &list[1]["credential"]).0, 600);
    let answer =
        send(&server, &format!("{base}/generate"), &headers, r#"{"ttl":600,"customIdentifier":"u1"}"#).await;
    assert_eq!(answer.status, 201);
    let one = answer.json()["iceServers"].take();
    assert_eq!(one["urls"].as_array().unwrap().len(), 3);
    assert_eq!(parts(&one["username"], &one["credential"]).1, "u1");
    let username = one["username"].as_str().unwrap();
    let path = username.replace('?', "%3F").replace('/', "%2F");
    for _ in 0..2 {
        let answer = send(&server, &format!("{base}/{path}/revoke"), &headers, "").await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    }
    let revoked = (Revocation::Username(username.to_owned()), Some("shop".to_owned()));
    assert_eq!(*desk.0.read().unwrap(), [revoked.clone(), revoked]);
    let other = "POST /v1/turn/keys/public/credentials/generate";
    assert_eq!(send(&server, other, &headers, "").await.status, 401, "another key's id");
}

#[tokio::test]
async fn native_revokes_for_the_key_that_asks() {
    let desk = Arc::new(Desk::default());
    let control: Arc<dyn Control> = Arc::<Desk>::clone(&desk);
    let server = start_with(listener().await.0, options(), Arc::new(Source), control).await;
    let shop = [("X-API-Key", SHOP)];
    for body in [r#"{"user":"zoë"}"#, r#"{"tag":"web"}"#, r#"{"username":"1:a"}"#] {
        let answer = send(&server, "POST /v1/revoke", &shop, body).await;
        assert_eq!(
            (answer.status, answer.json()["allocations_ended"].as_u64()),
            (200, Some(2)),
            "{}",
            answer.body
        );
    }
    for (headers, body, status) in [
        (&shop[..], "{}", 400),
        (&shop, r#"{"user":"a","tag":"b"}"#, 400),
        (&[("X-API-Key", PUBLIC)], r#"{"user":"a"}"#, 403),
        (&[("X-API-Key", "nobody")], r#"{"user":"a"}"#, 401),
        (&[], r#"{"user":"a"}"#, 401),
        (&[("Host", "localhost")], r#"{"user":"a"}"#, 401),
    ] {
        assert_eq!(
            send(&server, "POST /v1/revoke", headers, body).await.status,
            status,
            "{headers:?} {body}"
        );
    }
    let by_shop = |what| (what, Some("shop".to_owned()));
    let wanted = [
        by_shop(Revocation::User("zo%C3%AB".into())),
        by_shop(Revocation::Tag("web".into())),
        by_shop(Revocation::Username("1:a".into())),
    ];
    assert_eq!(*desk.0.read().unwrap(), wanted);
}

#[tokio::test]
async fn twilio_answers_201_with_strings() {
    let server = with(options()).await;
    let line = "POST /2010-04-01/Accounts/shop/Tokens.json";
    for user in ["shop", "SK123"] {
        let answer = send(&server, line, &[("Authorization", &basic(user, SHOP)), FORM], "Ttl=900").await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let body = answer.json();
        assert_eq!((body["ttl"].as_str(), body["account_sid"].as_str()), (Some("900"), Some("shop")));
        assert_eq!(body["date_created"], "Mon, 21 Sep 2026 14:13:20 +0000");
        assert_eq!(body["ice_servers"].as_array().unwrap().len(), 3);
        assert_eq!(body["ice_servers"][1]["url"], body["ice_servers"][1]["urls"]);
        assert_eq!(parts(&body["username"], &body["password"]).0, 900);
    }
    let refused = send(&server, line, &[("Authorization", &basic("shop", "wrong"))], "").await;
    let body = refused.json();
    assert_eq!(
        (refused.status, body["code"].as_u64(), body["status"].as_u64()),
        (401, Some(20_003), Some(401))
    );
    assert!(body["message"].is_string() && body["more_info"].is_string());
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic realm="));
    let bad = send(&server, line, &[("Authorization", &basic("shop", SHOP)), FORM], "Ttl=soon").await;
    assert_eq!((bad.status, bad.json()["status"].as_u64()), (400, Some(400)));
}

#[tokio::test]
async fn metered_answers_a_bare_array_and_makes_keys_of_credentials() {
    let server = with(options()).await;
    let list =
        send(&server, &format!("GET /api/v1/turn/credentials?apiKey={SHOP}&region=global"), &[], "").await;
    assert_eq!(list.status, 200);
    let body = list.json();
    assert_eq!(body[0], json!({"urls": "stun:relay.example:3478"}));
    assert_eq!(body[1]["urls"], "turn:relay.example:3478?transport=udp");
    let line = format!("POST /api/v1/turn/credential?secretKey={SHOP}");
    let made = send(&server, &line, &[], r#"{"expiryInSeconds":300,"label":"u1"}"#).await;
    assert_eq!(made.status, 200);
    let made = made.json();
    assert_eq!((made["expiryInSeconds"].as_u64(), made["label"].as_str()), (Some(300), Some("u1")));
    let (_, user, _) = parts(&made["username"], &made["password"]);
    assert_eq!(user, "u1");
    let api_key = made["apiKey"].as_str().unwrap();
    let again =
        send(&server, &format!("GET /api/v1/turn/credentials?apiKey={api_key}"), &[], "").await.json();
    assert_eq!((&again[1]["username"], &again[1]["credential"]), (&made["username"], &made["password"]));
    let forged = api_key.replace('.', "A.");
    for key in ["wrong", forged.as_str(), "YQ.YQ", ""] {
        let refused = send(&server, &format!("GET /api/v1/turn/credentials?apiKey={key}"), &[], "").await;
        assert_eq!(refused.status, 401, "{key}");
        assert!(refused.json()["error"].is_string());
    }
    let bad = send(&server, &line, &[], "{").await;
    assert_eq!(bad.status, 400);
    assert!(bad.json()["error"].as_str().unwrap().contains("Line 1, column 1"));
}

#[tokio::test]
async fn xirsys_answers_in_an_envelope() {
    let server = with(options()).await;
    let authorization = basic("shop", SHOP);
    let body = r#"{"format":"urls","expire":"30"}"#;
    for channel in ["default", "my/channel"] {
        let answer =
            send(&server, &format!("PUT /_turn/{channel}"), &[("Authorization", &authorization)], body).await;
        assert_eq!((answer.status, answer.json()["s"].as_str()), (200, Some("ok")));
        let servers = answer.json()["v"]["iceServers"].take();
        assert_eq!(parts(&servers["username"], &servers["credential"]).0, 30);
        assert_eq!(servers["urls"].as_array().unwrap().len(), 3);
    }
    // Without a word about the form it is a list. Xirsys' own client in a page writes the channel with a slash before it.
    for (channel, body) in [("/default", ""), ("default?expire=30", ""), ("default", r#"{"expire":30}"#)] {
        let line = format!("PUT /_turn/{channel}");
        let answer = send(&server, &line, &[("Authorization", &authorization)], body).await;
        assert_eq!(answer.status, 200, "{channel}: {}", answer.body);
        let servers = answer.json()["v"]["iceServers"].take();
        assert_eq!(servers.as_array().unwrap().len(), 3);
        assert_eq!(servers[0], json!({"url": "stun:relay.example:3478", "urls": "stun:relay.example:3478"}));
        let lasts = if channel == "/default" { 3600 } else { 30 };
        assert_eq!(parts(&servers[1]["username"], &servers[1]["credential"]).0, lasts);
    }
    // What clients send besides means nothing here, and does no harm; a slip in what means something is told.
    let more = r#"{"format":"urls","expire":30,"ident":"shop","secret":"x","domain":"a.example","application":"default",
        "room":"default","secure":1,"type":"peer"}"#;
    for (body, status, said) in [
        (more, 200, None),
        (r#"{"format":null,"expire":null}"#, 200, None),
        (r#"{"format":"url"}"#, 400, Some("bad_field")),
        (r#"{"format":["urls"]}"#, 400, Some("bad_field")),
        (r#"{"format":1}"#, 400, Some("bad_field")),
        (r#"{"expire":"soon"}"#, 400, Some("bad_field")),
        (r#"{"expire":true}"#, 400, Some("bad_field")),
    ] {
        let answer = send(&server, "PUT /_turn/default", &[("Authorization", &authorization)], body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        if let Some(said) = said {
            assert_eq!(answer.json(), json!({"v": said, "s": "error"}), "{body}");
        }
    }
    let refused =
        send(&server, "PUT /_turn/default", &[("Authorization", &basic("shop", "wrong"))], body).await;
    assert_eq!((refused.status, refused.json()), (401, json!({"v": "unauthorized", "s": "error"})));
}

#[tokio::test]
async fn uberti_answers_at_the_root_and_the_page_stays_there() {
    let server = with(options()).await;
    for path in ["/", "/turn"] {
        let line = format!("GET {path}?service=turn&username=alice&key={SHOP}");
        let answer = send(&server, &line, &[], "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let body = answer.json();
        assert_eq!(body["ttl"], 3600);
        assert_eq!(body["uris"].as_array().unwrap().len(), 2);
        assert_eq!(parts(&body["username"], &body["password"]).1, "alice");
        let refused = send(&server, &format!("GET {path}?service=turn&key=wrong"), &[], "").await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "unauthorized"));
    }
    // As Janus asks unless told otherwise: by POST, the same words in the query and in a form.
    let words = format!("service=turn&api={SHOP}&key={SHOP}&username=alice");
    let posted = send(&server, &format!("POST /?{words}"), &[FORM], &words).await;
    assert_eq!(posted.status, 200, "{}", posted.body);
    assert_eq!(parts(&posted.json()["username"], &posted.json()["password"]).1, "alice");
    let other = send(&server, "POST /", &[FORM], &words).await;
    assert_eq!(
        (other.status, other.code().as_str(), other.header("allow")),
        (405, "method_not_allowed", Some("GET,HEAD"))
    );
    let page = send(&server, "GET /?room=x", &[], "").await;
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let without = Options { dialects: vec![Dialect::Native], ..options() };
    let server = with(without).await;
    let page = send(&server, &format!("GET /?service=turn&key={SHOP}"), &[], "").await;
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert_eq!(send(&server, &format!("POST /?{words}"), &[FORM], &words).await.status, 405);
}

#[tokio::test]
async fn matrix_answers_under_both_versions() {
    let server = with(options()).await;
    for version in ["v3", "r0"] {
        let line = format!("GET /_matrix/client/{version}/voip/turnServer");
        let answer = send(&server, &line, &[("Authorization", &bearer(SHOP))], "").await;
        let body = answer.json();
        assert_eq!((answer.status, body["ttl"].as_u64()), (200, Some(3600)));
        assert!(body["uris"].is_array());
        parts(&body["username"], &body["password"]);
        // A client that reads M_UNKNOWN_TOKEN logs its user out, and of 403 asks no more.
        for headers in [&[("Authorization", "Bearer wrong")][..], &[]] {
            let refused = send(&server, &line, headers, "").await;
            assert_eq!((refused.status, refused.json()["errcode"].as_str()), (401, Some("M_MISSING_TOKEN")));
        }
    }
}

/// What nginx 1.30 sends to `proxy_pass http://127.0.0.1:8080` unless told otherwise, beside what its client sent: HTTP/1.1,
/// `Host: $proxy_host` and `Connection: close`.
const NGINX: [(&str, &str); 3] =
    [("Host", "127.0.0.1:8080"), ("User-Agent", "Mozilla/5.0 (X11)"), ("Accept", "*/*")];

#[tokio::test]
async fn behind_a_proxy_that_says_nothing_a_key_is_needed_as_soon_as_there_are_any() {
    let server = with(options()).await;
    for headers in [&NGINX[..], &[("Host", "localhost")]] {
        let answer = send(&server, "GET /v1/ice-servers", headers, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{headers:?}");
        let named = send(&server, "POST /v1/ice-servers", headers, r#"{"user":"eve"}"#).await;
        assert_eq!(named.status, 401);
    }
    let mut with_key = NGINX.to_vec();
    with_key.push(("X-API-Key", SHOP));
    assert_eq!(send(&server, "GET /v1/ice-servers", &with_key, "").await.status, 200);

    let limits = Limits { local_burst: 3, locals_per_second: 1, ..Limits::default() };
    let server = with(Options { limits, ..Options::default() }).await;
    assert_eq!(
        send(&server, "GET /v1/ice-servers", &NGINX, "").await.status,
        200,
        "without any it is a program"
    );
    let (_, refused) = first_refusal(&server, &NGINX, 20).await.expect("a bound for the crowd");
    assert!(refused.header("retry-after").is_some());
    let server = with(Options { limits, ..options() }).await;
    let guess = [("Host", "127.0.0.1:8080"), ("X-API-Key", "wrong")];
    assert!(first_refusal(&server, &guess, 20).await.is_some(), "keys are not guessed any faster here");
}

#[tokio::test]
async fn whoever_brings_no_key_is_told_what_is_missing() {
    let server = with(options()).await;
    let own_page =
        [("Host", "localhost:8080"), ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors")];
    let answer = send(&server, "GET /v1/ice-servers", &own_page, "").await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
    let error = &answer.json()["error"];
    assert!(error["message"].as_str().unwrap().contains("brings none"), "{error}");
    for word in ["the server's own page", "http.rooms = \"named\"", "relais ice-servers"] {
        assert!(error["help"].as_str().unwrap().contains(word), "{word}: {error}");
    }
    assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
}

#[tokio::test]
async fn views_are_bounded_for_programs_on_this_machine_too() {
    let limits = Limits { view_burst: 3, views_per_second: 1, ..Limits::default() };
    let server = with(Options { limits, ..Options::default() }).await;
    let guess = r#"{"username":"1:a","credential":"x"}"#;
    let ask = async || send(&server, "POST /v1/view", &[("Host", "localhost")], guess).await;
    let mut tries = 0;
    let refused = loop {
        let answer = ask().await;
        if answer.status == 429 {
            break answer;
        }
        tries += 1;
        assert!(tries < 20, "no bound");
    };
    assert!(tries >= 3, "{tries}");
    assert_eq!(refused.header("retry-after"), Some("1"), "until there is one again");
    assert!(refused.json()["error"]["help"].as_str().unwrap().contains("twice a second"), "{}", refused.body);
}

#[tokio::test]
async fn a_key_for_pages_is_public_and_wants_their_origin() {
    let server = with(options()).await;
    let page = [PROXY, ("X-API-Key", SITE), ("Origin", "https://shop.example")];
    let turn =
        send(&server, "POST /v1/ice-servers", &page, r#"{"ttl":60}"#).await.json()["iceServers"][1].take();
    let wanted = (60, "203.0.113.5".to_owned(), format!("tag=web&key=site&issued={NOW}"));
    assert_eq!(parts(&turn["username"], &turn["credential"]), wanted);
    for body in [r#"{"user":"eve"}"#, r#"{"tag":"other"}"#, r#"{"user":"eve","tag":"web"}"#] {
        let refused = send(&server, "POST /v1/ice-servers", &page, body).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "not_yours_to_set"), "{body}");
    }
    let revoke = send(&server, "POST /v1/revoke", &page, r#"{"user":"203.0.113.6"}"#).await;
    assert_eq!(revoke.code(), "not_yours_to_revoke");
    for good in requests_of("site", SITE) {
        for headers in
            [&[PROXY][..], &[], &[PROXY, ("Origin", "https://relay.example")], &[("Host", "localhost")]]
        {
            assert_eq!(request(&server, &good, headers).await.status, 403, "{good:?} {headers:?}");
        }
    }
    let limits = Limits { grant_burst: 3, grants_per_second: 1, ..Limits::default() };
    let server = with(Options { limits, ..options() }).await;
    assert!(first_refusal(&server, &page, 20).await.is_some());
    let other = [("X-Forwarded-For", "203.0.113.6"), page[1], page[2]];
    assert_eq!(send(&server, "GET /v1/ice-servers", &other, "").await.status, 200, "each address by itself");
}

/// Each dialect's request with this secret.
fn requests(secret: &str) -> Vec<(String, Vec<(&'static str, String)>)> {
    requests_of("shop", secret)
}

/// The same with the key of another name.
fn requests_of(name: &str, secret: &str) -> Vec<(String, Vec<(&'static str, String)>)> {
    let bearer = || vec![("Authorization", bearer(secret))];
    let basic = || vec![("Authorization", basic(name, secret))];
    let cloudflare = format!("POST /v1/turn/keys/{name}/credentials");
    vec![
        ("GET /v1/ice-servers".into(), bearer()),
        ("GET /v1/ice-servers".into(), basic()),
        ("GET /v1/ice-servers".into(), vec![("X-API-Key", secret.into())]),
        (format!("{cloudflare}/generate-ice-servers"), bearer()),
        (format!("{cloudflare}/generate"), bearer()),
        (format!("{cloudflare}/1%3Aa/revoke"), bearer()),
        (format!("POST /2010-04-01/Accounts/{name}/Tokens.json"), basic()),
        (format!("GET /api/v1/turn/credentials?apiKey={secret}"), vec![]),
        (format!("POST /api/v1/turn/credential?secretKey={secret}"), vec![]),
        ("PUT /_turn/default".into(), basic()),
        (format!("GET /turn?service=turn&key={secret}"), vec![]),
        ("GET /_matrix/client/v3/voip/turnServer".into(), bearer()),
    ]
}

async fn request(
    server: &Server,
    (line, headers): &(String, Vec<(&'static str, String)>),
    more: &[(&str, &str)],
) -> Answer {
    let mut all: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend(more);
    send(server, line, &all, "").await
}

#[tokio::test]
async fn an_unknown_and_a_wrong_key_look_the_same_everywhere() {
    let server = with(options()).await;
    // A key of another name is as wrong as one that there never was.
    let wrong = requests("wrong-key-of-24-letters-");
    let others = requests("plain-key-of-24-letters-");
    let named = |line: &str, headers: &[(&str, String)]| {
        line.contains("/shop/") || headers.iter().any(|(_, value)| value.starts_with("Basic"))
    };
    for (unknown, other) in wrong.iter().zip(&others) {
        let answer = request(&server, unknown, &[]).await;
        assert_eq!(answer.status, 401, "{unknown:?}");
        assert!(
            answer.header("www-authenticate").is_some() && answer.header("cache-control") == Some("no-store")
        );
        if named(&other.0, &other.1) {
            let same = request(&server, other, &[]).await;
            let strip = |head: &str| {
                head.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n")
            };
            assert_eq!((strip(&same.head), &same.body), (strip(&answer.head), &answer.body), "{other:?}");
        }
    }
    for good in requests(SHOP) {
        let status = request(&server, &good, &[]).await.status;
        assert!((200..300).contains(&status), "{good:?} {status}");
    }
}

#[tokio::test]
async fn nobody_is_let_in_without_a_key_where_one_is_needed() {
    let server = with(Options { open: true, ..options() }).await;
    for (line, _) in requests("") {
        let is_native = line == "GET /v1/ice-servers";
        let answer = send(&server, &line, &[("Host", "localhost")], "").await;
        assert_eq!(answer.status, if is_native { 200 } else { 401 }, "{line}");
    }
    let twice = [("Authorization", bearer(SHOP)), ("Authorization", bearer(SHOP))];
    let twice = twice.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(send(&server, "GET /v1/ice-servers", &twice, "").await.status, 401);
    for odd in ["Bearer", "Digest x", "Basic !", "Basic c2hvcA==", "x"] {
        assert_eq!(
            send(&server, "GET /v1/ice-servers", &[("Authorization", odd)], "").await.status,
            401,
            "{odd}"
        );
    }
}

#[tokio::test]
async fn a_key_is_for_its_own_pages() {
    let server = with(options()).await;
    for good in requests_of("site", SITE) {
        if good.0.ends_with("/revoke") {
            continue;
        }
        let own = request(&server, &good, &[PROXY, ("Origin", "https://shop.example")]).await;
        assert!((200..300).contains(&own.status), "{good:?}");
        assert_eq!(own.header("access-control-allow-origin"), Some("https://shop.example"));
        assert_eq!(own.header("access-control-allow-credentials"), Some("true"));
        for other in ["https://app.example", "https://shop.example.evil", "null", "https://evil.example"] {
            assert_eq!(
                request(&server, &good, &[PROXY, ("Origin", other)]).await.status,
                403,
                "{good:?} {other}"
            );
        }
    }
    let public =
        [("X-API-Key", PUBLIC), ("Origin", "https://anywhere.example"), ("X-Forwarded-For", "203.0.113.9")];
    let answer = send(&server, "GET /v1/ice-servers", &public, "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None, "never together with cookies");
    let turn = answer.json()["iceServers"][1].take();
    let (_, user, policy) = parts(&turn["username"], &turn["credential"]);
    assert_eq!((user.as_str(), policy), ("203.0.113.9", format!("key=public&issued={NOW}&allocations=2")));
    let named = send(&server, "GET /v1/ice-servers?user=eve", &public, "").await;
    assert_eq!(named.code(), "not_yours_to_set", "whoever has a public key is counted by address");
}

#[tokio::test]
async fn preflights_are_answered_for_each_dialect() {
    let server = with(options()).await;
    for (line, method) in [
        ("/v1/ice-servers", "GET, POST"),
        ("/v1/revoke", "POST"),
        ("/v1/view", "POST"),
        ("/v1/turn/keys/shop/credentials/generate-ice-servers", "POST"),
        ("/v1/turn/keys/shop/credentials/generate", "POST"),
        ("/v1/turn/keys/shop/credentials/a/revoke", "POST"),
        ("/2010-04-01/Accounts/shop/Tokens.json", "POST"),
        ("/api/v1/turn/credentials", "GET"),
        ("/api/v1/turn/credential", "POST"),
        ("/_turn/default", "PUT"),
        ("/turn", "GET, POST"),
        ("/_matrix/client/v3/voip/turnServer", "GET"),
        ("/_matrix/client/r0/voip/turnServer", "GET"),
    ] {
        for (origin, echoed) in [
            ("https://shop.example", "https://shop.example"),
            ("https://app.example", "https://app.example"),
            ("https://x.example", "*"),
        ] {
            let headers = [PROXY, ("Origin", origin), ("Access-Control-Request-Method", "POST")];
            let answer = send(&server, &format!("OPTIONS {line}"), &headers, "").await;
            assert_eq!(answer.status, 204, "{line}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(echoed), "{line}");
            assert_eq!(answer.header("access-control-allow-methods"), Some(method), "{line}");
            let allowed = answer.header("access-control-allow-headers").unwrap();
            assert!(["authorization", "content-type", "x-api-key"].iter().all(|name| allowed.contains(name)));
            assert_eq!(answer.header("vary"), Some("origin"));
        }
    }
    for (origin, echoed) in [("https://shop.example", "https://shop.example"), ("https://x.example", "*")] {
        let view = send(&server, "POST /v1/view", &[PROXY, ("Origin", origin)], "{}").await;
        assert_eq!((view.status, view.header("access-control-allow-origin")), (400, Some(echoed)));
    }
    let access = Access::default();
    access.replace(vec![key("plain", SHOP, "")], vec![]).unwrap();
    let server = with(Options { access, ..Options::default() }).await;
    let answer = send(&server, "OPTIONS /turn", &[PROXY, ("Origin", "https://x.example")], "").await;
    assert_eq!(
        (answer.header("access-control-allow-origin"), answer.header("access-control-allow-methods")),
        (None, None)
    );
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_in_the_words_of_its_dialect() {
    let stats = Arc::new(Stats(Some(vec![]), GrantRefusals::default()));
    let source: Arc<dyn StatsSource> = Arc::<Stats>::clone(&stats);
    let server =
        start_counting(listener().await.0, options(), Arc::new(Source), Arc::new(Nobody), source).await;
    let (authorization, page) = (bearer(SHOP), [PROXY, ("Origin", "https://app.example")]);
    let headers = [&page[..], &[("Authorization", authorization.as_str())]].concat();
    for (line, code) in [
        ("/v1/turn/keys/%FF/credentials/generate-ice-servers", "/error/code"),
        ("/v1/turn/keys/%FF/credentials/generate", "/error/code"),
        ("/v1/turn/keys/%FF/credentials/a/revoke", "/error/code"),
        ("/v1/turn/keys/shop/credentials/%FF/revoke", "/error/code"),
        ("/2010-04-01/Accounts/%FF/Tokens.json", "/code"),
    ] {
        let answer = send(&server, &format!("POST {line}"), &headers, "").await;
        let wanted = if code == "/code" { json!(20_400) } else { json!("bad_form") };
        assert_eq!((answer.status, answer.json().pointer(code)), (400, Some(&wanted)), "{line}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"), "{line}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{line}");
    }
    let counted = stats.1.counts().find(|(code, _)| *code == "bad_form");
    assert_eq!(counted, Some(("bad_form", 5)));
}

#[tokio::test]
async fn a_dialect_that_is_not_listed_is_not_there() {
    let server = with(Options { dialects: vec![Dialect::Twilio], ..options() }).await;
    for good in requests(SHOP) {
        let status = request(&server, &good, &[]).await.status;
        assert_eq!(status, if good.0.contains("Accounts") { 201 } else { 404 }, "{good:?}");
    }
}

#[tokio::test]
async fn keys_come_and_go_while_the_server_runs() {
    let options = options();
    let access = options.access.clone();
    let server = with(options).await;
    let headers = [("X-API-Key", SHOP)];
    assert_eq!(send(&server, "GET /v1/ice-servers", &headers, "").await.status, 200);
    access.replace(vec![], vec![]).unwrap();
    assert_eq!(send(&server, "GET /v1/ice-servers", &headers, "").await.status, 401);
    access.replace(vec![key("again", SHOP, "")], vec![]).unwrap();
    assert_eq!(send(&server, "GET /v1/ice-servers", &headers, "").await.status, 200);
}

/// The first answer of a run of requests that is not 200.
async fn first_refusal(server: &Server, headers: &[(&str, &str)], tries: usize) -> Option<(usize, Answer)> {
    for n in 0..tries {
        let answer = send(server, "GET /v1/ice-servers", headers, "").await;
        if answer.status == 429 {
            return Some((n, answer));
        }
    }
    None
}

#[tokio::test]
async fn keys_and_addresses_have_rates() {
    let per_address = Limits { holder_burst: 3, holders_per_second: 1, ..Limits::default() };
    let server = with(Options { limits: per_address, ..options() }).await;
    let from = |address| [("X-API-Key", SHOP), ("X-Forwarded-For", address)];
    let (at, refused) = first_refusal(&server, &from("203.0.113.5"), 20).await.expect("a bound");
    assert!(at >= 3, "{at}");
    assert_eq!(refused.code(), "too_many_requests");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(send(&server, "GET /v1/ice-servers", &from("203.0.113.6"), "").await.status, 200);
    // Wrong keys count as well, and one more is not even looked at.
    let wrong = [("X-API-Key", "wrong"), ("X-Forwarded-For", "203.0.113.7")];
    assert!(first_refusal(&server, &wrong, 20).await.is_some());

    let per_key = Limits { key_burst: 3, keys_per_second: 1, ..Limits::default() };
    let server = with(Options { limits: per_key, ..options() }).await;
    assert!(first_refusal(&server, &from("203.0.113.5"), 20).await.is_some());
    let elsewhere =
        first_refusal(&server, &from("203.0.113.6"), 20).await.expect("the key's bound, wherever it is used");
    assert!(elsewhere.0 <= 2, "{}", elsewhere.0);
    let other = [("X-API-Key", "plain-key-of-24-letters-")];
    assert_eq!(send(&server, "GET /v1/ice-servers", &other, "").await.status, 200);
}

#[tokio::test]
async fn bodies_are_bounded_and_do_not_wait_for_ever() {
    let limits = Limits { body_deadline: Duration::from_millis(300), ..Limits::default() };
    let server = with(Options { limits, ..options() }).await;
    let long = format!(r#"{{"user":"{}"}}"#, "x".repeat(5000));
    let answer = send(&server, "POST /v1/ice-servers", &[("X-API-Key", SHOP)], &long).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    let slow = format!(
        "POST /v1/ice-servers HTTP/1.1\r\nHost: relay.example\r\nConnection: close\r\nX-API-Key: {SHOP}\r\nContent-Length: 9\r\n\r\n{{"
    );
    let answer = raw(server.address, &slow).await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_too_slow"));
    let chunked = format!(
        "POST /v1/ice-servers HTTP/1.1\r\nHost: relay.example\r\nConnection: close\r\nX-API-Key: {SHOP}\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        format!("400\r\n{}\r\n", " ".repeat(1024)).repeat(5)
    );
    assert_eq!(raw(server.address, &chunked).await.status, 413);
}
