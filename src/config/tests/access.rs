//! `http.keys`, `http.tokens` and `http.dialects`.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::*;

fn key(fields: &str) -> String {
    format!("[http]\nkeys = [{{ name = \"shop\", key = \"kP7w2mYxQ9dLr4Zt\"{fields} }}]")
}

#[test]
fn of_a_key_only_its_hash_and_what_it_may_do_arrive() {
    let settings = good(&key(
        ", ttl = \"1h\", quota = 4, origins = [\"https://Shop.example\"], tag = \"web\", rate = \"2 Mbit/s\", \
         bytes = \"10 GB\", peers = [\"203.0.113.0/24\"]",
    ));
    let [shop] = &settings.http.keys[..] else { panic!("one key") };
    let hash: [u8; 32] = Sha256::digest("kP7w2mYxQ9dLr4Zt").into();
    assert_eq!((shop.name.as_str(), shop.hash), ("shop", hash));
    assert_eq!((shop.ttl, shop.quota), (Some(Duration::from_secs(3600)), Some(4)));
    assert_eq!((shop.rate, shop.bytes), (Some(2_000_000), Some(10_000_000_000)));
    assert_eq!(
        (shop.tag.as_deref(), &shop.origins[..]),
        (Some("web"), &["https://shop.example".to_owned()][..])
    );
    assert_eq!(shop.peers[0].to_string(), "203.0.113.0/24");
    let shown = effective(&settings);
    has(
        &shown,
        "name = \"shop\", hash = \"<redacted>\", ttl = \"1h\", quota = 4, origins = [\"https://shop.example\"], tag = \"web\", rate = \"2 Mbit/s\", bytes = \"10 GB\"",
    );
    assert!(!format!("{shown}{settings:?}").contains("kP7w"), "the key shows");

    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let by_hash = good(&format!("[http]\nkeys = [{{ name = \"shop\", hash = \"sha256:{hex}\" }}]"));
    assert_eq!(by_hash.http.keys[0].hash, hash);
    let scratch = Scratch::new("api-key");
    let file = scratch.file("key", "kP7w2mYxQ9dLr4Zt\n", 0o600);
    let by_file = good(&format!("[http]\nkeys = [{{ name = \"shop\", key_file = {file:?} }}]"));
    assert_eq!(by_file.http.keys[0].hash, hash);
}

#[test]
fn keys_that_are_weak_half_or_double_are_refused() {
    for (text, wanted) in [
        (
            "[http]\nkeys = [{ name = \"a\", key = \"fifteen-letters\" }]".to_owned(),
            "has 15 characters, so it can be guessed",
        ),
        ("[http]\nkeys = [{ name = \"a\", key = \"with white space in it\" }]".to_owned(), "white space"),
        (
            "[http]\nkeys = [{ name = \"a\", key = \"change-me-change-me\" }]".to_owned(),
            "a sample that everybody knows",
        ),
        ("[http]\nkeys = [{ name = \"a\" }]".to_owned(), "none of `key`, `key_file`, `hash`"),
        ("[http]\nkeys = [{ key = \"kP7w2mYxQ9dLr4Zt\" }]".to_owned(), "has no `name`"),
        (
            "[http]\nkeys = [{ name = \"a b\", key = \"kP7w2mYxQ9dLr4Zt\" }]".to_owned(),
            "`a b` cannot name a key; use 1 to 64 letters, digits, `-`, `_` and `.`, such as \"a-b\"",
        ),
        ("[http]\nkeys = [{ name = \"a\", hash = \"sha256:00\" }]".to_owned(), "64 hex digits"),
        ("[http]\nkeys = [{ name = \"a\", hash = \"kP7w2mYxQ9dLr4Zt\" }]".to_owned(), "64 hex digits"),
        (key(", hash = \"sha256:00\""), "only one of `key` and `hash`"),
        (key(", quotas = 4"), "did you mean `quota`?"),
        (key(", quota = 0"), "from 1"),
        (key(", ttl = \"49h\""), "not a duration from 1s to 48h"),
        (key(", rate = \"2 MB\""), "not a rate"),
        (key(", rate = \"0 bit/s\""), "not a rate"),
        (key(", bytes = \"10\""), "not a number of bytes"),
        (key(", tag = \"\""), "a tag has 1 to 64 bytes"),
        (key(", origins = [\"app.example\"]"), "not an origin; write \"https://app.example\""),
        (key(", origins = [\"*\", \"https://app.example\"]"), "stands for all"),
        (key(", origins = \"*\""), "takes a list"),
        (key(", peers = [\"example.org\"]"), "not an address or a network"),
        (key(", peers = [\"10.0.0.1/8\"]"), "write \"10.0.0.0/8\" for the network or \"10.0.0.1\""),
        (key(" }, { name = \"shop\", key = \"another-good-key-1\""), "two entries for key"),
        (key(" }, { name = \"other\", key = \"kP7w2mYxQ9dLr4Zt\""), "are the same"),
        ("[http]\ndialects = [\"twillio\"]".to_owned(), "did you mean \"twilio\"?"),
    ] {
        has(&bad(&text), wanted);
    }
}

