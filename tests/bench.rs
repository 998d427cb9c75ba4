//! `relais bench` against `relais serve`, both as a user starts them. Nothing here looks at times: machines are busy.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/live.rs"]
mod live;

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, RwLock};

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
    let sent_per_second = found["sent"].as_f64().unwrap() / found["seconds"].as_f64().unwrap();
    assert!((found["sent_per_second"].as_f64().unwrap() - sent_per_second).abs() < 1.0, "{found}");
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
    // A port that speaks TURN, but no TLS.
    let plain = format!("turns:{}:3478?transport=tcp", server.ip);
    let (code, text) =
        failure(&["throughput", &plain, "--user", "alice", "--password", "wonderland", "--insecure"]);
    assert!(code == 1 && text.contains("speaks TLS") && text.contains("transport=tcp"), "{text}");
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
    let pid = server.pid().to_string();
    let own = throughput(&uri(&server), &["--allocations", "2", "--server-pid", &pid]);
    assert!(own["server_cpu_us_per_packet"].is_number(), "{own}");
    let without = throughput(&uri(&server), &["--allocations", "2"]);
    assert!(without["server_cpu_us_per_packet"].is_null(), "{without}");
}

#[test]
fn a_process_that_is_not_there_is_told_before_anything_is_done() {
    // Nobody would answer.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let uri = format!("turn:{}", silent.local_addr().unwrap());
    let alice = ["--user", "alice", "--password", "wonderland"];
    for kind in ["throughput", "stun", "churn", "hold"] {
        let who = if kind == "stun" { &[][..] } else { &alice };
        let (code, text) = failure(&[&[kind, &uri, "--server-pid", "4294967295"], who].concat());
        assert!(code == 2 && text.contains("process 4294967295") && text.contains("--server-pid"), "{text}");
    }
    assert!(silent.recv(&mut [0; 1]).is_err(), "nothing was sent");
}

#[test]
fn a_server_that_says_nothing_is_told_before_all_repetitions_are_over() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let uri = format!("turn:{}", silent.local_addr().unwrap());
    let (code, text) =
        failure(&["throughput", &uri, "--user", "alice", "--password", "wonderland", "--allocations", "1"]);
    assert!(code == 1 && text.contains("does not answer"), "{text}");
    let mut repetitions = 0;
    while silent.recv(&mut [0; 1]).is_ok() {
        repetitions += 1;
    }
    assert!((1..=4).contains(&repetitions), "{repetitions}: the 5th would be sent after 7.5 seconds");
}

/// All allocations of a server.
fn allocations(server: &Server) -> f64 {
    server.metric("relais_allocations{transport=\"udp\"}")
        + server.metric("relais_allocations{transport=\"tcp\"}")
}

#[test]
fn a_refused_set_up_leaves_no_allocation() {
    // 100 connections are more than one address may have without an allocation.
    let server = Server::start(&[("peers.allow", "[]")]);
    for transport in ["udp", "tcp"] {
        for count in ["10", "100"] {
            let uri = format!("{}?transport={transport}", uri(&server));
            let alice = ["throughput", &uri, "--user", "alice", "--password", "wonderland"];
            let (code, text) =
                failure(&[&alice[..], &["--peer-address", "127.0.0.1", "--allocations", count]].concat());
            assert!(code == 1 && text.contains("403"), "{text}");
            assert_eq!(allocations(&server), 0.0, "{transport}, {count} clients");
        }
    }
}

/// A way to a server on which every fifth packet of data gets lost.
fn lossy(server: &Server) -> SocketAddr {
    let near = UdpSocket::bind("127.0.0.1:0").unwrap();
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    far.connect(server.address()).unwrap();
    let address = near.local_addr().unwrap();
    let (near_again, far_again) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let client = Arc::new(RwLock::new(None));
    let client_again = Arc::clone(&client);
    // Both threads end with the process.
    std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        let mut count = 0_u32;
        while let Ok((len, from)) = near.recv_from(&mut buffer) {
            *client.write().unwrap() = Some(from);
            let is_data = (0x40..0x50).contains(&buffer[0]);
            count += u32::from(is_data);
            if !is_data || !count.is_multiple_of(5) {
                let _ = far.send(&buffer[..len]);
            }
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok(len) = far_again.recv(&mut buffer) {
            let to = client_again.read().unwrap().unwrap();
            let _ = near_again.send_to(&buffer[..len], to);
        }
    });
    address
}

