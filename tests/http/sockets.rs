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
    for path in PLACES {
        assert_eq!(shake(&server, path, &headers).await.status, 101, "{path}");
    }
}
