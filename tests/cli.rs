//! The program as a user starts it.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a test fails by panic")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A directory of its own for one test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("relais-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Exit code, standard output and standard error.
fn relais(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relais"));
    let output = command.args(arguments).env_clear().output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

const GOOD: &str = "[listen]\nudp = [\"0.0.0.0:3478\", \"0.0.0.0:53\", \"0.0.0.0:443\"]\ntcp = [\"0.0.0.0:443\"]\n\
                    [auth]\nsecrets = [{ name = \"main\", secret = \"north-wind-and-sun\" }]\n";

#[test]
fn check_passes_a_good_file_and_counts_its_warnings() {
    let scratch = Scratch::new("check-good");
    let quiet =
        scratch.file("quiet.toml", "[auth]\nsecrets = [{ name = \"a\", secret = \"north-wind-and-sun\" }]\n");
    assert_eq!(relais(&["check", &quiet]), (0, format!("{quiet}: ok\n"), String::new()));
    let warned = scratch.file("warned.toml", GOOD);
    let (code, out, _) = relais(&["check", &warned]);
    assert_eq!(code, 0);
    assert!(out.starts_with("warning: browsers refuse TURN servers on port 53\n --> "), "{out}");
    assert!(out.ends_with(&format!("{warned}: ok, 1 warning\n")), "{out}");
}

#[test]
fn check_prints_every_problem_with_its_place_and_cure() {
    let scratch = Scratch::new("check-bad");
    let path = scratch
        .file("relais.toml", "[relay]\nport = \"1-2\"\nports = \"60000-50000\"\n[auth]\nrealm = \"x\"\n");
    let (code, out, _) = relais(&["check", &path]);
    assert_eq!(code, 1);
    let wanted = format!(
        "error: unknown key `port` in [relay]\n --> {path}:2:1\n  |\n2 | port = \"1-2\"\n  | ^^^^\n  = help: did you \
         mean `ports`?\n\nerror: the ports `60000-50000` run backwards\n --> {path}:3:9\n  |\n3 | ports = \
         \"60000-50000\"\n  |         ^^^^^^^^^^^^^\n  = help: write \"50000-60000\"\n\nerror: there are neither users \
         nor secrets, so nobody could relay\n --> {path}\n  = help: make a secret with `openssl rand -hex 32` and write \
         in [auth]: secrets = [{{ name = \"main\", secret_file = \"/etc/relais/secret\" }}]\n\n{path}: 3 errors\n"
    );
    assert_eq!(out, wanted);
}

#[test]
fn check_takes_its_file_as_other_commands_do_too() {
    let scratch = Scratch::new("check-config");
    let path = scratch.file("relais.toml", GOOD);
    let expected = relais(&["check", &path]);
    assert_eq!(relais(&["check", "-c", &path]), expected);
    assert_eq!(relais(&["check", "--config", &path]), expected);
    assert_eq!((relais(&["check"]).0, relais(&["check", &path, "-c", &path]).0), (2, 2));
}

#[test]
fn the_default_file_says_what_has_to_be_filled_in() {
    let scratch = Scratch::new("default");
    let (_, text, _) = relais(&["config", "default"]);
    assert!(text.lines().take(8).any(|line| line.contains("has to be filled in")), "{text}");
    let path = scratch.file("relais.toml", &text);
    let (code, out, _) = relais(&["check", &path]);
    assert!(code == 1 && out.contains("write in [auth]: secrets ="), "{out}");
}

#[test]
fn config_default_is_the_file_in_the_repository() {
    let (code, out, _) = relais(&["config", "default"]);
    assert_eq!((code, out.as_str()), (0, include_str!("../config/relais.toml")));
    let (code, out, _) = relais(&["config", "schema"]);
    assert_eq!(code, 0);
    assert_eq!(json(&out)["properties"]["http"]["properties"]["ttl"]["default"], "4h");
    let (code, out, _) = relais(&["config", "explain", "http.ttl"]);
    assert!(code == 0 && out.contains("takes:       a duration from 1s to 48h"), "{out}");
    let (code, _, error) = relais(&["config", "explain", "http.tll"]);
    assert!(code == 1 && error.contains("did you mean `http.ttl`?"), "{error}");
}

#[test]
fn config_show_says_where_a_value_came_from_and_hides_secrets() {
    let scratch = Scratch::new("show");
    let path = scratch.file("relais.toml", GOOD);
    let (code, out, _) = relais(&["config", "show", "--config", &path]);
    assert_eq!(code, 0);
    assert!(out.contains(&format!("tcp = [\"0.0.0.0:443\"]  # {path}:3:7\n")), "{out}");
    assert!(out.contains("secrets = [{ name = \"main\", secret = \"<redacted>\" }]"), "{out}");
    assert!(!out.contains("north-wind"), "{out}");
}

#[test]
fn ice_servers_are_what_a_page_takes() {
    let scratch = Scratch::new("ice");
    let path = scratch.file("relais.toml", GOOD);
    let arguments =
        ["ice-servers", "--config", &path, "--host", "2001:db8::1", "--user", "alice", "--ttl", "10m"];
    let (code, out, error) = relais(&arguments);
    assert_eq!(code, 0, "{error}");
    let shown = json(&out);
    assert_eq!(shown["ttl"], 600);
    let servers = &shown["iceServers"];
    assert_eq!(servers[0]["urls"], serde_json::json!(["stun:[2001:db8::1]:3478", "stun:[2001:db8::1]:443"]));
    let turn = serde_json::json!([
        "turn:[2001:db8::1]:3478?transport=udp",
        "turn:[2001:db8::1]:443?transport=udp",
        "turn:[2001:db8::1]:443?transport=tcp",
    ]);
    assert_eq!(servers[1]["urls"], turn);
    let username = servers[1]["username"].as_str().unwrap();
    assert!(username.ends_with(":alice"), "{username}");
    let password = relais::auth::rest::password(b"north-wind-and-sun", username.as_bytes());
    assert_eq!(servers[1]["credential"], password);
    assert_eq!(relais(&["ice-servers", "--config", &path]).0, 2, "no host is known");
}

#[test]
fn a_static_user_is_given_out_only_by_name() {
    let scratch = Scratch::new("static");
    let path =
        scratch.file("relais.toml", "[auth]\nusers = [{ name = \"alice\", password = \"wonderland\" }]\n");
    let (code, out, _) = relais(&["ice-servers", "--config", &path, "--host", "h", "--user", "alice"]);
    assert_eq!(code, 0);
    assert_eq!(json(&out)["iceServers"][1]["credential"], "wonderland");
    assert!(json(&out).get("ttl").is_none());
    let (code, out, error) = relais(&["ice-servers", "--config", &path, "--host", "h"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.contains("with one of alice"), "{error}");
}

#[test]
fn credentials_come_from_a_secret_file_and_never_from_the_command_line() {
    let scratch = Scratch::new("credentials");
    let secret = scratch.file("secret", "north-wind-and-sun\n");
    let (code, out, error) = relais(&["credentials", "new", "--secret-file", &secret, "--user", "bob"]);
    assert_eq!(code, 0, "{error}");
    let shown = json(&out);
    let username = shown["username"].as_str().unwrap();
    assert_eq!(shown["password"], relais::auth::rest::password(b"north-wind-and-sun", username.as_bytes()));
    assert_eq!(shown["credential"], shown["password"]);
    assert_eq!((&shown["ttl"], &shown["realm"]), (&Value::from(14_400), &Value::from("relais")));
    assert!(shown["expiresAt"].as_str().unwrap().ends_with('Z'));

    let (code, _, error) = relais(&["credentials", "new", "--secret", "north-wind-and-sun"]);
    assert!(code == 2 && error.contains("use `--secret-file FILE`"), "{error}");
    let (code, _, error) = relais(&["credentials", "new", "--secret-file", &secret, "--ttl", "49h"]);
    assert!(code == 2 && error.contains("--> flag --ttl"), "{error}");
    let (code, _, error) = relais(&["credentials", "new"]);
    assert!(code == 1 && error.contains("no secret to sign"), "{error}");
}

#[test]
fn limits_of_credentials_are_what_was_written_or_refused() {
    let scratch = Scratch::new("limits");
    let secret = scratch.file("secret", "north-wind-and-sun\n");
    let new =
        |flag: &str, value: &str| relais(&["credentials", "new", "--secret-file", &secret, flag, value]);
    for (flag, value, wanted) in [
        ("--peers", "10.0.0.1/8", "write \"10.0.0.0/8\" for the network or \"10.0.0.1\" for the one address"),
        ("--peers", "x", "not an address or a network"),
        ("--rate", "2kkk", "a whole number above 0"),
        ("--rate", "k", "a whole number above 0"),
    ] {
        let (code, out, error) = new(flag, value);
        assert!((code, out.as_str()) == (2, "") && error.contains(wanted), "{value}: {error}");
    }
    for (flag, value, wanted) in
        [("--peers", "10.0.0.0/8", "&peers=10.0.0.0/8"), ("--rate", "2k", "&rate=2000")]
    {
        let username = json(&new(flag, value).1)["username"].take().to_string();
        assert!(username.contains(wanted), "{username}");
    }
}

#[test]
fn tokens_are_minted_with_keys_of_the_configuration_or_of_a_file() {
    use relais::auth::{AccessToken, OauthKey, TokenAlgorithm};
    let scratch = Scratch::new("token");
    let text = STANDARD.encode([7; 32]);
    let file = scratch.file("key", &format!("{text}\n"));
    let config = scratch.file(
        "relais.toml",
        &format!(
            "[auth]\noauth = [{{ kid = \"2026-11\", key_file = \"key\" }}, {{ kid = \"cbc\", key = {text:?}, algorithm = \
             \"A128CBC-HS256\" }}]\noauth_server_name = \"turn.example.org\"\n[http]\nhost = \"turn.example.org\"\n"
        ),
    );
    let key = |kid: &str, algorithm| OauthKey {
        kid: kid.into(),
        algorithm,
        key: vec![7; 32].into(),
        expires: None,
    };
    for (arguments, key, name, lifetime) in [
        (vec!["--config", &config], key("2026-11", TokenAlgorithm::A256Gcm), "turn.example.org", 14_400),
        (
            vec!["--config", &config, "--kid", "cbc", "--lifetime", "10m"],
            key("cbc", TokenAlgorithm::A128CbcHs256),
            "turn.example.org",
            600,
        ),
        (
            vec!["--kid", "k", "--key-file", &file, "--server-name", "other", "--host", "h"],
            key("k", TokenAlgorithm::A256Gcm),
            "other",
            14_400,
        ),
    ] {
        let (code, out, error) = relais(&[&["credentials", "token", "--json"], &arguments[..]].concat());
        assert_eq!(code, 0, "{error}");
        let shown = json(&out);
        let token = STANDARD.decode(shown["accessToken"].as_str().unwrap()).unwrap();
        let token = AccessToken::open(&token, &key, name).unwrap();
        assert_eq!((token.lifetime, token.mac_key.len()), (lifetime, 20));
        assert_eq!(shown["macKey"], STANDARD.encode(&token.mac_key));
        assert_eq!((&shown["kid"], &shown["serverName"]), (&Value::from(key.kid), &Value::from(name)));
        let ice = &shown["iceServer"];
        assert_eq!((&ice["username"], &ice["credentialType"]), (&shown["kid"], &Value::from("oauth")));
        assert_eq!(ice["credential"]["accessToken"], shown["accessToken"]);
        assert!(ice["urls"][0].as_str().unwrap().starts_with("turn:"));
        let (_, again, _) = relais(&[&["credentials", "token", "--json"], &arguments[..]].concat());
        assert_ne!(json(&again)["macKey"], shown["macKey"], "each token has a key of its own");
    }
    let (code, out, _) = relais(&["credentials", "token", "--config", &config]);
    assert!(
        code == 0 && out.starts_with("username (kid): 2026-11\n") && out.contains("RTCIceServer:"),
        "{out}"
    );
    for (arguments, wanted_code, wanted) in [
        (vec![], 1, "has no key to seal tokens with"),
        (vec!["--config", &config, "--kid", "north"], 1, "auth.oauth has 2026-11, cbc"),
        (
            vec!["--kid", "k", "--key-file", &file, "--algorithm", "A128GCM"],
            2,
            "the key has 32 bytes; A128GCM takes 16",
        ),
    ] {
        let (code, out, error) = relais(&[&["credentials", "token"], &arguments[..]].concat());
        assert!((code, out.as_str()) == (wanted_code, "") && error.contains(wanted), "{error}");
    }
    assert_eq!(relais(&["credentials", "token", "--key-file", &file]).0, 2, "a key has a name");
}

#[test]
fn output_that_is_lost_is_a_failure_and_a_reader_that_left_is_none() {
    let scratch = Scratch::new("lost");
    let path = scratch.file("relais.toml", GOOD);
    let run = |words: &[&str], place: std::process::Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relais"));
        let output = command.args(words).env_clear().stdout(place).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let commands: [&[&str]; 7] = [
        &["config", "default"],
        &["check", &path],
        &["credentials", "key", "x"],
        &["credentials", "new", "--config", &path],
        &["probe", "stun:127.0.0.1:9"],
        &["probe", "stun:127.0.0.1:9", "--json"],
        &["--version"],
    ];
    for words in commands {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, error) = run(words, full.into());
        assert!(
            code == Some(1) && error.contains("standard output cannot be written"),
            "{words:?}: {code:?} {error}"
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, error) = run(words, writer.into());
        assert!(!error.contains("cannot be written"), "{words:?}: {error}");
        assert_eq!(code, Some(i32::from(words[0] == "probe")), "{words:?}");
    }
}

#[test]
fn wrong_usage_exits_with_two_and_help_with_zero() {
    assert_eq!(relais(&["serve", "--no-such-flag"]).0, 2);
    assert_eq!(relais(&["no-such-command"]).0, 2);
    assert_eq!(relais(&["sessions", "--limit", "0"]).0, 2);
    let scratch = Scratch::new("usage");
    let path = scratch.file("relais.toml", GOOD);
    let bad = scratch.file("bad.toml", &format!("{GOOD}realm = 5\n"));
    for (words, code) in [
        (&["credentials", "new", "--config", &path, "--ttl", "x"][..], 2),
        (&["ice-servers", "--config", &path, "--host", "https://h"], 2),
        (&["credentials", "token", "--config", &path, "--lifetime", "0s"], 2),
        (&["--workers", "300"], 2),
        (&["--config", &path, "--workers", "300"], 2),
        (&["credentials", "new", "--config", &bad], 1),
        (&["credentials", "new", "--config", &bad, "--ttl", "x"], 1),
    ] {
        assert_eq!(relais(words).0, code, "{words:?}");
    }
    assert_eq!(relais(&["--help"]).0, 0);
    assert_eq!(relais(&["--version"]).1, concat!("relais ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn serve_refuses_a_broken_configuration_before_anything_else() {
    let (code, out, error) = relais(&["--listen-udp", "nonsense"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(error.contains("--> flag --listen-udp") && error.ends_with("1 error\n"), "{error}");
}

#[test]
fn a_port_that_is_taken_names_the_flag_that_moves_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--http-listen", "--admin-listen"] {
        let mut words = vec!["--listen-udp", "127.0.0.1:0", "--listen-tcp", "127.0.0.1:0", flag, &address];
        words.extend(
            ["--http-listen", "--admin-listen"]
                .into_iter()
                .filter(|other| *other != flag)
                .flat_map(|other| [other, ""]),
        );
        let (code, _, error) = relais(&words);
        assert!(code == 1 && error.contains(&format!("by `{flag} ADDR:PORT`")), "{code} {error}");
    }
}

#[test]
fn healthcheck_fails_when_nobody_answers() {
    let (code, _, error) = relais(&["healthcheck", "--address", "127.0.0.1:1"]);
    assert!(code == 1 && error.contains("no answer from 127.0.0.1:1"), "{error}");
}