#[test]
fn a_key_that_does_nothing_or_buys_no_turn_is_told_of() {
    let warned = |text: &str, wanted: &str| {
        let (_, warnings) = file(text).unwrap();
        assert!(warnings.iter().any(|warning| warning.message.contains(wanted)), "{warnings:?}");
    };
    warned(&format!("{}\nlisten = []", key("")), "`http.keys` has no effect");
    let users = "[auth]\nusers = [{ name = \"alice\", password = \"wonderland\" }]";
    warned(&format!("{}\n{users}", key("")), "no secret to make credentials with");
}

#[test]
fn a_budget_that_visitors_renew_is_told_of() {
    let warnings = |fields: &str| {
        let (_, warnings) = file(&key(fields)).unwrap();
        warnings
            .into_iter()
            .map(|warning| format!("{}; {}", warning.message, warning.cure))
            .collect::<Vec<_>>()
    };
    let page = ", origins = [\"https://app.example\"]";
    let found = warnings(&format!("{page}, bytes = \"10 GB\", quota = 4"));
    assert_eq!(found.len(), 1, "{found:?}");
    has(&found[0], "`bytes` of the key `shop` bounds one credential");
    has(&found[0], "write `rate` and `quota`");
    for bounded in [
        format!("{page}, bytes = \"10 GB\", quota = 4, rate = \"2 Mbit/s\""),
        ", bytes = \"10 GB\"".to_owned(),
        page.to_owned(),
    ] {
        assert_eq!(warnings(&bounded), [""; 0], "{bounded}");
    }
}

#[test]
fn systemd_credentials_serve_for_every_file_of_a_secret() {
    let scratch = Scratch::new("load-credential");
    // As systemd makes them: for the service alone, and not to be written.
    scratch.file("shop.key", "kP7w2mYxQ9dLr4Zt\n", 0o400);
    scratch.file("jwt", "0123456789abcdef0123456789abcdef\n", 0o400);
    scratch.file("main", "north-wind-and-sun\n", 0o440);
    scratch.file("alice", "wonderland\n", 0o400);
    scratch.file("oauth", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n", 0o400);
    let directory = scratch.0.display();
    let text = format!(
        "[auth]\nsecrets = [{{ name = \"main\", secret_file = \"{directory}/main\" }}]\n\
         users = [{{ name = \"alice\", password_file = \"{directory}/alice\" }}]\n\
         oauth = [{{ kid = \"1\", key_file = \"{directory}/oauth\" }}]\n\
         [http]\nkeys = [{{ name = \"shop\", key_file = \"{directory}/shop.key\" }}]\n\
         tokens = [{{ issuer = \"a\", audience = \"b\", secret_file = \"{directory}/jwt\" }}]\n"
    );
    let configuration = Scratch::new("load-credential-file");
    let path = configuration.file("relais.toml", &text, 0o644);
    std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o500)).unwrap();
    let env = [("CREDENTIALS_DIRECTORY", directory.to_string())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let loaded = with(Some(&path), &env, &Overrides::default());
    std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o700)).unwrap();
    let (settings, _) = loaded.unwrap();
    let hash: [u8; 32] = Sha256::digest("kP7w2mYxQ9dLr4Zt").into();
    assert_eq!(settings.http.keys[0].hash, hash);
    assert!(
        matches!(&settings.http.tokens[0].key, TokenKey::Secret(secret) if secret.expose().ends_with("cdef"))
    );
    assert_eq!(settings.auth.secrets[0].secret.expose(), "north-wind-and-sun");
    assert_eq!((settings.auth.users.len(), settings.auth.oauth.len()), (1, 1));
}

