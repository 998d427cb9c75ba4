//! Options that say who gets iceServers, and how.

use std::process::Command;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ED25519};
use relais::auth::rest;
use serde_json::{Value, json};

use crate::live::{Server, eventually, http};
use crate::{SECRET, SecretFile, WEB, web};

/// What a proxy passes on with this in the head.
fn ask(server: &Server, path: &str, header: (&str, &str)) -> (u16, Value) {
    let (status, body) = http(web(server), path, &[("X-Forwarded-For", "8.34.2.9"), header]);
    (status, serde_json::from_str(&body).unwrap_or_default())
}

/// The user name of an answer, which is good for an allocation.
fn username(server: &Server, answer: &Value) -> String {
    let servers = answer["iceServers"].as_array().unwrap();
    let turn = servers.iter().find(|entry| entry["username"].is_string()).unwrap();
    let (name, password) = (turn["username"].as_str().unwrap(), turn["credential"].as_str().unwrap());
    let mut client = server.udp().login(name, password);
    assert_eq!(client.allocate().code(), 0, "what is handed out is good");
    name.to_owned()
}

pub(crate) fn http_keys_buy_what_they_allow() {
    let made =
        Command::new(env!("CARGO_BIN_EXE_relais")).args(["credentials", "key", "made"]).output().unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    let key = made.lines().nth(1).unwrap();
    let line = made.lines().find(|line| line.starts_with("keys = ")).unwrap();
    let entry = line.trim_start_matches("keys = [").trim_end_matches(']');
    let file = SecretFile::new("api-key", "key-from-a-file-1234\n");
    let keys = format!(
        r#"[{entry}, {{ name = "inline", key = "key-in-the-file-1234", ttl = "5m", quota = 1, tag = "web",
            rate = "1 Mbit/s", bytes = "1 GB", peers = ["203.0.113.0/24"], origins = ["https://shop.example"] }},
            {{ name = "filed", key_file = {:?} }}]"#,
        file.0
    );
    let server = Server::start(&[WEB, SECRET, ("http.keys", &keys.replace('\n', " "))]);
    for (key, name) in [(key, "made"), ("key-from-a-file-1234", "filed"), ("key-in-the-file-1234", "inline")]
    {
        let with = |origin| {
            let all = [("X-Forwarded-For", "8.34.2.9"), ("X-API-Key", key), ("Origin", origin)];
            http(web(&server), "/v1/ice-servers", &all)
        };
        let (status, answer) = if name == "inline" {
            let (status, body) = with("https://shop.example");
            (status, serde_json::from_str(&body).unwrap_or_default())
        } else {
            ask(&server, "/v1/ice-servers", ("X-API-Key", key))
        };
        assert_eq!(status, 200, "{name} {answer}");
        let username = username(&server, &answer);
        let policy = rest::parts(&username, ':').unwrap().policy.unwrap();
        assert_eq!(policy.key.as_deref(), Some(name));
        if name == "inline" {
            assert_eq!((answer["ttl"].as_u64(), policy.allocations), (Some(300), Some(1)));
            assert_eq!(
                (policy.tag.as_deref(), policy.rate, policy.bytes),
                (Some("web"), Some(1_000_000), Some(1_000_000_000))
            );
            assert_eq!(policy.peers[0].to_string(), "203.0.113.0/24");
            assert_eq!(ask(&server, "/v1/ice-servers", ("X-API-Key", key)).0, 403, "a key for pages");
            assert_eq!(with("https://app.example").0, 403);
        }
    }
    assert_eq!(ask(&server, "/v1/ice-servers", ("X-API-Key", "key-of-nobody-123456")).0, 401);
    // Keys are taken back without a restart.
    std::fs::write(&file.0, "key-of-tomorrow-1234\n").unwrap();
    server.signal("HUP");
    assert!(eventually(|| ask(&server, "/v1/ice-servers", ("X-API-Key", "key-from-a-file-1234")).0 == 401));
    assert_eq!(ask(&server, "/v1/ice-servers", ("X-API-Key", "key-of-tomorrow-1234")).0, 200);
}

