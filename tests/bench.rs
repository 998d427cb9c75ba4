//! `relais bench` against `relais serve`, both as a user starts them. Nothing here looks at times: machines are busy.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/live.rs"]
mod live;

use std::process::{Command, Output};

use serde_json::Value;

use certificates::{Authority, Files};
use live::{Server, relay_ports};

/// Runs the command with these words behind `bench`.
fn bench(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relais"));
    command.arg("bench").args(words).env_clear().output().unwrap()
}

/// What `throughput` finds at a low rate, by these further flags.
fn throughput(uri: &str, flags: &[&str]) -> Value {
    let common =
        ["throughput", uri, "--user", "alice", "--password", "wonderland", "--peer-address", "127.0.0.1"];
    let load = ["--rate", "2000", "--duration", "500ms", "--warmup", "50ms", "--json"];
    found(&bench(&[&common[..], &load, flags].concat()))
}

fn found(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Everything that was sent arrived, whole and where it should. What a busy machine does not manage to send is no matter.
fn assert_all_arrived(found: &Value) {
    let count = |name: &str| found[name].as_u64().unwrap();
    assert!(count("sent") > 0, "{found}");
    assert_eq!((count("received"), count("lost")), (count("sent"), 0), "{found}");
    for name in ["corrupt", "duplicate", "misdelivered", "blocked"] {
        assert_eq!(count(name), 0, "{name}: {found}");
    }
    assert!(found["latency_us"]["p50"].as_f64().unwrap() > 0.0, "{found}");
    assert!(found["latency_us"]["max"].as_f64().unwrap() >= found["latency_us"]["p99"].as_f64().unwrap());
}

fn uri(server: &Server) -> String {
    format!("turn:{}", server.ip)
}

/// Exit code and what it says, of a run that fails.
fn failure(words: &[&str]) -> (i32, String) {
    let output = bench(words);
    assert!(output.stdout.is_empty(), "no figure where there is none");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn packets_go_both_ways_in_every_form_and_to_every_kind_of_peer() {
    let server = Server::start(&[]);
    for form in ["channels", "indications"] {
        for peers in ["each", "one", "relay"] {
            let flags = ["--allocations", "4", "--form", form, "--peers", peers];
            let found = throughput(&uri(&server), &flags);
            assert_all_arrived(&found);
            assert_eq!((&found["form"], &found["peers"]), (&form.into(), &peers.into()));
            assert_eq!((&found["payload"], &found["burst"]), (&1_200.into(), &8.into()));
        }
    }
    // All allocations were given back.
    assert_eq!(server.metric("relais_allocations{transport=\"udp\"}"), 0.0);
}

#[test]
fn mix_payload_and_burst_shape_the_packets() {
    let server = Server::start(&[]);
    let found = throughput(&uri(&server), &["--allocations", "3", "--mix", "audio"]);
    assert_all_arrived(&found);
    assert_eq!((&found["payload"], &found["burst"]), (&160.into(), &1.into()));
    let flags = ["--allocations", "3", "--payload", "333", "--burst", "3", "--form", "indications"];
    let found = throughput(&uri(&server), &flags);
    assert_all_arrived(&found);
    assert_eq!((&found["payload"], &found["burst"]), (&333.into(), &3.into()));
}

#[test]
fn up_and_down_send_in_one_direction() {
    let server = Server::start(&[]);
    for direction in ["up", "down"] {
        for peers in ["each", "relay"] {
            let flags = ["--allocations", "2", "--direction", direction, "--peers", peers];
            let found = throughput(&uri(&server), &flags);
            assert_all_arrived(&found);
            assert_eq!(found["direction"], direction);
        }
    }
}

#[test]
fn streams_carry_packets_too() {
    let authority = Authority::new("Test");
    let files = Files::new("bench");
    let [certificate, key] = files.pair("own", &authority.issue(&["localhost"]));
    let ca = files.write("ca.crt", &authority.pem()).trim_matches('"').to_owned();
    let server = Server::start(&[
        ("listen.tls", "[\"127.0.0.1:0\"]".replace(":0", &format!(":{}", free_port())).as_str()),
        ("tls.certificate", &certificate),
        ("tls.key", &key),
        ("http.host", "\"localhost\""),
    ]);
    let tcp = format!("turn:{}?transport=tcp", server.ip);
    for payload in ["1200", "333"] {
        let found = throughput(&tcp, &["--allocations", "2", "--payload", payload]);
        assert_all_arrived(&found);
        assert_eq!(found["transport"], "tcp");
    }
    let log = server.log();
    let port = log.split("tls:127.0.0.1:").nth(1).unwrap().split([' ', '"']).next().unwrap().to_owned();
    let tls = format!("turns:localhost:{port}");
    let found = throughput(&tls, &["--allocations", "2", "--bind", "127.0.0.1", "--ca", &ca]);
    assert_all_arrived(&found);
    assert_eq!(found["transport"], "tls");
    // Another name than that of the certificate, and nobody who has signed it.
    let by_address = format!("turns:127.0.0.1:{port}");
    let flags = ["throughput", &by_address, "--user", "alice", "--password", "wonderland", "--ca", &ca];
    let (code, text) = failure(&flags);
    assert!(code == 1 && text.contains("TLS handshake") && text.contains("--insecure"), "{text}");
    assert_all_arrived(&throughput(&by_address, &["--allocations", "2", "--insecure"]));
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn direct_needs_no_server() {
    for peers in ["each", "one"] {
        let load = ["--direct", "--rate", "2000", "--duration", "300ms", "--warmup", "50ms", "--json"];
        let found =
            found(&bench(&[&["throughput", "--allocations", "3", "--peers", peers][..], &load].concat()));
        assert_all_arrived(&found);
        assert_eq!(found["server"], "direct");
    }
}

#[test]
fn search_tries_rates_until_packets_are_lost_or_the_generator_is_at_its_end() {
    let load = ["--direct", "--rate", "search", "--duration", "20ms", "--warmup", "1ms", "--json"];
    let flags = ["throughput", "--allocations", "1", "--max-loss", "0.5%"];
    let output = bench(&[&flags[..], &load].concat());
    // On a machine that is busy enough, no rate works.
    if output.stdout.is_empty() {
        assert_eq!(output.status.code(), Some(1));
        return;
    }
    let found = found(&output);
    let rungs = found["rungs"].as_array().unwrap();
    let best = rungs
        .iter()
        .filter(|rung| rung["is_good"] == true)
        .map(|rung| rung["offered_per_second"].as_f64().unwrap());
    assert_eq!(best.fold(0.0, f64::max), found["offered_per_second"].as_f64().unwrap());
    assert!(rungs.len() > 2, "{found}");
}

#[test]
fn run_time_of_the_server_is_shared_out_among_the_packets() {
    let server = Server::start(&[]);
    let pid = std::process::id().to_string();
    let own = throughput(&uri(&server), &["--allocations", "2", "--server-pid", &pid]);
    assert!(own["server_cpu_us_per_packet"].is_number(), "{own}");
    let without = throughput(&uri(&server), &["--allocations", "2"]);
    assert!(without["server_cpu_us_per_packet"].is_null(), "{without}");
    let flags = [
        "throughput",
        &uri(&server),
        "--user",
        "alice",
        "--password",
        "wonderland",
        "--server-pid",
        "4294967295",
    ];
    let (code, text) = failure(&[&flags[..], &["--peer-address", "127.0.0.1"]].concat());
    assert!(code == 1 && text.contains("--server-pid"), "{text}");
}

#[test]
fn credentials_come_by_password_by_secret_by_file_and_by_paste() {
    let server = Server::start(&[("auth.secrets", "[{ name = \"main\", secret = \"north-wind-and-sun\" }]")]);
    let load =
        ["--peer-address", "127.0.0.1", "--rate", "1000", "--duration", "100ms", "--warmup", "1ms", "--json"];
    let uri = uri(&server);
    let password = server.file("password", "wonderland\n");
    let secret = server.file("secret", "north-wind-and-sun\n");
    let paste = server.file(
        "ice.json",
        &format!(
            r#"[{{"urls":"stun:192.0.2.1"}},{{"urls":"{uri}","username":"alice","credential":"wonderland"}}]"#
        ),
    );
    for who in [
        &[&uri, "--user", "alice", "--password-file", &password][..],
        &[&uri, "--secret", "north-wind-and-sun"],
        &[&uri, "--secret-file", &secret, "--user", "bob"],
        &["--ice-servers", &paste],
    ] {
        let found = found(&bench(&[&["throughput", "--allocations", "2"], who, &load[..]].concat()));
        assert_all_arrived(&found);
    }
}

#[test]
fn what_cannot_work_is_told_with_its_cure() {
    let ports = relay_ports(2);
    let server =
        Server::start(&[("limits.allocations_per_user", "3"), ("relay.ports", &format!("{ports:?}"))]);
    let quota = Server::start(&[("limits.allocations_per_user", "1")]);
    let closed = Server::start(&[("peers.allow", "[]")]);
    let uris = [uri(&server), uri(&quota), uri(&closed), format!("turn:{}:9", server.ip)];
    let [small, quota, closed, down] = uris.each_ref().map(String::as_str);
    let alice =
        ["--user", "alice", "--password", "wonderland", "--peer-address", "127.0.0.1", "--allocations"];
    let run = |uri: &str, count: &str| failure(&[&["throughput", uri], &alice[..], &[count]].concat());
    for ((code, text), words) in [
        (run(small, "3"), ["508", "range of at least 3 ports"]),
        (run(quota, "2"), ["486", "limits.allocations_per_user"]),
        (run(closed, "1"), ["403", "peers.allow"]),
        (run(down, "1"), ["nothing listens", "start the server"]),
        (
            failure(&["throughput", small, "--user", "alice", "--password", "guess"]),
            ["401", "--password-file"],
        ),
    ] {
        assert!(code == 1 && words.iter().all(|word| text.contains(word)), "{code} {text}");
    }
}

#[test]
fn too_few_descriptors_are_told_before_anything_is_sent() {
    let program = env!("CARGO_BIN_EXE_relais");
    let script = "ulimit -n 100; exec \"$0\" bench throughput --direct --allocations 60 --duration 10ms";
    let output = Command::new("/bin/sh").args(["-c", script, program]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("120 sockets") && text.contains("may open 100") && text.contains("ulimit -Hn"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_meant_is_usage() {
    let direct = ["throughput", "--direct", "--duration", "10ms"];
    for (flags, word) in [
        (&["--payload", "27"][..], "28..=9000"),
        (&["--peers", "relay"], "leave out one"),
        (&["--duration", "0"], "--duration"),
        (&["--bind", "192.0.2.7"], "--bind"),
        (&["--peer-address", "192.0.2.7"], "--peer-address"),
        (&["--peer-address", "127.0.0.1", "--peer-netns", "no-such"], "no-such"),
        (&["--rate", "fast"], "300k"),
        (&["--max-loss", "99"], "percentage"),
        (&["--allocations", "0"], "--allocations"),
        (&["turn:127.0.0.1"], "--direct"),
    ] {
        let (code, text) = failure(&[&direct[..], flags].concat());
        assert!(code == 2 && text.contains(word), "{flags:?}: {code} {text}");
    }
    let odd = [
        "throughput",
        "turn:127.0.0.1",
        "--user",
        "a",
        "--password",
        "b",
        "--peers",
        "relay",
        "--allocations",
        "3",
    ];
    let (code, text) = failure(&odd);
    assert!(code == 2 && text.contains("even number"), "{text}");
    for (words, word) in
        [(&["throughput"][..], "URI"), (&["throughput", "stun:h", "--user", "a", "--password", "b"], "turn:")]
    {
        let (code, text) = failure(words);
        assert!(code == 2 && text.contains(word), "{text}");
    }
}

/// A network namespace, if this process may make one.
struct Namespace(String);

impl Namespace {
    fn new() -> Option<Self> {
        let name = format!("relais-bench-{}", std::process::id());
        let ip = |words: &[&str]| Command::new("ip").args(words).output().is_ok_and(|it| it.status.success());
        ip(&["netns", "add", &name]).then_some(())?;
        let own = Self(name);
        ip(&["-n", &own.0, "link", "set", "lo", "up"]).then_some(own)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

#[test]
fn peers_live_in_the_network_namespace_that_is_named() {
    // Only root can make one; anybody else sees in another test that the name is looked up.
    let Some(namespace) = Namespace::new() else { return };
    // Its loopback is another one, so nothing that is sent to peers in there arrives, and nobody listens out here.
    let load = [
        "--direct",
        "--rate",
        "1000",
        "--duration",
        "100ms",
        "--warmup",
        "1ms",
        "--direction",
        "up",
        "--json",
    ];
    let flags = ["throughput", "--allocations", "1", "--peer-address", "127.0.0.1"];
    let (code, text) = failure(&[&flags[..], &load, &["--peer-netns", &namespace.0]].concat());
    assert!(code == 1 && text.contains("--peer-netns"), "{code} {text}");
    assert_all_arrived(&found(&bench(&[&flags[..], &load].concat())));
}

#[test]
fn bind_chooses_the_address_of_the_clients() {
    let server = Server::start(&[("log.level", "\"debug\"")]);
    assert_all_arrived(&throughput(&uri(&server), &["--allocations", "2", "--bind", "127.0.0.77"]));
    assert!(server.log().contains("127.0.0.77:"), "{}", server.log());
}