#[test]
fn a_key_is_not_taken_from_the_environment() {
    let inline = [("RELAIS__HTTP__KEYS", "[{ name = \"a\", key = \"kP7w2mYxQ9dLr4Zt\" }]")];
    let problems = with(None, &inline, &Overrides::default()).unwrap_err();
    has(&problems[0].message, "stands in the environment");
}

fn issuer(source: &str) -> String {
    format!("[http]\ntokens = [{{ issuer = \"https://id.example\", audience = \"turn\", {source} }}]")
}

#[test]
fn each_source_of_token_keys_arrives() {
    let tokens = |source: &str| good(&issuer(source)).http.tokens.remove(0).key;
    let secret = "0123456789abcdef0123456789abcdef";
    assert!(
        matches!(tokens(&format!("secret = {secret:?}")), TokenKey::Secret(found) if found.expose() == secret)
    );
    let url = "https://id.example/jwks.json";
    assert_eq!(tokens(&format!("jwks = {url:?}")), TokenKey::KeySetUrl(url.into()));
    let local = "http://127.0.0.1:8000/jwks.json";
    assert_eq!(tokens(&format!("jwks = {local:?}")), TokenKey::KeySetUrl(local.into()));
    let scratch = Scratch::new("tokens");
    let set = scratch.file("jwks.json", "{\"keys\": []}", 0o644);
    assert_eq!(tokens(&format!("jwks = {set:?}")), TokenKey::KeySetFile(set));
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let file = scratch.file("issuer.pem", pem, 0o644);
    assert_eq!(tokens(&format!("public_key_file = {file:?}")), TokenKey::PublicKey(pem.into()));
    let settings = good(&issuer(&format!("secret = {secret:?}")));
    has(&effective(&settings), "audience = \"turn\", secret = \"<redacted>\"");
    assert!(!format!("{settings:?}").contains(secret));
}

#[test]
fn issuers_that_nobody_should_trust_are_refused() {
    let scratch = Scratch::new("bad-tokens");
    let private = scratch.file("private.pem", "-----BEGIN PRIVATE KEY-----\n", 0o600);
    let nothing = scratch.file("nothing.pem", "hello\n", 0o600);
    let odd = scratch.file("odd.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", 0o600);
    for (text, wanted) in [
        (issuer("secret = \"only-thirty-one-bytes-are-in-it\""), "HS256 needs 32"),
        (issuer("jwks = \"http://id.example/jwks.json\""), "not an https: URL"),
        (issuer("jwks = \"http://localhost.evil.example/jwks.json\""), "not an https: URL"),
        (issuer("jwks = \"http://127.0.0.1@evil.example/jwks.json\""), "is not a URL"),
        (issuer("jwks = \"ftp://id.example/jwks.json\""), "not an https: URL"),
        (issuer("jwks = \"/nowhere/at/all\""), "check the path"),
        (issuer("jwks = \"/etc/passwd\""), "/etc/passwd is no key set"),
        (issuer(&format!("public_key_file = {private:?}")), "private key"),
        (issuer(&format!("public_key_file = {nothing:?}")), "no public key in PEM"),
        (issuer(&format!("public_key_file = {odd:?}")), "neither Ed25519 nor P-256 nor RSA"),
        ("[http]\ntokens = [{ audience = \"turn\", jwks = \"https://a/b\" }]".to_owned(), "has no `issuer`"),
        ("[http]\ntokens = [{ issuer = \"a\", jwks = \"https://a/b\" }]".to_owned(), "has no `audience`"),
        ("[http]\ntokens = [{ issuer = \"a\", audience = \"b\" }]".to_owned(), "none of `secret`"),
        (
            issuer(
                "jwks = \"https://a/b\" }, { issuer = \"https://id.example\", audience = \"turn\", jwks = \"https://c/d\"",
            ),
            "two entries for issuer",
        ),
    ] {
        has(&bad(&text), wanted);
    }
}
