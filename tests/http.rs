//! The HTTP side over real sockets: who gets what, the words of the signaling dialect, and every limit.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "http/dialects.rs"]
mod dialects;
#[path = "http/ice.rs"]
mod ice;
#[cfg(feature = "socketio")]
#[path = "http/socketio.rs"]
mod socketio;
#[path = "http/sockets.rs"]
mod sockets;
#[path = "http/tokens.rs"]
mod tokens;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, SinkExt, StreamExt};
use relais::auth::rest::UsernameError;
use relais::http::{Control, GrantRequest, IceGrant, IceSource, Limits, Options, Rooms, serve, serve_admin};
use relais::observe::{GrantRefusals, StatsSource};
use relais::turn::{Counters, Transport};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, client_async};

#[path = "support/control.rs"]
mod control;
use control::Nobody;

struct Ice;

impl IceSource for Ice {
    fn grant(&self, request: GrantRequest) -> BoxFuture<'_, Result<IceGrant, UsernameError>> {
        let GrantRequest { host, user, .. } = request;
        let grant = IceGrant {
            turn: vec![format!("turn:{host}:3478?transport=udp")],
            username: user,
            credential: "c".into(),
            expires_unix: self.now_unix() + 60,
            ttl: 60,
            ..IceGrant::default()
        };
        async { Ok(grant) }.boxed()
    }

    fn recall(&self, _host: &str, _username: &str, _credential: &str) -> Option<IceGrant> {
        None
    }

    fn default_ttl(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn now_unix(&self) -> u64 {
        1_790_000_000
    }
}

struct Stats(Option<Vec<Counters>>, GrantRefusals);

impl StatsSource for Stats {
    fn snapshot(&self) -> BoxFuture<'static, Option<Vec<Counters>>> {
        let counters = self.0.clone();
        async move { counters }.boxed()
    }

    fn grants_refused(&self) -> &GrantRefusals {
        &self.1
    }
}

struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
    _ready: watch::Sender<bool>,
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn start(options: Options) -> Server {
    start_on(listener().await.0, options).await
}

async fn start_on(listener: TcpListener, options: Options) -> Server {
    start_with(listener, options, Arc::new(Ice), Arc::new(Nobody)).await
}

async fn start_with(
    listener: TcpListener,
    options: Options,
    ice: Arc<dyn IceSource>,
    control: Arc<dyn Control>,
) -> Server {
    let stats = Arc::new(Stats(Some(vec![]), GrantRefusals::default()));
    start_counting(listener, options, ice, control, stats).await
}

async fn start_counting(
    listener: TcpListener,
    options: Options,
    ice: Arc<dyn IceSource>,
    control: Arc<dyn Control>,
    stats: Arc<dyn StatsSource>,
) -> Server {
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let (ready, is_ready) = watch::channel(true);
    let running = tokio::spawn(serve(options, ice, control, stats, is_ready, vec![listener], None, stopped));
    Server { address, stop, running, _ready: ready }
}

fn open_rooms() -> Options {
    Options { rooms: Rooms::Open, ..Options::default() }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    fn code(&self) -> String {
        let error = &self.json()["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        assert!(error["help"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        error["code"].as_str().unwrap().to_owned()
    }
}

async fn raw(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut text)).await.expect("an end").unwrap();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn ask(server: &Server, line: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request.push_str(&format!("Host: {}\r\n", server.address));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    raw(server.address, &format!("{request}\r\n")).await
}

/// The same with a body.
async fn send(server: &Server, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let length = body.len().to_string();
    let mut all = headers.to_vec();
    if !headers.iter().any(|(name, _)| *name == "Host") {
        all.push(("Host", "relay.example"));
    }
    all.push(("Content-Length", &length));
    let head: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    raw(server.address, &format!("{line} HTTP/1.1\r\nConnection: close\r\n{head}\r\n{body}")).await
}

struct Socket(WebSocketStream<TcpStream>);