pub(crate) fn http_tokens_are_taken_from_each_source() {
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let pem = SecretFile::new("issuer.pem", &pair.public_key_pem());
    let secret = "0123456789abcdef0123456789abcdef";
    let file = SecretFile::new("token-secret", secret);
    let tokens = format!(
        r#"[{{ issuer = "a", audience = "turn", secret = "abcdef0123456789abcdef0123456789" }}, {{ issuer = "b", audience = "turn", secret_file = {:?} }}, {{ issuer = "c", audience = "turn", public_key_file = {:?} }}]"#,
        file.0, pem.0
    );
    let server = Server::start(&[WEB, SECRET, ("http.tokens", &tokens)]);
    let ed = EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).unwrap();
    let sources = [
        ("a", Algorithm::HS256, EncodingKey::from_secret(b"abcdef0123456789abcdef0123456789")),
        ("b", Algorithm::HS256, EncodingKey::from_secret(secret.as_bytes())),
        ("c", Algorithm::EdDSA, ed),
    ];
    for (issuer, algorithm, key) in &sources {
        let token = |issuer: &str| {
            let claims = json!({"iss": issuer, "aud": "turn", "sub": "alice", "exp": 4_000_000_000_u64, "turn": {"quota": 2}});
            format!("Bearer {}", encode(&Header::new(*algorithm), &claims, key).unwrap())
        };
        let (status, answer) = ask(&server, "/v1/ice-servers", ("Authorization", &token(issuer)));
        assert_eq!(status, 200, "{issuer} {answer}");
        let name = username(&server, &answer);
        let parts = rest::parts(&name, ':').unwrap();
        assert_eq!((parts.user, parts.policy.unwrap().allocations), ("alice", Some(2)));
        let other = if *issuer == "a" { "b" } else { "a" };
        assert_eq!(ask(&server, "/v1/ice-servers", ("Authorization", &token(other))).0, 401);
    }
    let none = Server::start(&[WEB, SECRET]);
    assert_eq!(ask(&none, "/v1/ice-servers", ("Authorization", "Bearer x")).0, 401);
}

pub(crate) fn http_dialects_are_those_that_answer() {
    let key = ("http.keys", r#"[{ name = "shop", key = "key-in-the-file-1234" }]"#);
    let status = |dialects: &str, path: &str| {
        let server = Server::start(&[WEB, SECRET, key, ("http.dialects", dialects)]);
        ask(&server, path, ("X-Other", "1")).0
    };
    let metered = "/api/v1/turn/credentials?apiKey=key-in-the-file-1234";
    let uberti = "/turn?service=turn&key=key-in-the-file-1234";
    assert_eq!(status(r#"["metered"]"#, metered), 200);
    assert_eq!(status(r#"["metered"]"#, uberti), 404);
    assert_eq!(status(r#"["uberti"]"#, uberti), 200);
    assert_eq!(status(r#"["uberti"]"#, metered), 404);
}

/// The status of a POST with this key.
fn post(server: &Server, path: &str, key: &str) -> u16 {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(web(server)).unwrap();
    stream.set_read_timeout(Some(crate::SOON)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: relay.example\r\nConnection: close\r\nContent-Length: 0\r\n\
         Authorization: Bearer {key}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text[9..12].parse().unwrap()
}

#[test]
fn a_key_revokes_what_it_has_bought_and_nothing_else() {
    let keys =
        r#"[{ name = "one", key = "key-in-the-file-1234" }, { name = "two", key = "key-of-another-1234" }]"#;
    let server = Server::start(&[WEB, SECRET, ("http.keys", keys)]);
    let (_, answer) = ask(&server, "/v1/ice-servers", ("X-API-Key", "key-in-the-file-1234"));
    let turn =
        answer["iceServers"].as_array().unwrap().iter().find(|entry| entry["username"].is_string()).unwrap();
    let (name, password) = (turn["username"].as_str().unwrap(), turn["credential"].as_str().unwrap());
    let mut client = server.udp().login(name, password);
    client.relay();
    let allocations = || server.metric("relais_allocations{transport=\"udp\"}");
    assert!(eventually(|| allocations() == 1.0));
    let path = |key: &str| {
        format!("/v1/turn/keys/{key}/credentials/{}/revoke", name.replace('?', "%3F").replace('/', "%2F"))
    };
    assert_eq!(post(&server, &path("two"), "key-of-another-1234"), 204, "it is not told whose it is");
    assert_eq!(client.refresh(600).code(), 0, "another key changes nothing");
    assert_eq!(post(&server, &path("one"), "key-in-the-file-1234"), 204);
    assert!(eventually(|| allocations() == 0.0));
    assert_ne!(server.udp().login(name, password).allocate().code(), 0);
    assert_eq!(post(&server, &path("one"), "key-in-the-file-1234"), 204, "once more does no harm");
}
