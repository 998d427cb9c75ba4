//! Keys and their values.

use std::time::Duration;

use super::*;
use crate::auth::{Expired, TokenAlgorithm};

#[test]
fn nothing_configured_is_the_trial_on_loopback() {
    let (settings, warnings) = with(None, &[("PATH", "/bin")], &Overrides::default()).unwrap();
    assert!(warnings.is_empty());
    assert!(settings.source.zero && !settings.listen.explicit);
    assert_eq!(settings.http.rooms, Rooms::Open);
    assert_eq!(settings.http.listen, addresses(["127.0.0.1:8080"]));
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
tls = ["127.0.0.1:5349"]
proxy_from = ["10.0.0.0/24", "fd00::1"]
workers = 3
pin_workers = true
[tls]
certificate = "a.crt"
key = "/etc/relais/a.key"
certificates = [{ certificate = "b.crt", key = "b.key" }]
client_ca = "ca.pem"
[relay]
addresses = ["192.0.2.1", "2001:db8::1"]
external = { "192.0.2.1" = "198.51.100.7" }
ports = "50000-50999"
family_default = "follow"
tcp = true
[auth]
realm = "north"
nonce_lifetime = "5m"
users = [{ name = "alice", password = "wonderland" }, { name = "bob", key = "00112233445566778899aabbccddeeff" }]
secrets = [{ name = "new", secret = "north-wind-and-sun" }, { name = "old", secret = "north-wind-and-moon" }]
separator = "|"
expired = "cut"
oauth = [{ kid = "2026-11", key = "-_8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", expires = 1800000000 }, { kid = "old", key = "MDEyMzQ1Njc4OWFiY2RlZg==", algorithm = "A128GCM" }]
oauth_server_name = "turn.example.org"
[peers]
allow = ["10.0.0.0/8:5000-6000"]
deny = ["192.0.2.0/24"]
[limits]
allocations_per_user = 7
permissions_per_allocation = 8
channels_per_allocation = 9
connections_per_allocation = 11
streams_per_address = 10
max_lifetime = "30m"
drain = "500ms"
[http]
listen = ["127.0.0.1:8081"]
origins = ["https://app.example.org"]
rooms = "named"
host = "turn.example.org"
open = true
share_tls = false
ttl = "1h"
dialects = ["twilio", "native"]
[admin]
listen = []
[log]
format = "json"
level = "debug"
"#,
    );
    assert!(settings.listen.explicit && !settings.source.zero);
    assert_eq!(settings.listen.udp, addresses(["127.0.0.1:3479", "[::1]:0"]));
    assert!(settings.listen.tcp.is_empty());
    assert_eq!(settings.listen.tls, addresses(["127.0.0.1:5349"]));
    assert_eq!(
        settings.listen.proxy_from,
        ["10.0.0.0/24".parse::<ipnet::IpNet>().unwrap(), "fd00::1/128".parse::<ipnet::IpNet>().unwrap()]
    );
    assert_eq!(settings.listen.workers, 3);
    assert!(settings.listen.pin_workers);
    let beside = |name: &str| settings.source.file.as_ref().unwrap().with_file_name(name);
    assert_eq!(
        settings.tls.pairs(),
        [
            CertificateFiles { certificate: beside("a.crt"), key: "/etc/relais/a.key".into() },
            CertificateFiles { certificate: beside("b.crt"), key: beside("b.key") },
        ]
    );
    assert_eq!(settings.tls.client_ca, Some(beside("ca.pem")));
    assert_eq!(settings.relay.addresses[1], RelayAddress::Ip("2001:db8::1".parse().unwrap()));
    assert_eq!(settings.relay.external[&"192.0.2.1".parse().unwrap()].to_string(), "198.51.100.7");
    assert_eq!(settings.relay.ports, 50000..=50999);
    assert_eq!(settings.relay.family_default, FamilyDefault::Follow);
    assert!(settings.relay.tcp);
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
    assert_eq!(settings.auth.expired, Expired::Cut);
    let [first, second] = &settings.auth.oauth[..] else { panic!("two keys") };
    assert_eq!(
        (first.kid.as_str(), first.algorithm, first.expires),
        ("2026-11", TokenAlgorithm::A256Gcm, Some(1_800_000_000))
    );
    assert_eq!((first.key.len(), &first.key[..2]), (32, &[0xFB, 0xFF][..]));
    assert_eq!(
        (second.algorithm, &second.key[..], second.expires),
        (TokenAlgorithm::A128Gcm, &b"0123456789abcdef"[..], None)
    );
    assert_eq!(settings.auth.server_name(), "turn.example.org");
    assert_eq!(settings.peers.allow[0].to_string(), "10.0.0.0/8:5000-6000");
    assert_eq!(settings.peers.deny[0].to_string(), "192.0.2.0/24");
    let limits = Limits {
        allocations_per_user: 7,
        permissions_per_allocation: 8,
        channels_per_allocation: 9,
        connections_per_allocation: 11,
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
        share_tls: false,
        ttl: Duration::from_secs(3600),
        keys: Vec::new(),
        tokens: Vec::new(),
        dialects: vec!["twilio".to_owned(), "native".to_owned()],
    };
    assert_eq!(settings.http, http);
    assert!(settings.admin.listen.is_empty());
    assert_eq!(settings.log, Log { format: LogFormat::Json, level: "debug".to_owned() });
    for secret in ["wonderland", "north-wind", "001122", "-_8A", "MDEy", "48, 49, 50"] {
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
        ("[listen]\ntls = [\"0.0.0.0:5349\"]", "`listen.tls` needs a certificate"),
        (
            "[listen]\ntls = [\"127.0.0.1:3478\"]\n[tls]\ncertificate = \"a\"\nkey = \"b\"",
            "`listen.tcp` takes already",
        ),
        ("[listen]\nproxy_from = [\"0.0.0.0/0\"]", "is everybody"),
        ("[listen]\nproxy_from = [\"lb.example.org\"]", "not a network"),
        ("[listen]\nproxy_from = [\"10.0.0.1/24\"]", "write \"10.0.0.0/24\" for the network"),
        (
            "[listen]\ntls = [\"127.0.0.1:3478\"]\n[tls]\ncertificate = \"a\"\nkey = \"b\"",
            "exactly as in `listen.tcp`, then one port serves both",
        ),
        ("[tls]\ncertificate = \"a.crt\"", "of no use without `key`"),
        ("[tls]\nkey = \"a.key\"", "of no use without `certificate`"),
        ("[tls]\nkey = \"\"\"-----BEGIN\nPRIVATE KEY-----\"\"\"", "the name of a file, not what it holds"),
        ("[tls]\ncertificates = [{ certificate = \"a\" }]", "has no `key`"),
        ("[tls]\ncertificates = [{ certificate = \"a\", key = \"b\", cert = \"c\" }]", "unknown key `cert`"),
        ("[listen]\nworkers = -1", "from 0 to 255"),
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
        (
            "[relay]\nexternal = { \"10.0.0.5\" = \"198.51.100.7\", \"10.0.0.6\" = \"198.51.100.7\" }",
            "one public address for each local one",
        ),
        (
            "[relay]\naddresses = [\"10.0.0.5\", \"198.51.100.7\"]\nexternal = { \"10.0.0.5\" = \"198.51.100.7\" }",
            "198.51.100.7 would be the public address of two local ones",
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
        ("[relay]\ntcp = \"yes\"", "`true` or `false`"),
        ("[limits]\nconnections_per_allocation = 1025", "to 1024"),
        ("[limits]\nstreams_per_address = 0.5", "takes an integer"),
        ("[limits]\nmax_lifetime = \"5m\"", "from 10m to 24h"),
        ("[limits]\ndrain = \"2d\"", "from 0s to 24h"),
        ("[limits]\ndrain = \"30\"", "not a duration"),
        ("[listen]\nudp = [\"0.0.0.0:3478\", \"127.0.0.1:3478\"]", "one of them holds the other"),
        ("[listen]\ntcp = [\"127.0.0.1:3478\", \"0.0.0.0:3478\"]", "one of them holds the other"),
        ("[http]\nlisten = [\"[::]:8088\", \"[::1]:8088\"]", "one of them holds the other"),
        ("[listen]\nudp = [\"[::ffff:127.0.0.1]:3478\"]", "write \"127.0.0.1:3478\""),
        ("[listen]\nudp = [\"::1:3478\"]", "\"[::1]:3478\" or \"[::1:3478]:3478\""),
        ("[listen]\nworkers = 1\nworkers = 2", "write it once"),
        ("[listen]\nworkers = 1\n[listen]\npin_workers = true", "write it once"),
        ("[http]\nhost = \"a..b\"", "not a host name"),
        ("[http]\nlisten = [\"localhost:8080\"]", "not a name"),
        ("[http]\nlisten = [\"0.0.0.0:3478\"]", "`listen.tcp` takes already"),
        ("[http]\norigins = [\"app.example.org\"]", "not an origin; write \"https://app.example.org\""),
        ("[http]\nrooms = \"close\"", "\"off\", \"named\", \"open\""),
        ("[http]\nhost = \"https://h\"", "without scheme"),
        ("[http]\nopen = \"yes\"", "`true` or `false`"),
        ("[http]\nttl = \"49h\"", "to 48h"),
        ("[admin]\nlisten = [\"127.0.0.1:8080\"]", "`http.listen` takes already"),
        ("[log]\nformat = \"xml\"", "\"text\", \"json\""),
        ("[log]\nlevel = \"inf\"", "\"info\""),
        ("[relay]\nexternal-ip = \"1.2.3.4\"", "did you mean `relay.external`?"),
        ("[relay]\nrealm = \"x\"", "did you mean `auth.realm`?"),
        ("[nat_discovery]\naddresses = [\"192.0.2.1\"]", "not two but 1"),
        (
            "[nat_discovery]\naddresses = [\"192.0.2.1\", \"192.0.2.2\", \"2001:db8::1\"]",
            "two IPv6 addresses",
        ),
        ("[nat_discovery]\naddresses = [\"192.0.2.1\", \"192.0.2.1\"]", "stands twice"),
        ("[nat_discovery]\naddresses = [\"0.0.0.0\"]", "is not the address of one host"),
        ("[nat_discovery]\naddresses = [\"192.0.2.1\", \"192.0.2.2\"]\nports = [3478]", "two ports"),
        ("[nat_discovery]\nports = [0]", "this is not a port"),
        ("[nat_discovery]\nports = [\"3478\"]", "this is not a port"),
        ("[redirect]\nservers = [\"turn2.example.org\"]", "is not an address with a port"),
        ("[redirect]\nservers = [\"0.0.0.0:3478\"]", "no client can go to"),
        ("[redirect]\nservers = [\"[::ffff:0.0.0.0]:3478\"]", "no client can go to"),
        ("[redirect]\nservers = [\"198.51.100.8:0\"]", "no client can go to"),
        (
            "[redirect]\nservers = [\"224.0.0.1:3478\"]",
            "write the other server's address and port: \"198.51.100.8:3478\"",
        ),
        ("[redirect]\ndomain = \"https://turn2.example.org\"", "is not a host name"),
        ("[redirect]\nwhen = \"never\"", "\"always\", \"draining\""),
        ("[relay]\nmobility = \"yes\"", "`true` or `false`"),
        ("[relays]\nports = \"1-2\"", "did you mean `relay`?"),
        ("ports = \"1-2\"", "did you mean the key `relay.ports`?"),
        ("[[relay]]\nports = \"1-2\"", "is a section, not a list"),
    ];
    for (text, wanted) in cases {
        has(&bad(text), wanted);
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
        ("oauth = [{ key = \"MDEyMzQ1Njc4OWFiY2RlZg==\", algorithm = \"A128GCM\" }]", "has no `kid`"),
        ("oauth = [{ kid = \"a\" }]", "none of `key`, `key_file`"),
        ("oauth = [{ kid = \"a\", key = \"MDEyMzQ1Njc4OWFiY2RlZg==\" }]", "has 16 bytes; A256GCM takes 32"),
        (
            "oauth = [{ kid = \"a\", key = \"not base64!\" }]",
            "not base64; make one: `openssl rand -base64 32`",
        ),
        (
            "oauth = [{ kid = \"a\", key = \"MDEyMzQ1Njc4OWFiY2RlZg==\", algorithm = \"aes\" }]",
            "`aes` is not a value of `algorithm`",
        ),
        (
            "oauth = [{ kid = \"a\", key = \"MDEyMzQ1Njc4OWFiY2RlZg==\", algorithm = \"A128GMC\" }]",
            "did you mean \"A128GCM\"",
        ),
        (
            "oauth = [{ kid = \"a\", key = \"MDEyMzQ1Njc4OWFiY2RlZg==\", algorithm = \"A128GCM\", expires = \"2027\" }]",
            "seconds since 1970",
        ),
        (
            "oauth_server_name = \"a\\tb\"\nsecrets = [{ name = \"a\", secret = \"north-wind-and-sun\" }]",
            "control character",
        ),
        (
            "expired = \"never\"\nsecrets = [{ name = \"a\", secret = \"north-wind-and-sun\" }]",
            "\"grace\", \"refresh\", \"cut\"",
        ),
    ];
    for (text, wanted) in cases {
        has(&bad(&format!("[auth]\n{text}")), wanted);
    }
}

