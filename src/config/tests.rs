//! Every key bites on bad input, every good value arrives, and the layers stand in their order.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

/// A file in a directory of its own, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("relais-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Loaded = Result<(Settings, Vec<Problem>), Vec<Problem>>;

fn with(path: Option<&Path>, env: &[(&str, &str)], overrides: &Overrides) -> Loaded {
    load(path, env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())), overrides)
}

/// Loads `text` as a file of mode 600, with a good secret unless it has a section `[auth]`.
fn file(text: &str) -> Loaded {
    let name = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "");
    let scratch = Scratch::new(&name);
    let auth = "[auth]\nsecrets = [{ name = \"main\", secret = \"north-wind-and-sun\" }]\n";
    let text = if text.contains("[auth]") { text.to_owned() } else { format!("{text}\n{auth}") };
    with(Some(&scratch.file("relais.toml", &text, 0o600)), &[], &Overrides::default())
}

fn good(text: &str) -> Settings {
    file(text).map(|(settings, _)| settings).map_err(|problems| format!("{problems:#?}")).unwrap()
}

/// The one error of `text`: message and cure in a line.
fn bad(text: &str) -> String {
    let problems = file(text).map(|_| ()).unwrap_err();
    let errors: Vec<&Problem> = problems.iter().filter(|problem| problem.is_error()).collect();
    assert_eq!(errors.len(), 1, "{text}: {problems:#?}");
    format!("{}; {}", errors[0].message, errors[0].cure)
}

/// The one warning of `text`.
fn warning(text: &str) -> String {
    let (_, warnings) = file(text).unwrap();
    assert_eq!(warnings.len(), 1, "{text}: {warnings:#?}");
    warnings[0].message.clone()
}

#[track_caller]
fn has(text: &str, wanted: &str) {
    assert!(text.contains(wanted), "`{wanted}` is not in: {text}");
}

