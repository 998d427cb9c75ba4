//! WebSockets by their bytes: handshakes, and what no library would send.

use super::*;

const KEY: (&str, &str) = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
const VERSION: (&str, &str) = ("Sec-WebSocket-Version", "13");
const UPGRADE: (&str, &str) = ("Upgrade", "websocket");
const CONNECTION: (&str, &str) = ("Connection", "keep-alive, Upgrade");

#[cfg(feature = "socketio")]
const PLACES: [&str; 2] = ["/ws?room=r", "/socket.io/?EIO=4&transport=websocket&room=r"];
#[cfg(not(feature = "socketio"))]
const PLACES: [&str; 1] = ["/ws?room=r"];

/// Asks for a WebSocket and reads the head of the answer, and the body if it is refused.
async fn shake(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", server.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    loop {
        let read = timeout(Duration::from_secs(10), stream.read_buf(&mut text)).await.expect("an answer");
        assert_ne!(read.unwrap(), 0, "no answer");
        let whole = String::from_utf8_lossy(&text);
        let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
        let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        if answer.body.len() >= length || status == 101 {
            return answer;
        }
    }
}

#[tokio::test]
async fn the_first_subprotocol_that_is_one_is_taken() {
    let server = start(open_rooms()).await;
    for path in PLACES {
        for (offered, taken) in [
            (&[][..], None),
            (&["json"], Some("json")),
            (&["zebra, ape"], Some("zebra")),
            (&["v2.example", "ape"], Some("v2.example")),
            (&[" , ,\tape ,zebra"], Some("ape")),
            (&["a b, \"c\", ape"], Some("ape")),
            (&["a/b"], None),
            (&[""], None),
        ] {
            let offered: Vec<_> = offered.iter().map(|one| ("Sec-WebSocket-Protocol", *one)).collect();
            let headers = [&[KEY, VERSION, UPGRADE, CONNECTION], &offered[..]].concat();
            let answer = shake(&server, path, &headers).await;
            assert_eq!(answer.status, 101, "{path} {offered:?}");
            assert_eq!(answer.header("sec-websocket-protocol"), taken, "{path} {offered:?}");
            assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        }
    }
}

#[tokio::test]
async fn what_is_no_handshake_is_told_what_would_be_one() {
    let server = start(open_rooms()).await;
    for path in PLACES {
        for headers in [
            &[][..],
            &[KEY, VERSION, CONNECTION],
            &[KEY, VERSION, UPGRADE],
            &[KEY, VERSION, UPGRADE, ("Connection", "keep-alive")],
            &[KEY, VERSION, UPGRADE, ("Connection", "x-upgrade, no upgrade")],
            &[KEY, VERSION, ("Upgrade", "h2c"), CONNECTION],
        ] {
            let answer = shake(&server, path, headers).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (426, "not_a_websocket"),
                "{path} {headers:?}"
            );
            assert_eq!(answer.header("upgrade"), Some("websocket"), "{}", answer.head);
            assert_eq!(answer.header("connection"), Some("upgrade"), "{}", answer.head);
        }
        for version in [&[("Sec-WebSocket-Version", "8")][..], &[("Sec-WebSocket-Version", "130")], &[]] {
            let answer = shake(&server, path, &[&[KEY, UPGRADE, CONNECTION], version].concat()).await;
            let what = (answer.status, answer.code());
            assert_eq!(what, (426, "websocket_version".to_owned()), "{path} {version:?}");
            assert_eq!(answer.header("upgrade"), Some("websocket"));
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        }
        let keys =
            ["short", "", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZTE=", "dGhlIHNhbXBsZSBub25j*Q=="];
        let keys = keys.map(|key| vec![("Sec-WebSocket-Key", key)]);
        for key in keys.iter().chain([&vec![]]) {
            let answer = shake(&server, path, &[&[VERSION, UPGRADE, CONNECTION], &key[..]].concat()).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "websocket_key"), "{path} {key:?}");
        }
    }
    // Their order and case are nobody's business.
    let headers = [("upgrade", "WebSocket"), ("connection", "UPGRADE,keep-alive"), VERSION, KEY];
    let lines = [
        ("Upgrade", "h2c, websocket"),
        ("Connection", "keep-alive"),
        ("Connection", "Upgrade"),
        VERSION,
        KEY,
    ];
    for path in PLACES {
        assert_eq!(shake(&server, path, &headers).await.status, 101, "{path}");
        assert_eq!(shake(&server, path, &lines).await.status, 101, "{path}");
    }
}

impl Socket {
    async fn bytes(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }
}

/// A frame whose mask changes nothing.
fn masked(head: [u8; 2], length: &[u8], payload: &[u8]) -> Vec<u8> {
    [&head[..], length, &[0; 4], payload].concat()
}

#[tokio::test]
async fn what_breaks_the_protocol_is_closed_with_a_code_that_says_so() {
    let server = start(open_rooms()).await;
    for (what, code, bytes) in [
        ("no UTF-8", 1007, masked([0x81, 0x82], &[], b"\xff\xfe")),
        (
            "no UTF-8 in the end",
            1007,
            [masked([0x01, 0x81], &[], b"\xc3"), masked([0x80, 0x80], &[], b"")].concat(),
        ),
        ("no UTF-8 in a reason", 1007, masked([0x88, 0x83], &[], b"\x03\xe8\xff")),
        ("unmasked", 1002, b"\x81\x03\"x\"".to_vec()),
        ("a reserved bit", 1002, masked([0xc1, 0x83], &[], b"\"x\"")),
        ("an unknown opcode", 1002, masked([0x83, 0x81], &[], b"x")),
        ("an unknown control opcode", 1002, masked([0x8b, 0x81], &[], b"x")),
        ("a long ping", 1002, masked([0x89, 0xfe], &[0, 126], &[b'x'; 126])),
        ("a ping in parts", 1002, masked([0x09, 0x81], &[], b"x")),
        ("nothing to continue", 1002, masked([0x80, 0x81], &[], b"x")),
        ("a close of one byte", 1002, masked([0x88, 0x81], &[], b"\x01")),
    ] {
        let mut socket = socket(&server, "/ws?room=r").await;
        socket.bytes(&bytes).await;
        let frame = socket.closed().await;
        assert_eq!(u16::from(frame.code), code, "{what}");
        assert!(!frame.reason.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn who_has_no_place_in_the_room_of_its_url_is_told_soon() {
    let limits = Limits { members: 1, join_deadline: Duration::from_secs(60), ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let _first = member(&server, "full", "").await;
    let _one = member(&server, "default", "").await;
    let (mut waits, mut late) = (socket(&server, "/ws").await, socket(&server, "/ws?room=full").await);
    let frame = late.closed().await;
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, "The room is full."));
    // Who has named no room may still do so.
    waits.say(json!({"join": {"room": "other"}})).await;
    assert_eq!(waits.hear().await["welcome"]["room"], "other");
    // And who says at once that another is meant.
    let mut moves = socket(&server, "/ws?room=full").await;
    moves.say(json!({"join": {"room": "third"}})).await;
    assert_eq!(moves.hear().await["welcome"]["room"], "third");
    let mut own = socket(&server, "/ws?room=full").await;
    own.say(json!({"join": {}})).await;
    assert_eq!(own.hear().await["error"]["code"], "room_full");
}
