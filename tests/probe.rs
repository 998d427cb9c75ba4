//! `relais probe` against `relais serve`, both as a user starts them.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a test fails by panic")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

const USERS: &str = "users = [{ name = \"alice\", password = \"wonderland\" }]";
const SECRETS: &str = "secrets = [{ name = \"main\", secret = \"north-wind-and-sun\" }]";

/// A port of loopback that is free for UDP and TCP.
fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A directory of its own, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("relais-probe-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
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

/// A running server.
struct Server {
    process: Child,
    port: u16,
    config: String,
    scratch: Scratch,
}

impl Server {
    /// Starts one on loopback with these lines of [auth] and further sections, and waits until it is ready.
    fn start(auth: &str, more: &str) -> Self {
        let scratch = Scratch::new();
        let port = free_port();
        let config = scratch.file(
            "relais.toml",
            &format!(
                "[listen]\nudp = [\"127.0.0.1:{port}\"]\ntcp = [\"127.0.0.1:{port}\"]\nworkers = 1\n[relay]\naddresses = \
                 [\"127.0.0.1\"]\n[auth]\n{auth}\n[http]\nlisten = []\nhost = \"127.0.0.1\"\n[admin]\nlisten = []\n{more}\n"
            ),
        );
        let mut process = Command::new(env!("CARGO_BIN_EXE_relais"))
            .args(["serve", "--config", &config])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("ready") {
            let before = said.len();
            assert!(log.read_line(&mut said).unwrap() > 0, "the server ended: {said}");
            assert!(said.len() > before);
        }
        // The pipe must not fill.
        std::thread::spawn(move || log.lines().count());
        Self { process, port, config, scratch }
    }

    fn uri(&self) -> String {
        format!("turn:127.0.0.1:{}", self.port)
    }

    fn probe_as_alice(&self, more: &[&str]) -> Probe {
        let uri = self.uri();
        Probe::run(&[&[uri.as_str(), "--user", "alice", "--timeout", "2"], more].concat(), "wonderland", "")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the command said.
struct Probe {
    code: i32,
    out: String,
    error: String,
}

impl Probe {
    fn run(arguments: &[&str], password: &str, input: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_relais"))
            .arg("probe")
            .args(arguments)
            .env_clear()
            .env("RELAIS_PASSWORD", password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, error) = (text(output.stdout), text(output.stderr));
        for secret in ["wonderland", "looking-glass", "north-wind"] {
            assert!(!out.contains(secret) && !error.contains(secret), "{out}{error}");
        }
        assert!(!error.contains("panicked"), "{error}");
        Self { code: output.status.code().unwrap(), out, error }
    }

    /// The steps and how they ended: `ok`, `FAIL` or `-`.
    fn steps(&self) -> Vec<(&str, &str)> {
        self.out
            .lines()
            .filter(|line| !line.starts_with(' '))
            .map(|line| {
                let mut words = line.split_whitespace();
                (words.next().unwrap(), words.next().unwrap_or_default())
            })
            .collect()
    }

    #[track_caller]
    fn says(&self, wanted: &str) {
        assert!(self.out.contains(wanted), "{wanted}: {}{}", self.out, self.error);
    }
}

const ALL_GOOD: [(&str, &str); 8] = [
    ("ok", "resolve"),
    ("ok", "binding"),
    ("ok", "allocate"),
    ("ok", "peer"),
    ("ok", "permission"),
    ("ok", "data"),
    ("ok", "channel"),
    ("ok", "echo"),
];

#[test]
fn an_open_policy_lets_the_probe_reach_its_own_socket() {
    let server = Server::start(USERS, "[peers]\nallow = [\"127.0.0.1\"]");
    let probe = server.probe_as_alice(&[]);
    assert_eq!(probe.steps(), ALL_GOOD, "{}{}", probe.out, probe.error);
    assert_eq!(probe.code, 0);
    probe.says("ok   binding     your address is 127.0.0.1:");
    probe.says("ok   allocate    relayed address 127.0.0.1:");
    probe.says("ok   peer        a second socket of this process, which the server sees as 127.0.0.1:");
    probe.says("a Send indication went to the peer, a Data indication came back");
    probe.says("ChannelData went to the peer, ChannelData came back");
    probe.says("20 of 20 datagrams of 32 to 1200 bytes came back, 0% lost; round trip min/avg/max ");
}

#[test]
fn the_default_policy_is_no_finding_and_two_allocations_talk() {
    let server = Server::start(USERS, "");
    let probe = server.probe_as_alice(&[]);
    assert_eq!(probe.steps(), ALL_GOOD, "{}{}", probe.out, probe.error);
    assert_eq!(probe.code, 0);
    probe.says("as it should for an internal address; the peer is a second allocation, 127.0.0.1:");
}

#[test]
fn tcp_carries_the_same_steps() {
    let server = Server::start(USERS, "");
    let uri = format!("{}?transport=tcp", server.uri());
    let probe = Probe::run(&[&uri, "--user", "alice", "--timeout", "2"], "wonderland", "");
    assert_eq!(probe.steps(), ALL_GOOD, "{}{}", probe.out, probe.error);
    assert_eq!(probe.code, 0);
    probe.says("(tcp)");
}

#[test]
fn stun_asks_for_binding_alone_and_needs_no_credentials() {
    let server = Server::start(USERS, "");
    let probe = Probe::run(&[&format!("stun:127.0.0.1:{}", server.port)], "", "");
    assert_eq!((probe.code, probe.steps()), (0, ALL_GOOD[..2].to_vec()), "{}{}", probe.out, probe.error);
}

#[test]
fn an_outside_peer_echoes() {
    let server = Server::start(USERS, "[peers]\nallow = [\"127.0.0.1\"]");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    let probe = server.probe_as_alice(&["--peer", &peer]);
    assert_eq!((probe.code, probe.steps()), (0, ALL_GOOD.to_vec()), "{}{}", probe.out, probe.error);
}

#[test]
fn a_silent_peer_is_told_from_a_silent_server() {
    let server = Server::start(USERS, "[peers]\nallow = [\"127.0.0.1\"]");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer = socket.local_addr().unwrap().to_string();
    let probe = server.probe_as_alice(&["--peer", &peer]);
    assert_eq!(probe.code, 1);
    probe.says("FAIL data        a Send indication went out to ");
    probe.says("the peer does not echo");
    probe.says("-    echo        not tried");
}

#[test]
fn a_forbidden_peer_names_the_key_that_opens_it() {
    let server = Server::start(USERS, "");
    let probe = server.probe_as_alice(&["--peer", "10.0.0.1:9"]);
    assert_eq!(probe.code, 1);
    probe.says("FAIL permission  403 Forbidden for the peer 10.0.0.1:9");
    probe.says("add \"10.0.0.1\" to peers.allow");
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_401() {
    let server = Server::start(USERS, "");
    for (user, password) in [("alice", "looking-glass"), ("bob", "wonderland")] {
        let probe = Probe::run(&[&server.uri(), "--user", user, "--timeout", "2"], password, "");
        assert_eq!(probe.code, 1);
        probe.says("FAIL allocate    401 ");
        probe.says("help: the password is wrong, or the server does not know this user");
    }
}

#[test]
fn time_limited_credentials_are_signed_and_their_end_is_told() {
    let server = Server::start(SECRETS, "");
    let secret = server.scratch.file("secret", "north-wind-and-sun\n");
    let uri = server.uri();
    let arguments = [uri.as_str(), "--secret-file", &secret, "--timeout", "2", "--user"];
    let probe = |user: &str| Probe::run(&[&arguments[..], &[user]].concat(), "", "");
    assert_eq!(probe("alice").code, 0);
    let expired = probe("1000000000:alice");
    assert_eq!(expired.code, 1);
    expired.says("FAIL allocate    401 ");
    expired.says("the time-limited credential expired ");
    expired.says(" days ago");

    let wrong = server.scratch.file("wrong", "looking-glass-house\n");
    let probe = Probe::run(&[&uri, "--secret-file", &wrong, "--timeout", "2"], "", "");
    assert_eq!(probe.code, 1);
    probe.says("by this machine's clock the time-limited credential is good for another ");
}

#[test]
fn a_used_up_quota_is_486() {
    let server = Server::start(USERS, "[limits]\nallocations_per_user = 1");
    let probe = server.probe_as_alice(&["--json"]);
    assert_eq!(probe.code, 1);
    let report: Value = serde_json::from_str(&probe.out).unwrap();
    let failed: Vec<&Value> =
        report["steps"].as_array().unwrap().iter().filter(|step| step["ok"] == false).collect();
    assert_eq!(failed.len(), 1, "{report:#}");
    assert_eq!((&failed[0]["step"], &failed[0]["code"]), (&Value::from("peer"), &Value::from(486)));
    assert!(failed[0]["help"].as_str().unwrap().contains("limits.allocations_per_user"));
    // The allocation was given back, so the next probe comes as far.
    assert_eq!(server.probe_as_alice(&[]).steps()[2], ("ok", "allocate"));
}

#[test]
fn nobody_listening_is_told_from_nobody_answering() {
    let port = free_port();
    for transport in ["udp", "tcp"] {
        let uri = format!("turn:127.0.0.1:{port}?transport={transport}");
        let probe = Probe::run(&[&uri, "--user", "alice", "--timeout", "2"], "wonderland", "");
        assert_eq!(
            (probe.code, probe.steps()),
            (1, vec![("ok", "resolve"), ("FAIL", "binding")]),
            "{}",
            probe.out
        );
        probe.says(&format!("127.0.0.1:{port} is unreachable: nothing listens on {transport} port {port}"));
    }
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("turn:{}", silent.local_addr().unwrap());
    let probe = Probe::run(&[&uri, "--user", "alice", "--timeout", "1"], "wonderland", "");
    assert_eq!(probe.code, 1);
    probe.says("no answer to Binding from 127.0.0.1:");
    probe.says("a firewall");
    probe.says("-    allocate    no answer to that either");
    let probe = Probe::run(&["stun:no-such-host.invalid", "--timeout", "2"], "", "");
    assert_eq!(probe.code, 1);
    probe.says("FAIL resolve     no-such-host.invalid does not resolve");
}

#[test]
fn odd_servers_are_findings_and_no_panic() {
    // Answers to every request, made of its transaction: type, then attributes.
    let odd: [(&[u8], &[u8], &str); 6] = [
        (&[0x01, 0x01], &[], "the answer has no address"),
        (&[0x01, 0x11], &[], "an error without a code"),
        (&[0x01, 0x01], &[0, 0x20, 0, 5, 0, 1, 0, 0, 9, 0, 0, 0], "FAIL "),
        (&[0x01, 0x11], &[0, 9, 0, 4, 0, 0, 4, 1], "401 Unauthenticated to Binding"),
        (&[0x01, 0x13], &[0, 9, 0, 4, 0, 0, 4, 1], "no readable REALM or NONCE"),
        (&[0x80, 0x80], b"garbage", "answers, but not with STUN"),
    ];
    for (kind, attributes, wanted) in odd {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = socket.local_addr().unwrap();
        let (kind, attributes) = (kind.to_vec(), attributes.to_vec());
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let length = u16::try_from(attributes.len()).unwrap().min(u16::try_from(length).unwrap());
                let answer = [&kind[..], &length.to_be_bytes(), &buffer[4..20], &attributes].concat();
                let _ = socket.send_to(&answer, from);
            }
        });
        let probe =
            Probe::run(&[&format!("turn:{address}"), "--user", "alice", "--timeout", "1"], "wonderland", "");
        assert_eq!(probe.code, 1, "{}{}", probe.out, probe.error);
        probe.says(wanted);
    }
}

#[test]
fn json_has_one_object_with_every_step() {
    let server = Server::start(USERS, "");
    let probe = server.probe_as_alice(&["--json"]);
    assert_eq!(probe.code, 0, "{}{}", probe.out, probe.error);
    let report: Value = serde_json::from_str(&probe.out).unwrap();
    assert_eq!((&report["uri"], &report["ok"]), (&Value::from(server.uri()), &Value::from(true)));
    let steps = report["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ALL_GOOD.map(|(_, name)| name));
    assert!(steps.iter().all(|step| step["ok"] == true && step["detail"].is_string()));
    assert!(steps[1]["rtt_ms"].as_f64().unwrap() >= 0.0);
}

#[test]
fn pasted_ice_servers_are_probed_url_by_url() {
    let server = Server::start(SECRETS, "");
    let output = Command::new(env!("CARGO_BIN_EXE_relais"))
        .args(["ice-servers", "--config", &server.config, "--user", "alice"])
        .env_clear()
        .output()
        .unwrap();
    let pasted = String::from_utf8(output.stdout).unwrap();
    let path = server.scratch.file("ice.json", &pasted);
    let probe = Probe::run(&["--ice-servers", &path, "--timeout", "2"], "", "");
    assert_eq!(probe.code, 0, "{}{}", probe.out, probe.error);
    assert_eq!(probe.out.matches("ok   binding").count(), 3, "{}", probe.out);
    assert_eq!(probe.out.matches("ok   echo").count(), 2, "{}", probe.out);
    let credential: Value = serde_json::from_str(&pasted).unwrap();
    let credential = credential["iceServers"][1]["credential"].as_str().unwrap().to_owned();
    assert!(!probe.out.contains(&credential));

    let unusable = format!(
        "[{{\"url\": \"stun:127.0.0.1:{}\"}}, {{\"urls\": [\"turns:h:5349?transport=udp\", \"turn://h\", \"turn:h\"]}}]",
        server.port
    );
    let probe = Probe::run(&["--ice-servers", "-", "--json"], "", &unusable);
    assert_eq!(probe.code, 1);
    let found: Value = serde_json::from_str(&probe.out).unwrap();
    let oks: Vec<&Value> = found["servers"].as_array().unwrap().iter().map(|server| &server["ok"]).collect();
    assert_eq!(oks, [&Value::from(true), &Value::Null, &Value::from(false), &Value::from(false)]);
    assert_eq!(found["servers"][2]["steps"][0]["help"], "write turn:h");
    assert!(found["servers"][3]["steps"][0]["detail"].as_str().unwrap().contains("without `username`"));
}

#[test]
fn wrong_usage_exits_with_two() {
    for (arguments, wanted) in [
        (&["turn:h"][..], "TURN needs credentials"),
        (&["turn:h", "--user", "alice"], "the password of this user is missing"),
        (&["turn:alice:wonderland@h"], "credentials in the URI"),
        (&["turns:h?transport=udp", "--user", "alice"], "speaks no DTLS; try turnutils_uclient -S"),
        (&["turns:h", "--user", "alice", "--ca", "/no/such/ca"], "/no/such/ca"),
        (&["turn:h", "--user", "alice", "--password-file", "/no/such/file"], "/no/such/file"),
        (&["--ice-servers", "-"], "there is nothing to read"),
        (&[], "<URI>"),
    ] {
        let probe = Probe::run(arguments, "", "");
        assert_eq!((probe.code, probe.out.as_str()), (2, ""), "{arguments:?}");
        assert!(probe.error.contains(wanted), "{wanted}: {}", probe.error);
    }
}