#[test]
fn keys_are_taken_as_turnadmin_prints_them() {
    let key = "00112233445566778899aabbccddeeff";
    let settings = good(&format!("[auth]\nusers = [{{ name = \"a\", key = \"0x{key}\" }}]"));
    let UserCredential::Key(taken) = &settings.auth.users[0].credential else { panic!("no key") };
    assert_eq!(taken.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), key);
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
        ("[tls]\ncertificate = \"a\"\nkey = \"b\"".to_owned(), "no effect without a listener"),
        ("[redirect]\nwhen = \"draining\"".to_owned(), "`redirect.when` has no effect"),
        ("[redirect]\ndomain = \"turn2.example.org\"".to_owned(), "`redirect.domain` has no effect"),
        ("[listen]\ntcp = []\n[relay]\ntcp = true".to_owned(), "`relay.tcp` has no effect"),
        (format!("[auth]\noauth_server_name = \"turn1\"\n{SECRET}"), "without keys in `oauth`"),
        (
            "[nat_discovery]\naddresses = [\"192.0.2.1\", \"192.0.2.2\"]\nports = [3478, 50000]".to_owned(),
            "port 50000 of NAT behavior discovery lies within",
        ),
    ];
    for (text, wanted) in cases {
        has(&warning(&text), wanted);
    }
    let quiet = "[listen]\nudp = [\"0.0.0.0:443\", \"0.0.0.0:80\"]\n[http]\nrooms = \"open\"\nopen = true";
    assert!(file(quiet).unwrap().1.is_empty());
}
