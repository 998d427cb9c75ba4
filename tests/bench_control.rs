//! `relais bench stun`, `churn` and `hold` as a user starts them, against `relais serve` and against servers that answer
//! wrongly. Nothing here looks at times: machines are busy.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "support/live.rs"]
mod live;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use live::{Server, eventually};
use relais::wire::{Class, Message, MessageWriter, attr, method};
use serde_json::Value;

const ALICE: [&str; 4] = ["--user", "alice", "--password", "wonderland"];
const SHORT: [&str; 5] = ["--duration", "300ms", "--warmup", "20ms", "--json"];

const LONGER: [&str; 5] = ["--duration", "1s", "--warmup", "20ms", "--json"];

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relais"));
    command.arg("bench").args(words).env_clear().stdin(Stdio::null());
    command
}

fn bench(words: &[&[&str]]) -> Output {
    command(&words.concat()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The one line of JSON on standard output.
fn found(output: &Output) -> Value {
    let out = text(&output.stdout);
    assert_eq!(out.lines().count(), 1, "{out}\n{}", text(&output.stderr));
    serde_json::from_str(&out).unwrap()
}

/// Exit code and what it says, of a run without a result.
fn failure(words: &[&[&str]]) -> (i32, String) {
    let output = bench(words);
    assert!(output.stdout.is_empty(), "no figure where there is none: {}", text(&output.stdout));
    (output.status.code().unwrap(), text(&output.stderr))
}

fn uri(server: &Server) -> String {
    format!("turn:{}", server.ip)
}

fn allocations(server: &Server) -> f64 {
    ["udp", "tcp"]
        .iter()
        .map(|transport| server.metric(&format!("relais_allocations{{transport=\"{transport}\"}}")))
        .sum()
}

/// How a server of these tests answers a Binding request, the first one rightly.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Rightly,
    Twice,
    ByAnError,
    WithAnotherAddress,
    Never,
    /// Three of four times.
    Mostly,
}

/// A STUN server of its own manners; ends with the value.
struct Odd {
    address: SocketAddr,
    sources: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Odd {
    fn start(manner: Manner) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let (sources, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, over) = (Arc::clone(&sources), Arc::clone(&is_over));
        let serve = move || {
            let (mut seen, mut buffer, mut count) = (BTreeSet::new(), [0; 2_048], 0_u16);
            while !over.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                seen.insert(from.port());
                counted.store(seen.len(), Ordering::Relaxed);
                // The first one is the look whether anybody is there.
                let manner = if count == 0 { Manner::Rightly } else { manner };
                count = count.wrapping_add(1);
                for answer in answers(&buffer[..len], from, manner, count) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        };
        Self { address, sources, is_over, thread: Some(std::thread::spawn(serve)) }
    }

    fn uri(&self) -> String {
        format!("stun:{}", self.address)
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn answers(request: &[u8], from: SocketAddr, manner: Manner, count: u16) -> Vec<Vec<u8>> {
    let request = Message::parse(request).unwrap();
    assert_eq!((request.method(), request.class()), (method::BINDING, Class::Request));
    let class = if manner == Manner::ByAnError { Class::ErrorResponse } else { Class::SuccessResponse };
    let mut buffer = [0; 128];
    let mut writer = MessageWriter::to(&mut buffer, method::BINDING, class, request.transaction());
    let told = match manner {
        Manner::WithAnotherAddress => SocketAddr::new(from.ip(), count),
        _ => from,
    };
    match class {
        Class::ErrorResponse => writer.error_code(500),
        _ => writer.xor_address(attr::XOR_MAPPED_ADDRESS, told),
    };
    let len = writer.finish().unwrap();
    let times = match manner {
        Manner::Never => 0,
        Manner::Mostly => u16::from(!count.is_multiple_of(4)).into(),
        Manner::Twice => 2,
        _ => 1,
    };
    vec![buffer[..len].to_vec(); times]
}

fn stun(uri: &str, flags: &[&str]) -> (i32, Value) {
    let output = bench(&[&["stun", uri, "--rate", "500"], &SHORT, flags]);
    (output.status.code().unwrap(), found(&output))
}

#[test]
fn stun_counts_every_answer_once() {
    let server = Server::start(&[]);
    let (_, found) = stun(&format!("stun:{}", server.ip), &["--clients", "3"]);
    assert_eq!(
        (&found["version"], &found["kind"], &found["clients"]),
        (&1.into(), &"stun".into(), &3.into())
    );
    let sent = found["sent"].as_u64().unwrap();
    // 500 a second for 0.3 seconds, never more.
    assert!((1..=151).contains(&sent), "{found}");
    let received = found["received"].as_u64().unwrap();
    assert!(received > 0 && received + found["lost"].as_u64().unwrap() == sent, "{found}");
    for name in ["wrong", "duplicate", "foreign"] {
        assert_eq!(found[name], 0, "{name}: {found}");
    }
    assert_eq!(found["is_translated"], false);
    assert!(found["latency_us"]["p50"].as_f64().unwrap() > 0.0, "{found}");
    assert!(found["server_cpu_us_per_request"].is_null());
    let bars = found["latency_bars"].as_array().unwrap();
    assert_eq!(bars.iter().map(|bar| bar["count"].as_u64().unwrap()).sum::<u64>(), received, "{found}");
}

#[test]
fn stun_notices_answers_that_are_wrong() {
    let right = Odd::start(Manner::Rightly);
    let (_, found) = stun(&right.uri(), &["--clients", "5"]);
    assert!(found["wrong"] == 0 && found["received"].as_u64().unwrap() > 0, "{found}");
    // Five sockets, and the one that looks whether anybody is there.
    assert_eq!(right.sources.load(Ordering::Relaxed), 6);

    for (manner, name) in
        [(Manner::ByAnError, "wrong"), (Manner::WithAnotherAddress, "wrong"), (Manner::Never, "lost")]
    {
        let (code, found) = stun(&Odd::start(manner).uri(), &["--clients", "1"]);
        assert_eq!(code, 1, "{found}");
        assert!(found[name].as_u64().unwrap() > 0, "{name}: {found}");
    }
    let few = Odd::start(Manner::Mostly);
    let (code, found) = stun(&few.uri(), &["--clients", "1"]);
    assert_eq!((code, &found["max_loss"]), (1, &0.005.into()), "{found}");
    let (code, found) = stun(&few.uri(), &["--clients", "1", "--max-loss", "50%"]);
    assert!(code == 0 || found["generator_limited"] == true, "{found}");
    let output = bench(&[&["stun", &few.uri(), "--rate", "500", "--clients", "1", "--duration", "300ms"]]);
    let said = text(&output.stdout);
    assert!(said.contains("--max-loss") || said.contains("Generator limited"), "{said}");
    assert!(said.contains("/s sent, 500/s offered"), "{said}");
    let (_, found) = stun(&Odd::start(Manner::Twice).uri(), &[]);
    assert!(found["duplicate"].as_u64().unwrap() > 0 && found["wrong"] == 0, "{found}");
}

#[test]
fn stun_searches_and_takes_servers_from_a_paste() {
    let server = Server::start(&[]);
    let paste = server.file("ice.json", &format!(r#"[{{"urls":["turns:h","stun:{}"]}}]"#, server.ip));
    let load = ["--rate", "search", "--max-loss", "5%", "--duration", "20ms", "--warmup", "1ms", "--json"];
    let streams = server.file("streams.json", r#"[{"urls":["turns:h","turn:h?transport=tcp"]}]"#);
    let (code, said) = failure(&[&["stun", "--ice-servers", &streams]]);
    assert!(code == 2 && said.contains("URL of UDP"), "{said}");
    let output = bench(&[&["stun", "--ice-servers", &paste], &load]);
    // On a machine that is busy enough, no rate works.
    if output.stdout.is_empty() {
        assert_eq!(output.status.code(), Some(1));
        return;
    }
    let found = found(&output);
    let rungs = found["rungs"].as_array().unwrap();
    assert!(rungs.iter().any(|rung| rung["is_good"] == true) && rungs.len() > 2, "{found}");
}

#[test]
fn churn_goes_through_cycles_and_leaves_nothing() {
    let server = Server::start(&[]);
    let own = server.pid().to_string();
    for (uri, transport) in [(uri(&server), "udp"), (format!("{}?transport=tcp", uri(&server)), "tcp")] {
        let output = bench(&[&["churn", &uri, "--parallel", "3", "--server-pid", &own], &ALICE, &LONGER]);
        let found = found(&output);
        assert_eq!((&found["kind"], &found["transport"]), (&"churn".into(), &transport.into()));
        assert!(found["cycles"].as_u64().unwrap() > 0, "{found}");
        assert_eq!((&found["failed"], &found["parallel"]), (&0.into(), &3.into()), "{found}");
        assert!(found["offered_per_second"].is_null() && found["peer"].is_null());
        assert!(found["server_cpu_us_per_cycle"].is_number(), "{found}");
        for step in ["allocate", "permission", "channel", "delete"] {
            assert!(found["steps_us"][step]["p50"].as_f64().unwrap() > 0.0, "{step}: {found}");
        }
        assert!(eventually(|| allocations(&server) == 0.0), "all were given back");
    }
}

#[test]
fn churn_keeps_to_a_rate_from_the_address_and_to_the_peer_that_it_was_given() {
    let server = Server::start(&[]);
    let flags = ["--parallel", "1", "--rate", "20", "--peer-address", "127.0.0.1", "--bind", "127.0.0.77"];
    let found = found(&bench(&[&["churn", &uri(&server)], &ALICE, &LONGER, &flags]));
    // 20 a second for a second, and perhaps those that were due while the machine was busy; without a rate, a thousand.
    assert!((0..=100).contains(&found["cycles"].as_u64().unwrap()), "{found}");
    assert_eq!((&found["offered_per_second"], &found["peer"]), (&20.0.into(), &"127.0.0.1".into()));
    let log = server.log();
    let clients: BTreeSet<&str> = log
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("client="))
        .filter(|client| client.starts_with("127.0.0.77:"))
        .collect();
    let cycles = log.matches("client=127.0.0.77:").count();
    assert!(clients.len() == cycles && cycles > 1, "each cycle has a socket of its own: {log}");
}

#[test]
fn churn_tells_why_cycles_failed_and_blames_the_server() {
    let server = Server::start(&[("limits.allocations_per_user", "3")]);
    let words = ["churn", &uri(&server), "--parallel", "12", "--rate", "20k"];
    let output = bench(&[&words, &ALICE, &LONGER]);
    let found = found(&output);
    assert_eq!(output.status.code(), Some(1), "{found}");
    let refused = found["failed_by_code"]["486"].as_u64().unwrap();
    let (failed, cycles) = (found["failed"].as_u64().unwrap(), found["cycles"].as_u64().unwrap());
    assert!(refused > 0 && refused <= failed && cycles > 0, "{found}");
    let share = found["failed_share"].as_f64().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let wanted = failed as f64 / (failed + cycles) as f64;
    assert!((share - wanted).abs() < 1e-9, "{found}");
    assert!(!found["generator_limits"].to_string().contains("--parallel"), "{found}");
    let output = bench(&[&words, &ALICE, &["--duration", "300ms"]]);
    let said = text(&output.stdout);
    assert!(
        said.contains("486") && said.contains("fewer with --parallel") && said.contains(" given up"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn churn_notices_a_server_that_stands_still() {
    let server = Server::start(&[]);
    let uri = uri(&server);
    let words = ["churn", &uri, "--parallel", "3", "--duration", "4s", "--warmup", "20ms", "--json"];
    let mut command = command(&[&words[..], &ALICE].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // In the middle of the measured time.
    assert!(eventually(|| server.metric("relais_allocations_created_total{transport=\"udp\"}") > 100.0));
    server.signal("STOP");
    let output = child.wait_with_output().unwrap();
    server.signal("CONT");
    let found = found(&output);
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert!(found["cycles"].as_u64().unwrap() > 0 && found["failed"] == 3, "{found}");
    assert_eq!(
        (&found["unfinished"], &found["failed_by_code"]["silence"]),
        (&3.into(), &3.into()),
        "{found}"
    );
    assert!(found["standstill_seconds"].as_f64().unwrap() > 1.0, "{found}");
}

#[test]
fn hold_keeps_allocations_and_tells_their_memory() {
    let server = Server::start(&[]);
    let own = server.pid().to_string();
    let hold = |flags: &[&str]| {
        let common = ["hold", &uri(&server), "--allocations", "40", "--duration", "1s", "--json"];
        found(&bench(&[&common, &ALICE, flags]))
    };
    let refreshed = hold(&["--refresh", "100ms", "--server-pid", &own]);
    assert_eq!((&refreshed["kind"], &refreshed["allocations"]), (&"hold".into(), &40.into()));
    assert_eq!(refreshed["lost"], 0, "{refreshed}");
    assert!(refreshed["refreshes"].as_u64().unwrap() > 0, "{refreshed}");
    assert!(refreshed["refresh_us"]["p50"].as_f64().unwrap() > 0.0, "{refreshed}");
    for name in ["server_rss_before", "server_rss_after", "server_cpu"] {
        assert!(refreshed[name].is_number(), "{name}: {refreshed}");
    }
    // It is another process, which may or may not have grown.
    let has_grown = refreshed["server_rss_after"].as_u64() > refreshed["server_rss_before"].as_u64();
    assert_eq!(refreshed["server_rss_per_allocation"].is_number(), has_grown, "{refreshed}");
    let moments = refreshed["moments"].as_array().unwrap();
    assert!(moments.iter().any(|moment| moment["held"] == 40 && moment["server_rss"].is_u64()));
    let idle = hold(&[]);
    assert_eq!((&idle["refreshes"], &idle["server_rss_before"]), (&0.into(), &Value::Null), "{idle}");
    assert!(eventually(|| allocations(&server) == 0.0), "all were given back");
}

/// What `hold` without any refresh finds, when this happens to the server while it holds.
fn held_while(server: &Server, happens: impl FnOnce()) -> (Option<i32>, Value) {
    let words = ["hold", &uri(server), "--allocations", "3", "--duration", "4s", "--json"];
    let mut command = command(&[&words[..], &ALICE].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(eventually(|| allocations(server) == 3.0));
    happens();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), found(&output))
}

#[test]
fn hold_looks_at_all_allocations_at_the_end() {
    let server = Server::start(&[]);
    let (code, found) = held_while(&server, || server.signal("STOP"));
    server.signal("CONT");
    assert_eq!((code, &found["lost"], &found["unanswered"]), (Some(1), &3.into(), &3.into()), "{found}");

    let server = Server::start(&[]);
    let (code, found) = held_while(&server, || server.signal("KILL"));
    assert_eq!((code, &found["lost"], &found["unanswered"]), (Some(1), &3.into(), &3.into()), "{found}");

    // Another one at its address knows nothing of them.
    let server = Server::start(&[]);
    let mut other = None;
    let (code, found) = held_while(&server, || {
        server.signal("KILL");
        let own = format!("[\"{}:3478\"]", server.ip);
        other = Some(Server::start(&[("listen.udp", &own), ("listen.tcp", "[]")]));
    });
    assert_eq!((code, &found["lost"]), (Some(1), &3.into()), "{found}");
}

#[test]
fn hold_has_no_figure_when_memory_did_not_grow() {
    let server = Server::start(&[]);
    // A process that has nothing to do with it.
    let sleeper = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = sleeper.id().to_string();
    let words = ["hold", &uri(&server), "--allocations", "1", "--duration", "300ms", "--server-pid", &pid];
    let (json, said) = (bench(&[&words, &ALICE, &["--json"]]), bench(&[&words, &ALICE]));
    let mut sleeper = sleeper;
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    let found = found(&json);
    assert!(found["server_rss_before"].is_u64() && found["server_rss_per_allocation"].is_null(), "{found}");
    assert!(text(&said.stdout).contains("afresh"), "{}", text(&said.stdout));
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let server = Server::start(&[]);
    let uri = uri(&server);
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let read_only = || std::fs::File::open("/dev/null").unwrap();
    for (place, json) in [(full(), true), (full(), false), (read_only(), true)] {
        let words = ["hold", &uri, "--allocations", "1", "--duration", "50ms"];
        let json: &[&str] = if json { &["--json"] } else { &[] };
        let output = command(&[&words[..], &ALICE, json].concat()).stdout(place).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("cannot be written"), "{said}");
    }
    // A reader that goes away has read what it wanted.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let words = ["hold", &uri, "--allocations", "1", "--duration", "50ms"];
    let output = command(&[&words[..], &ALICE].concat()).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// A run that goes on until it is stopped.
struct Running(Child);

impl Running {
    fn throughput(server: &Server, count: u32) -> Self {
        let (uri, wanted) = (uri(server), count.to_string());
        let words = ["throughput", &uri, "--peer-address", "127.0.0.1", "--rate", "100", "--duration", "10m"];
        Self::start(server, count, &[&words[..], &["--allocations", &wanted]].concat())
    }

    fn hold(server: &Server, count: u32) -> Self {
        let (uri, wanted) = (uri(server), count.to_string());
        let words = ["hold", &uri, "--refresh", "100ms", "--duration", "10m", "--allocations", &wanted];
        Self::start(server, count, &words)
    }

    fn churn(server: &Server, count: u32) -> Self {
        let (uri, wanted) = (uri(server), count.to_string());
        let words = ["churn", &uri, "--duration", "10m", "--parallel", &wanted];
        let mut command = command(&[&words, &ALICE[..]].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert!(eventually(|| allocations(server) > 1.0));
        Self(child)
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap().success());
    }

    /// Waits until there are so many allocations.
    fn start(server: &Server, count: u32, words: &[&str]) -> Self {
        let mut command = command(&[words, &ALICE].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert!(eventually(|| allocations(server) == f64::from(count)));
        Self(child)
    }

    fn end(self) -> (Option<i32>, String) {
        let output = self.0.wait_with_output().unwrap();
        assert!(output.stdout.is_empty());
        (output.status.code(), text(&output.stderr))
    }
}

/// Whether a process ignores SIGHUP, which is signal number one.
fn ignores_hangups(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(ignored, 16).unwrap() & 1 == 1
}

/// Whether a process has a handler for SIGINT, which is signal number two.
fn catches_interrupts(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
    u64::from_str_radix(caught, 16).unwrap() >> 1 & 1 == 1
}

#[test]
fn an_interrupted_run_gives_all_back() {
    let server = Server::start(&[]);
    // Whoever starts the tests may have SIGHUP ignored, and what is ignored stays so.
    let signals = if ignores_hangups("self") { &["-INT", "-TERM"][..] } else { &["-INT", "-TERM", "-HUP"] };
    for signal in signals {
        for start in [Running::hold, Running::throughput, Running::churn] {
            let running = start(&server, 5);
            running.signal(signal);
            let (code, said) = running.end();
            assert!(code == Some(1) && said.contains("interrupted"), "{signal}: {code:?} {said}");
            assert!(eventually(|| allocations(&server) == 0.0), "all were given back");
        }
    }
}

#[test]
fn an_interrupted_run_leaves_no_empty_report() {
    let scratch = std::env::temp_dir().join(format!("relais-report-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    let server = Server::start(&[]);
    let (stun, turn) = (Odd::start(Manner::Rightly), uri(&server));
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = format!("stun:{}", silent.local_addr().unwrap());
    for (name, words) in [
        ("stun", &["stun", &stun.uri()][..]),
        ("silent", &["stun", &silent]),
        ("churn", &["churn", &turn, "--user", "alice", "--password", "wonderland"]),
        ("direct", &["throughput", "--direct", "--allocations", "1"]),
    ] {
        let report = scratch.join(name);
        let path = report.display().to_string();
        let more: &[&str] = &["--duration", "10m", "--report", &path];
        let child =
            command(&[words, more].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let running = Running(child);
        // Signals are waited for from the moment on at which there is something to give back or to measure.
        let waits = || catches_interrupts(&running.0.id().to_string());
        assert!(eventually(|| report.exists() && waits()), "{name}");
        running.signal("-INT");
        let (code, said) = running.end();
        assert!(code == Some(1) && said.contains("interrupted"), "{name}: {code:?} {said}");
        assert!(!report.exists(), "{name}");
    }
    std::fs::remove_dir_all(&scratch).unwrap();
}

#[test]
fn a_run_that_outlives_its_terminal_does_so() {
    let server = Server::start(&[]);
    let script = "trap '' HUP; exec \"$0\" bench throughput \"$@\" --peer-address 127.0.0.1 --allocations 2 --duration 10m";
    let program = env!("CARGO_BIN_EXE_relais");
    let mut shell = Command::new("/bin/sh");
    shell.args([&["-c", script, program, &uri(&server)][..], &ALICE].concat());
    let child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let running = Running(child);
    assert!(eventually(|| allocations(&server) == 2.0));
    running.signal("-HUP");
    assert!(ignores_hangups(&running.0.id().to_string()));
    running.signal("-TERM");
    assert_eq!(running.end().0, Some(1));
}

#[test]
fn a_server_that_ends_is_told() {
    let server = Server::start(&[]);
    let running = Running::hold(&server, 3);
    server.signal("KILL");
    let (code, said) = running.end();
    assert!(code == Some(1) && said.contains("nothing listens"), "{said}");
}

#[test]
fn a_quota_that_is_too_small_leaves_no_trace() {
    let server = Server::start(&[("limits.allocations_per_user", "3")]);
    for kind in ["hold", "throughput"] {
        let (code, said) = failure(&[&[kind, &uri(&server), "--allocations", "9"], &ALICE]);
        assert!(code == 1 && said.contains("486") && said.contains("limits.allocations_per_user"), "{said}");
        let counted = said.contains("clients had got all they asked for");
        assert!(counted || kind == "throughput", "{said}");
        // The user can go on at once.
        assert!(eventually(|| allocations(&server) == 0.0));
    }
}

#[test]
fn what_cannot_work_is_told_with_its_cure() {
    let ports = live::relay_ports(2);
    let small = Server::start(&[("relay.ports", &format!("{ports:?}"))]);
    let closed = Server::start(&[("peers.allow", "[]")]);
    let (small, closed) = (uri(&small), uri(&closed));
    let down = "turn:127.0.0.1:9";
    let wrong = ["--user", "alice", "--password", "guess"];
    let cases: [(&[&[&str]], [&str; 2]); 5] = [
        (&[&["hold", &small, "--allocations", "5"], &ALICE], ["508", "relay.ports"]),
        (&[&["churn", &closed, "--peer-address", "127.0.0.1"], &ALICE], ["403", "peers.allow"]),
        (&[&["churn", &small], &wrong], ["401", "--password-file"]),
        (&[&["churn", down], &ALICE], ["nothing listens", "start the server"]),
        (&[&["stun", "stun:127.0.0.1:9"]], ["nothing listens", "start the server"]),
    ];
    for (words, wanted) in cases {
        let (code, said) = failure(words);
        assert!(code == 1 && wanted.iter().all(|word| said.contains(word)), "{code} {said}");
        assert!(said.contains("help: "), "{said}");
    }
}

#[test]
fn what_cannot_be_meant_is_usage() {
    for (words, wanted) in [
        (&["stun"][..], "URI"),
        (&["stun", "stun:h", "--clients", "0"], "--clients"),
        (&["stun", "stun:h", "--server-pid", "4294967295"], "4294967295"),
        (&["stun", "stun:h", "--rate", "fast"], "300k"),
        (&["stun", "stun:h", "--max-loss", "99"], "percentage"),
        (&["stun", "stun:127.0.0.1", "--duration", "0"], "--duration"),
        (&["stun", "turn:127.0.0.1?transport=tcp"], "UDP"),
        (&["churn", "turn:h", "--rate", "search"], "or max"),
        (&["churn", "turn:h", "--parallel", "1001"], "--parallel"),
        (&["churn", "turn:127.0.0.1"], "--password-file"),
        (&["churn", "stun:127.0.0.1", "--user", "a", "--password", "b"], "turn:"),
        (&["hold", "turn:h", "--refresh", "1ms"], "100ms"),
        (&["stun", "stun:127.0.0.1", "--rate", "1", "--duration", "1ms"], "give a --duration of 4s or more"),
        (&["churn", "turn:h", "--rate", "2", "--duration", "1s"], "only 2 in the measured time"),
        (&["hold", "turn:h", "--allocations", "50001"], "--allocations"),
        (&["hold", "turn:h", "--password", "a", "--secret", "b"], "--secret"),
    ] {
        let (code, said) = failure(&[words]);
        assert!(code == 2 && said.contains(wanted), "{words:?}: {code} {said}");
    }
}

#[test]
fn too_few_descriptors_are_told_with_the_flag_that_asks_for_less() {
    for (words, flag) in [
        ("stun stun:127.0.0.1 --clients 60", "--clients"),
        ("churn turn:127.0.0.1 --user a --password b --parallel 60", "--parallel"),
        ("hold turn:127.0.0.1 --user a --password b --allocations 60", "--allocations"),
    ] {
        let script = format!("ulimit -n 100; exec \"$0\" bench {words}");
        let output =
            Command::new("/bin/sh").args(["-c", &script, env!("CARGO_BIN_EXE_relais")]).output().unwrap();
        let said = text(&output.stderr);
        assert!(
            output.status.code() == Some(2) && said.contains("60 sockets") && said.contains(flag),
            "{said}"
        );
    }
}

#[test]
fn run_time_is_that_of_a_process_that_runs_and_counts_once() {
    let server = Server::start(&[]);
    let uri = uri(&server);
    let words: [&[&str]; 3] =
        [&["stun", &uri, "--rate", "500"], &["--duration", "300ms", "--warmup", "20ms"], &[]];
    let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
    // It has to be asleep: until then it runs.
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", sleeper.id())).unwrap();
    assert!(eventually(|| state().contains("(sleep) S")));
    let pid = sleeper.id().to_string();
    let said = bench(&[words[0], words[1], &["--server-pid", &pid]]);
    let json = bench(&[words[0], words[1], &["--server-pid", &pid, "--json"]]);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    let said = text(&said.stdout);
    assert!(
        !said.contains("Server's CPU") && said.contains("did not grow") && said.contains("sleep ("),
        "{said}"
    );
    let json = found(&json);
    assert!(
        json["server_cpu_us_per_request"].is_null() && json["samples"][0]["server_cpu_us"].is_null(),
        "{json}"
    );
    let own = server.pid().to_string();
    let report = std::env::temp_dir().join(format!("relais-bench-twice-{}.html", std::process::id()));
    let path = report.display().to_string();
    let twice =
        bench(&[words[0], words[1], &["--server-pid", &own, "--server-pid", &own, "--report", &path]]);
    let page = std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("{}", text(&twice.stderr)));
    std::fs::remove_file(&report).unwrap();
    assert_eq!(page.matches(&format!("({own})")).count(), 1, "{page}");
}

#[test]
fn a_plain_connection_to_a_port_for_tls_is_told() {
    // The first byte of an alert, which is what TLS answers to something else.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        for stream in listener.incoming().take(2) {
            use std::io::{Read as _, Write as _};
            let mut stream = stream.unwrap();
            assert!(stream.read(&mut [0; 2_000]).unwrap() > 0);
            stream.write_all(&[0x15, 3, 1, 0, 2, 2, 10]).unwrap();
        }
    };
    let thread = std::thread::spawn(serve);
    let uri = format!("turn:{address}?transport=tcp");
    for kind in ["churn", "throughput"] {
        let one = if kind == "churn" { "--parallel" } else { "--allocations" };
        let (code, said) = failure(&[&[kind, &uri, one, "1"], &ALICE]);
        assert!(
            code == 1 && said.contains("neither STUN nor TURN") && said.contains("turns:"),
            "{kind}: {said}"
        );
    }
    thread.join().unwrap();
}

#[test]
fn people_get_lines_and_a_page_and_programs_one_object() {
    let server = Server::start(&[]);
    let directory = std::env::temp_dir().join(format!("relais-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("report.html");
    let file = path.to_str().unwrap();
    let uri = uri(&server);
    let short = ["--duration", "300ms"];
    let kinds: [(&[&str], &str); 4] = [
        (
            &["throughput", &uri, "--peer-address", "127.0.0.1", "--allocations", "2", "--rate", "1k"],
            "Delivered",
        ),
        (&["stun", &uri, "--rate", "500"], "Answered"),
        (&["churn", &uri, "--rate", "20"], "Cycles"),
        (&["hold", &uri, "--allocations", "3"], "Held"),
    ];
    for (words, figure) in kinds {
        let login: &[&str] = if words[0] == "stun" { &[] } else { &ALICE };
        let output = bench(&[words, login, &short, &["--report", file]]);
        let (out, said) = (text(&output.stdout), text(&output.stderr));
        assert!(out.starts_with(words[0]) && out.contains(figure) && out.contains(file), "{out}{said}");
        assert!(said.is_empty() && !out.contains('\u{1b}'), "no terminal, no progress: {said}");
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(page.starts_with("<!DOCTYPE html>") && page.len() < 100_000, "{} bytes", page.len());
        for wanted in ["</html>", "<svg", figure, words[0], env!("CARGO_PKG_VERSION"), "Load"] {
            assert!(page.contains(wanted), "{wanted}");
        }
        for unwanted in ["<script", "http://", "https://", "wonderland", "NaN"] {
            assert!(!page.contains(unwanted), "{unwanted}");
        }
    }
    // A run without a result leaves the page of the one before, and no empty one.
    let before = std::fs::read_to_string(&path).unwrap();
    let other = directory.join("other.html");
    for file in [file, other.to_str().unwrap()] {
        assert_eq!(failure(&[&["stun", "stun:127.0.0.1:9", "--report", file]]).0, 1);
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    assert!(!other.exists());
    let nowhere = directory.join("no/such/report.html");
    let (code, said) = failure(&[&["stun", &uri, "--report", nowhere.to_str().unwrap()]]);
    assert!(code == 2 && said.contains("cannot be written"), "{said}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn the_password_may_come_by_the_environment() {
    let server = Server::start(&[]);
    let uri = uri(&server);
    let words = ["hold", &uri, "--user", "alice", "--allocations", "1", "--duration", "50ms", "--json"];
    let output = command(&words).env("RELAIS_PASSWORD", "wonderland").output().unwrap();
    assert_eq!(found(&output)["lost"], 0);
}
