//! Every key of the configuration bites on the running server: each has a test here, and the last test fails when
//! one is missing.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/certificates.rs"]
mod certificates;
#[cfg(feature = "dtls")]
#[path = "support/dtls.rs"]
mod dtls;
#[path = "support/live.rs"]
mod live;
#[path = "support/options_access.rs"]
mod options_access;
#[path = "support/options_tls.rs"]
mod options_tls;
#[path = "support/secure.rs"]
mod secure;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use live::{
    Client, LOOPBACK, Link, Reply, SOON, Server, channel_data, data_of, eventually, heard, http, peer,
    relay_ports,
};
use md5::{Digest as _, Md5};
use relais::auth::{AccessToken, OauthKey, TokenAlgorithm, rest};
use relais::wire::{Class, MessageWriter, TransactionId, attr, decode_address, method};
use serde_json::Value;
use sha2::Sha256;
use tokio::time::Instant;

/// How long to wait for what is not to come.
const SILENCE: Duration = Duration::from_millis(300);
/// An expiry that is far away.
const LATER: &str = "4000000000";

const TESTS: &[(&str, fn())] = &[
    ("listen.udp", listen_udp_is_where_datagrams_are_answered),
    ("listen.tcp", listen_tcp_is_where_streams_are_accepted),
    ("listen.tls", options_tls::listen_tls_is_where_tls_is_spoken),
    ("listen.dtls", listen_dtls_is_where_dtls_is_spoken),
    ("listen.pin_workers", listen_pin_workers_keeps_each_on_one_cpu),
    ("listen.proxy_from", options_tls::listen_proxy_from_is_who_may_speak_for_others),
    ("tls.certificate", options_tls::tls_certificate_and_key_are_what_clients_see),
    ("tls.key", options_tls::tls_certificate_and_key_are_what_clients_see),
    ("tls.certificates", options_tls::tls_certificates_are_chosen_by_name),
    ("tls.acme", options_tls::tls_acme_needs_a_state_directory_and_its_feature),
    ("tls.self_signed", options_tls::tls_self_signed_is_for_this_machine_and_kept),
    ("tls.client_ca", options_tls::tls_client_ca_is_who_lets_clients_in),
    ("listen.workers", listen_workers_is_the_number_of_relay_threads),
    ("relay.addresses", relay_addresses_are_what_clients_are_given),
    ("relay.external", relay_external_is_shown_and_clients_still_reach_each_other),
    ("relay.ports", relay_ports_bound_what_is_given_out),
    ("relay.family_default", relay_family_default_decides_for_clients_that_do_not),
    ("relay.mobility", relay_mobility_lets_clients_move_between_transports_and_workers),
    ("redirect.servers", redirect_servers_are_where_clients_are_sent),
    ("redirect.domain", redirect_domain_is_told_over_tls_to_those_who_can_trust_it),
    ("redirect.when", redirect_when_draining_waits_for_the_drain),
    ("nat_discovery.addresses", nat_discovery_answers_from_the_other_address_and_port),
    ("nat_discovery.ports", nat_discovery_answers_from_the_other_address_and_port),
    ("relay.tcp", relay_tcp_is_off_unless_asked_for),
    ("auth.realm", auth_realm_is_in_the_challenge),
    ("auth.nonce_lifetime", auth_nonce_lifetime_ends_a_nonce),
    ("auth.users", auth_users_log_in_by_password_file_and_both_keys),
    ("auth.secrets", auth_secrets_hold_side_by_side),
    ("auth.separator", auth_separator_splits_expiry_and_user),
    ("auth.expired", auth_expired_decides_over_running_allocations),
    ("auth.oauth", auth_oauth_takes_tokens_under_each_of_its_keys),
    ("auth.oauth.key_file", auth_oauth_takes_tokens_under_each_of_its_keys),
    ("auth.oauth_server_name", auth_oauth_server_name_is_in_challenges_and_tokens),
    ("peers.allow", peers_allow_opens_what_is_closed),
    ("peers.deny", peers_deny_wins),
    ("limits.allocations_per_user", limits_allocations_per_user_is_answered_486),
    ("limits.permissions_per_allocation", limits_permissions_per_allocation_is_answered_508),
    ("limits.channels_per_allocation", limits_channels_per_allocation_is_answered_508),
    ("limits.connections_per_allocation", limits_connections_per_allocation_is_answered_508),
    ("limits.streams_per_address", limits_streams_per_address_closes_one_more),
    ("limits.max_lifetime", limits_max_lifetime_cuts_what_is_asked_for),
    ("limits.drain", limits_drain_is_when_the_last_allocations_end),
    ("http.listen", http_listen_opens_and_closes_the_web_side),
    ("http.origins", http_origins_may_ask_from_elsewhere),
    ("http.rooms", http_rooms_are_off_named_or_open),
    ("http.host", http_host_is_in_the_urls),
    ("http.open", http_open_serves_anybody),
    ("http.share_tls", options_tls::http_share_tls_serves_https_on_tls_listeners),
    ("http.ttl", http_ttl_is_in_the_user_name),
    ("http.keys", options_access::http_keys_buy_what_they_allow),
    ("http.keys.key_file", options_access::http_keys_buy_what_they_allow),
    ("http.tokens", options_access::http_tokens_are_taken_from_each_source),
    ("http.tokens.secret_file", options_access::http_tokens_are_taken_from_each_source),
    ("http.tokens.public_key_file", options_access::http_tokens_are_taken_from_each_source),
    ("http.dialects", options_access::http_dialects_are_those_that_answer),
    ("admin.listen", admin_listen_opens_and_closes_health_and_metrics),
    ("admin.socket", admin_socket_answers_its_owner_and_goes_with_the_server),
    ("state.directory", state_directory_is_made_for_the_server_alone),
    ("log.format", log_format_json_is_one_object_a_line),
    ("log.level", log_level_silences_and_deepens),
    ("auth.users.password_file", auth_users_log_in_by_password_file_and_both_keys),
    ("auth.secrets.secret_file", auth_secrets_hold_side_by_side),
];

/// A file with a secret, away from any server's directory.
struct SecretFile(PathBuf);

