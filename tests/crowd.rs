//! Very many WebSockets and sessions of Socket.IO in rooms: what they cost the program, and that those who misbehave cost nobody
//! anything.
#![cfg(all(feature = "server", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "support/live.rs"]
mod live;

use live::{SOON, Server};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// The members of a full room.
const MEMBERS: usize = 16;

/// What is spoken on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Any JSON.
    Plain,
    /// Socket.IO 4, over WebSocket from the start.
    SocketIo,
    /// The same as its client does it unless told otherwise: it polls, and changes over to WebSocket.
    Upgraded,
}

/// What a browser says of itself with every request; long enough to be no small part of what is kept, if it is kept.
const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
     Accept: */*\r\nAccept-Language: en-US,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nCache-Control: no-cache\r\n";

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(4 * SOON)).unwrap();
    stream
}

/// An answer as far as the empty line.
fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A session of Socket.IO 4 that polls, on one connection.
struct Polling {
    stream: TcpStream,
    address: SocketAddr,
    path: String,
    /// All answers.
    heard: String,
}

impl Polling {
    fn open(address: SocketAddr, room: &str) -> Self {
        let path = format!("/socket.io/?EIO=4&transport=polling&room={room}");
        let mut polling = Self { stream: connect(address), address, path, heard: String::new() };
        let open = polling.ask("GET", "");
        let sid = open.split_once("\"sid\":\"").unwrap().1.split_once('"').unwrap().0;
        polling.path.push_str(&format!("&sid={sid}"));
        polling
    }

    fn send(&mut self, method: &str, body: &str) {
        let (address, path) = (self.address, &self.path);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n{BROWSER}\
             Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).unwrap();
    }

    fn answer(&mut self) -> String {
        let head = head(&mut self.stream).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = head.split_once("content-length: ").unwrap().1.split_once('\r').unwrap().0;
        let mut body = vec![0; length.parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        let answer = String::from_utf8(body).unwrap();
        self.heard.push_str(&answer);
        answer
    }

    fn ask(&mut self, method: &str, body: &str) -> String {
        self.send(method, body);
        self.answer()
    }

    /// Takes the answer to the poll that is out, if there is one by now, and polls again.
    fn go_on(&mut self) {
        self.stream.set_nonblocking(true).unwrap();
        let is_there = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_nonblocking(false).unwrap();
        if is_there {
            if self.answer().split('\u{1e}').any(|packet| packet == "2") {
                self.ask("POST", "3");
            }
            self.send("GET", "");
        }
    }
}

struct Socket(TcpStream, Dialect);

impl Socket {
    fn open(address: SocketAddr, dialect: Dialect, room: &str) -> Self {
        match dialect {
            Dialect::Plain => Self::upgrade(address, dialect, &format!("/ws?room={room}")),
            Dialect::SocketIo => {
                let path = format!("/socket.io/?EIO=4&transport=websocket&room={room}");
                let mut socket = Self::upgrade(address, dialect, &path);
                assert!(socket.frame().starts_with("0{"));
                socket.say_raw("40");
                while !socket.frame().starts_with("40{") {}
                socket
            }
            Dialect::Upgraded => {
                let mut polling = Polling::open(address, room);
                let path = polling.path.replace("transport=polling", "transport=websocket");
                polling.ask("POST", "40");
                while !polling.ask("GET", "").contains("40{") {}
                let mut socket = Self::upgrade(address, dialect, &path);
                socket.say_raw("2probe");
                assert_eq!(socket.frame(), "3probe");
                socket.say_raw("5");
                socket
            }
        }
    }

    fn upgrade(address: SocketAddr, dialect: Dialect, path: &str) -> Self {
        let mut stream = connect(address);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n{BROWSER}\
             Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let head = head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Self(stream, dialect)
    }

    /// Sends a frame of this type; the mask is none.
    fn send(&mut self, kind: u8, payload: &[u8]) -> std::io::Result<()> {
        let mut frame = vec![0x80 | kind];
        match u16::try_from(payload.len()).unwrap() {
            short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                frame.push(0x80 | 126);
                frame.extend(long.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.0.write_all(&frame)
    }

    fn say_raw(&mut self, text: &str) {
        self.send(1, text.as_bytes()).unwrap();
    }

    /// Says some JSON to all others.
    fn say(&mut self, text: &str) {
        match self.1 {
            Dialect::Plain => self.say_raw(text),
            Dialect::SocketIo | Dialect::Upgraded => self.say_raw(&format!("42[\"message\",{text}]")),
        }
    }

    /// The next JSON that somebody has said. Pings are answered.
    fn hear(&mut self) -> String {
        if self.1 == Dialect::Plain {
            return self.frame();
        }
        loop {
            let frame = self.frame();
            if frame == "2" {
                self.say_raw("3");
            } else if let Some(said) = frame.strip_prefix("42[\"message\",") {
                return said.strip_suffix(']').unwrap().to_owned();
            }
        }
    }

    /// The next text. Pings of WebSocket are answered.
    fn frame(&mut self) -> String {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).unwrap();
            let mut length = usize::from(head[1]);
            if length == 126 {
                let mut long = [0; 2];
                self.0.read_exact(&mut long).unwrap();
                length = u16::from_be_bytes(long).into();
            }
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).unwrap();
            match head[0] & 0x0F {
                1 => return String::from_utf8(payload).unwrap(),
                9 => self.send(10, &payload).unwrap(),
                other => panic!("a frame of type {other}"),
            }
        }
    }

    /// Takes what is there and goes on.
    fn drain(&mut self) {
        self.0.set_nonblocking(true).unwrap();
        let mut sink = [0; 16 << 10];
        while matches!(self.0.read(&mut sink), Ok(1..)) {}
        self.0.set_nonblocking(false).unwrap();
    }
}

/// What no client sends.
fn nonsense(number: usize) -> (u8, Vec<u8>) {
    let text = |text: &str| (1, text.as_bytes().to_vec());
    match number % 10 {
        0 => text(r#"{"cmd":"rtc_offer","from":-1,"to":99999999999999999999}"#),
        1 => text(r#"{"type":"subscribe","topics":[[],{},null,"\ud800"]}"#),
        2 => (1, "[".repeat(900).into_bytes()),
        3 => text(""),
        4 => (9, vec![b'p'; 125]),
        5 => text(r#"{"to":{"to":"to"},"data":}"#),
        6 => text(r#"{"type":"publish","topic":"t","type":"ping"}"#),
        7 => (10, vec![]),
        8 => text("\u{0}\u{fffd}\u{10ffff}"),
        _ => text(r#"{"new-ice-candidate":{"new-ice-candidate":[[[[[[]]]]]]}}"#),
    }
}

/// `count` members in full rooms, and `hostile` messages beside them. Memory per socket, and in all, in bytes.
fn crowd(dialect: Dialect, count: usize, hostile: usize) -> (i64, i64) {
    let mut server = Server::start(&[("http.listen", "[\"OWN:8080\"]"), ("http.rooms", "\"open\"")]);
    let address = SocketAddr::new(server.ip.into(), 8080);
    for n in 0..64 {
        Socket::open(address, dialect, &format!("first-{n}")).say("1");
    }
    let before = server.resident();
    let mut sockets: Vec<_> =
        (0..count).map(|n| Socket::open(address, dialect, &format!("room-{}", n / MEMBERS))).collect();
    let each = (server.resident() - before) / i64::try_from(count).unwrap();
    let talk = |sockets: &mut [Socket], word: &str| {
        for (number, room) in sockets.chunks_mut(MEMBERS).enumerate() {
            let text = format!(r#"{{"{word}":{number}}}"#);
            let (first, others) = room.split_first_mut().unwrap();
            first.say(&text);
            for other in others {
                assert_eq!(other.hear(), text);
            }
        }
    };
    talk(&mut sockets, "before");
    // A burst of each passes without delay, so that all of these are read.
    let mut bad: Vec<_> = (0..hostile.div_ceil(100))
        .map(|n| Socket::open(address, dialect, &format!("bad-{}", n / MEMBERS)))
        .collect();
    for round in 0..100 {
        for (number, socket) in bad.iter_mut().enumerate() {
            let (kind, payload) = nonsense(number + round);
            match socket.send(kind, &payload) {
                Ok(()) => socket.drain(),
                // Closed for what it said.
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset))
                }
            }
        }
    }
    talk(&mut sockets, "meanwhile");
    drop(bad);
    talk(&mut sockets, "after");
    server.assert_running();
    (each, server.resident())
}

#[test]
fn a_thousand_sockets_are_cheap_and_hostile_messages_change_nothing() {
    let (each, _) = crowd(Dialect::Plain, 1_008, 10_000);
    assert!(each <= 8 << 10, "{each} bytes a socket");
}

#[test]
fn five_hundred_sessions_of_socket_io_are_cheap_and_hostile_messages_change_nothing() {
    for dialect in [Dialect::SocketIo, Dialect::Upgraded] {
        let (each, _) = crowd(dialect, 512, 2_000);
        assert!(each <= 28 << 10, "{each} bytes a session");
    }
}

/// As many sessions that wait for the answer to a poll. Memory per session, and in all, in bytes.
fn waiting(count: usize) -> (i64, i64) {
    let server = Server::start(&[("http.listen", "[\"OWN:8080\"]"), ("http.rooms", "\"open\"")]);
    let address = SocketAddr::new(server.ip.into(), 8080);
    let open = |n: usize| {
        let mut polling = Polling::open(address, &format!("room-{}", n / MEMBERS));
        polling.ask("POST", "40");
        while !polling.ask("GET", "").contains("40{") {}
        polling.send("GET", "");
        polling
    };
    let settle = |sessions: &mut [Polling]| {
        let knows_all = |session: &Polling| {
            let newest = session.heard.rsplit("clients").next().unwrap();
            newest.matches("{\"id\":").count() == MEMBERS
        };
        assert!(live::eventually(|| {
            sessions.iter_mut().for_each(Polling::go_on);
            sessions.iter().all(knows_all)
        }));
    };
    settle(&mut (0..MEMBERS).map(open).collect::<Vec<_>>());
    let before = server.resident();
    let mut sessions: Vec<_> = (MEMBERS..MEMBERS + count).map(open).collect();
    settle(&mut sessions);
    let all = server.resident();
    ((all - before) / i64::try_from(count).unwrap(), all)
}

#[test]
fn sessions_that_poll_are_no_more_than_twice_as_dear() {
    let (each, _) = waiting(512);
    assert!(each <= 48 << 10, "{each} bytes a session");
}

/// Whoever reads the log opens nobody's session.
#[test]
fn no_log_names_what_opens_a_session() {
    let keys = [("http.listen", "[\"OWN:8080\"]"), ("http.rooms", "\"open\""), ("log.level", "\"trace\"")];
    let server = Server::start(&keys);
    let address = SocketAddr::new(server.ip.into(), 8080);
    let mut polling = Polling::open(address, "r");
    let secret = polling.path.split_once("&sid=").unwrap().1.to_owned();
    polling.ask("POST", "40");
    assert!(polling.ask("GET", "").contains("40{"));
    let (status, _) = live::http(address, &polling.path, &[("User-Agent", "another")]);
    assert_eq!(status, 400);
    let path = polling.path.replace("transport=polling", "transport=websocket");
    Socket::upgrade(address, Dialect::Upgraded, &path);
    server.wait_for_log("ready");
    assert!(!server.log().contains(&secret), "{}", server.log());
}

/// The whole promise; some minutes, and 11,100 descriptors here and in the server.
/// `cargo test --release --test crowd -- --ignored --nocapture --test-threads=1`
#[test]
#[ignore = "takes minutes"]
fn ten_thousand_sockets_fit_into_100_megabytes() {
    let (each, all) = crowd(Dialect::Plain, 10_000, 100_000);
    println!("{each} bytes a socket, {all} bytes in all");
    assert!(each <= 8_000 && all <= 100_000_000, "{each} bytes a socket, {all} in all");
}

/// The same with Socket.IO, most of whose memory is the library's.
#[test]
#[ignore = "takes some minutes"]
fn ten_thousand_sessions_of_socket_io_fit_into_260_megabytes() {
    for dialect in [Dialect::SocketIo, Dialect::Upgraded] {
        let (each, all) = crowd(dialect, 10_000, 100_000);
        println!("{dialect:?}: {each} bytes a session, {all} bytes in all");
        assert!(each <= 24_000 && all <= 260_000_000, "{each} bytes a session, {all} in all");
    }
}

/// As many sessions that poll as there are HTTP connections for.
#[test]
#[ignore = "takes a while"]
fn a_thousand_sessions_that_poll_fit_into_50_megabytes() {
    let (each, all) = waiting(1_008);
    println!("{each} bytes a session that polls, {all} bytes in all");
    assert!(each <= 40_000 && all <= 50_000_000, "{each} bytes a session, {all} in all");
}