#[test]
fn nothing_configured_is_the_trial_on_loopback() {
    let (settings, warnings) = with(None, &[("PATH", "/bin")], &Overrides::default()).unwrap();
    assert!(warnings.is_empty());
    assert!(settings.source.zero && !settings.listen.explicit);
    assert_eq!(settings.http.rooms, Rooms::Open);
    assert_eq!(settings.http.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(format!("{settings:?}"), format!("{:?}", Settings::defaults()));
    assert_eq!(settings.source.to_string(), "built-in defaults");
}

#[test]
fn without_a_file_rooms_do_not_open_beyond_loopback() {
    let (settings, _) =
        with(None, &[("RELAIS__HTTP__LISTEN", "0.0.0.0:8080")], &Overrides::default()).unwrap();
    assert!(settings.source.zero);
    assert_eq!(settings.http.rooms, Rooms::Off);
}

#[test]
fn every_good_value_arrives() {
    let settings = good(
        r#"
[listen]
udp = ["127.0.0.1:3479", "[::1]:0"]
tcp = []
workers = 3
[relay]
addresses = ["192.0.2.1", "2001:db8::1"]
external = { "192.0.2.1" = "198.51.100.7" }
ports = "50000-50999"
family_default = "follow"
[auth]
realm = "north"
nonce_lifetime = "5m"
users = [{ name = "alice", password = "wonderland" }, { name = "bob", key = "00112233445566778899aabbccddeeff" }]
secrets = [{ name = "new", secret = "north-wind-and-sun" }, { name = "old", secret = "north-wind-and-moon" }]
separator = "|"
[peers]
allow = ["10.0.0.0/8:5000-6000"]
deny = ["192.0.2.0/24"]
[limits]
allocations_per_user = 7
permissions_per_allocation = 8
channels_per_allocation = 9
streams_per_address = 10
max_lifetime = "30m"
drain = "500ms"
[http]
listen = ["127.0.0.1:8081"]
origins = ["https://app.example.org"]
rooms = "named"
host = "turn.example.org"
open = true
ttl = "1h"
[admin]
listen = []
[log]
format = "json"
level = "debug"
"#,
    );
    assert!(settings.listen.explicit && !settings.source.zero);
    assert_eq!(settings.listen.udp, ["127.0.0.1:3479".parse().unwrap(), "[::1]:0".parse().unwrap()]);
    assert!(settings.listen.tcp.is_empty());
    assert_eq!(settings.listen.workers, 3);
    assert_eq!(settings.relay.addresses[1], RelayAddress::Ip("2001:db8::1".parse().unwrap()));
    assert_eq!(settings.relay.external[&"192.0.2.1".parse().unwrap()].to_string(), "198.51.100.7");
    assert_eq!(settings.relay.ports, 50000..=50999);
    assert_eq!(settings.relay.family_default, FamilyDefault::Follow);
    assert_eq!(settings.auth.realm, "north");
    assert_eq!(settings.auth.nonce_lifetime, Duration::from_secs(300));
    assert!(
        matches!(&settings.auth.users[0].credential, UserCredential::Password(p) if p.expose() == "wonderland")
    );
    assert!(
        matches!(&settings.auth.users[1].credential, UserCredential::Key(k) if k[..3] == [0, 0x11, 0x22] && k.len() == 16)
    );
    assert_eq!(settings.auth.secrets[0].secret.expose(), "north-wind-and-sun");
    assert_eq!(settings.auth.secrets[1].name, "old");
    assert_eq!(settings.auth.separator, '|');
    assert_eq!(settings.peers.allow[0].to_string(), "10.0.0.0/8:5000-6000");
    assert_eq!(settings.peers.deny[0].to_string(), "192.0.2.0/24");
    let limits = Limits {
        allocations_per_user: 7,
        permissions_per_allocation: 8,
        channels_per_allocation: 9,
        streams_per_address: 10,
        max_lifetime: Duration::from_secs(1800),
        drain: Duration::from_millis(500),
    };
    assert_eq!(settings.limits, limits);
    let http = Http {
        listen: vec!["127.0.0.1:8081".parse().unwrap()],
        origins: vec!["https://app.example.org".to_owned()],
        rooms: Rooms::Named,
        host: "turn.example.org".to_owned(),
        open: true,
        ttl: Duration::from_secs(3600),
    };
    assert_eq!(settings.http, http);
    assert!(settings.admin.listen.is_empty());
    assert_eq!(settings.log, Log { format: LogFormat::Json, level: "debug".to_owned() });
    for secret in ["wonderland", "north-wind", "001122"] {
        assert!(!format!("{settings:?}{}", effective(&settings)).contains(secret), "{secret} shows");
    }
    has(&effective(&settings), "users = [{ name = \"alice\", password = \"<redacted>\" }");
}

#[test]
fn every_key_refuses_what_it_cannot_mean() {
    let cases = [
        ("[listen]\nudp = [\"0.0.0.0\"]", "add the port"),
        ("[listen]\nudp = [\"224.0.0.1:3478\"]", "multicast"),
        ("[listen]\ntcp = \"0.0.0.0:3478\"", "put it in brackets"),
        ("[listen]\ntcp = [\"0.0.0.0:3478\", \"0.0.0.0:3478\"]", "stands twice"),
        ("[listen]\nudp = []\ntcp = []", "no client could reach"),
        ("[listen]\nworkers = -1", "from 0 to 1024"),
        ("[listen]\nworkers = \"two\"", "takes an integer, not a string"),
        ("[relay]\naddresses = []", "nothing to relay from"),
        ("[relay]\naddresses = [\"0.0.0.0\"]", "not the address of one host"),
        ("[relay]\naddresses = [\"eth0\"]", "not an IP address"),
        ("[relay]\nexternal = \"1.2.3.4\"", "takes a table"),
        ("[relay]\nexternal = { \"10.0.0.5\" = \"2001:db8::1\" }", "not of one family"),
        ("[relay]\nexternal = { \"10.0.0.5\" = 5 }", "takes a string"),
        (
            "[relay]\naddresses = [\"192.0.2.1\"]\nexternal = { \"192.0.2.2\" = \"198.51.100.7\" }",
            "not among",
        ),
        ("[relay]\nports = \"60000-50000\"", "write \"50000-60000\""),
        ("[relay]\nports = \"1000-2000\"", "below 1024"),
        ("[relay]\nports = \"50000-50000\"", "single port"),
        ("[relay]\nports = \"50000\"", "not a range"),
        ("[relay]\nports = \"50000-70000\"", "not a range"),
        ("[relay]\nports = 50000", "takes a string"),
        ("[relay]\nfamily_default = \"ipv5\"", "did you mean \"ipv4\"?"),
        ("[peers]\nallow = [\"10.0.0.1/8\"]", "write `10.0.0.0/8`"),
        ("[peers]\ndeny = [\"example.org\"]", "not a network"),
        ("[limits]\nallocations_per_user = 0", "from 1"),
        ("[limits]\npermissions_per_allocation = 0", "from 1"),
        ("[limits]\nchannels_per_allocation = 4097", "to 4096"),
        ("[limits]\nstreams_per_address = 0.5", "takes an integer"),
        ("[limits]\nmax_lifetime = \"5m\"", "from 10m to 24h"),
        ("[limits]\ndrain = \"2d\"", "from 0s to 24h"),
        ("[limits]\ndrain = \"30\"", "not a duration"),
        ("[http]\nlisten = [\"localhost:8080\"]", "not a name"),
        ("[http]\nlisten = [\"0.0.0.0:3478\"]", "`listen.tcp` takes already"),
        ("[http]\norigins = [\"app.example.org\"]", "not an origin"),
        ("[http]\nrooms = \"close\"", "\"off\", \"named\", \"open\""),
        ("[http]\nhost = \"https://h\"", "without scheme"),
        ("[http]\nopen = \"yes\"", "`true` or `false`"),
        ("[http]\nttl = \"49h\"", "to 48h"),
        ("[admin]\nlisten = [\"127.0.0.1:8080\"]", "`http.listen` takes already"),
        ("[log]\nformat = \"xml\"", "\"text\", \"json\""),
        ("[log]\nlevel = \"inf\"", "\"info\""),
        ("[relay]\nexternal-ip = \"1.2.3.4\"", "did you mean `relay.external`?"),
        ("[relay]\nrealm = \"x\"", "did you mean `auth.realm`?"),
        ("[relays]\nports = \"1-2\"", "did you mean `relay`?"),
        ("ports = \"1-2\"", "did you mean the key `relay.ports`?"),
        ("[[relay]]\nports = \"1-2\"", "is a section, not a list"),
    ];
    for (text, wanted) in cases {
        has(&bad(text), wanted);
    }
}

#[test]
fn what_later_versions_have_is_named_as_such() {
    let later = [
        "[tls]",
        "[redirect]",
        "[nat_discovery]",
        "[listen]\ntls = []",
        "[listen]\ndtls = []",
        "[relay]\ntcp = false",
        "[relay]\nmobility = true",
        "[auth]\nsecrets = [{ name = \"a\", secret = \"north-wind-and-sun\" }]\noauth = []",
        "[http]\nshare_tls = true",
        "[http]\nkeys = []",
    ];
    for text in later {
        has(&bad(text), "this version does not have it yet");
    }
}

#[test]
fn users_and_secrets_refuse_what_is_half_or_double_or_known_to_all() {
    let cases = [
        ("users = []", "neither users nor secrets"),
        ("realm = \"\"\nusers = [{ name = \"a\", password = \"wonderland\" }]", "empty"),
        (
            "separator = \"::\"\nusers = [{ name = \"a\", password = \"wonderland\" }]",
            "one punctuation character",
        ),
        ("nonce_lifetime = \"0s\"\nusers = [{ name = \"a\", password = \"wonderland\" }]", "from 1s to 24h"),
        ("users = [\"alice\"]", "is a table, not a string"),
        ("users = [{ password = \"wonderland\" }]", "has no `name`"),
        ("users = [{ name = \"\", password = \"wonderland\" }]", "the user name is empty"),
        ("users = [{ name = \"alice\" }]", "none of `password`, `key`, `password_file`"),
        (
            "users = [{ name = \"alice\", password = \"wonderland\", key = \"00\" }]",
            "only one of `password` and `key`",
        ),
        ("users = [{ name = \"alice\", password = \"\" }]", "the password is empty"),
        ("users = [{ name = \"alice\", password = \"Change-Me!\" }]", "a sample that everybody knows"),
        ("users = [{ name = \"alice\", password = \"wonderland\", quota = 3 }]", "unknown key `quota`"),
        ("users = [{ name = \"alice\", key = \"xyz\" }]", "not hex"),
        ("users = [{ name = \"alice\", key = \"0011\" }]", "has 4 hex digits"),
        (
            "users = [{ name = \"a\", password = \"wonderland\" }, { name = \"a\", password = \"x1y2\" }]",
            "two entries for user",
        ),
        ("users = [{ name = \"alice\", password_file = \"/nowhere/at/all\" }]", "cannot be read"),
        ("secrets = [{ name = \"a\", secret = \"\" }]", "the secret is empty"),
        ("secrets = [{ name = \"a\", secret = \"change-me\" }]", "a sample that everybody knows"),
        ("secrets = [{ name = \"a b\", secret = \"north-wind-and-sun\" }]", "cannot name a secret"),
        ("secrets = [{ name = \"a\" }]", "none of `secret`, `secret_file`"),
        ("secrets = [{ name = \"a\", secret = 12345678 }]", "takes a string"),
    ];
    for (text, wanted) in cases {
        has(&bad(&format!("[auth]\n{text}")), wanted);
    }
}

#[test]
fn warnings_say_what_will_not_work_as_hoped() {
    const SECRET: &str = "secrets = [{ name = \"a\", secret = \"north-wind-and-sun\" }]";
    let key32 = "0".repeat(32);
    let cases = [
        (format!("[auth]\nrealm = \"example.org\"\n{SECRET}"), "longer than twice the request"),
        ("[auth]\nsecrets = [{ name = \"a\", secret = \"short\" }]".to_owned(), "only 5 characters"),
        (format!("[auth]\nusers = [{{ name = \"a\", key = \"{key32}\" }}]"), "SHA-256 cannot log in"),
        (
            format!("[auth]\nusers = [{{ name = \"a\", key = \"{key32}{key32}\" }}]"),
            "browsers, which use MD5",
        ),
        (
            "[auth]\nusers = [{ name = \"12:a\", password = \"wonderland\" }]".to_owned(),
            "time-limited user name",
        ),
        ("[http]\nlisten = [\"0.0.0.0:8080\"]\nrooms = \"open\"".to_owned(), "open to everybody"),
        ("[http]\nlisten = [\"0.0.0.0:8080\"]\nopen = true".to_owned(), "relay at your cost"),
        (
            "[http]\nopen = true\n[auth]\nusers = [{ name = \"a\", password = \"wonderland\" }]".to_owned(),
            "no TURN",
        ),
        ("[listen]\nudp = [\"0.0.0.0:53\"]".to_owned(), "browsers refuse TURN servers on port 53"),
        ("[admin]\nlisten = [\"0.0.0.0:9478\"]".to_owned(), "reached from other machines"),
        ("[limits]\nmax_lifetime = \"2h\"".to_owned(), "RFC 8656"),
    ];
    for (text, wanted) in cases {
        has(&warning(&text), wanted);
    }
    let quiet = "[listen]\nudp = [\"0.0.0.0:443\", \"0.0.0.0:80\"]\n[http]\nrooms = \"open\"\nopen = true";
    assert!(file(quiet).unwrap().1.is_empty());
}

#[test]
fn environment_wins_over_the_file_and_flags_over_both() {
    let scratch = Scratch::new("layers");
    let text = "[relay]\nports = \"50000-50100\"\nexternal = { \"192.0.2.9\" = \"198.51.100.9\" }\n[auth]\nrealm = \"file\"\n\
                users = [{ name = \"alice\", password = \"wonderland\" }]\n";
    let path = scratch.file("relais.toml", text, 0o640);
    let env = [
        ("RELAIS__RELAY__PORTS", "51000-51100"),
        ("RELAIS__AUTH__REALM", "env"),
        ("RELAIS__LISTEN__UDP", "127.0.0.1:1111, [::1]:2222"),
        ("RELAIS__LISTEN__TCP", "[\"127.0.0.1:3333\"]"),
        ("RELAIS__HTTP__LISTEN", ""),
        ("RELAIS__HTTP__OPEN", "true"),
        ("RELAIS__LIMITS__ALLOCATIONS_PER_USER", "5"),
        ("RELAIS__RELAY__EXTERNAL", "192.0.2.1=198.51.100.7"),
    ];
    let mut flags = Overrides::default();
    flags.set("--realm", "auth.realm", "flag");
    let (settings, _) = with(Some(&path), &env, &flags).unwrap();
    assert_eq!(settings.relay.ports, 51000..=51100);
    assert_eq!(settings.auth.realm, "flag");
    assert_eq!(settings.listen.udp, ["127.0.0.1:1111".parse().unwrap(), "[::1]:2222".parse().unwrap()]);
    assert_eq!(settings.listen.tcp, ["127.0.0.1:3333".parse().unwrap()]);
    assert!(settings.http.listen.is_empty() && settings.http.open);
    assert_eq!(settings.limits.allocations_per_user, 5);
    assert_eq!(settings.relay.external.len(), 1, "a table is replaced, not mixed");
    let shown = effective(&settings);
    has(&shown, "realm = \"flag\"  # flag --realm");
    has(&shown, "ports = \"51000-51100\"  # environment variable RELAIS__RELAY__PORTS");
    has(&shown, "relais.toml:6:9");
    has(&shown, "ttl = \"4h\"  # built-in default");
}

#[test]
fn mistakes_in_environment_and_flags_are_found_and_named() {
    let env = [
        ("RELAIS__RELAY__PRTS", "1-2"),
        ("RELAIS__LIMITS__DRAIN", "soon"),
        ("RELAIS__AUTH__SECRET", "x"),
        ("RELAIS__AUTH__USERS", "alice"),
        ("RELAIS__AUTH__SECRETS", "[{ name = \"a\", secret = \"north-wind-and-sun\" }]"),
        ("RELAIS__LISTEN", "1"),
        ("RELAIS_PORT", "tcp://10.0.0.1:80"),
    ];
    let mut flags = Overrides::default();
    flags.set("--listen-udp", "listen.udp", "x");
    let problems = with(None, &env, &flags).map(|_| ()).unwrap_err();
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let shown = shown.join("\n");
    assert_eq!(problems.len(), 7, "{shown}");
    has(&shown, "did you mean `ports`?");
    has(&shown, "--> environment variable RELAIS__LIMITS__DRAIN");
    has(&shown, "set RELAIS__AUTH__SECRET_FILE to its path");
    has(&shown, "write TOML as in the file: users = ");
    has(&shown, "stands in the environment");
    has(&shown, "--> flag --listen-udp");
    assert!(!shown.contains("north-wind"));
}

#[test]
fn an_overridden_value_is_checked_as_well() {
    let mut flags = Overrides::default();
    flags.set("--realm", "auth.realm", "fine");
    let problems = with(None, &[("RELAIS__AUTH__REALM", "")], &flags).map(|_| ()).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].place, Place::Environment("RELAIS__AUTH__REALM".to_owned()));
}