impl SecretFile {
    fn new(name: &str, secret: &str) -> Self {
        let path = std::env::temp_dir().join(format!("relais-options-{}-{name}", std::process::id()));
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self(path)
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where a listener with port 0 is, by the log.
fn bound(server: &Server, listener: &str) -> SocketAddr {
    let log = server.log();
    let at = log.find(listener).unwrap_or_else(|| panic!("no {listener} in {log}"));
    let address = log[at + 4..].split([' ', '"']).next().unwrap();
    address.parse().unwrap()
}

fn is_silent(client: &Client) -> bool {
    client.set_patience(SILENCE);
    let silent = client.try_receive().is_none();
    client.set_patience(SOON);
    silent
}

/// Whether a peer gets nothing.
fn hears_nothing(peer: &UdpSocket) -> bool {
    peer.set_read_timeout(Some(SILENCE)).unwrap();
    let silent = peer.recv(&mut [0; 16]).is_err();
    peer.set_read_timeout(Some(SOON)).unwrap();
    silent
}

/// A peer at some other loopback address.
fn peer_at(ip: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A holder of a time-limited credential.
fn holder(server: &Server, name: &str, secret: &str) -> Client {
    server.udp().login(name, &rest::password(secret.as_bytes(), name.as_bytes()))
}

fn web(server: &Server) -> SocketAddr {
    SocketAddr::new(server.ip.into(), 8080)
}

fn ice(server: &Server, headers: &[(&str, &str)]) -> (u16, Value) {
    let (status, body) = http(web(server), "/v1/ice-servers", headers);
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn listen_udp_is_where_datagrams_are_answered() {
    let server = Server::start(&[("listen.udp", r#"["OWN:3478", "OWN:5000"]"#)]);
    for port in [3478, 5000] {
        assert_eq!(Client::udp((server.ip, port).into()).binding().code(), 0);
    }
    let none = Server::start(&[("listen.udp", "[]")]);
    let mut client = none.udp();
    let request = client.write(method::BINDING, |_| {});
    client.send(&request);
    assert!(is_silent(&client));
    assert_eq!(none.tcp().binding().code(), 0);
}

#[test]
fn listen_tcp_is_where_streams_are_accepted() {
    let server = Server::start(&[("listen.tcp", r#"["OWN:3478", "OWN:5000"]"#)]);
    for port in [3478, 5000] {
        assert_eq!(Client::tcp((server.ip, port).into()).binding().code(), 0);
    }
    let none = Server::start(&[("listen.tcp", "[]")]);
    assert!(TcpStream::connect(none.address()).is_err());
    assert_eq!(none.udp().binding().code(), 0);
}

#[test]
fn listen_dtls_is_where_dtls_is_spoken() {
    let keys = [("listen.dtls", r#"["OWN:5349", "OWN:3478"]"#)];
    #[cfg(not(feature = "dtls"))]
    {
        let mut server = Server::spawn(&keys, None);
        assert!(eventually(|| server.has_ended()));
    }
    #[cfg(feature = "dtls")]
    {
        let secure = secure::Secure::start(&keys);
        let connect = |port| {
            let wire = dtls::Dtls::connect((secure.server.ip, port).into()).expect("a handshake");
            let seen = wire.certificates();
            (Client::with(Link::Other(Box::new(wire))), seen)
        };
        for port in [5349, 3478] {
            assert_eq!(connect(port).0.binding().code(), 0);
        }
        let mut old = connect(5349).0;
        old.relay();
        assert_eq!(secure.server.metric("relais_allocations{transport=\"dtls\"}"), 1.0);
        assert!(
            !secure.server.log().contains("turns:"),
            "browsers do not speak it, so there is no URL for it"
        );

        // The certificate changes for new associations, and the old ones go on.
        let next = secure.authority.issue(&[secure::NAME]);
        secure.files.pair("own", &next);
        secure.server.signal("HUP");
        assert!(eventually(|| connect(5349).1 == [next.der().to_vec()]));
        assert_eq!(old.binding().code(), 0);

        let none = Server::start(&[]);
        let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        let stranger = dtls::Dtls::begin(socket, none.address(), dtls::client_config(&[]));
        stranger.flush();
        stranger.socket.set_read_timeout(Some(SILENCE)).unwrap();
        assert_eq!(stranger.hear(), None);
    }
}

#[test]
fn listen_workers_is_the_number_of_relay_threads() {
    for workers in [1, 3] {
        let server = Server::start(&[("listen.workers", &workers.to_string())]);
        let named = || {
            let mut names = server.threads();
            names.retain(|name| name.starts_with("relais-"));
            names.sort();
            names
        };
        let wanted: Vec<String> = (0..workers).map(|i| format!("relais-{i}")).collect();
        // A thread gives itself its name once it runs.
        assert!(eventually(|| named() == wanted), "{:?}", named());
        assert_eq!(server.metric("relais_workers"), f64::from(workers));
    }
}

#[test]
fn listen_pin_workers_keeps_each_on_one_cpu() {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let mine = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let usable: Vec<u32> = mine
        .split(',')
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse().unwrap()..=last.parse().unwrap()
        })
        .collect();
    // One more than there are CPUs: the last one shares the first one's.
    let workers = usable.len().min(8) + usize::from(usable.len() < 8);
    for pinned in [false, true] {
        let keys = [("listen.workers", workers.to_string()), ("listen.pin_workers", pinned.to_string())];
        let server = Server::start(&keys.each_ref().map(|(key, value)| (*key, value.as_str())));
        let on = |worker: usize| match pinned {
            true => usable[worker % usable.len()].to_string(),
            false => mine.to_owned(),
        };
        let mut wanted: Vec<_> =
            (0..workers).map(|worker| (format!("relais-{worker}"), on(worker))).collect();
        wanted.sort();
        let is_worker = |name: &str| name.starts_with("relais-");
        let found = || server.cpus().into_iter().filter(|(name, _)| is_worker(name)).collect::<Vec<_>>();
        assert!(eventually(|| found() == wanted), "{:?} instead of {wanted:?}", found());
        let others = server.cpus().into_iter().filter(|(name, _)| !is_worker(name));
        assert!(others.into_iter().all(|(_, cpus)| cpus == mine), "only workers are pinned");
    }
}

#[test]
fn relay_addresses_are_what_clients_are_given() {
    let server = Server::start(&[("relay.addresses", r#"["127.0.0.1", "::1"]"#)]);
    for (family, address) in [(1, LOOPBACK), (2, "::1".parse().unwrap())] {
        let reply = server.udp().call(method::ALLOCATE, |writer| {
            writer
                .attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
                .attribute(attr::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
        });
        assert_eq!(reply.address(attr::XOR_RELAYED_ADDRESS).ip(), address);
    }
    let only_v6 = Server::start(&[("relay.addresses", r#"["::1"]"#)]);
    assert_eq!(only_v6.udp().allocate().code(), 440);
}

#[test]
fn relay_external_is_shown_and_clients_still_reach_each_other() {
    let public: IpAddr = "8.34.2.1".parse().unwrap();
    let keys = [("relay.external", r#"{ "127.0.0.1" = "8.34.2.1" }"#), ("peers.allow", "[]")];
    let server = Server::start(&keys);
    let (mut one, mut other) = (server.udp(), server.tcp());
    let (at_one, at_other) = (one.relay(), other.relay());
    assert_eq!((at_one.ip(), at_other.ip()), (public, public));
    assert_eq!((one.permit(at_other), other.permit(at_one)), (0, 0));
    one.say(at_other, b"there");
    assert_eq!(data_of(&other.receive()), (at_one, b"there".to_vec()));
    other.say(at_one, b"and back");
    assert_eq!(data_of(&one.receive()), (at_other, b"and back".to_vec()));
}

#[test]
fn relay_ports_bound_what_is_given_out() {
    let ports = relay_ports(3);
    let server = Server::start(&[("relay.ports", &format!("{ports:?}"))]);
    let mut clients: Vec<Client> = (0..4).map(|_| server.udp()).collect();
    let mut given: Vec<u16> = clients[..3].iter_mut().map(|client| client.relay().port()).collect();
    given.sort_unstable();
    let first: u16 = ports.split_once('-').unwrap().0.parse().unwrap();
    assert_eq!(given, [first, first + 1, first + 2]);
    assert_eq!(clients[3].allocate().code(), 508);
    assert_eq!(clients[0].refresh(0).code(), 0);
    assert_eq!(clients[3].allocate().code(), 0);
}

#[test]
fn relay_family_default_decides_for_clients_that_do_not() {
    let family_of = |default: &str, addresses: &str| {
        let keys = [
            ("listen.udp", r#"["[::1]:0"]"#),
            ("relay.family_default", default),
            ("relay.addresses", addresses),
        ];
        let server = Server::start(&keys);
        let reply = Client::udp(bound(&server, "udp:[::1]:")).allocate();
        match reply.code() {
            0 if reply.address(attr::XOR_RELAYED_ADDRESS).is_ipv6() => 6,
            0 => 4,
            code => code,
        }
    };
    let both = r#"["127.0.0.1", "::1"]"#;
    assert_eq!(family_of(r#""ipv4""#, both), 4);
    assert_eq!(family_of(r#""follow""#, both), 6);
    assert_eq!(family_of(r#""ipv4""#, r#"["::1"]"#), 440);
    assert_eq!(family_of(r#""follow""#, r#"["127.0.0.1"]"#), 4, "there is no other");
}

fn allocate_tcp(client: &mut Client) -> Reply {
    client.call(method::ALLOCATE, |writer| {
        writer.attribute(attr::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
    })
}

#[test]
fn relay_tcp_is_off_unless_asked_for() {
    for (on, code) in [("false", 442), ("true", 0)] {
        let server = Server::start(&[("relay.tcp", on)]);
        let mut client = server.tcp();
        assert_eq!(allocate_tcp(&mut client).code(), code, "{on}");
        let request = client.write(method::CONNECT, |_| {});
        client.send(&request);
        if code == 0 {
            assert_eq!(client.response_to(&request).code(), 400, "no peer");
        } else {
            assert!(is_silent(&client), "an unknown method");
        }
    }
}

#[test]
fn auth_realm_is_in_the_challenge() {
    let server = Server::start(&[("auth.realm", r#""north.example""#)]);
    let mut client = server.udp();
    let challenge = client.once(method::ALLOCATE, |_| {});
    assert_eq!((challenge.code(), challenge.get(attr::REALM).unwrap()), (401, b"north.example".to_vec()));
    client.relay();
}

#[test]
fn auth_nonce_lifetime_ends_a_nonce() {
    let server = Server::start(&[("auth.nonce_lifetime", r#""2s""#)]);
    let mut client = server.udp();
    client.relay();
    let refresh = |client: &mut Client| client.once(method::REFRESH, |_| {});
    assert_eq!(refresh(&mut client).code(), 0);
    sleep(Duration::from_millis(2100));
    let stale = refresh(&mut client);
    assert_eq!(stale.code(), 438);
    client.take_challenge(&stale);
    assert_eq!(refresh(&mut client).code(), 0);
}

#[test]
fn auth_users_log_in_by_password_file_and_both_keys() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let file = SecretFile::new("password", "from-a-file\n");
    let users = format!(
        "[{{ name = \"plain\", password = \"in-the-clear\" }}, {{ name = \"file\", password_file = {:?} }}, \
         {{ name = \"md5\", key = \"{}\" }}, {{ name = \"sha\", key = \"{}\" }}]",
        file.0,
        hex(&Md5::digest("md5:relais:swordfish")),
        hex(&Sha256::digest("sha:relais:marlin")),
    );
    let server = Server::start(&[("auth.users", &users)]);
    let code = |client: Client| {
        let mut client = client;
        client.allocate().code()
    };
    assert_eq!(code(server.udp().login("plain", "in-the-clear")), 0);
    assert_eq!(code(server.udp().login("plain", "in-the-clear").sha256()), 0);
    assert_eq!(code(server.udp().login("file", "from-a-file")), 0);
    assert_eq!(code(server.udp().login("md5", "swordfish")), 0);
    assert_eq!(code(server.udp().login("sha", "marlin").sha256()), 0);
    assert_eq!(code(server.udp().login("plain", "other")), 401);
    assert_eq!(code(server.udp().login("md5", "other")), 401);
    assert_eq!(code(server.udp().login("sha", "other").sha256()), 401);
    assert_eq!(code(server.udp()), 401, "alice is not in this list");
}

#[test]
fn auth_secrets_hold_side_by_side() {
    let file = SecretFile::new("secret", "the-second-of-two-secrets\n");
    let secrets = format!(
        "[{{ name = \"new\", secret = \"the-first-of-two-secrets\" }}, {{ name = \"old\", secret_file = {:?} }}]",
        file.0
    );
    let server = Server::start(&[("auth.users", "[]"), ("auth.secrets", &secrets)]);
    let name = format!("{LATER}:bob");
    for (secret, code) in
        [("the-first-of-two-secrets", 0), ("the-second-of-two-secrets", 0), ("a-third-of-two-secrets", 401)]
    {
        assert_eq!(holder(&server, &name, secret).allocate().code(), code, "{secret}");
    }
    let past = holder(&server, "1000000000:bob", "the-first-of-two-secrets").allocate();
    assert_eq!(past.code(), 401, "expired");
}

#[test]
fn auth_separator_splits_expiry_and_user() {
    let secret = "north-wind-and-sun";
    let keys = [
        ("auth.separator", r#""-""#),
        ("auth.secrets", r#"[{ name = "a", secret = "north-wind-and-sun" }]"#),
        ("limits.allocations_per_user", "1"),
    ];
    let server = Server::start(&keys);
    let code = |name: &str| holder(&server, name, secret).allocate().code();
    assert_eq!(code("4000000000-bob"), 0);
    assert_eq!(code("4000000001-bob"), 486, "the same user by another credential");
    assert_eq!(code("4000000000-carol"), 0);
    assert_eq!(code("4000000000:bob"), 401, "the default separator");
}

/// Seconds since 1970 on the clock of this machine, which is also the server's.
fn unix() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "time-limited credentials go by the wall clock")]
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn auth_expired_decides_over_running_allocations() {
    let secrets = ("auth.secrets", r#"[{ name = "a", secret = "north-wind-and-sun" }]"#);
    let servers = ["grace", "refresh", "cut"]
        .map(|word| Server::start(&[("auth.expired", &format!("{word:?}")), secrets]));
    let expiry = unix() + 3;
    let mut clients =
        servers.each_ref().map(|server| holder(server, &format!("{expiry}:bob"), "north-wind-and-sun"));
    let lifetimes = clients.each_mut().map(|client| client.allocate().lifetime());
    assert!(lifetimes[..2] == [600, 600] && lifetimes[2] <= 3, "{lifetimes:?}");
    assert!(eventually(|| unix() > expiry));
    let [grace, refresh, cut] = &mut clients;
    assert_eq!(grace.refresh(600).lifetime(), 600);
    assert_eq!(refresh.refresh(600).code(), 401);
    let (_, there) = peer();
    assert_eq!(refresh.permit(there), 0, "what runs goes on");
    assert!(eventually(|| servers[2].log().contains("credential expired")));
    assert_eq!(cut.allocate().code(), 401, "its 5-tuple is free, its credential is not good");
}

/// A client with an access token, and the key in base64 that it was sealed with.
fn bearer(server: &Server, kid: &str, name: &str, algorithm: TokenAlgorithm) -> (Client, String) {
    let key = vec![kid.as_bytes()[0]; algorithm.key_len()];
    let text = STANDARD.encode(&key);
    let key = OauthKey { kid: kid.to_owned(), algorithm, key: key.into(), expires: None };
    let mac_key = b"ZksjpweoixXmvn67534m".to_vec();
    let token = AccessToken::new(mac_key.clone(), unix(), 700).seal(&key, name, b"h4j3k2l2n4b5").unwrap();
    (server.udp().bearer(kid, &mac_key, &token), text)
}

#[test]
fn auth_oauth_takes_tokens_under_each_of_its_keys() {
    let none = Server::start(&[]);
    let (mut early, north) = bearer(&none, "north", "relais", TokenAlgorithm::A256Gcm);
    let (_, south) = bearer(&none, "south", "relais", TokenAlgorithm::A128CbcHs256);
    assert_eq!(early.allocate().code(), 420, "no tokens are taken here");
    let file = SecretFile::new("oauth", &format!("{north}\n"));
    let keys = format!(
        "[{{ kid = \"north\", key_file = {:?} }}, {{ kid = \"south\", key = {south:?}, algorithm = \"A128CBC-HS256\" }}, \
         {{ kid = \"gone\", key = {:?}, expires = 1000000000 }}]",
        file.0,
        bearer(&none, "gone", "", TokenAlgorithm::A256Gcm).1
    );
    let server = Server::start(&[("auth.oauth", &keys)]);
    for (kid, algorithm, code) in [
        ("north", TokenAlgorithm::A256Gcm, 0),
        ("south", TokenAlgorithm::A128CbcHs256, 0),
        ("south", TokenAlgorithm::A256Gcm, 401),
        ("gone", TokenAlgorithm::A256Gcm, 401),
        ("east", TokenAlgorithm::A256Gcm, 401),
    ] {
        let reply = bearer(&server, kid, "relais", algorithm).0.allocate();
        assert_eq!(reply.code(), code, "{kid}");
        if code == 0 {
            assert_eq!(reply.lifetime(), 600);
        }
    }
    assert_eq!(server.udp().login("alice", "wonderland").allocate().code(), 0, "passwords work beside");
    let (socket, there) = peer();
    let mut client = bearer(&server, "north", "relais", TokenAlgorithm::A256Gcm).0;
    client.relay();
    assert!(client.refresh(3600).lifetime() <= 700);
    assert_eq!(client.permit(there), 0);
    client.say(there, b"by token");
    assert_eq!(heard(&socket).0, b"by token");
}

#[test]
fn auth_oauth_server_name_is_in_challenges_and_tokens() {
    let key = STANDARD.encode([b'n'; 32]);
    let keys = format!("[{{ kid = \"north\", key = {key:?} }}]");
    let server = Server::start(&[("auth.oauth", &keys), ("auth.oauth_server_name", r#""turn.example.org""#)]);
    let challenge = server.udp().once(method::ALLOCATE, |_| {});
    assert_eq!(challenge.get(attr::THIRD_PARTY_AUTHORIZATION).as_deref(), Some(&b"turn.example.org"[..]));
    let code = |name: &str| bearer(&server, "north", name, TokenAlgorithm::A256Gcm).0.allocate().code();
    assert_eq!((code("turn.example.org"), code("relais")), (0, 401));
}

#[test]
fn peers_allow_opens_what_is_closed() {
    let (open, open_at) = peer_at("127.0.0.2");
    let (half, half_at) = peer_at("127.0.0.3");
    let (other, other_at) = peer_at("127.0.0.3");
    let closed = Server::start(&[("peers.allow", "[]")]);
    let mut client = closed.udp();
    client.relay();
    assert_eq!((client.permit(open_at), client.bind(0x4000, open_at)), (403, 403));
    let allow = format!("[\"127.0.0.2\", \"127.0.0.3:{}\"]", half_at.port());
    let server = Server::start(&[("peers.allow", &allow)]);
    let mut client = server.udp();
    client.relay();
    assert_eq!((client.permit(open_at), client.permit(half_at)), (0, 0));
    client.say(open_at, b"one");
    client.say(other_at, b"no");
    client.say(half_at, b"two");
    assert_eq!((heard(&open).0, heard(&half).0), (b"one".to_vec(), b"two".to_vec()));
    assert!(hears_nothing(&other));
    assert_eq!(client.bind(0x4000, other_at), 403);
}

#[test]
fn peers_allow_opens_the_loopback_of_both_families() {
    let both = [("relay.addresses", r#"["127.0.0.1", "::1"]"#), ("peers.allow", r#"["127.0.0.0/8", "::1"]"#)];
    let server = Server::start(&both);
    for (family, address) in [(1, "127.0.0.1"), (2, "::1")] {
        let (peer, peer_at) = peer_at(address);
        let mut client = server.udp();
        let allocated = client.call(method::ALLOCATE, |writer| {
            writer
                .attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
                .attribute(attr::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
        });
        let relayed = allocated.address(attr::XOR_RELAYED_ADDRESS);
        assert_eq!(client.permit(peer_at), 0);
        client.say(peer_at, b"there");
        assert_eq!(heard(&peer), (b"there".to_vec(), relayed));
        peer.send_to(b"back", relayed).unwrap();
        assert_eq!(data_of(&client.receive()), (peer_at, b"back".to_vec()));
        assert_eq!(client.bind(0x4000, peer_at), 0);
    }
}

#[test]
fn peers_deny_wins() {
    let (half, half_at) = peer_at("127.0.0.3");
    let (other, other_at) = peer_at("127.0.0.3");
    let deny = format!("[\"127.0.0.2\", \"127.0.0.3:{}\"]", other_at.port());
    let server = Server::start(&[("peers.allow", r#"["127.0.0.0/8"]"#), ("peers.deny", &deny)]);
    let mut client = server.udp();
    let relayed = client.relay();
    assert_eq!(client.permit("127.0.0.2:9".parse().unwrap()), 403);
    assert_eq!(client.permit(half_at), 0);
    client.say(other_at, b"no");
    client.say(half_at, b"yes");
    assert_eq!(heard(&half).0, b"yes");
    assert!(hears_nothing(&other));
    other.send_to(b"no", relayed).unwrap();
    half.send_to(b"yes", relayed).unwrap();
    assert_eq!(data_of(&client.receive()), (half_at, b"yes".to_vec()));
    assert_eq!(client.bind(0x4000, other_at), 403);
}

#[test]
fn limits_allocations_per_user_is_answered_486() {
    let users =
        r#"[{ name = "alice", password = "wonderland" }, { name = "bob", password = "the-builder" }]"#;
    let server = Server::start(&[("auth.users", users), ("limits.allocations_per_user", "2")]);
    let (mut first, mut second) = (server.udp(), server.tcp());
    first.relay();
    second.relay();
    let mut third = server.udp();
    assert_eq!(third.allocate().code(), 486);
    assert_eq!(server.udp().login("bob", "the-builder").allocate().code(), 0, "another user");
    assert_eq!(first.refresh(0).code(), 0);
    assert_eq!(third.allocate().code(), 0);
}

#[test]
fn limits_permissions_per_allocation_is_answered_508() {
    let keys = [("peers.allow", r#"["127.0.0.0/8"]"#), ("limits.permissions_per_allocation", "2")];
    let server = Server::start(&keys);
    let mut client = server.udp();
    client.relay();
    let mut code = |ip: &str| client.permit(SocketAddr::new(ip.parse().unwrap(), 9));
    assert_eq!((code("127.0.0.2"), code("127.0.0.3"), code("127.0.0.4")), (0, 0, 508));
    assert_eq!(code("127.0.0.2"), 0, "the same again");
}

#[test]
fn limits_channels_per_allocation_is_answered_508() {
    let server = Server::start(&[("limits.channels_per_allocation", "2")]);
    let mut client = server.udp();
    client.relay();
    let mut code = |channel, port| client.bind(channel, SocketAddr::new(LOOPBACK, port));
    assert_eq!((code(0x4000, 5001), code(0x4001, 5002), code(0x4002, 5003)), (0, 0, 508));
    assert_eq!(code(0x4000, 5001), 0, "the same again");
}

#[test]
fn limits_connections_per_allocation_is_answered_508() {
    let server = Server::start(&[("relay.tcp", "true"), ("limits.connections_per_allocation", "2")]);
    let mut client = server.tcp();
    assert_eq!(allocate_tcp(&mut client).code(), 0);
    let peers: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind((LOOPBACK, 0)).unwrap()).collect();
    let mut codes = Vec::new();
    for peer in &peers {
        let address = peer.local_addr().unwrap();
        let reply = client.call(method::CONNECT, |writer| {
            writer.xor_address(attr::XOR_PEER_ADDRESS, address);
        });
        codes.push(reply.code());
    }
    assert_eq!(codes, [0, 0, 508]);
}

#[test]
fn limits_streams_per_address_closes_one_more() {
    let server = Server::start(&[("limits.streams_per_address", "2")]);
    let mut admitted = [server.tcp(), server.tcp()];
    assert!(admitted.iter_mut().all(|client| client.binding().code() == 0));
    assert!(server.tcp().is_closed_within(SOON));
}

#[test]
fn limits_max_lifetime_cuts_what_is_asked_for() {
    for (max, given) in [("\"20m\"", 1200), ("\"1h\"", 3600)] {
        let server = Server::start(&[("limits.max_lifetime", max)]);
        let mut client = server.udp();
        client.relay();
        assert_eq!(client.refresh(7200).lifetime(), given);
    }
}

#[test]
fn limits_drain_is_when_the_last_allocations_end() {
    let mut server = Server::start(&[("limits.drain", r#""1s""#)]);
    let mut client = server.udp();
    client.relay();
    let mut late = server.udp();
    assert_eq!(late.once(method::ALLOCATE, |_| {}).code(), 401);
    let began = Instant::now();
    server.signal("TERM");
    server.wait_for_log("draining");
    assert_eq!(late.allocate().code(), 403, "none are made any more");
    assert_eq!(client.refresh(600).code(), 0, "the old ones go on");
    server.assert_running();
    assert!(eventually(|| server.has_ended()));
    let after = began.elapsed();
    assert!(after > Duration::from_millis(950) && after < Duration::from_secs(3), "{after:?}");
}

#[test]
fn http_listen_opens_and_closes_the_web_side() {
    let server = Server::start(&[("http.listen", r#"["OWN:8080"]"#)]);
    assert_eq!(http(web(&server), "/", &[]).0, 200);
    let off = Server::start(&[("http.listen", "[]")]);
    assert!(TcpStream::connect(web(&off)).is_err());
}

/// A request that a proxy on this machine has passed on for somebody elsewhere.
const FORWARDED: (&str, &str) = ("X-Forwarded-For", "8.34.2.9");
const WEB: (&str, &str) = ("http.listen", r#"["OWN:8080"]"#);
const SECRET: (&str, &str) = ("auth.secrets", r#"[{ name = "a", secret = "north-wind-and-sun" }]"#);

#[test]
fn http_origins_may_ask_from_elsewhere() {
    let origins = ("http.origins", r#"["https://app.example"]"#);
    let server = Server::start(&[WEB, SECRET, origins]);
    assert_eq!(ice(&server, &[FORWARDED, ("Origin", "https://app.example")]).0, 200);
    assert_eq!(ice(&server, &[FORWARDED, ("Origin", "https://evil.example")]).0, 403);
    let none = Server::start(&[WEB, SECRET]);
    assert_eq!(ice(&none, &[FORWARDED, ("Origin", "https://app.example")]).0, 403);
}

#[test]
fn a_page_that_may_not_signal_is_named_at_level_debug() {
    let keys = [WEB, SECRET, ("http.rooms", r#""open""#), ("log.level", r#""info,relais::http=debug""#)];
    let server = Server::start(&keys);
    let page = |origin: &str| {
        let mut stream = TcpStream::connect(web(&server)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let request = format!("GET /ws HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\n\r\n", web(&server));
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head[9..], b"403");
    };
    page("http://localhost:5173");
    page(&format!("http://{}", "long".repeat(100)));
    server.wait_for_log("longlong");
    let log = server.log();
    assert!(log.contains("http://localhost:5173") && log.contains("http.origins"), "{log}");
    assert!(!log.contains(&"long".repeat(20)), "{log}");
}

/// The status that a WebSocket is answered with.
fn websocket(server: &Server, room: &str) -> u16 {
    let mut stream = TcpStream::connect(web(server)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = format!(
        "GET /ws?room={room} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        web(server)
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

#[test]
fn http_rooms_are_off_named_or_open() {
    let (short, long) = ("lobby", "gS0meNameThatNobodyGuesses");
    for (rooms, wanted) in [(r#""off""#, (403, 403)), (r#""named""#, (400, 101)), (r#""open""#, (101, 101))] {
        let server = Server::start(&[WEB, SECRET, ("http.rooms", rooms)]);
        assert_eq!((websocket(&server, short), websocket(&server, long)), wanted, "{rooms}");
    }
}

#[test]
fn http_host_is_in_the_urls() {
    let server = Server::start(&[WEB, SECRET, ("http.host", r#""turn.example.org""#)]);
    let url = ice(&server, &[]).1["iceServers"][0]["urls"].to_string();
    assert!(url.contains(":turn.example.org"), "{url}");
    let server = Server::start(&[WEB, SECRET]);
    let url = ice(&server, &[]).1["iceServers"][0]["urls"].to_string();
    assert!(url.contains(&format!(":{}:3478", server.ip)), "{url}");
}

#[test]
fn http_open_serves_anybody() {
    for (open, status) in [("true", 200), ("false", 403)] {
        let server = Server::start(&[WEB, SECRET, ("http.open", open)]);
        assert_eq!(ice(&server, &[FORWARDED]).0, status);
    }
}

#[test]
fn http_ttl_is_in_the_user_name() {
    let credential = |ttl: &str| {
        let server = Server::start(&[WEB, SECRET, ("http.ttl", ttl)]);
        let answer = ice(&server, &[]).1;
        let servers = answer["iceServers"].as_array().unwrap().clone();
        let server_entry = servers.iter().find(|server| server["username"].is_string()).unwrap();
        let name = server_entry["username"].as_str().unwrap();
        let mut client = server.udp().login(name, server_entry["credential"].as_str().unwrap());
        assert_eq!(client.allocate().code(), 0, "what is handed out is good");
        name.split(':').next().unwrap().parse::<u64>().unwrap()
    };
    let (short, long) = (credential(r#""1h""#), credential(r#""3h""#));
    assert!((7200..7210).contains(&(long - short)), "{short} {long}");
}

#[test]
fn admin_listen_opens_and_closes_health_and_metrics() {
    let server = Server::start(&[]);
    let admin = SocketAddr::new(server.ip.into(), 9478);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(http(admin, path, &[]).0, 200, "{path}");
    }
    let off = Server::start(&[("admin.listen", "[]")]);
    assert!(TcpStream::connect((off.ip, 9478)).is_err());
}

#[test]
fn log_format_json_is_one_object_a_line() {
    let server = Server::start(&[("log.format", r#""json""#)]);
    let log = server.log();
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).unwrap().is_object()), "{log}");
    let text = Server::start(&[("log.format", r#""text""#)]).log();
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_err()), "{text}");
}

#[test]
fn log_level_silences_and_deepens() {
    let off = Server::spawn(&[("log.level", r#""off""#)], None);
    assert!(eventually(|| TcpStream::connect(off.address()).is_ok()));
    assert_eq!(off.udp().allocate().code(), 0);
    assert_eq!(off.log(), "");
    assert!(!Server::start(&[("log.level", r#""info""#)]).log().contains("DEBUG"));
    assert!(Server::start(&[("log.level", r#""debug""#)]).log().contains("DEBUG"));
}

#[test]
fn clients_of_all_workers_reach_each_other() {
    const CLIENTS: usize = 40;
    let server = Server::start(&[("listen.workers", "4"), ("peers.allow", "[]")]);
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|i| if i % 4 == 0 { server.tcp() } else { server.udp() }).collect();
    let relayed: Vec<SocketAddr> = clients.iter_mut().map(Client::relay).collect();
    for client in &mut clients {
        assert_eq!(client.permit(relayed[0]), 0);
    }
    for (i, client) in clients.iter().enumerate() {
        client.say(relayed[(i + 1) % CLIENTS], format!("from {i}").as_bytes());
    }
    for (i, client) in clients.iter().enumerate() {
        let before = (i + CLIENTS - 1) % CLIENTS;
        let wanted = (relayed[before], format!("from {before}").into_bytes());
        assert_eq!(data_of(&client.receive()), wanted);
    }
    let by_transport = |name: &str, more: &str| {
        let value = |transport| server.metric(&format!("{name}{{transport=\"{transport}\"{more}}}"));
        (value("udp"), value("tcp"))
    };
    assert_eq!(by_transport("relais_allocations", ""), (30.0, 10.0));
    assert_eq!(by_transport("relais_requests_total", ",method=\"allocate\""), (30.0, 10.0));
    assert_eq!(by_transport("relais_errors_total", ",code=\"401\""), (30.0, 10.0));
    assert_eq!(by_transport("relais_packets_total", ",direction=\"to_peer\""), (30.0, 10.0));
    assert_eq!(by_transport("relais_packets_total", ",direction=\"to_client\""), (30.0, 10.0));
    assert_eq!(server.metric("relais_permissions"), 40.0);
    assert_eq!(server.metric("relais_workers"), 4.0);
}

#[test]
fn a_wildcard_listener_answers_from_the_address_that_was_asked() {
    let server = Server::start(&[("listen.udp", r#"["0.0.0.0:0"]"#), ("listen.workers", "2")]);
    let port = bound(&server, "udp:0.0.0.0:").port();
    let (peer, peer_address) = peer();
    // A connected socket hears from no other address than the one it is connected to.
    for address in ["127.0.0.2", "127.0.0.3"] {
        let mut client = Client::udp(SocketAddr::new(address.parse().unwrap(), port));
        let Link::Udp(socket) = &client.link else { panic!("not UDP") };
        let own = socket.local_addr().unwrap();
        assert_eq!(client.binding().address(attr::XOR_MAPPED_ADDRESS), own);
        let relayed = client.relay();
        assert_eq!(client.permit(peer_address), 0);
        client.say(peer_address, b"out");
        assert_eq!(heard(&peer), (b"out".to_vec(), relayed));
        peer.send_to(b"back", relayed).unwrap();
        assert_eq!(data_of(&client.receive()), (peer_address, b"back".to_vec()));
    }
}

#[test]
fn data_in_front_of_a_refresh_leave_by_the_allocation_that_it_ends() {
    let server = Server::start(&[]);
    let (peer, peer_address) = peer();
    let mut leaving = server.udp();
    let relayed = leaving.relay();
    assert_eq!(leaving.permit(peer_address), 0);
    let mut coming = server.udp();
    let challenge = coming.once(method::ALLOCATE, |_| {});
    coming.take_challenge(&challenge);
    let end = leaving.write(method::REFRESH, |writer| {
        writer.u32(attr::LIFETIME, 0);
    });
    let begin = coming.write(method::ALLOCATE, |writer| {
        writer.attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    });
    // A server that stands still meanwhile finds all three in one batch.
    server.signal("STOP");
    leaving.say(peer_address, b"last words");
    leaving.send(&end);
    coming.send(&begin);
    server.signal("CONT");
    assert_eq!(leaving.response_to(&end).code(), 0);
    let reply = coming.response_to(&begin);
    assert_ne!(reply.address(attr::XOR_RELAYED_ADDRESS), relayed);
    assert_eq!(heard(&peer), (b"last words".to_vec(), relayed));
}

fn ticket_of(reply: &Reply) -> Vec<u8> {
    reply.get(attr::MOBILITY_TICKET).expect("a ticket")
}

fn allocate_mobile(client: &mut Client) -> Reply {
    client.call(method::ALLOCATE, |writer| {
        writer.attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0]).attribute(attr::MOBILITY_TICKET, &[]);
    })
}

/// With several workers the kernel leads each new 5-tuple to any of them.
#[test]
fn relay_mobility_lets_clients_move_between_transports_and_workers() {
    let server = Server::start(&[("listen.workers", "4"), ("relay.mobility", "true")]);
    for round in 0..24 {
        let (peer_socket, peer) = peer();
        let by_stream = |round: u32| round.is_multiple_of(3);
        let connect = |stream: bool| if stream { server.tcp() } else { server.udp() };
        let mut home = connect(by_stream(round));
        let mut ticket = ticket_of(&allocate_mobile(&mut home));
        assert_eq!(home.bind(0x4000, peer), 0);
        for step in 0..2 {
            let mut away = connect(by_stream(round / 3 + step));
            let reply = away.call(method::REFRESH, |writer| {
                writer.attribute(attr::MOBILITY_TICKET, &ticket);
            });
            assert_eq!(reply.code(), 0, "round {round}");
            ticket = ticket_of(&reply);
            home.send(&channel_data(0x4000, b"still at home"));
            let (bytes, relayed) = heard(&peer_socket);
            assert_eq!(bytes, b"still at home");
            away.send(&channel_data(0x4000, b"on the new way"));
            assert_eq!(heard(&peer_socket), (b"on the new way".to_vec(), relayed));
            peer_socket.send_to(b"follow me", relayed).unwrap();
            let frame = away.receive();
            assert_eq!(frame[..13], channel_data(0x4000, b"follow me")[..13]);
            // The old way may close; it is no longer the allocation's.
            home = away;
        }
        assert_eq!(home.refresh(0).code(), 0);
    }
}

#[test]
fn relay_mobility_can_be_forbidden() {
    let server = Server::start(&[("relay.mobility", "false")]);
    assert_eq!(allocate_mobile(&mut server.udp()).code(), 405);
}

#[test]
fn redirect_servers_are_where_clients_are_sent() {
    let elsewhere: SocketAddr = "192.0.2.7:3478".parse().unwrap();
    let servers = [("redirect.servers", r#"["192.0.2.7:3478"]"#)];
    let server = Server::start(&servers);
    let reply = server.udp().allocate();
    let alternate = reply.get(attr::ALTERNATE_SERVER).unwrap();
    assert_eq!((reply.code(), decode_address(&alternate)), (300, Some(elsewhere)));
    assert_eq!(server.udp().binding().code(), 0);
    assert!(server.log().contains("redirect.when is"));
}

#[test]
fn redirect_domain_is_told_over_tls_to_those_who_can_trust_it() {
    let keys = [("redirect.servers", r#"["192.0.2.7:3478"]"#), ("redirect.domain", r#""turn2.example.org""#)];
    let secure = secure::Secure::start(&keys);
    let client = || Client::tls(secure.address(), secure::NAME, secure.config());
    let domain = client().sha256().allocate().get(attr::ALTERNATE_DOMAIN);
    assert_eq!(domain.as_deref(), Some(&b"turn2.example.org"[..]));
    assert_eq!(client().allocate().get(attr::ALTERNATE_DOMAIN), None);
}

#[test]
fn redirect_when_draining_waits_for_the_drain() {
    let keys = [
        ("redirect.servers", r#"["192.0.2.7:3478"]"#),
        ("redirect.when", r#""draining""#),
        ("limits.drain", r#""20s""#),
    ];
    let server = Server::start(&keys);
    server.udp().relay();
    let mut late = server.udp();
    let challenge = late.once(method::ALLOCATE, |_| {});
    late.take_challenge(&challenge);
    server.signal("TERM");
    server.wait_for_log("draining");
    assert_eq!(late.allocate().code(), 300);
}

#[test]
fn nat_discovery_answers_from_the_other_address_and_port() {
    let start = |addresses: &str, ports: &str| {
        Server::start(&[("nat_discovery.addresses", addresses), ("nat_discovery.ports", ports)])
    };
    let ports = relay_ports(2).replace('-', ", ");
    let (first, second) =
        ports.split_once(", ").map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())).unwrap();
    let server = start(r#"["127.0.0.1", "127.0.0.2"]"#, &format!("[{ports}]"));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    for (flags, from) in [
        (0, ("127.0.0.1", first)),
        (2, ("127.0.0.1", second)),
        (4, ("127.0.0.2", first)),
        (6, ("127.0.0.2", second)),
    ] {
        let mut buffer = [0; 64];
        let id = TransactionId([flags; 12]);
        let mut writer = MessageWriter::to(&mut buffer, method::BINDING, Class::Request, id);
        writer.attribute(attr::CHANGE_REQUEST, &[0, 0, 0, flags]);
        let len = writer.finish().unwrap();
        client.send_to(&buffer[..len], ("127.0.0.1", first)).unwrap();
        let (bytes, source) = heard(&client);
        let wanted = SocketAddr::new(from.0.parse().unwrap(), from.1);
        assert_eq!(source, wanted, "flags {flags}");
        let origin = Reply(bytes).get(attr::RESPONSE_ORIGIN).unwrap();
        assert_eq!(decode_address(&origin), Some(wanted));
    }
    drop(server);
}

#[test]
fn admin_socket_answers_its_owner_and_goes_with_the_server() {
    let mut server = Server::start(&[("admin.socket", "\"desk\"")]);
    let path = PathBuf::from(server.file("none", "")).with_file_name("desk");
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /v1/sessions HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(r#"{"sessions":[]}"#), "{answer}");
    server.signal("TERM");
    assert!(eventually(|| server.has_ended()));
    assert!(!path.exists());
    // systemd's directory for what runs.
    let runtime = certificates::Files::new("options-runtime");
    let directory = runtime.path().display().to_string();
    let server = Server::start_in(&[("RUNTIME_DIRECTORY", &directory)], &[]);
    assert!(std::os::unix::net::UnixStream::connect(runtime.path().join("admin.sock")).is_ok());
    drop(server);
}

#[test]
fn state_directory_is_made_for_the_server_alone() {
    let files = certificates::Files::new("options-state");
    let directory = files.path().join("deep/state");
    let shown = format!("{:?}", directory.display().to_string());
    let server = Server::start(&[("state.directory", &shown)]);
    assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    drop(server);
    let file = files.write("file", "");
    let mut server = Server::spawn(&[("state.directory", &file)], None);
    server.wait_for_log("the state directory, is a file");
    assert!(eventually(|| server.has_ended()));
}

#[test]
fn every_key_of_the_schema_has_a_test() {
    let output = Command::new(env!("CARGO_BIN_EXE_relais")).args(["config", "schema"]).output().unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut keys = Vec::new();
    for (section, value) in schema["properties"].as_object().unwrap() {
        for (name, key) in value["properties"].as_object().unwrap() {
            keys.push(format!("{section}.{name}"));
            let fields = key["items"]["properties"].as_object().into_iter().flatten();
            let files = fields.map(|(field, _)| field).filter(|field| field.ends_with("_file"));
            keys.extend(files.map(|field| format!("{section}.{name}.{field}")));
        }
    }
    keys.sort();
    let mut tested: Vec<&str> = TESTS.iter().map(|(key, _)| *key).collect();
    tested.sort_unstable();
    assert_eq!(keys, tested);
}
