//! The one table of keys: what can be written, its default, its meaning and where it arrives.

use std::time::Duration;

use super::api_keys;
use super::credentials;
use super::node::Node;
use super::oauth;
use super::reader::{Reader, show_file, show_list, show_text};
use super::settings::{FamilyDefault, LogFormat, RedirectWhen, Rooms, Settings};
use super::tls;
use super::tokens;
use super::units::{self, show_duration};
use crate::auth::Expired;

/// One key of the configuration.
pub(crate) struct Key {
    /// The section.
    pub(crate) section: &'static str,
    /// The key within it.
    pub(crate) name: &'static str,
    /// `section.name`.
    pub(crate) path: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// The default, as TOML.
    pub(crate) default: &'static str,
    /// One sentence.
    pub(crate) doc: &'static str,
    /// Puts a value into the settings, or explains why not.
    pub(crate) apply: fn(&mut Reader<'_>, &Node, &mut Settings),
    /// The value in the settings as TOML, without secrets.
    pub(crate) show: fn(&Settings) -> String,
}

/// What a key takes: for schema, explanations and the reading of plain text.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A list of `address:port`; the port named when one is missing.
    Sockets { port: u16 },
    /// A list of strings of the given form.
    Texts { form: &'static str },
    /// A table of address to address.
    External,
    /// A list of tables with these fields: its own kind of secret.
    Users,
    /// A list of tables.
    Secrets,
    /// A list of tables with a certificate and its key each.
    Certificates,
    /// A table of `acme`.
    Acme,
    /// A list of tables of `oauth`.
    Oauth,
    /// A list of tables of `http.keys`.
    ApiKeys,
    /// A list of tables of `http.tokens`.
    Tokens,
    /// A string of the given form.
    Text { form: &'static str },
    /// One of these words.
    Choice { words: &'static [&'static str] },
    /// A duration.
    Duration { min: Duration, max: Duration },
    /// A list of ports.
    Ports,
    /// A whole number.
    Count { min: u32, max: u32 },
    /// A boolean.
    Flag,
}

impl Kind {
    /// Whether it takes strings in brackets.
    pub(crate) fn is_list_of_texts(self) -> bool {
        matches!(self, Self::Sockets { .. } | Self::Texts { .. })
    }
}

impl Key {
    /// Something that could be written.
    pub(crate) fn example(&self) -> String {
        match self.kind {
            Kind::Users => r#"users = [{ name = "alice", password_file = "/etc/relais/alice" }]"#.to_owned(),
            Kind::Secrets => {
                r#"secrets = [{ name = "2026-11", secret_file = "/etc/relais/secret" }]"#.to_owned()
            }
            Kind::Certificates => {
                r#"certificates = [{ certificate = "/etc/relais/b.crt", key = "/etc/relais/b.key" }]"#
                    .to_owned()
            }
            Kind::Oauth => {
                r#"oauth = [{ kid = "2026-11", key_file = "/etc/relais/oauth", algorithm = "A256GCM" }]"#
                    .to_owned()
            }
            Kind::ApiKeys => {
                r#"keys = [{ name = "shop", key_file = "/etc/relais/shop.key", ttl = "1h", quota = 4 }]"#.to_owned()
            }
            Kind::Tokens => {
                r#"tokens = [{ issuer = "https://id.example.org", audience = "turn", jwks = "https://id.example.org/jwks.json" }]"#
                    .to_owned()
            }
            Kind::Acme => {
                r#"acme = { domains = ["turn.example.org"], contact = "mailto:admin@example.org" }"#
                    .to_owned()
            }
            Kind::External => r#"external = { "10.0.0.5" = "198.51.100.7" }"#.to_owned(),
            _ if (self.section, self.name) == ("peers", "allow") => {
                r#"allow = ["10.1.2.0/24", "10.1.3.4:5000-6000"]"#.to_owned()
            }
            _ if self.name == "origins" => r#"origins = ["https://app.example.org"]"#.to_owned(),
            Kind::Flag if self.section == "tls" => format!("{} = true", self.name),
            _ if self.section == "tls" => format!(r#"{} = "/etc/relais/{0}.pem""#, self.name),
            _ if self.name == "proxy_from" => r#"proxy_from = ["10.0.0.0/24"]"#.to_owned(),
            _ => match self.path {
                "listen.tls" => r#"tls = ["0.0.0.0:5349", "[::]:5349"]"#.to_owned(),
                "listen.dtls" => r#"dtls = ["0.0.0.0:5349", "[::]:5349"]"#.to_owned(),
                "relay.tcp" => "tcp = true".to_owned(),
                "auth.oauth_server_name" => r#"oauth_server_name = "turn1""#.to_owned(),
                "peers.deny" => r#"deny = ["192.88.0.0/16"]"#.to_owned(),
                "http.host" => r#"host = "turn.example.org""#.to_owned(),
                "admin.socket" => r#"socket = "/run/relais/admin.sock""#.to_owned(),
                "state.directory" => r#"directory = "/var/lib/relais""#.to_owned(),
                "redirect.servers" => r#"servers = ["198.51.100.8:3478", "[2001:db8::8]:3478"]"#.to_owned(),
                "redirect.domain" => r#"domain = "turn2.example.org""#.to_owned(),
                "nat_discovery.addresses" => r#"addresses = ["198.51.100.7", "198.51.100.8"]"#.to_owned(),
                _ => format!("{} = {}", self.name, self.default),
            },
        }
    }

    /// The port to suggest where one is missing.
    pub(crate) fn default_port(&self) -> u16 {
        match self.kind {
            Kind::Sockets { port } => port,
            _ => 0,
        }
    }
}

/// The sections, in the order of the file, with a sentence each.
pub(crate) const SECTIONS: [(&str, &str); 12] = [
    ("listen", "Where clients reach the server."),
    (
        "tls",
        "Certificates of listen.tls and listen.dtls: files, read again when they change and on SIGHUP, or made or got by the server itself.",
    ),
    ("relay", "Where relayed traffic leaves and arrives."),
    ("auth", "Who may relay: write users, secrets or both."),
    (
        "peers",
        "Which peers may be reached. Private, local and other special ranges are denied unless allowed here.",
    ),
    ("limits", "Ceilings that keep one client from starving the others."),
    ("redirect", "Other servers that clients are sent to, once they have logged in (300 Try Alternate)."),
    (
        "nat_discovery",
        "NAT behavior discovery (RFC 5780) over UDP: needs two addresses of this machine and two ports.",
    ),
    ("http", "iceServers for web pages (/v1/ice-servers), signaling (/ws) and the trial page (/)."),
    ("admin", "Health (/healthz, /readyz) and metrics (/metrics), for the operator only."),
    ("state", "What outlives a restart."),
    ("log", "Logging, to standard error."),
];

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

const FAMILIES: [(&str, FamilyDefault); 2] =
    [("ipv4", FamilyDefault::Ipv4), ("follow", FamilyDefault::Follow)];
const EXPIRED: [(&str, Expired); 3] =
    [("grace", Expired::Grace), ("refresh", Expired::Refresh), ("cut", Expired::Cut)];
const WHEN: [(&str, RedirectWhen); 2] =
    [("always", RedirectWhen::Always), ("draining", RedirectWhen::Draining)];
const ROOMS: [(&str, Rooms); 3] = [("off", Rooms::Off), ("named", Rooms::Named), ("open", Rooms::Open)];
const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> String {
    show_text(words.iter().find(|(_, known)| known == value).map_or("", |(name, _)| name))
}

/// A row whose value, if it can be read, goes to one field.
macro_rules! key {
    ($section:ident . $name:ident, $kind:expr, $default:expr, $doc:expr,
     |$reader:ident, $node:ident| $read:expr, |$value:ident| $show:expr) => {
        Key {
            section: stringify!($section),
            name: stringify!($name),
            path: concat!(stringify!($section), ".", stringify!($name)),
            kind: $kind,
            default: $default,
            doc: $doc,
            apply: |$reader, $node, settings| {
                if let Some(value) = $read {
                    settings.$section.$name = value;
                }
            },
            show: |settings| {
                let $value = &settings.$section.$name;
                $show
            },
        }
    };
}

/// Every key there is.
#[rustfmt::skip]
pub(crate) static KEYS: &[Key] = &[
    key!(listen.udp, Kind::Sockets { port: 3478 }, r#"["0.0.0.0:3478", "[::]:3478"]"#,
        "Addresses with ports for STUN and TURN over UDP; as long as udp and tcp are both left to this default, an address family that the machine lacks is skipped.",
        |r, n| r.socket_addresses(n), |v| show_list(v)),
    key!(listen.tcp, Kind::Sockets { port: 3478 }, r#"["0.0.0.0:3478", "[::]:3478"]"#,
        "Addresses with ports for STUN and TURN over TCP.",
        |r, n| r.socket_addresses(n), |v| show_list(v)),
    key!(listen.tls, Kind::Sockets { port: 5349 }, "[]",
        "Addresses with ports for STUN and TURN over TLS (1.2 and 1.3), with the certificates of [tls]; one that is in tcp too serves both.",
        |r, n| r.socket_addresses(n), |v| show_list(v)),
    key!(listen.dtls, Kind::Sockets { port: 5349 }, "[]",
        "Addresses with ports for STUN and TURN over DTLS, with the certificates of [tls]; an address in udp too serves both.",
        |r, n| r.socket_addresses(n), |v| show_list(v)),
    key!(listen.proxy_from, Kind::Texts { form: "networks or addresses" }, "[]",
        "Load balancers: their TCP and TLS connections must begin with a PROXY header (version 1 or 2), whose addresses hold; nobody else's may.",
        |r, n| r.texts(n, units::network), |v| show_list(v)),
    key!(listen.workers, Kind::Count { min: 0, max: 255 }, "0",
        "Number of relay threads; 0 takes as many as the cgroup grants cores.",
        |r, n| r.count(n).and_then(|n| usize::try_from(n).ok()), |v| v.to_string()),
    key!(listen.pin_workers, Kind::Flag, "false",
        "Keep each relay thread on one CPU of its own; only for machines that do nothing else.",
        |r, n| r.flag(n), |v| v.to_string()),

    key!(tls.certificate, Kind::Text { form: "a file in PEM" }, r#""""#,
        "The certificate, followed by those that lead to its root.",
        |r, n| r.file(n), |v| show_file(v)),
    key!(tls.key, Kind::Text { form: "a file in PEM, not readable by others" }, r#""""#,
        "The private key of the certificate.",
        |r, n| r.file(n), |v| show_file(v)),
    key!(tls.certificates, Kind::Certificates, "[]",
        "More certificates, chosen by the name that a client asks for (SNI): { certificate = \"…\", key = \"…\" }; clients that ask for none of the names get the first.",
        |r, n| tls::certificates(r, n), |v| tls::show_certificates(v)),
    key!(tls.self_signed, Kind::Flag, "false",
        "Without any other certificate, make one for all names and addresses of this machine, which nobody vouches for: for trials, so that browsers, once they have been told to go on, give pages the camera.",
        |r, n| r.flag(n), |v| v.to_string()),
    key!(tls.acme, Kind::Acme, "{}",
        "Get a certificate from an authority, and renew it: { domains = [\"turn.example.org\"], contact = \"mailto:…\" }, which says yes to its terms of service; directory is where another one than Let's Encrypt is, ca_file who vouches for that. Needs state.directory, and a listener of listen.tls that is reached at port 443.",
        |r, n| tls::acme(r, n), |v| tls::show_acme(v.as_ref())),
    key!(tls.client_ca, Kind::Text { form: "a file in PEM" }, r#""""#,
        "Authorities one of which must have issued the client's certificate; empty: clients need no certificate.",
        |r, n| r.file(n), |v| show_file(v)),

    key!(relay.addresses, Kind::Texts { form: "local IP addresses or \"auto\"" }, r#"["auto"]"#,
        "Local addresses to relay from; \"auto\" takes those of the default routes of both families.",
        |r, n| r.relay_addresses(n), |v| show_list(v)),
    key!(relay.external, Kind::External, "{}",
        "Public address for each local one, for hosts behind 1:1 NAT: { \"10.0.0.5\" = \"198.51.100.7\" }.",
        |r, n| r.external(n),
        |v| {
            let pairs: Vec<String> =
                v.iter().map(|(local, public)| format!("\"{local}\" = \"{public}\"")).collect();
            if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
        }),
    key!(relay.ports, Kind::Text { form: "a range of ports, first-last, from 1024 to 65535" }, r#""49152-65535""#,
        "Ports of relayed addresses, one for each allocation; open them for UDP in the firewall.",
        |r, n| r.ports(n), |v| format!("\"{}-{}\"", v.start(), v.end())),
    key!(relay.family_default, Kind::Choice { words: &["ipv4", "follow"] }, r#""ipv4""#,
        "Family of the relayed address for a client that names none: \"ipv4\" as in RFC 8656, or \"follow\" the client's.",
        |r, n| r.choice(n, &FAMILIES), |v| word(&FAMILIES, v)),
    key!(relay.mobility, Kind::Flag, "true",
        "Clients that ask for it may take their allocation along to another address (RFC 8016).",
        |r, n| r.flag(n), |v| v.to_string()),
    key!(relay.tcp, Kind::Flag, "false",
        "Relay TCP too (RFC 6062): clients that come by TCP or TLS get connections with peers; open relay.ports for TCP in the firewall then.",
        |r, n| r.flag(n), |v| v.to_string()),

    key!(auth.realm, Kind::Text { form: "1 to 127 characters, at most 763 bytes, no quotes" }, r#""relais""#,
        "Realm of every challenge; more than 8 bytes make the challenge longer than twice the request.",
        |r, n| r.checked(n, units::realm), |v| show_text(v)),
    key!(auth.nonce_lifetime, Kind::Duration { min: SECOND, max: DAY }, r#""10m""#,
        "How long a client may use a nonce before it has to fetch another.",
        |r, n| r.duration(n), |v| show_text(&show_duration(*v))),
    key!(auth.users, Kind::Users, "[]",
        "Users with lasting credentials: { name = \"…\", password = \"…\" }, or with password_file, or with key in hex (32 digits: MD5, 64 digits: SHA-256, of user:realm:password).",
        |r, n| credentials::users(r, n), |v| credentials::show_users(v)),
    key!(auth.secrets, Kind::Secrets, "[]",
        "Secrets of time-limited credentials (TURN REST), the first signs new ones: { name = \"2026-11\", secret = \"…\" } or secret_file; systemd credentials named relais.secret or auth.secrets.NAME are added by themselves; RELAIS__AUTH__SECRET_FILE and --secret-file name one file instead.",
        |r, n| credentials::secrets(r, n), |v| credentials::show_secrets(v)),
    key!(auth.separator, Kind::Text { form: "one punctuation character" }, r#"":""#,
        "What stands between expiry and user in a time-limited user name.",
        |r, n| r.checked(n, units::separator), |v| show_text(&v.to_string())),

    key!(auth.expired, Kind::Choice { words: &["grace", "refresh", "cut"] }, r#""refresh""#,
        "What becomes of an allocation whose time-limited credential has expired: \"grace\" lets it go on, \"refresh\" refuses to refresh it, \"cut\" ends it at that moment.",
        |r, n| r.choice(n, &EXPIRED), |v| word(&EXPIRED, v)),
    key!(auth.oauth, Kind::Oauth, "[]",
        "Keys shared with authorization servers whose access tokens are taken (RFC 7635): { kid = \"2026-11\", key = \"…\" } in base64, or key_file; algorithm = \"A256GCM\" (default), \"A192GCM\", \"A128GCM\", \"A256CBC-HS512\", \"A192CBC-HS384\" or \"A128CBC-HS256\"; expires = seconds since 1970, from when on the key opens no token.",
        |r, n| oauth::keys(r, n), |v| oauth::show(v)),
    key!(auth.oauth_server_name, Kind::Text { form: "at most 255 bytes without control characters" }, r#""""#,
        "Name of this server in access tokens, told to clients in every challenge when there are keys in oauth; empty takes the realm.",
        |r, n| r.checked(n, units::server_name), |v| show_text(v)),

    key!(peers.allow, Kind::Texts { form: "networks or addresses, optionally with ports" }, "[]",
        "Networks opened although denied by default: \"10.1.0.0/16\", with ports \"10.1.2.3:5000-6000\" or \"[fd00::/8]:5000-6000\".",
        |r, n| r.peer_rules(n), |v| show_list(v)),
    key!(peers.deny, Kind::Texts { form: "networks or addresses, optionally with ports" }, "[]",
        "Networks denied in addition; wins over allow.",
        |r, n| r.peer_rules(n), |v| show_list(v)),

    key!(limits.allocations_per_user, Kind::Count { min: 1, max: 1_000_000 }, "100",
        "Allocations that one user may hold at once; one more is answered 486. One with addresses of both families counts twice.",
        |r, n| r.count(n), |v| v.to_string()),
    key!(limits.permissions_per_allocation, Kind::Count { min: 1, max: 65_536 }, "1024",
        "Permissions that one allocation may hold at once; one more is answered 508.",
        |r, n| r.count(n), |v| v.to_string()),
    key!(limits.channels_per_allocation, Kind::Count { min: 1, max: 4_096 }, "1024",
        "Channels that one allocation may hold at once; one more is answered 508.",
        |r, n| r.count(n), |v| v.to_string()),
    key!(limits.connections_per_allocation, Kind::Count { min: 1, max: 1_024 }, "16",
        "TCP connections with peers that one allocation may hold at once; one more is answered 508, or closed when a peer makes it.",
        |r, n| r.count(n), |v| v.to_string()),
    key!(limits.streams_per_address, Kind::Count { min: 1, max: 1_000_000 }, "64",
        "TCP connections and DTLS associations without an allocation that one client address may hold at once; one more is closed.",
        |r, n| r.count(n), |v| v.to_string()),
    key!(limits.max_lifetime, Kind::Duration { min: Duration::from_secs(600), max: DAY }, r#""1h""#,
        "Longest lifetime of an allocation between two refreshes; RFC 8656 recommends at most 1h.",
        |r, n| r.duration(n), |v| show_text(&show_duration(*v))),
    key!(limits.drain, Kind::Duration { min: Duration::ZERO, max: DAY }, r#""30s""#,
        "How long allocations live on after SIGTERM; a second SIGTERM ends them at once.",
        |r, n| r.duration(n), |v| show_text(&show_duration(*v))),

    key!(redirect.servers, Kind::Sockets { port: 3478 }, "[]",
        "Addresses with ports of servers to send clients to: each gets one of its own address family, and one of the other if there is one; the transport stays.",
        |r, n| r.other_servers(n), |v| show_list(v)),
    key!(redirect.domain, Kind::Text { form: "a host name" }, r#""""#,
        "Name in the certificate of those servers, when it is another one than in this server's.",
        |r, n| r.checked(n, units::domain), |v| show_text(v)),
    key!(redirect.when, Kind::Choice { words: &["always", "draining"] }, r#""always""#,
        "Whether new allocations are sent away always, or only while this server drains.",
        |r, n| r.choice(n, &WHEN), |v| word(&WHEN, v)),

    key!(nat_discovery.addresses, Kind::Texts { form: "IP addresses of this machine, two of a family" }, "[]",
        "Two addresses, or two of each family; the server listens there at both ports.",
        |r, n| r.addresses(n), |v| show_list(v)),
    key!(nat_discovery.ports, Kind::Ports, "[3478, 3479]",
        "Two ports.",
        |r, n| r.port_list(n), |v| format!("{v:?}")),

    key!(http.listen, Kind::Sockets { port: 8080 }, r#"["127.0.0.1:8080"]"#,
        "Addresses with ports of the HTTP server; an empty list switches it off.",
        |r, n| r.socket_addresses(n), |v| show_list(v)),
    key!(http.origins, Kind::Texts { form: "origins, scheme and host" }, "[]",
        "Origins of web pages that may use the HTTP server beside its own pages.",
        |r, n| r.texts(n, units::origin), |v| show_list(v)),
    key!(http.rooms, Kind::Choice { words: &["off", "named", "open"] }, r#""off""#,
        "Signaling rooms: \"off\", \"named\" (names that cannot be guessed) or \"open\"; with no configuration at all they are open, on loopback.",
        |r, n| r.choice(n, &ROOMS), |v| word(&ROOMS, v)),
    key!(http.host, Kind::Text { form: "a host name or an address" }, r#""""#,
        "Host put into turn: URLs; empty takes the host of the request.",
        |r, n| r.checked(n, units::host), |v| show_text(v)),
    key!(http.open, Kind::Flag, "false",
        "Give iceServers to anybody, for trials; otherwise to allowed origins, to holders of keys and tokens, and to loopback while there are neither keys nor tokens.",
        |r, n| r.flag(n), |v| v.to_string()),
    key!(http.share_tls, Kind::Flag, "true",
        "Serve HTTPS on the listeners of listen.tls as well, to clients that ask for it by ALPN; only as long as http.listen is not empty.",
        |r, n| r.flag(n), |v| v.to_string()),
    key!(http.ttl, Kind::Duration { min: SECOND, max: Duration::from_secs(172_800) }, r#""4h""#,
        "Lifetime of the credentials handed out, at most 48h.",
        |r, n| r.duration(n), |v| show_text(&show_duration(*v))),
    key!(http.keys, Kind::ApiKeys, "[]",
        "API keys of applications that fetch iceServers: { name = \"shop\", key = \"…\" }, or key_file, or hash = \"sha256:…\" as `relais credentials key` prints it; each may have ttl (longest lifetime), quota (allocations of one user), origins (pages that may use it; [\"*\"]: any), tag, rate (\"2 Mbit/s\"), bytes (\"10 GB\") and peers (networks), which its credentials carry. bytes is of each credential: with origins, a page's visitor gets another 20 times at once and then each second, so rate and quota are what bounds it.",
        |r, n| api_keys::keys(r, n), |v| api_keys::show(v)),
    key!(http.tokens, Kind::Tokens, "[]",
        "Whose JSON Web Tokens get iceServers: { issuer = \"…\", audience = \"…\" } with one of secret or secret_file (HS256), public_key_file (PEM: EdDSA, ES256 or RS256), jwks (a file, or an https: URL that is asked again when keys change).",
        |r, n| tokens::issuers(r, n), |v| tokens::show(v)),
    key!(http.dialects, Kind::Texts { form: "dialects of iceServers" }, r#"["native", "cloudflare", "twilio", "metered", "xirsys", "uberti", "matrix"]"#,
        "Forms in which iceServers are given out; all but \"native\" need a key or a token.",
        |r, n| r.texts(n, api_keys::dialect), |v| show_list(v)),

    key!(admin.listen, Kind::Sockets { port: 9478 }, r#"["127.0.0.1:9478"]"#,
        "Addresses with ports for health and metrics; an empty list switches them off.",
        |r, n| r.socket_addresses(n), |v| show_list(v)),
    key!(admin.socket, Kind::Text { form: "the path of a Unix socket" }, r#""""#,
        "Unix socket of the admin API, for relais sessions and relais credentials revoke; empty takes admin.sock in systemd's $RUNTIME_DIRECTORY, and without that there is none.",
        |r, n| r.file(n), |v| show_file(v)),

    Key {
        section: "state",
        name: "directory",
        path: "state.directory",
        kind: Kind::Text { form: "a directory" },
        default: r#""""#,
        doc: "Directory of this server alone, made if it is missing; empty takes systemd's $STATE_DIRECTORY, and without that nothing outlives a restart.",
        apply: |r, n, settings| {
            if let Some(directory) = r.file(n) {
                settings.state = directory;
            }
        },
        show: |settings| show_file(&settings.state),
    },

    key!(log.format, Kind::Choice { words: &["text", "json"] }, r#""text""#,
        "Form of a log line.",
        |r, n| r.choice(n, &FORMATS), |v| word(&FORMATS, v)),
    key!(log.level, Kind::Text { form: "a level or filter directives" }, r#""info""#,
        "off, error, warn, info, debug or trace; or directives such as \"info,relais::net=debug\".",
        |r, n| r.checked(n, units::level), |v| show_text(v)),
];

/// The key at `section.name`.
pub(crate) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// Where other servers' words, and ours in the wrong place, belong.
pub(crate) fn elsewhere(name: &str) -> Option<String> {
    const KNOWN: [(&str, &str); 20] = [
        ("external_ip", "relay.external"),
        ("relay_ip", "relay.addresses"),
        ("min_port", "relay.ports"),
        ("max_port", "relay.ports"),
        ("listening_port", "listen.udp"),
        ("listening_ip", "listen.udp"),
        ("tls_listening_port", "listen.tls"),
        ("dtls_listening_port", "listen.dtls"),
        ("cert", "tls.certificate"),
        ("pkey", "tls.key"),
        ("static_auth_secret", "auth.secrets"),
        ("secret", "auth.secrets"),
        ("secret_file", "auth.secrets"),
        ("user", "auth.users"),
        ("password", "auth.users"),
        ("user_quota", "limits.allocations_per_user"),
        ("denied_peer_ip", "peers.deny"),
        ("allowed_peer_ip", "peers.allow"),
        ("stale_nonce", "auth.nonce_lifetime"),
        ("max_allocate_lifetime", "limits.max_lifetime"),
    ];
    let plain = name.to_lowercase().replace('-', "_");
    KNOWN
        .iter()
        .find(|(word, _)| *word == plain)
        .map(|(_, path)| (*path).to_owned())
        .or_else(|| KEYS.iter().find(|key| key.name == plain).map(|key| key.path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    #[test]
    fn every_default_is_what_the_settings_show() {
        let defaults = load::built_in(&[], &mut Vec::new());
        for key in KEYS {
            assert_eq!((key.show)(&defaults), key.default, "{}", key.path);
        }
    }

    #[test]
    fn every_example_says_something() {
        for key in KEYS {
            let example = key.example();
            assert!(example.starts_with(&format!("{} = ", key.name)), "{example}");
            assert!(!["[]", "\"\"", "{}"].iter().any(|nothing| example.ends_with(nothing)), "{example}");
        }
    }

    #[test]
    fn every_key_has_a_known_section_and_a_sentence() {
        for key in KEYS {
            assert!(SECTIONS.iter().any(|(name, _)| *name == key.section), "{}", key.path);
            assert!(key.doc.ends_with('.'), "{}", key.path);
            assert!(
                find(key.section, key.name).is_some_and(|found| std::ptr::eq(found, key)),
                "{} twice",
                key.path
            );
        }
    }
}
