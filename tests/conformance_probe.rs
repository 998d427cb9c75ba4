//! `relais probe --conformance` against this server over real sockets: no MUST may fail, and no SHOULD but those that
//! `docs/conformance.md` says are not followed.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "test code")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/live.rs"]
mod live;

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use certificates::{Authority, Files};
use live::Server;
use serde_json::Value;

const SECRET: &str = "north-wind-and-sun-of-a-test";

/// A server that peers on loopback may be reached through.
fn server() -> Server {
    // NAT discovery takes two addresses, and each server of this run has its own.
    static SECOND: AtomicU32 = AtomicU32::new(1);
    let second = SECOND.fetch_add(1, Ordering::Relaxed);
    let second = Ipv4Addr::from_bits(0x7FFE_0000 | (std::process::id() & 0xFF) << 8 | second);
    Server::start(&[
        ("nat_discovery.addresses", &format!(r#"["OWN", "{second}"]"#)),
        ("auth.secrets", &format!("[{{ name = \"main\", secret = \"{SECRET}\" }}]")),
        ("relay.tcp", "true"),
    ])
}

/// The report and the exit code.
fn probe(server: &Server, uri: &str, more: &[&str]) -> (Value, i32) {
    let secret = server.file("secret", SECRET);
    let output = Command::new(env!("CARGO_BIN_EXE_relais"))
        .args(["probe", "--conformance", "--json", uri, "--secret-file", &secret])
        .args(more)
        .env_clear()
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(!out.contains(SECRET) && !error.contains(SECRET));
    (serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}")), output.status.code().unwrap())
}

fn of_verdict<'a>(report: &'a Value, verdict: &str) -> Vec<&'a str> {
    let rows = report["checks"].as_array().unwrap().iter().filter(|row| row["verdict"] == verdict);
    rows.map(|row| row["id"].as_str().unwrap()).collect()
}

/// The checks that docs/conformance.md says this server does not pass.
fn not_followed() -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let matrix = std::fs::read_to_string(path).unwrap();
    let line = matrix.lines().find(|line| line.starts_with("Relais does not pass")).unwrap();
    line.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[track_caller]
fn assert_conforming(report: &Value, code: i32) {
    let listed = not_followed();
    let failed = report["checks"].as_array().unwrap().iter().filter(|row| row["verdict"] == "fail");
    let (known, unexpected): (Vec<&Value>, Vec<&Value>) =
        failed.partition(|row| listed.contains(&row["id"].as_str().unwrap().to_owned()));
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let is_good = known.iter().all(|row| row["level"] == "SHOULD");
    assert_eq!((code, &report["ok"]), (i32::from(!is_good), &Value::Bool(is_good)));
}

#[test]
fn our_server_breaks_no_clause_over_udp() {
    let server = server();
    let (report, code) = probe(&server, &format!("turn:{}:3478", server.ip), &[]);
    assert_conforming(&report, code);
    assert!(of_verdict(&report, "pass").len() > 300, "{}", report["counts"]);
    assert_eq!(of_verdict(&report, "fail"), not_followed(), "the list in docs/conformance.md is out of date");
}

#[test]
fn our_server_breaks_no_clause_over_tcp() {
    let server = server();
    let (report, code) = probe(&server, &format!("turn:{}:3478?transport=tcp", server.ip), &[]);
    assert_conforming(&report, code);
    assert!(of_verdict(&report, "pass").len() > 280, "{}", report["counts"]);
}

#[test]
fn our_server_breaks_no_clause_over_tls() {
    let (authority, files) = (Authority::new("Test"), Files::new("conformance"));
    let [certificate, key] = files.pair("own", &authority.issue(&["127.0.0.1"]));
    files.write("ca.crt", &authority.pem());
    let ca = files.path().join("ca.crt").display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start(&[
        ("auth.secrets", &format!("[{{ name = \"main\", secret = \"{SECRET}\" }}]")),
        ("listen.tls", &format!("[\"127.0.0.1:{port}\"]")),
        ("tls.certificate", &certificate),
        ("tls.key", &key),
    ]);
    let (report, code) = probe(&server, &format!("turns:127.0.0.1:{port}"), &["--ca", &ca]);
    assert_conforming(&report, code);
    let passed = of_verdict(&report, "pass");
    for id in ["tls-allocate", "alpn-turn", "alpn-nat-discovery", "alpn-foreign", "stream-data"] {
        assert!(passed.contains(&id), "{id}: {}", report["counts"]);
    }
}

#[test]
fn a_broken_clause_is_found_and_told() {
    // A server that answers everything with the success of a Binding, as a careless one might.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("stun:{}", socket.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let answer = [&[1, 1, 0, 0], &buffer[4..20]].concat();
            let _ = socket.send_to(&answer, from);
        }
    });
    let output = Command::new(env!("CARGO_BIN_EXE_relais"))
        .args(["probe", "--conformance", &uri, "--timeout", "1"])
        .env_clear()
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("FAIL         MUST   8489 §6.3.1.1"), "{out}");
    assert!(out.contains("no readable XOR-MAPPED-ADDRESS"), "{out}");
    assert!(out.contains("[binding-mapped-address]") && out.contains(" MUST fail, "), "{out}");
    assert!(out.contains("not testable MUST"), "{out}");
}

#[test]
fn wrong_usage_and_nobody_there() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_relais"))
            .args(["probe", "--conformance"])
            .args(arguments)
            .env_clear()
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = run(&["turn:h"]);
    assert!(code == 2 && error.contains("TURN needs credentials"), "{code} {error}");
    let (code, error) = run(&["turn:h", "--peer", "127.0.0.1:9"]);
    assert!(code == 2 && error.contains("--peer"), "{code} {error}");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("stun:{}", silent.local_addr().unwrap());
    let (code, error) = run(&[&uri, "--timeout", "1"]);
    assert!(code == 1 && error.contains("nothing can be checked: no answer"), "{code} {error}");
}