async fn try_socket(server: &Server, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(Socket(socket)),
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn socket(server: &Server, path: &str) -> Socket {
    try_socket(server, path, &[]).await.unwrap()
}

/// A member of a room, and what it was welcomed with.
async fn member(server: &Server, room: &str, name: &str) -> (Socket, Value) {
    let mut socket = socket(server, "/ws").await;
    socket.say(json!({"join": {"room": room, "name": name}})).await;
    let welcome = socket.hear().await["welcome"].take();
    assert!(welcome["self"].is_string(), "{welcome}");
    (socket, welcome)
}

impl Socket {
    async fn say(&mut self, value: Value) {
        self.text(value.to_string()).await;
    }

    async fn text(&mut self, text: String) {
        self.0.send(Message::Text(text.into())).await.unwrap();
    }

    async fn hear_text(&mut self) -> String {
        loop {
            let message = timeout(Duration::from_secs(10), self.0.next()).await.expect("a message in time");
            match message.expect("no end").unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.hear_text().await).unwrap()
    }

    /// Reads to the close frame.
    async fn closed(&mut self) -> CloseFrame {
        loop {
            match timeout(Duration::from_secs(10), self.0.next()).await.expect("a close in time") {
                Some(Ok(Message::Close(Some(frame)))) => return frame,
                Some(Ok(_)) => {}
                other => panic!("closed without a reason: {other:?}"),
            }
        }
    }

    async fn is_silent(&mut self) {
        let heard = timeout(Duration::from_millis(200), self.0.next()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
}

#[tokio::test]
async fn programs_on_this_machine_get_ice_servers() {
    let server = start(Options::default()).await;
    let mut users = Vec::new();
    for method in ["GET", "POST"] {
        let answer = ask(&server, &format!("{method} /v1/ice-servers"), &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["ttl"], 60);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("vary"), Some("origin"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
        let server = &answer.json()["iceServers"][0];
        assert_eq!(server["urls"][0], "turn:127.0.0.1:3478?transport=udp");
        users.push(server["username"].clone());
    }
    assert_ne!(users[0], users[1], "whoever asks for several users does not put them under one quota");
    let named = ask(&server, "GET /v1/ice-servers", &[("Host", "localhost:8080")]).await;
    assert_eq!(named.json()["iceServers"][0]["urls"][0], "turn:localhost:3478?transport=udp");
    let v6 = ask(&server, "GET /v1/ice-servers", &[("Host", "[::1]:8080")]).await;
    assert_eq!(v6.json()["iceServers"][0]["urls"][0], "turn:[::1]:3478?transport=udp");
}

#[tokio::test]
async fn a_name_that_resolves_to_loopback_or_a_proxy_is_not_this_machine() {
    let server = start(Options::default()).await;
    for headers in [
        &[("Host", "evil.example")][..],
        &[("Host", "192.168.1.2:8080")],
        &[("X-Forwarded-For", "127.0.0.1")],
        &[("Forwarded", "for=127.0.0.1")],
        &[("X-Real-IP", "127.0.0.1")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
    ] {
        let answer = ask(&server, "GET /v1/ice-servers", headers).await;
        assert_eq!(answer.status, 403, "{headers:?}");
        assert_eq!(answer.code(), "not_allowed");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let rebound = [("Host", "evil.example"), ("Origin", "http://evil.example")];
    assert_eq!(ask(&server, "GET /v1/ice-servers", &rebound).await.code(), "host_not_known");
    let (host, port) = ("evil.example", server.address.port());
    let (host, origin) = (format!("{host}:{port}"), format!("http://{host}:{port}"));
    for header in ["X-Forwarded-For", "Via", "Forwarded", "X-Real-IP"] {
        let lie = [("Host", host.as_str()), ("Origin", origin.as_str()), (header, "203.0.113.5")];
        for line in ["GET /v1/ice-servers", "POST /v1/rooms", "GET /v1/about"] {
            let answer = ask(&server, line, &lie).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "host_not_known"), "{line} {header}");
        }
    }
    let old = format!("GET /v1/ice-servers HTTP/1.0\r\nHost: {}\r\n\r\n", server.address);
    assert_eq!(raw(server.address, &old).await.status, 403, "a proxy with its defaults");
    for host in ["", "a b", "a@b", "a/../b"] {
        let answer = ask(&server, "GET /v1/ice-servers", &[("Host", host)]).await;
        assert_eq!(answer.status, 400, "{host:?}");
    }
}

#[tokio::test]
async fn listed_origins_are_served_and_echoed() {
    let origins = vec!["https://app.example".to_owned()];
    let server = start(Options { origins, host: "relay.example".into(), ..Options::default() }).await;
    let from = |origin| [("Host", "relay.example"), ("X-Forwarded-For", "203.0.113.5"), ("Origin", origin)];
    let answer = ask(&server, "GET /v1/ice-servers", &from("https://app.example")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.json()["iceServers"][0]["urls"][0], "turn:relay.example:3478?transport=udp");
    assert_eq!(answer.json()["iceServers"][0]["username"], "203.0.113.5");
    for other in
        ["https://app.example.evil", "http://app.example", "https://APP.example", "https://app.example/"]
    {
        let answer = ask(&server, "GET /v1/ice-servers", &from(other)).await;
        assert_eq!(answer.status, 403, "{other}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let preflight = ask(&server, "OPTIONS /v1/ice-servers", &from("https://app.example")).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, POST"));
    let preflight = ask(&server, "OPTIONS /v1/ice-servers", &from("https://evil.example")).await;
    assert_eq!(preflight.header("access-control-allow-origin"), None);
    assert_eq!(preflight.header("access-control-allow-methods"), None);
}

#[tokio::test]
async fn an_open_server_gives_to_anybody_but_not_too_often() {
    let server = start(Options { open: true, ..Options::default() }).await;
    let from =
        |address| [("Host", "relay.example"), ("X-Forwarded-For", address), ("Origin", "https://a.example")];
    for _ in 0..20 {
        let answer = ask(&server, "GET /v1/ice-servers", &from("203.0.113.5")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    }
    let mut refused = ask(&server, "GET /v1/ice-servers", &from("203.0.113.5")).await;
    for _ in 0..5 {
        // A slow machine may have earned another one meanwhile.
        if refused.status == 200 {
            refused = ask(&server, "GET /v1/ice-servers", &from("203.0.113.5")).await;
        }
    }
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_requests"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(ask(&server, "GET /v1/ice-servers", &from("203.0.113.6")).await.status, 200);
}

#[tokio::test]
async fn the_page_comes_with_a_strict_policy() {
    let server = start(open_rooms()).await;
    let mut waiting = vec!["/".to_owned(), "/style.css".to_owned(), "/main.mjs".to_owned()];
    let mut size = 0;
    let mut seen = Vec::new();
    // The whole page: what the document names, and what its modules import. None is loaded later.
    while let Some(path) = waiting.pop() {
        let answer = ask(&server, &format!("GET {path}"), &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        let kind = match path.rsplit('.').next() {
            Some("mjs") => "text/javascript",
            Some("css") => "text/css",
            _ => "text/html",
        };
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert!(answer.header("permissions-policy").unwrap().contains("camera=(self), microphone=(self)"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe"), "{policy}");
        size += answer.body.len();
        assert!(!answer.body.contains("import("), "{path} loads more than is counted here");
        for import in answer.body.split("from './").skip(1).filter_map(|rest| rest.split('\'').next()) {
            let import = format!("/{import}");
            if !seen.contains(&import) && !waiting.contains(&import) {
                waiting.push(import);
            }
        }
        seen.push(path);
    }
    assert!(seen.len() > 10, "{seen:?}");
    assert!(size < 80_000, "the page has {size} bytes");
    let html = ask(&server, "GET /", &[]).await.body;
    for inline in ["<style", "style=", "onclick=", "javascript:", "=\"//", "=\"http"] {
        assert!(!html.contains(inline), "{inline}");
    }
    let missing = ask(&server, "GET /nothing", &[]).await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"));
    assert!(missing.body.contains("The trial page is at /"), "{}", missing.body);
    let wrong = ask(&server, "DELETE /v1/ice-servers", &[]).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "method_not_allowed"));
    assert!(wrong.header("allow").unwrap().contains("GET"));
    assert_eq!(ask(&server, "GET /healthz", &[]).await.status, 200);
    assert_eq!(ask(&server, "GET /metrics", &[]).await.status, 404, "metrics are not public");
}

#[tokio::test]
async fn qr_codes_are_made_for_links_to_this_server_alone() {
    let server = start(Options::default()).await;
    let host = [("Host", "relay.example:8080")];
    for link in ["http%3A%2F%2Frelay.example%3A8080%2F%23room%3Dabc", "https%3A%2F%2Frelay.example%2F"] {
        let answer = ask(&server, &format!("GET /qr.svg?text={link}"), &host).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/svg+xml")), "{link}");
        assert!(answer.body.starts_with("<svg ") && answer.header("cache-control") == Some("no-store"));
    }
    let long = format!("http%3A%2F%2Frelay.example%2F{}", "x".repeat(500));
    for link in [
        "https%3A%2F%2Fevil.example%2F",
        "javascript%3Aalert(1)",
        "http%3A%2F%2Frelay.example%40evil.example%2F",
        "x",
        &long,
    ] {
        let answer = ask(&server, &format!("GET /qr.svg?text={link}"), &host).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "not_own_link"), "{link}");
    }
    let answer = ask(&server, "GET /qr.svg", &host).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_query"));
}

#[tokio::test]
async fn qr_codes_have_a_rate_for_each_address() {
    let server = start(Options::default()).await;
    let draw = async |address| {
        let headers = [("Host", "relay.example"), ("X-Forwarded-For", address)];
        ask(&server, "GET /qr.svg?text=https%3A%2F%2Frelay.example%2F", &headers).await
    };
    let mut drawn = 0;
    let refused = loop {
        let answer = draw("203.0.113.5").await;
        if answer.status != 200 {
            break answer;
        }
        drawn += 1;
        assert!(drawn < 1000, "there is no rate");
    };
    assert!(drawn >= 20, "{drawn}");
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_requests"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(draw("203.0.113.6").await.status, 200, "others do not suffer");
}

/// Counts what it is asked for.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicUsize);

impl IceSource for Counting {
    fn grant(&self, request: GrantRequest) -> BoxFuture<'_, Result<IceGrant, UsernameError>> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ice.grant(request)
    }

    fn recall(&self, host: &str, username: &str, credential: &str) -> Option<IceGrant> {
        Ice.recall(host, username, credential)
    }

    fn default_ttl(&self) -> Duration {
        Ice.default_ttl()
    }

    fn now_unix(&self) -> u64 {
        Ice.now_unix()
    }
}

#[tokio::test]
async fn requests_that_come_together_leave_others_their_turns() {
    const REQUESTS: usize = 64;
    let ice = Arc::new(Counting::default());
    let server = start_with(listener().await.0, Options::default(), ice.clone(), Arc::new(Nobody)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /v1/ice-servers HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(request.repeat(REQUESTS).as_bytes()).await.unwrap();
    // All of it runs on one thread, as in the server, so a turn of this task shows what another task got done.
    let answered = async {
        let (mut before, mut most) = (0, 0);
        while before < REQUESTS {
            tokio::task::yield_now().await;
            let now = ice.0.load(std::sync::atomic::Ordering::Relaxed);
            most = most.max(now - before);
            before = now;
        }
        most
    };
    assert_eq!(timeout(Duration::from_secs(20), answered).await.expect("all answers"), 1);
}

#[tokio::test]
async fn a_room_in_our_own_words() {
    let server = start(open_rooms()).await;
    let (mut ann, welcome) = member(&server, "r", "Ann").await;
    assert_eq!(welcome["peers"], json!([]));
    assert_eq!(welcome["room"], "r");
    assert_eq!(welcome["iceServers"][0]["urls"][0], "turn:127.0.0.1:3478?transport=udp");
    assert_eq!(welcome["iceServers"][0]["username"], welcome["self"]);
    let ann_id = welcome["self"].as_str().unwrap().to_owned();

    let (mut bob, welcome) = member(&server, "r", "Bob \u{1F600}\"\\").await;
    let bob_id = welcome["self"].as_str().unwrap().to_owned();
    assert_eq!(welcome["peers"], json!([{"id": ann_id, "name": "Ann"}]));
    assert_eq!(ann.hear().await, json!({"peer-joined": {"id": bob_id, "name": "Bob \u{1F600}\"\\"}}));
    let (mut eve, _) = member(&server, "elsewhere", "Eve").await;
    let (mut cid, _) = member(&server, "r", "").await;
    ann.hear().await;
    bob.hear().await;

    let payload = r#"{"b":1.50, "a":[ ],"a":1e2,"u":"\u00e9\u0000"}"#;
    ann.text(format!(r#"{{"to":"{bob_id}","data":{payload}}}"#)).await;
    assert_eq!(bob.hear_text().await, format!(r#"{{"from":"{ann_id}","to":"{bob_id}","data":{payload}}}"#));
    bob.say(json!({"data": null})).await;
    assert_eq!(ann.hear_text().await, format!(r#"{{"from":"{bob_id}","data":null}}"#));
    assert_eq!(cid.hear_text().await, format!(r#"{{"from":"{bob_id}","data":null}}"#));
    eve.say(json!({"to": ann_id, "data": "across rooms"})).await;
    assert_eq!(eve.hear().await["error"]["code"], "no_such_peer");
    ann.say(json!({"to": ann_id, "data": 1})).await;
    assert_eq!(ann.hear().await["error"]["code"], "no_such_peer");
    ann.say(json!({"what": 1})).await;
    assert_eq!(ann.hear().await["error"]["code"], "not_understood");
    ann.say(json!({"join": {"room": "r2"}})).await;
    assert_eq!(ann.hear().await["error"]["code"], "already_joined");

    drop(cid);
    assert!(ann.hear().await["peer-left"]["id"].is_string());
    bob.hear().await;
    bob.0.close(None).await.unwrap();
    let left = ann.hear().await;
    assert_eq!(left, json!({"peer-left": {"id": bob_id, "name": "Bob \u{1F600}\"\\"}}));
    eve.is_silent().await;
}

#[tokio::test]
async fn members_are_counted_by_their_addresses_however_often_they_join() {
    let server = start(open_rooms()).await;
    let join = async |address| {
        let headers = [("x-forwarded-for", address), ("host", "relay.example")];
        let mut socket = try_socket(&server, "/ws", &headers).await.unwrap();
        socket.say(json!({"join": {"room": "r"}})).await;
        socket.hear().await["welcome"]["iceServers"][0]["username"].take()
    };
    assert_eq!(join("203.0.113.9").await, "203.0.113.9");
    assert_eq!(join("203.0.113.9").await, "203.0.113.9", "joining again gives no new quota");
    assert_eq!(join("2001:db8:0:1::1").await, join("2001:db8:0:ff::1").await);
    assert_eq!(join("203.0.113.10").await, "203.0.113.10");
}

#[tokio::test]
async fn what_one_says_to_another_stays_in_order() {
    let server = start(open_rooms()).await;
    let (mut ann, _) = member(&server, "r", "").await;
    let (mut bob, bob_welcome) = member(&server, "r", "").await;
    ann.hear().await;
    let to = bob_welcome["self"].clone();
    for n in 0..120 {
        // Addressed and for all, mixed: both ways keep one order.
        ann.say(if n % 2 == 0 { json!({"to": to, "data": n}) } else { json!({"data": n}) }).await;
    }
    for n in 0..120 {
        assert_eq!(bob.hear().await["data"], n);
    }
}

#[tokio::test]
async fn the_room_comes_from_the_url_or_the_join_or_is_the_default() {
    let server = start(open_rooms()).await;
    let room = async |path: &str, join: Value| {
        let mut socket = socket(&server, path).await;
        socket.say(json!({"join": join})).await;
        socket.hear().await["welcome"]["room"].clone()
    };
    assert_eq!(room("/ws", json!({})).await, "default");
    assert_eq!(room("/ws?room=a%20b", json!({})).await, "a b");
    assert_eq!(room("/ws?room=a", json!({"room": "c"})).await, "c");
    assert_eq!(try_socket(&server, "/ws?room=a&room=b", &[]).await.err(), Some(400));
    assert_eq!(try_socket(&server, "/ws?room=", &[]).await.err(), Some(400));
    assert_eq!(try_socket(&server, "/ws?room=%07", &[]).await.err(), Some(400));
}

#[tokio::test]
async fn rooms_that_are_off_say_so() {
    let server = start(Options::default()).await;
    assert_eq!(try_socket(&server, "/ws", &[]).await.err(), Some(403));
    assert_eq!(ask(&server, "GET /ws", &[]).await.code(), "rooms_off");
    assert_eq!(ask(&server, "POST /v1/rooms", &[]).await.code(), "rooms_off");
}

#[tokio::test]
async fn named_rooms_cannot_be_guessed() {
    let server = start(Options { rooms: Rooms::Named, ..Options::default() }).await;
    let fresh =
        async || ask(&server, "POST /v1/rooms", &[]).await.json()["room"].as_str().unwrap().to_owned();
    let (one, two) = (fresh().await, fresh().await);
    assert!(one != two && one.len() >= 22, "{one} {two}");
    let (_, welcome) = member(&server, &one, "").await;
    assert_eq!(welcome["room"], one);
    assert_eq!(ask(&server, "GET /ws", &[]).await.code(), "not_a_websocket");
    for short in ["lobby", "123456789012345678901", "                        "] {
        let mut socket = socket(&server, "/ws").await;
        socket.say(json!({"join": {"room": short}})).await;
        assert_eq!(socket.hear().await["error"]["code"], "room_guessable");
        assert_eq!(u16::from(socket.closed().await.code), 1008);
    }
    assert_eq!(try_socket(&server, "/ws?room=lobby", &[]).await.err(), Some(400));
    let mut socket = socket(&server, "/ws").await;
    socket.say(json!({"join": {}})).await;
    assert_eq!(socket.hear().await["error"]["code"], "no_room");
}

#[tokio::test]
async fn only_our_pages_and_listed_ones_may_signal() {
    let origins = vec!["https://app.example".to_owned()];
    let server = start(Options { origins, ..open_rooms() }).await;
    let same = format!("http://{}", server.address);
    for good in [same.as_str(), "https://app.example"] {
        assert!(try_socket(&server, "/ws", &[("origin", good)]).await.is_ok(), "{good}");
    }
    for bad in ["https://evil.example", "null", "http://127.0.0.1", "https://app.example:444"] {
        assert_eq!(try_socket(&server, "/ws", &[("origin", bad)]).await.err(), Some(403), "{bad}");
        let answer = ask(&server, "POST /v1/rooms", &[("Origin", bad)]).await;
        assert_eq!(answer.code(), "origin_not_allowed");
    }
    let rebound = [("host", "evil.example:8080"), ("origin", "http://evil.example:8080")];
    assert_eq!(try_socket(&server, "/ws", &rebound).await.err(), Some(403));
    let answer = ask(&server, "POST /v1/rooms", &[("Origin", "https://app.example")]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
}

#[tokio::test]
async fn long_messages_and_binary_ones_are_closed_with_a_reason() {
    let server = start(open_rooms()).await;
    let (mut ann, _) = member(&server, "r", "").await;
    let (mut bob, _) = member(&server, "r", "").await;
    ann.hear().await;
    let fits = format!(r#"{{"data":"{}"}}"#, "x".repeat(65_536 - 11));
    assert_eq!(fits.len(), 65_536);
    ann.text(fits.clone()).await;
    assert_eq!(bob.hear().await["data"].as_str().unwrap().len(), 65_536 - 11);
    ann.text(fits.replace('}', " }")).await;
    let frame = ann.closed().await;
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1009, "A message may have 65536 bytes."));
    assert!(bob.hear().await["peer-left"].is_object());
    bob.0.send(Message::Binary(vec![1].into())).await.unwrap();
    assert_eq!(u16::from(bob.closed().await.code), 1003);
}

#[tokio::test]
async fn a_room_holds_sixteen() {
    let server = start(open_rooms()).await;
    let mut members = Vec::new();
    for _ in 0..16 {
        members.push(member(&server, "r", "").await);
    }
    let mut late = socket(&server, "/ws").await;
    late.say(json!({"join": {"room": "r"}})).await;
    assert_eq!(late.hear().await["error"]["code"], "room_full");
    assert_eq!(u16::from(late.closed().await.code), 1008);
    members.pop();
    // The keeper hears of the parting a moment later.
    assert!(members[0].0.hear().await.is_object());
    loop {
        if members[0].0.hear().await.get("peer-left").is_some() {
            break;
        }
    }
    member(&server, "r", "").await;
}

#[tokio::test]
async fn rooms_and_sockets_are_bounded_and_come_free_again() {
    let limits = Limits { rooms: 2, sockets: 3, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let (first, _) = member(&server, "a", "").await;
    let (_second, _) = member(&server, "b", "").await;
    let mut third = socket(&server, "/ws").await;
    assert_eq!(try_socket(&server, "/ws", &[]).await.err(), Some(503));
    third.say(json!({"join": {"room": "c"}})).await;
    assert_eq!(third.hear().await["error"]["code"], "too_many_rooms");
    third.closed().await;
    drop((first, third));
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Ok(mut again) = try_socket(&server, "/ws", &[]).await {
            again.say(json!({"join": {"room": "d"}})).await;
            if again.hear().await.get("welcome").is_some() {
                break;
            }
        }
        assert!(Instant::now() < deadline, "the places never came free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_socket_without_a_room_must_join_in_time() {
    let limits = Limits { join_deadline: Duration::from_millis(200), ..Limits::default() };
    let server = start(Options { limits, rooms: Rooms::Named, ..Options::default() }).await;
    let mut idle = socket(&server, "/ws").await;
    let frame = idle.closed().await;
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, "No room was named."));
    let mut other = socket(&server, "/ws").await;
    other.say(json!({"cmd": "rtc_offer"})).await;
    assert_eq!(other.closed().await.reason.as_str(), "No room was named.");
}

#[tokio::test]
async fn a_fast_sender_is_slowed_down_and_nothing_is_lost() {
    let limits = Limits { message_burst: 10, messages_per_second: 20, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let (mut ann, _) = member(&server, "r", "").await;
    let (mut bob, _) = member(&server, "r", "").await;
    ann.hear().await;
    let begun = Instant::now();
    for n in 0..20 {
        ann.say(json!({"data": n})).await;
    }
    for n in 0..20 {
        assert_eq!(bob.hear().await["data"], n);
        if n == 9 {
            assert!(begun.elapsed() < Duration::from_millis(400), "the burst took {:?}", begun.elapsed());
        }
    }
    assert!(begun.elapsed() >= Duration::from_millis(450), "20 took only {:?}", begun.elapsed());
}

#[tokio::test]
async fn bytes_are_paced_too() {
    let limits = Limits { byte_burst: 10_000, bytes_per_second: 20_000, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let (mut ann, _) = member(&server, "r", "").await;
    let (mut bob, _) = member(&server, "r", "").await;
    ann.hear().await;
    let begun = Instant::now();
    for _ in 0..4 {
        ann.say(json!({"data": "x".repeat(4990)})).await;
    }
    for _ in 0..4 {
        bob.hear().await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(450), "20 kB took only {:?}", begun.elapsed());
}

#[tokio::test]
async fn who_never_stops_sending_too_fast_is_closed() {
    let throttled = Duration::from_millis(300);
    let limits = Limits { message_burst: 2, messages_per_second: 50, throttled, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let (mut ann, _) = member(&server, "r", "").await;
    for n in 0..100 {
        ann.say(json!({"data": n})).await;
    }
    let frame = ann.closed().await;
    assert_eq!(
        (u16::from(frame.code), frame.reason.as_str()),
        (1008, "You keep sending faster than you may.")
    );
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_others_go_on() {
    let limits = Limits {
        queue_messages: 8,
        message_burst: 10_000,
        byte_burst: 1 << 30,
        write_deadline: Duration::from_secs(1),
        ..Limits::default()
    };
    let server = start(Options { limits, ..open_rooms() }).await;
    let (mut ann, _) = member(&server, "r", "").await;
    let (_deaf, deaf_welcome) = member(&server, "r", "").await;
    let (mut bob, _) = member(&server, "r", "").await;
    ann.hear().await;
    ann.hear().await;
    let big = "x".repeat(60_000);
    let mut sent = 0;
    // Bob reads each before the next is sent; the deaf one's kernel buffers fill up, then its queue.
    let left = loop {
        ann.say(json!({"data": big})).await;
        sent += 1;
        let heard = bob.hear().await;
        if heard.get("peer-left").is_some() {
            break heard;
        }
        assert!(sent < 1000, "nobody was closed");
    };
    assert_eq!(left["peer-left"]["id"], deaf_welcome["self"]);
    ann.say(json!({"data": "still here"})).await;
    loop {
        if bob.hear().await["data"] == "still here" {
            break;
        }
    }
}

#[tokio::test]
async fn a_queue_has_a_limit_in_bytes_as_well_and_all_queues_together() {
    for limits in [
        Limits { queue_bytes: 100_000, ..Limits::default() },
        Limits { queued_bytes: 100_000, ..Limits::default() },
    ] {
        let limits = Limits { message_burst: 10_000, byte_burst: 1 << 30, queue_messages: 10_000, ..limits };
        let server = start(Options { limits, ..open_rooms() }).await;
        let (mut ann, _) = member(&server, "r", "").await;
        let (_deaf, _) = member(&server, "r", "").await;
        ann.hear().await;
        let big = "x".repeat(60_000);
        let mut sent = 0;
        loop {
            ann.say(json!({"data": big})).await;
            sent += 1;
            if let Ok(Some(Ok(Message::Text(text)))) = timeout(Duration::from_millis(5), ann.0.next()).await {
                assert!(text.contains("peer-left"), "{text}");
                break;
            }
            assert!(sent < 1000, "nobody was closed");
        }
    }
}

#[tokio::test]
async fn the_server_pings_and_closes_who_does_not_answer() {
    let limits =
        Limits { ping: Duration::from_millis(100), idle: Duration::from_millis(400), ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let (mut ann, _) = member(&server, "r", "").await;
    let (bob, _) = member(&server, "r", "").await;
    ann.hear().await;
    // Bob's bytes are read, but no ping is answered; Ann answers while she reads.
    let mut bytes = bob.0.into_inner();
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        timeout(Duration::from_secs(5), bytes.read_to_end(&mut all)).await.expect("closed in time").unwrap();
        all
    });
    let left = ann.hear().await;
    assert!(left["peer-left"].is_object(), "{left}");
    let pings = ann.0.by_ref().take_until(tokio::time::sleep(Duration::from_millis(900)));
    let pings: Vec<_> = pings.collect().await;
    assert!(pings.len() > 4 && pings.iter().all(|ping| matches!(ping, Ok(Message::Ping(_)))), "{pings:?}");
    assert!(reading.await.unwrap().windows(2).any(|two| two == [0x89, 0]), "there was no ping");
}

#[tokio::test]
async fn joins_are_rate_limited_for_strangers() {
    let limits = Limits { grant_burst: 2, grants_per_second: 1, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let mut codes = Vec::new();
    for _ in 0..4 {
        let headers = [("x-forwarded-for", "203.0.113.9"), ("host", "relay.example")];
        let mut socket = try_socket(&server, "/ws", &headers).await.unwrap();
        socket.say(json!({"join": {}})).await;
        codes.push(socket.hear().await["error"]["code"].clone());
    }
    assert_eq!(codes[0], Value::Null);
    assert!(codes.contains(&json!("too_many_requests")), "{codes:?}");
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let limits = Limits { header_deadline: Duration::from_millis(300), ..Limits::default() };
    let server = start(Options { limits, ..Options::default() }).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    kept.write_all(request.as_bytes()).await.unwrap();
    let begun = Instant::now();
    let trickle = async {
        for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".iter() {
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut rest = Vec::new();
        let _ = slow.read_to_end(&mut rest).await;
    };
    timeout(Duration::from_secs(3), trickle).await.expect("the slow head is cut off");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let mut answer = Vec::new();
    timeout(Duration::from_secs(3), kept.read_to_end(&mut answer)).await.expect("idle is closed").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_long_body_is_not_waited_for() {
    let server = start(open_rooms()).await;
    for (path, status) in [("/v1/rooms", b"HTTP/1.1 200"), ("/v1/ice-servers", b"HTTP/1.1 413")] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000000\r\n\r\n", server.address);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut begin = [0; 12];
        timeout(Duration::from_secs(2), stream.read_exact(&mut begin)).await.expect("an answer").unwrap();
        assert_eq!(&begin, status);
        let rest = async {
            let mut sink = [0; 4096];
            // The body's bytes are refused sooner or later, whatever the kernel has taken in by then.
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {
                let _ = timeout(Duration::from_millis(1), stream.read(&mut sink)).await;
            }
        };
        timeout(Duration::from_secs(5), rest).await.expect("the connection is closed");
    }
}

#[tokio::test]
async fn pings_are_paced_like_messages() {
    let limits = Limits { message_burst: 4, messages_per_second: 20, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let (mut ann, _) = member(&server, "r", "").await;
    let begun = Instant::now();
    for _ in 0..12 {
        ann.0.send(Message::Ping(vec![1].into())).await.unwrap();
    }
    ann.say(json!({"to": "nobody", "data": 1})).await;
    assert_eq!(ann.hear().await["error"]["code"], "no_such_peer");
    assert!(begun.elapsed() >= Duration::from_millis(350), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn connections_are_bounded() {
    let limits = Limits { connections: 3, ..Limits::default() };
    let server = start(Options { limits, ..Options::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let refused = ask(&server, "GET /healthz", &[]).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "too_many_connections"));
    idle.clear();
    let deadline = Instant::now() + Duration::from_secs(3);
    while ask(&server, "GET /healthz", &[]).await.status != 200 {
        assert!(Instant::now() < deadline, "the places never came free");
    }
}

/// This machine's address on its network. No datagram is sent for it.
async fn own_address() -> Option<SocketAddr> {
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.ok()?;
    socket.connect("192.0.2.1:9").await.ok()?;
    socket.local_addr().ok().filter(|address| !address.ip().is_loopback())
}

#[tokio::test]
async fn one_address_has_its_share_of_connections() {
    let Some(own) = own_address().await else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let limits = Limits { connections_per_address: 3, ..Limits::default() };
    let listener = TcpListener::bind((own.ip(), 0)).await.unwrap();
    let server = start_on(listener, Options { limits, ..open_rooms() }).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let refused = ask(&server, "GET /healthz", &[]).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_connections"));
    idle.clear();
    let deadline = Instant::now() + Duration::from_secs(3);
    while ask(&server, "GET /v1/ice-servers", &[("Host", "localhost")]).await.status != 403 {
        assert!(Instant::now() < deadline, "the places never came free");
    }
    // Four sockets: what has become a WebSocket is counted among those.
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(socket(&server, "/ws").await);
    }
}

#[tokio::test]
async fn a_connection_does_not_live_for_ever() {
    let limits = Limits { connection_lifetime: Duration::from_millis(300), ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let (mut ann, _) = member(&server, "r", "").await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut all = Vec::new();
    timeout(Duration::from_secs(3), stream.read_to_end(&mut all)).await.expect("closed").unwrap();
    // A WebSocket is not bound by it.
    ann.say(json!({"to": "nobody", "data": 1})).await;
    assert_eq!(ann.hear().await["error"]["code"], "no_such_peer");
}

#[tokio::test]
async fn the_stop_says_goodbye() {
    let server = start(open_rooms()).await;
    let (mut ann, _) = member(&server, "r", "").await;
    server.stop.send(true).unwrap();
    assert_eq!(u16::from(ann.closed().await.code), 1001);
    timeout(Duration::from_secs(5), server.running).await.expect("an end").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

async fn admin(stats: Option<Vec<Counters>>, is_ready: bool) -> Server {
    let (listener, address) = listener().await;
    let (stop, stopped) = watch::channel(false);
    let (ready, ready_receiver) = watch::channel(is_ready);
    let stats = Arc::new(Stats(stats, GrantRefusals::default()));
    let running = tokio::spawn(serve_admin(stats, ready_receiver, vec![listener], stopped));
    Server { address, stop, running, _ready: ready }
}

#[tokio::test]
async fn rfc9112_3_2_a_request_has_one_host() {
    let server = start(open_rooms()).await;
    let admin = admin(Some(vec![]), true).await;
    let places = ["/", "/main.mjs", "/healthz", "/demo/"].map(|path| (&server, path));
    for (server, path) in places.into_iter().chain([(&admin, "/metrics")]) {
        let status = async |version: &str, hosts: &str| {
            let request = format!("GET {path} HTTP/{version}\r\nConnection: close\r\n{hosts}\r\n");
            raw(server.address, &request).await.status
        };
        assert_eq!(status("1.1", "Host: localhost\r\n").await, 200);
        assert_eq!(status("1.1", "Host: prometheus_target:9478\r\n").await, 200);
        assert_eq!(status("1.1", "").await, 400);
        assert_eq!(status("1.1", "Host: localhost\r\nHost: localhost\r\n").await, 400);
        assert_eq!(status("1.1", "Host: a b\r\n").await, 400);
        assert_eq!(status("1.0", "").await, 200, "HTTP/1.0 knew none");
    }
}

#[tokio::test]
async fn a_page_whose_name_was_bent_to_loopback_reads_no_metrics() {
    let server = admin(Some(vec![]), true).await;
    let rebound = [("Host", "evil.example:9478"), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(ask(&server, "GET /metrics", &rebound).await.status, 403);
    assert_eq!(ask(&server, "GET /metrics", &rebound[..1]).await.status, 200, "no browser");
    let by_proxy =
        [("Host", "status.example"), ("X-Forwarded-For", "203.0.113.5"), ("User-Agent", "Mozilla/5.0")];
    assert_eq!(ask(&server, "GET /metrics", &by_proxy).await.status, 200);
    let typed = [("Host", "localhost:9478"), ("Sec-Fetch-Site", "none")];
    assert_eq!(ask(&server, "GET /metrics", &typed).await.status, 200);
}

#[tokio::test]
async fn metrics_show_what_the_workers_count() {
    let mut counters = Counters::default();
    counters.of(Transport::Tcp).to_clients.add(1200);
    let server = admin(Some(vec![counters, counters]), true).await;
    let missing = ask(&server, "GET /", &[]).await;
    assert_eq!(missing.status, 404);
    assert!(
        missing.body.contains("Health is at /healthz and /readyz, the counters at /metrics."),
        "{}",
        missing.body
    );
    let answer = ask(&server, "GET /metrics", &[]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let line = "relais_bytes_total{transport=\"tcp\",direction=\"to_client\"} 2400";
    assert!(answer.body.contains(line), "{}", answer.body);
    let families: Vec<_> = answer.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    for family in [
        "relais_allocations gauge",
        "relais_allocations_created_total counter",
        "relais_packets_total counter",
        "relais_bytes_total counter",
        "relais_drops_total counter",
        "relais_errors_total counter",
        "relais_requests_total counter",
        "relais_permissions gauge",
        "relais_channels gauge",
        "relais_streams gauge",
        "relais_build_info gauge",
        "relais_workers gauge",
        "relais_udp_offload gauge",
        "relais_udp_gso_refusals_total counter",
        "relais_grants_refused_total counter",
        "process_resident_memory_bytes gauge",
        "process_cpu_seconds_total counter",
        "process_open_fds gauge",
    ] {
        assert!(families.contains(&family), "{family} is missing in {families:?}");
    }
    assert_eq!(ask(&server, "GET /readyz", &[]).await.status, 200);
    assert_eq!(ask(&server, "GET /", &[]).await.status, 404, "the page is not here");
}

#[tokio::test]
async fn metrics_count_what_the_api_refuses() {
    let stats: Arc<dyn StatsSource> = Arc::new(Stats(Some(vec![]), GrantRefusals::default()));
    let ((public, address), (private, admin)) = (listener().await, listener().await);
    let (_stop, stopped) = watch::channel(false);
    let (_ready, is_ready) = watch::channel(true);
    let (ice, desk) = (Arc::new(Ice), Arc::new(Nobody));
    let web = serve(
        Options::default(),
        ice,
        desk,
        Arc::clone(&stats),
        is_ready.clone(),
        vec![public],
        None,
        stopped.clone(),
    );
    tokio::spawn(web);
    tokio::spawn(serve_admin(stats, is_ready, vec![private], stopped));
    let get = async |address: SocketAddr, path: &str, more: &str| {
        let host = format!("Host: {address}\r\nConnection: close\r\n");
        raw(address, &format!("GET {path} HTTP/1.1\r\n{host}{more}\r\n")).await
    };
    let path = "/v1/ice-servers";
    assert_eq!(get(address, path, "").await.status, 200);
    assert_eq!(get(address, path, "X-API-Key: wrong\r\n").await.code(), "unauthorized");
    assert_eq!(get(address, path, "X-Forwarded-For: 203.0.113.5\r\n").await.code(), "not_allowed");
    assert_eq!(get(address, path, "Host: twice\r\n").await.code(), "bad_host");
    assert_eq!(get(address, "/v1/ice-servers?rat=5", "").await.code(), "unknown_field");
    assert_eq!(get(address, "/_turn/default", "X-API-Key: wrong\r\n").await.status, 405);
    let text = get(admin, "/metrics", "").await.body;
    for (code, count) in
        [("unauthorized", 1), ("not_allowed", 1), ("bad_host", 1), ("unknown_field", 1), ("too_long", 0)]
    {
        let line = format!("relais_grants_refused_total{{code=\"{code}\"}} {count}\n");
        assert!(text.contains(&line), "{line} is missing in {text}");
    }
}

#[tokio::test]
async fn a_silent_worker_is_told_not_hidden() {
    let server = admin(None, true).await;
    for path in ["/metrics", "/readyz"] {
        let answer = ask(&server, &format!("GET {path}"), &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "worker_silent"), "{path}");
    }
    assert_eq!(ask(&server, "GET /healthz", &[]).await.status, 200);
    let starting = admin(Some(vec![]), false).await;
    assert_eq!(ask(&starting, "GET /readyz", &[]).await.code(), "not_ready");
}

#[tokio::test]
async fn clients_of_other_networks_are_turned_away() {
    let near = |network: &str| vec![network.parse().unwrap()];
    let server = start(Options { networks: near("127.0.0.0/8"), ..Options::default() }).await;
    assert_eq!(ask(&server, "GET /v1/about", &[]).await.status, 200);
    let server = start(Options { networks: near("10.0.0.0/8"), ..Options::default() }).await;
    let answer = ask(&server, "GET /v1/about", &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "not_from_here"));
}

#[tokio::test]
async fn about_tells_where_a_page_is_secure() {
    let (sender, trusted) = watch::channel(false);
    let https = |port| Some(relais::http::Https { port, trusted: trusted.clone() });
    let server = start(Options { https: https(8443), ..Options::default() }).await;
    assert_eq!(
        ask(&server, "GET /v1/about", &[]).await.body,
        r#"{"https":"https://127.0.0.1:8443/","trusted":false}"#
    );
    sender.send_replace(true);
    assert_eq!(
        ask(&server, "GET /v1/about", &[]).await.body,
        r#"{"https":"https://127.0.0.1:8443/","trusted":true}"#
    );
    let host = "relay.example".to_owned();
    let server = start(Options { https: https(443), host, ..Options::default() }).await;
    assert_eq!(
        ask(&server, "GET /v1/about", &[]).await.body,
        r#"{"https":"https://relay.example/","trusted":true}"#
    );
    let server = start(Options::default()).await;
    assert_eq!(ask(&server, "GET /v1/about", &[]).await.body, r#"{"https":null,"trusted":false}"#);
    assert_eq!(ask(&server, "GET /v1/about?name=a.example", &[]).await.json()["certificate"], json!(null));
}

#[tokio::test]
async fn about_tells_whether_a_certificate_is_for_a_name() {
    let made =
        rcgen::generate_simple_self_signed(["a.example".to_owned(), "203.0.113.5".to_owned()]).unwrap();
    let secret = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let key = rustls::sign::CertifiedKey::from_der(
        vec![made.cert.der().clone()],
        secret.into(),
        &rustls::crypto::aws_lc_rs::default_provider(),
    );
    let (_sender, shown) = watch::channel(vec![Arc::new(key.unwrap())]);
    let server = start(Options { certificates: Some(shown), ..Options::default() }).await;
    for (name, right) in
        [("a.example", true), ("203.0.113.5", true), ("b.example", false), ("%20", false), ("[", false)]
    {
        let answer = ask(&server, &format!("GET /v1/about?name={name}"), &[]).await;
        assert_eq!(answer.json()["certificate"], json!(right), "{name}");
    }
}
