//! What a credential carries, who is there, what was refused and what is revoked: the program itself over real sockets.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/live.rs"]
mod live;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use live::{Client, LOOPBACK, SOON, Server, channel_data, eventually, heard, peer, relay_ports};
use relais::auth::rest;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest as _};

/// An expiry that is far away.
const LATER: u64 = 4_000_000_000;

/// A server with four workers, and its admin socket.
fn start(more: &[(&str, &str)]) -> (Server, PathBuf) {
    let ports = format!("{:?}", relay_ports(64));
    let mut keys = vec![
        ("listen.workers", "4"),
        ("relay.ports", ports.as_str()),
        ("auth.secrets", "[{ name = \"s\", secret = \"a secret that is long enough for anybody\" }]"),
        ("admin.socket", "\"admin.sock\""),
        ("http.listen", "[\"OWN:8080\"]"),
    ];
    keys.extend(more);
    let server = Server::start(&keys);
    let socket = PathBuf::from(server.file("none", "")).with_file_name("admin.sock");
    (server, socket)
}

fn password(name: &str) -> String {
    rest::password(b"a secret that is long enough for anybody", name.as_bytes())
}

fn holder(client: Client, name: &str) -> Client {
    client.login(name, &password(name))
}

/// Runs a command of the program that asks a server: its exit code and what it printed.
fn relais(socket: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_relais"))
        .args(arguments)
        .args(["--socket", &socket.display().to_string()])
        .env_clear()
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// Status and body of a request with a JSON body, which nobody may keep.
fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(web(server)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let len = body.len();
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", web(server));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let request = format!("{head}Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.to_ascii_lowercase().contains("cache-control: no-store"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn web(server: &Server) -> SocketAddr {
    SocketAddr::new(server.ip.into(), 8080)
}

fn view(server: &Server, body: &str) -> (u16, Value) {
    post(server, "/v1/view", &[], body)
}

/// User name and password of fresh iceServers.
fn granted(server: &Server, headers: &[(&str, &str)], body: &str) -> (String, String) {
    let (status, answer) = post(server, "/v1/ice-servers", headers, body);
    assert_eq!(status, 200, "{answer}");
    login_of(&answer["iceServers"])
}

fn login_of(ice_servers: &Value) -> (String, String) {
    let turn = ice_servers.as_array().unwrap().iter().find(|entry| entry["username"].is_string()).unwrap();
    ["username", "credential"].map(|name| turn[name].as_str().unwrap().to_owned()).into()
}

/// The code of an Allocate with such a login.
fn code(server: &Server, (name, password): &(String, String)) -> u16 {
    server.udp().login(name, password).allocate().code()
}

const SHOP: (&str, &str) = ("http.keys", r#"[{ name = "shop", key = "key-in-the-file-1234" }]"#);
const AS_SHOP: (&str, &str) = ("X-API-Key", "key-in-the-file-1234");

#[test]
fn quota_and_budget_of_a_credential_hold_across_workers() {
    let (server, _) = start(&[]);
    let name = format!("{LATER}:alice?policy&allocations=3");
    let mut clients: Vec<Client> = (0..12).map(|_| holder(server.udp(), &name)).collect();
    let codes: Vec<u16> = clients.iter_mut().map(|client| client.allocate().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 3, "{codes:?}");
    assert!(codes.iter().all(|code| [0, 486].contains(code)), "{codes:?}");

    let name = format!("{LATER}:bob?policy&bytes=64000");
    let (ear, ear_at) = peer();
    let mut clients: Vec<Client> = (0..6).map(|_| holder(server.udp(), &name)).collect();
    for client in &mut clients {
        client.relay();
        assert_eq!(client.bind(0x4000, ear_at), 0);
    }
    for _ in 0..60 {
        for client in &clients {
            client.send(&channel_data(0x4000, &[7; 1000]));
        }
    }
    assert!(eventually(|| holder(server.udp(), &name).allocate().code() == 403), "the budget is used up");
    ear.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2000];
    let heard = std::iter::from_fn(|| ear.recv(&mut buffer).ok()).count();
    // Each allocation may have left a part of its last share, 4,000 bytes.
    assert!((64 - 6 * 4..=64).contains(&heard), "{heard}");
}

#[test]
fn revocation_ends_allocations_of_all_workers_and_transports_and_outlives_a_restart() {
    let state = std::env::temp_dir().join(format!("relais-control-state-{}", std::process::id()));
    std::fs::create_dir_all(&state).unwrap();
    let directory = format!("{:?}", state.display().to_string());
    let keys = [("state.directory", directory.as_str())];
    let name = format!("{LATER}:alice?policy&tag=demo");
    {
        let (server, socket) = start(&keys);
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let mut clients: Vec<Client> = (0..6).map(|_| holder(server.udp(), &name)).collect();
        let mut streams: Vec<Client> = (0..3).map(|_| holder(server.tcp(), &name)).collect();
        let mut other = holder(server.tcp(), &format!("{LATER}:bob?policy&tag=other"));
        for client in clients.iter_mut().chain(&mut streams).chain([&mut other]) {
            client.relay();
        }
        let (code, text) = relais(&socket, &["credentials", "revoke", "--tag", "demo"]);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("allocations ended: 9") && text.contains("until it is lifted"), "{text}");
        for client in &streams {
            assert!(client.is_closed_within(SOON));
        }
        for client in &mut clients {
            assert_eq!(client.refresh(600).code(), 401);
        }
        assert_eq!(other.refresh(600).code(), 0);
        let (_, text) = relais(&socket, &["sessions"]);
        assert!(text.contains("bob") && !text.contains("alice"), "{text}");
        let (_, text) = relais(&socket, &["sessions", "--refusals", "--user", "alice"]);
        assert!(text.contains("has been revoked"), "{text}");
        assert!(eventually(|| state.join("revocations.json").exists()), "written within the second");
    }
    let kept = state.join("revocations.json");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    {
        let (server, socket) = start(&keys);
        assert_eq!(holder(server.udp(), &name).allocate().code(), 401);
        let (_, text) = relais(&socket, &["credentials", "revocations"]);
        assert!(text.contains("tag") && text.contains("demo") && text.contains("until lifted"), "{text}");
        let (code, text) = relais(&socket, &["credentials", "revoke", "--lift", "--tag", "demo"]);
        assert_eq!((code, text.as_str()), (0, "lifted\n"));
        assert_eq!(holder(server.udp(), &name).allocate().code(), 0);
        let (code, text) = relais(&socket, &["credentials", "revoke", "--lift", "--tag", "demo"]);
        assert_eq!(code, 1, "{text}");
        assert!(eventually(|| !std::fs::read_to_string(&kept).unwrap().contains("demo")));
    }
    std::fs::write(&kept, "[{").unwrap();
    {
        let (server, _) = start(&keys);
        server.wait_for_log("NOT revoked");
        assert_eq!(holder(server.udp(), &name).allocate().code(), 0);
    }
    std::fs::remove_dir_all(&state).unwrap();
}

#[test]
fn a_visitor_sees_its_own_credential_and_what_was_refused_to_it() {
    let (server, _) = start(&[]);
    let (ear, ear_at) = peer();
    let name = format!("{LATER}:carol?policy&tag=x");
    let mut carol = holder(server.udp(), &name);
    let relayed = carol.relay();
    assert_eq!(carol.permit(ear_at), 0);
    assert_eq!(carol.permit("10.1.2.3:80".parse().unwrap()), 403);
    carol.say(ear_at, b"there");
    assert_eq!(heard(&ear).0, b"there");
    ear.send_to(b"and back", relayed).unwrap();
    carol.receive();
    let good = json!({"username": name, "credential": password(&name)}).to_string();
    let mut seen = Value::Null;
    assert!(eventually(|| {
        seen = view(&server, &good).1;
        seen["refusals"].as_array().is_some_and(|refusals| refusals.len() == 1)
    }));
    assert_eq!(seen["verified"], true);
    let allocation = &seen["allocations"][0];
    assert_eq!(allocation["relayed"], relayed.to_string());
    assert_eq!(allocation["permissions"], json!([LOOPBACK.to_string()]));
    assert_eq!((&allocation["to_peers"]["bytes"], &allocation["to_client"]["bytes"]), (&json!(5), &json!(8)));
    assert!(allocation["first_to_peer"].is_number() && allocation["first_to_client"].is_number());
    assert_eq!(
        seen["requests"],
        json!({"allocate": 1, "refresh": 0, "create_permission": 1, "channel_bind": 0})
    );
    let refused = &seen["refusals"][0];
    assert_eq!(
        (&refused["cause"], &refused["code"], &refused["peer"]),
        (&json!("peer_denied"), &json!(403), &json!("10.1.2.3"))
    );
    assert!(refused["cure"].as_str().unwrap().contains("peers.allow"));
    // What has ended stays visible.
    assert_eq!(carol.refresh(0).code(), 0);
    assert!(eventually(|| view(&server, &good).1["allocations"][0]["ended"] == "deleted by the client"));

    // Without the password: only what was refused to this very address, and nothing of whether anybody has the name.
    let bad = json!({"username": name, "credential": "x"}).to_string();
    let (status, seen) = view(&server, &bad);
    assert_eq!((status, &seen["verified"], &seen["allocations"]), (200, &json!(false), &json!([])));
    let expired = "1700000000:dave";
    assert_eq!(holder(server.udp(), expired).allocate().code(), 401);
    let asked = json!({"username": expired, "credential": password(expired)}).to_string();
    assert!(eventually(|| view(&server, &asked).1["refusals"][0]["cause"] == "expired"));
    let (_, seen) = view(&server, &asked);
    assert_eq!(seen["verified"], true);
    let message = seen["refusals"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("The credential expired ") && message.ends_with(" days ago."), "{message}");
    let answers = ["alice", "nobody"].map(|user| {
        assert_eq!(server.udp().login(user, "wrong").allocate().code(), 401);
        let asked = json!({"username": user, "credential": "wrong"}).to_string();
        assert!(eventually(|| view(&server, &asked).1["refusals"][0]["cause"] == "unknown_user_or_password"));
        let (_, mut seen) = view(&server, &asked);
        seen["refusals"][0]["client"] = json!("");
        seen["refusals"][0]["at"] = json!("");
        seen["now"] = json!("");
        seen
    });
    assert_eq!(answers[0], answers[1], "a user that exists looks like one that does not");
    let (status, seen) = view(&server, "{}");
    assert_eq!((status, &seen["error"]["code"]), (400, &json!("missing_field")));
}

#[test]
fn commands_make_and_explain_what_a_credential_carries() {
    let run = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_relais");
        let output = Command::new(program).args(arguments).env_clear().output().unwrap();
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let file = std::env::temp_dir().join(format!("relais-control-secret-{}", std::process::id()));
    std::fs::write(&file, "a secret that is long enough for anybody").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let secret = file.display().to_string();
    let (code, text) = run(&[
        "credentials",
        "new",
        "--secret-file",
        &secret,
        "--user",
        "alice",
        "--tag",
        "demo",
        "--rate",
        "2M",
        "--bytes",
        "10G",
        "--allocations",
        "4",
        "--peers",
        "203.0.113.0/24,2001:db8::1",
    ]);
    assert_eq!(code, 0, "{text}");
    let made: Value = serde_json::from_str(&text).unwrap();
    let name = made["username"].as_str().unwrap();
    assert!(
        name.contains(":alice?policy&tag=demo&issued=") && name.contains("&rate=2000000&bytes=10000000000&")
    );
    assert_eq!(made["credential"], password(name));
    let (code, text) = run(&["credentials", "show", name, "--json"]);
    assert_eq!(code, 0, "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&shown["user"], &shown["expired"]), (&json!("alice"), &json!(false)));
    assert_eq!(shown["policy"]["peers"], json!(["203.0.113.0/24", "2001:db8::1"]));
    let (code, text) = run(&["credentials", "show", "1700000000:bob"]);
    assert!(code == 1 && text.contains("EXPIRED") && text.contains("none"), "{code} {text}");
    let (code, text) = run(&["credentials", "show", "4000000000:bob?policy&speed=1"]);
    assert!(code == 1 && text.contains("CANNOT BE READ"), "{code} {text}");
    let (code, text) = run(&["credentials", "new", "--secret-file", &secret, "--rate", "0"]);
    assert_eq!(code, 2, "{text}");
    std::fs::remove_file(&file).unwrap();
    let nowhere = Path::new("/nowhere/admin.sock");
    let (code, text) = relais(nowhere, &["sessions"]);
    assert!(code == 1 && text.contains("is the server running"), "{code} {text}");
}

#[test]
fn what_is_granted_after_a_revocation_is_good_however_soon() {
    let (server, socket) = start(&[SHOP]);
    let grant = |body| granted(&server, &[AS_SHOP], body);
    for round in 0..3 {
        let before = grant(r#"{"user":"kim","tag":"web"}"#);
        assert_eq!(code(&server, &before), 0, "{round}");
        for what in [r#"{"user":"kim"}"#, r#"{"tag":"web"}"#] {
            let (status, answer) = post(&server, "/v1/revoke", &[AS_SHOP], what);
            assert_eq!(status, 200, "{answer}");
            let after = grant(r#"{"user":"kim","tag":"web"}"#);
            assert_eq!([&before, &after].map(|login| code(&server, login)), [401, 0], "{what} {after:?}");
        }
        let before = grant("{}");
        let (status, text) = relais(&socket, &["credentials", "revoke", "--key", "shop"]);
        assert_eq!(status, 0, "{text}");
        let after = grant("{}");
        assert_eq!([&before, &after].map(|login| code(&server, login)), [401, 0], "{after:?}");
    }
    // One credential that is revoked by its name says nothing of others.
    let login = grant(r#"{"user":"kim"}"#);
    post(&server, "/v1/revoke", &[AS_SHOP], &json!({"username": login.0}).to_string());
    assert_eq!(code(&server, &login), 401);
}

#[test]
fn whoever_is_shown_out_may_come_again_with_fresh_ice_servers() {
    let (server, socket) =
        start(&[("http.origins", r#"["https://app.example"]"#), ("http.rooms", "\"open\"")]);
    let page = [("Origin", "https://app.example"), ("X-Forwarded-For", "8.34.2.9")];
    for (user, headers, body) in [("8.34.2.9", &page[..], "{}"), ("bob", &[], r#"{"user":"bob"}"#)] {
        let before = granted(&server, headers, body);
        assert_eq!(code(&server, &before), 0);
        let (status, text) = relais(&socket, &["credentials", "revoke", "--user", user]);
        assert!(status == 0 && text.contains("allocations ended: 1"), "{user}: {text}");
        assert_eq!(code(&server, &before), 401);
        let after = granted(&server, headers, body);
        assert_eq!(code(&server, &after), 0, "{user}: {after:?}");
    }
    // So do members of rooms, who have the name of their address too.
    let joins = || {
        let stream = TcpStream::connect(web(&server)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut request = format!("ws://{}/ws", web(&server)).into_client_request().unwrap();
        request.headers_mut().insert("X-Forwarded-For", "8.34.2.10".parse().unwrap());
        let (mut member, _) = tungstenite::client(request, stream).unwrap();
        member.send(r#"{"join":{}}"#.into()).unwrap();
        let welcome: Value = serde_json::from_str(member.read().unwrap().to_text().unwrap()).unwrap();
        login_of(&welcome["welcome"]["iceServers"])
    };
    let before = joins();
    assert_eq!(code(&server, &before), 0);
    let (_, text) = relais(&socket, &["credentials", "revoke", "--user", "8.34.2.10"]);
    assert!(text.contains("allocations ended: 1"), "{text}");
    let after = joins();
    assert_eq!([&before, &after].map(|login| code(&server, login)), [401, 0], "{after:?}");
}

#[test]
fn the_operator_names_users_as_they_are_called() {
    let (server, socket) = start(&[SHOP]);
    const ZOE: &str = "Zoë Smith";
    let own = granted(&server, &[AS_SHOP], &json!({ "user": ZOE }).to_string());
    assert!(own.0.contains(":Zo%C3%AB%20Smith?"), "{own:?}");
    let mut client = server.udp().login(&own.0, &own.1);
    client.relay();
    // As other services write it that have the secret.
    let theirs = format!("{LATER}:{ZOE}");
    let mut other = holder(server.udp(), &theirs);
    other.relay();
    assert_eq!(client.permit("10.1.2.3:80".parse().unwrap()), 403);
    let (_, text) = relais(&socket, &["sessions", "--json", "--user", ZOE]);
    let shown: Value = serde_json::from_str(&text).unwrap();
    let mut users: Vec<_> =
        shown["sessions"].as_array().unwrap().iter().map(|one| one["user"].as_str()).collect();
    users.sort();
    assert_eq!(users, [Some("Zo%C3%AB%20Smith"), Some(ZOE)]);
    let (_, text) = relais(&socket, &["sessions", "--json", "--limit", "1", "--user", ZOE]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["sessions"].as_array().unwrap().len(), 1);
    assert!(eventually(|| {
        let (_, text) = relais(&socket, &["sessions", "--refusals", "--user", ZOE]);
        text.contains("10.1.2.3")
    }));
    let (status, text) = relais(&socket, &["credentials", "revoke", "--user", ZOE]);
    assert!(status == 0 && text.contains("allocations ended: 2"), "{text}");
    assert_eq!((client.refresh(600).code(), other.refresh(600).code()), (401, 401));
    // What came in between are refusals of both, the newest first.
    let newest = |name: &str| {
        let (_, text) = relais(&socket, &["sessions", "--refusals", "--json", "--user", name]);
        serde_json::from_str::<Value>(&text).unwrap()["refusals"].clone()
    };
    assert!(eventually(|| newest(ZOE).as_array().is_some_and(|all| all.len() == 3)), "{}", newest(ZOE));
    let at: Vec<_> = newest(ZOE).as_array().unwrap().iter().map(|one| one["at"].to_string()).collect();
    assert!(at.is_sorted_by(|a, b| a >= b), "{at:?}");
    let lift = ["credentials", "revoke", "--lift", "--user", ZOE];
    assert_eq!(relais(&socket, &lift), (0, "lifted\n".to_owned()));
    assert_eq!(code(&server, &own), 0);
    assert_eq!(holder(server.udp(), &theirs).allocate().code(), 0);
    assert_eq!(relais(&socket, &lift).0, 1, "there is none any more");
    // What the key has revoked is lifted by the same name.
    post(&server, "/v1/revoke", &[AS_SHOP], &json!({ "user": ZOE }).to_string());
    assert_eq!(code(&server, &own), 401);
    let (_, text) = relais(&socket, &lift);
    assert!(text.contains("add `--issuer shop`"), "{text}");
    assert_eq!(relais(&socket, &[&lift[..], &["--issuer", "shop"]].concat()).0, 0);
    assert_eq!(code(&server, &own), 0);
}