#[test]
fn secrets_come_from_files_and_lose_one_newline() {
    let scratch = Scratch::new("files");
    scratch.file("secret", "north-wind-and-sun\n", 0o640);
    scratch.file("password", "wonderland\r\n", 0o600);
    let text = "[auth]\nusers = [{ name = \"alice\", password_file = \"password\" }]\nsecrets = [{ name = \"a\", \
                secret_file = \"secret\" }]\n";
    // No secret stands in the file itself, so everybody may read it.
    let path = scratch.file("relais.toml", text, 0o644);
    let (settings, warnings) = with(Some(&path), &[], &Overrides::default()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(settings.auth.secrets[0].secret.expose(), "north-wind-and-sun");
    assert!(
        matches!(&settings.auth.users[0].credential, UserCredential::Password(p) if p.expose() == "wonderland")
    );

    let named = scratch.0.join("secret").display().to_string();
    let (settings, _) = with(None, &[("RELAIS__AUTH__SECRET_FILE", &named)], &Overrides::default()).unwrap();
    assert_eq!(settings.auth.secrets[0].name, "environment");
    assert!(!settings.source.zero);
    assert_eq!(settings.http.rooms, Rooms::Off);
}

#[test]
fn files_with_secrets_that_others_can_read_are_refused() {
    let scratch = Scratch::new("modes");
    let secret = scratch.file("secret", "north-wind-and-sun\n", 0o644);
    let text = "[auth]\nsecrets = [{ name = \"a\", secret_file = \"secret\" }]\n";
    let path = scratch.file("relais.toml", text, 0o644);
    let problems = with(Some(&path), &[], &Overrides::default()).map(|_| ()).unwrap_err();
    assert_eq!(problems.len(), 1);
    has(&problems[0].message, "(mode 0644)");
    assert_eq!(problems[0].cure, format!("chmod 640 {}", secret.display()));

    let inline = scratch.file(
        "inline.toml",
        "[auth]\nsecrets = [{ name = \"a\", secret = \"north-wind-and-sun\" }]",
        0o604,
    );
    let problems = with(Some(&inline), &[], &Overrides::default()).map(|_| ()).unwrap_err();
    assert_eq!(problems[0].cure, format!("chmod 640 {}", inline.display()));
    scratch.file(
        "inline.toml",
        "[auth]\nsecrets = [{ name = \"a\", secret = \"north-wind-and-sun\" }]",
        0o640,
    );
    assert!(with(Some(&inline), &[], &Overrides::default()).is_ok());
}

#[test]
fn systemd_credentials_are_secrets_by_themselves() {
    let scratch = Scratch::new("systemd");
    scratch.file("relais.secret", "north-wind-and-sun\n", 0o400);
    scratch.file("auth.secrets.2026-11", "north-wind-and-moon\n", 0o400);
    scratch.file("something.else", "x", 0o400);
    let directory = scratch.0.display().to_string();
    let env = [("CREDENTIALS_DIRECTORY", directory.as_str())];
    let path = scratch.file("relais.toml", "[relay]\nports = \"50000-50100\"\n", 0o644);
    let (settings, _) = with(Some(&path), &env, &Overrides::default()).unwrap();
    let names: Vec<&str> = settings.auth.secrets.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(names, ["2026-11", "relais.secret"]);

    let taken = "[auth]\nsecrets = [{ name = \"2026-11\", secret = \"north-wind-and-sun\" }]";
    let path = scratch.file("relais.toml", taken, 0o600);
    let problems = with(Some(&path), &env, &Overrides::default()).map(|_| ()).unwrap_err();
    has(&problems[0].message, "has a secret `2026-11` already");
}

#[test]
fn a_file_that_is_no_toml_shows_the_place_but_no_secret() {
    let problems = file("[auth]\nsecret = \"vErYsEcReT\nrealm = = 1\n").map(|_| ()).unwrap_err();
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let shown = shown.join("\n");
    has(&shown, "error: this is not TOML: ");
    has(&shown, "relais.toml:2:");
    assert!(!shown.contains("vErY") && !shown.contains("neither users"), "{shown}");
    has(&bad("[log]\nlevel = \"info\"\nlevel = \"warn\""), "duplicate key");
}

#[test]
fn a_missing_file_says_how_to_write_one() {
    let problems =
        with(Some(Path::new("/nowhere/relais.toml")), &[], &Overrides::default()).map(|_| ()).unwrap_err();
    assert_eq!(problems.len(), 1);
    has(&problems[0].cure, "relais config default");
}

#[test]
fn relay_addresses_are_held_against_the_machine() {
    let settings =
        good("[relay]\naddresses = [\"192.0.2.1\"]\nexternal = { \"192.0.2.1\" = \"198.51.100.7\" }");
    let local = |text: &str| [text.parse().unwrap()];
    assert!(check_local(&settings, &local("192.0.2.1")).is_empty());
    let problems = check_local(&settings, &local("10.0.0.5"));
    assert_eq!(problems.len(), 2);
    assert!(problems.iter().all(Problem::is_error));
    has(&problems[0].cure, "it has 10.0.0.5");
    assert!(problems[0].place.line_column().is_some());
    assert!(check_local(&good("[relay]\naddresses = [\"auto\"]"), &[]).is_empty());
}