#[test]
fn more_loss_than_max_loss_is_a_finding_at_a_fixed_rate_too() {
    let server = Server::start(&[]);
    let uri = format!("turn:{}", lossy(&server));
    let words =
        ["throughput", &uri, "--user", "alice", "--password", "wonderland", "--peer-address", "127.0.0.1"];
    let load =
        ["--allocations", "1", "--direction", "up", "--rate", "500", "--duration", "300ms", "--gso", "off"];
    let run = |flags: &[&str]| bench(&[&words[..], &load, flags].concat());
    for (flags, is_too_much) in [(&[][..], true), (&["--max-loss", "45%"], false)] {
        let output = run(flags);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.contains("of --max-loss"), is_too_much, "{text}");
        // A busy machine ends either with 1.
        if is_too_much || !text.contains("Generator limited") {
            assert_eq!(output.status.code(), Some(i32::from(is_too_much)), "{text}");
        }
        let found = found(&run(&[flags, &["--json"]].concat()));
        assert!(found["lost"].as_u64().unwrap() > 0, "{found}");
        assert_eq!(found["max_loss"], if is_too_much { 0.005 } else { 0.45 });
    }
}

#[test]
fn help_tells_limits_and_exit_codes() {
    for (words, told) in [
        (&["throughput", "--help"][..], &["1 to 10000", "28 to 9000", "1 to 50", "0 to 50%"][..]),
        (&["stun", "--help"], &["1 to 1000"]),
        (&["churn", "--help"], &["1 to 1000"]),
        (&["hold", "--help"], &["1 to 50000"]),
        (&["--help"], &["Exit codes:", "more lost than --max-loss allows"]),
    ] {
        let text = String::from_utf8(bench(words).stdout).unwrap();
        assert!(told.iter().all(|told| text.contains(told)), "{text}");
    }
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
        (run(closed, "1"), ["403", "127.0.0.1: measure throughput with --peers relay"]),
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
        (&["--rate", "1k"], "bursts of 8"),
        (&["--peers", "relay"], "leave out one"),
        (&["--duration", "0"], "--duration"),
        (&["--bind", "192.0.2.7"], "--bind"),
        (&["--peer-address", "192.0.2.7"], "--peer-address"),
        (&["--peer-address", "127.0.0.1", "--peer-netns", "no-such"], "no-such"),
        (&["--peer-address", "127.0.0.1", "--peer-netns", "../../etc/passwd"], "no network namespace"),
        (&["--peer-address", "127.0.0.1", "--peer-netns", ""], "no network namespace"),
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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("relais-bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
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
fn peers_without_a_route_are_told_apart_from_a_server_that_is_away() {
    let Some(namespace) = Namespace::new() else { return };
    // An address that the namespace, which has a loopback only, does not lead to; nothing is sent to find it.
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    if probe.connect("192.0.2.1:9").is_err() {
        return;
    }
    let relay = probe.local_addr().unwrap().ip();
    let server = Server::start(&[("relay.addresses", &format!("[\"{relay}\"]"))]);
    let uri = uri(&server);
    let alice = ["throughput", &uri, "--user", "alice", "--password", "wonderland", "--allocations", "2"];
    for peers in ["each", "one"] {
        let flags = ["--peer-address", "127.0.0.1", "--peer-netns", &namespace.0, "--peers", peers];
        let (code, text) = failure(&[&alice[..], &flags].concat());
        assert!(code == 1 && text.contains("peers' own route") && text.contains("--peer-netns"), "{text}");
        assert_eq!(allocations(&server), 0.0);
    }
}

#[test]
fn bind_chooses_the_address_of_the_clients() {
    let server = Server::start(&[("log.level", "\"debug\"")]);
    assert_all_arrived(&throughput(&uri(&server), &["--allocations", "2", "--bind", "127.0.0.77"]));
    assert!(server.log().contains("127.0.0.77:"), "{}", server.log());
}
