//! Socket.IO by its bytes: what the clients' libraries, which the browser tests run, cannot be made to do.

use super::*;

/// A client of Engine.IO 4 over WebSocket, connected.
struct Client {
    socket: Socket,
    id: String,
}

async fn connect(server: &Server, room: &str) -> Client {
    let mut socket = socket(server, &format!("/socket.io/?EIO=4&transport=websocket&room={room}")).await;
    let open = socket.hear_text().await;
    let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
    socket.text("40".into()).await;
    let mut connected = socket.hear_text().await;
    while connected == "2" {
        socket.text("3".into()).await;
        connected = socket.hear_text().await;
    }
    let connected: Value = serde_json::from_str(connected.strip_prefix("40").unwrap()).unwrap();
    assert_eq!(open["sid"], connected["sid"]);
    Client { socket, id: connected["sid"].as_str().unwrap().to_owned() }
}

impl Client {
    /// The next event; pings are answered.
    async fn event(&mut self) -> String {
        loop {
            let text = self.socket.hear_text().await;
            match text.strip_prefix("42") {
                Some(event) => return event.to_owned(),
                None if text == "2" => self.socket.text("3".into()).await,
                None => panic!("{text}"),
            }
        }
    }

    async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.event().await).unwrap()
    }

    /// The next event that is no list of clients.
    async fn word(&mut self) -> String {
        loop {
            let event = self.event().await;
            if !event.starts_with(r#"["clients","#) {
                return event;
            }
        }
    }

    async fn emit(&mut self, event: &str) {
        self.socket.text(format!("42{event}")).await;
    }
}

fn clients(ids: &[&str]) -> Value {
    let map: serde_json::Map<_, _> = ids.iter().map(|id| ((*id).to_owned(), json!({"id": id}))).collect();
    json!(["clients", map])
}

#[tokio::test]
async fn calls_carry_what_they_carried_and_who_sent_it() {
    let server = start(open_rooms()).await;
    let mut ann = connect(&server, "r").await;
    assert_eq!(ann.hear().await, clients(&[&ann.id]));
    let mut bob = connect(&server, "r").await;
    let both = clients(&[&ann.id, &bob.id]);
    assert_eq!((ann.hear().await, bob.hear().await), (both.clone(), both));
    let _elsewhere = connect(&server, "s").await;
    for (event, payload) in [
        ("peerOffer", r#"{"type":"offer","sdp":"v=0\r\n","n":1.50,"n":[ ]}"#),
        ("peerAnswer", r#"{"b":1e2,"a":"\u00e9"}"#),
        ("peerIce", "null"),
        ("signal", r#"[{"renegotiate":true},null]"#),
    ] {
        ann.emit(&format!(r#"["{event}","{}",{payload}]"#, bob.id)).await;
        assert_eq!(bob.event().await, format!(r#"["{event}","{}",{payload},"{}"]"#, bob.id, ann.id));
    }
    // A candidate left out is none; arguments beyond those, other events and peers are nobody's business.
    ann.emit(&format!(r#"["peerIce","{}"]"#, bob.id)).await;
    assert_eq!(bob.event().await, format!(r#"["peerIce","{}",null,"{}"]"#, bob.id, ann.id));
    for event in [
        r#"["peerOffer","nobody",1]"#,
        r#"["peerOffer",{},1]"#,
        r#"["peerOffer"]"#,
        r#"["signal"]"#,
        r#"["disconnecting",1]"#,
        r#"["clients",{}]"#,
    ] {
        ann.emit(event).await;
    }
    ann.emit(&format!(r#"["signal","{}",1,2,3]"#, bob.id)).await;
    assert_eq!(bob.event().await, format!(r#"["signal","{}",1,"{}"]"#, bob.id, ann.id));
    drop(ann);
    assert_eq!(bob.hear().await, clients(&[&bob.id]));
}

#[tokio::test]
async fn a_message_is_for_all_others_whatever_they_speak() {
    let server = start(open_rooms()).await;
    let mut plain = socket(&server, "/ws?room=r").await;
    plain.say(json!({"early": 1})).await;
    let (mut own, _) = member(&server, "r", "").await;
    let mut ann = connect(&server, "r").await;
    let mut bob = connect(&server, "r").await;
    ann.emit(r#"["message",{"new-ice-candidate":{"a":1.0}}]"#).await;
    let heard = r#"{"new-ice-candidate":{"a":1.0},"iceCandidate":{"a":1.0}}"#;
    assert_eq!(bob.word().await, format!(r#"["message",{heard}]"#));
    assert_eq!(plain.hear_text().await, heard);
    assert_eq!(
        own.hear().await,
        json!({"from": ann.id, "data": {"new-ice-candidate": {"a": 1.0}, "iceCandidate": {"a": 1.0}}})
    );
    plain.text(r#"["Hello!"]"#.into()).await;
    assert_eq!(ann.word().await, r#"["message",["Hello!"]]"#);
    assert_eq!(bob.word().await, r#"["message",["Hello!"]]"#);
    ann.emit(r#"["message"]"#).await;
    assert_eq!(bob.word().await, r#"["message",null]"#);
}

#[tokio::test]
async fn last_words_are_said_and_the_namespace_is_open_again() {
    let server = start(open_rooms()).await;
    let mut bob = connect(&server, "r").await;
    let mut ann = connect(&server, "r").await;
    // In one write each, and often: which of two things is looked at first is drawn.
    for n in 0..30 {
        for packet in [format!(r#"42["message",{n}]"#), "41".to_owned()] {
            ann.socket.0.feed(Message::Text(packet.into())).await.unwrap();
        }
        ann.socket.0.flush().await.unwrap();
        assert_eq!(bob.word().await, format!(r#"["message",{n}]"#));
        while !bob.event().await.contains(&format!(r#"{{"{}":{{"id":"{0}"}}}}"#, bob.id)) {}
        ann.socket.text("40".into()).await;
        while !ann.socket.hear_text().await.starts_with("40") {}
        ann.emit(&format!(r#"["message","again {n}"]"#)).await;
        assert_eq!(bob.word().await, format!(r#"["message","again {n}"]"#));
    }
}

#[tokio::test]
async fn who_connects_to_the_namespace_again_and_again_gets_no_faster() {
    let limits = Limits { message_burst: 8, messages_per_second: 1, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let mut ann = connect(&server, "r").await;
    let refused = loop {
        ann.emit(r#"["message",1]"#).await;
        ann.socket.text("41".into()).await;
        ann.socket.text("40".into()).await;
        let answer = loop {
            let heard = ann.socket.hear_text().await;
            if heard.starts_with("40") || heard.starts_with("44") {
                break heard;
            }
        };
        if answer.starts_with("44") {
            break answer;
        }
    };
    assert!(refused.contains("Too many"), "{refused}");
}

async fn post(server: &Server, path: &str, body: &str) -> Answer {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: text/plain;charset=UTF-8\r\n\
         Content-Length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    );
    raw(server.address, &request).await
}

#[tokio::test]
async fn polling_is_paced_by_answering_later_and_keeps_the_order() {
    let limits = Limits { message_burst: 4, messages_per_second: 20, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let mut bob = connect(&server, "r").await;
    let open = ask(&server, "GET /socket.io/?EIO=3&transport=polling&room=r", &[]).await;
    assert_eq!(open.status, 200);
    let id = open.body.split_once("\"sid\":\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    let path = format!("/socket.io/?EIO=3&transport=polling&sid={id}");
    let heard = ask(&server, &format!("GET {path}"), &[]).await;
    assert!(heard.body.contains("40"), "{}", heard.body);
    let begun = Instant::now();
    for round in 0..3 {
        let packets: Vec<_> = (0..4).map(|n| format!(r#"42["message",{}]"#, 100 + round * 4 + n)).collect();
        let body: String = packets.iter().map(|packet| format!("{}:{packet}", packet.len())).collect();
        let answer = post(&server, &path, &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    }
    for n in 100..112 {
        assert_eq!(bob.word().await, format!(r#"["message",{n}]"#));
    }
    assert!(begun.elapsed() >= Duration::from_millis(350), "{:?}", begun.elapsed());
    let elsewhere = [("X-Forwarded-For", "203.0.113.7")];
    let stolen = ask(&server, &format!("GET {path}"), &elsewhere).await;
    assert_eq!(stolen.code(), "unknown_session", "who learns it all the same is not the one");
    let long = format!("140000:4{}", "x".repeat(139_999));
    assert_eq!(post(&server, &path, &long).await.status, 413);
    let unknown = ask(&server, "GET /socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA", &[]).await;
    assert_eq!(unknown.code(), "unknown_session");
}

/// What is between the first `before` and the `after` that follows.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("{text}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("{text}")).0
}

#[tokio::test]
async fn what_opens_a_session_is_not_what_others_know_it_by() {
    let server = start(open_rooms()).await;
    let mut bob = connect(&server, "r").await;
    bob.event().await;
    let unknown = async |id: &str| {
        for version in [3, 4] {
            let path = format!("GET /socket.io/?EIO={version}&transport=polling&sid={id}");
            assert_eq!(ask(&server, &path, &[]).await.code(), "unknown_session", "{id}");
            let websocket = format!("/socket.io/?EIO={version}&transport=websocket&sid={id}");
            assert_eq!(try_socket(&server, &websocket, &[]).await.err(), Some(400), "{id}");
        }
    };
    // Over WebSocket from the start there is nothing to come back to.
    unknown(&bob.id).await;
    for version in [3, 4] {
        let open =
            ask(&server, &format!("GET /socket.io/?EIO={version}&transport=polling&room=r"), &[]).await;
        let secret = between(&open.body, "\"sid\":\"", "\"").to_owned();
        assert!(secret.len() * 6 >= 120, "{secret}");
        if version == 3 {
            let (length, packet) = open.body.split_once(':').unwrap();
            assert_eq!(length, packet.len().to_string());
        }
        let path = format!("/socket.io/?EIO={version}&transport=polling&sid={secret}");
        let frame = |packet: &str| match version {
            3 => format!("{}:{packet}", packet.chars().count()),
            _ => packet.to_owned(),
        };
        if version == 4 {
            assert_eq!(post(&server, &path, "40").await.body, "ok");
        }
        let roster: Value = serde_json::from_str(&bob.event().await).unwrap();
        let ids: Vec<&String> = roster[1].as_object().unwrap().keys().filter(|id| **id != bob.id).collect();
        let [id] = ids[..] else { panic!("{roster}") };
        assert_ne!(*id, secret);
        unknown(id).await;
        // What its client calls itself: an old one is told nothing but the id of its session.
        let own = if version == 3 { &secret } else { id };
        let mut heard = String::new();
        while !heard.contains("clients") {
            heard.push_str(&ask(&server, &format!("GET {path}"), &[]).await.body);
        }
        assert!(heard.contains(&format!("{{\"id\":\"{own}\"}}")), "{heard}");
        assert!(version == 3 || between(&heard, "40{\"sid\":\"", "\"") == id, "{heard}");
        assert_eq!(heard.contains(&secret), version == 3, "{heard}");
        // Others hear of what they know, wherever it stands, and the other way round.
        let say = format!(r#"42["signal","{}",{{"from":"{own}","{own}":1}}]"#, bob.id);
        assert_eq!(post(&server, &path, &frame(&say)).await.body, "ok");
        let said = bob.event().await;
        assert_eq!(said, format!(r#"["signal","{}",{{"from":"{id}","{id}":1}},"{id}"]"#, bob.id));
        bob.emit(&format!(r#"["signal","{id}",["{id}"]]"#)).await;
        let answer = ask(&server, &format!("GET {path}"), &[]).await.body;
        assert!(answer.ends_with(&format!(r#"42["signal","{own}",["{own}"],"{}"]"#, bob.id)), "{answer}");
        post(&server, &path, &frame("1")).await;
        bob.event().await;
    }
}

/// Opens a session by polling, under Engine.IO 3, where it is in its room at once. Returns the path of its requests.
async fn open(server: &Server, headers: &[(&str, &str)]) -> String {
    let open = ask(server, "GET /socket.io/?EIO=3&transport=polling&room=r", headers).await;
    assert_eq!(open.status, 200, "{}", open.body);
    let id = open.body.split_once("\"sid\":\"").unwrap().1.split_once('"').unwrap().0;
    format!("/socket.io/?EIO=3&sid={id}&transport=")
}

#[tokio::test]
async fn who_knows_what_an_old_client_calls_itself_may_call_it_so() {
    let server = start(open_rooms()).await;
    let mut bob = connect(&server, "r").await;
    let path = format!("GET {}polling", open(&server, &[]).await);
    let own = between(&path, "sid=", "&").to_owned();
    let (mut eve, mut other) = (connect(&server, "elsewhere").await, connect(&server, "elsewhere").await);
    eve.emit(&format!(r#"["signal","{own}","from elsewhere"]"#)).await;
    eve.emit(r#"["message","said"]"#).await;
    assert_eq!(other.word().await, r#"["message","said"]"#);
    let calls = ["peerOffer", "peerAnswer", "peerIce", "signal"];
    for call in calls {
        bob.emit(&format!(r#"["{call}","{own}",["{call}"]]"#)).await;
    }
    let mut heard = String::new();
    while !heard.contains("signal") {
        heard.push_str(&ask(&server, &path, &[]).await.body);
    }
    for call in calls {
        let event = format!(r#"42["{call}","{own}",["{call}"],"{}"]"#, bob.id);
        assert!(heard.contains(&event), "{call}: {heard}");
    }
    assert!(!heard.contains("elsewhere"), "{heard}");
    // Nobody learns it from the server.
    assert_eq!(bob.hear().await, clients(&[&bob.id]));
    let roster = bob.event().await;
    assert!(roster.contains(&bob.id) && !roster.contains(&own), "{roster}");
}

async fn place_comes_free(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask(server, "GET /socket.io/?EIO=4&transport=polling", &[]).await.status != 200 {
        assert!(Instant::now() < deadline, "the place never came free");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn of_hundreds_of_upgrades_of_a_session_one_is_let_in() {
    let limits = Limits { sockets: 1, ..Limits::default() };
    for how_it_goes_on in ["silence", "nonsense", "hanging up", "as it should"] {
        let server = start(Options { limits, ..open_rooms() }).await;
        let path = format!("{}websocket", open(&server, &[]).await);
        let all = (0..300).map(|_| try_socket(&server, &path, &[]));
        let mut let_in = Vec::new();
        for outcome in futures_util::future::join_all(all).await {
            match outcome {
                Ok(socket) => let_in.push(socket),
                Err(status) => assert_eq!(status, 400),
            }
        }
        assert_eq!(let_in.len(), 1);
        let mut socket = let_in.pop().unwrap();
        match how_it_goes_on {
            "silence" => {}
            "nonsense" => socket.text("4x".into()).await,
            "hanging up" => drop(socket),
            _ => {
                socket.text("2probe".into()).await;
                assert_eq!(socket.hear_text().await, "3probe");
                socket.text("5".into()).await;
                socket.text(r#"42["nothing"]"#.into()).await;
                socket.text("2".into()).await;
                while socket.hear_text().await != "3" {}
                assert_eq!(ask(&server, &format!("GET {path}"), &[]).await.code(), "not_a_websocket");
                assert_eq!(try_socket(&server, &path, &[]).await.err(), Some(400), "it is on WebSocket");
                let polling = path.replace("=websocket", "=polling");
                assert_eq!(ask(&server, &format!("GET {polling}"), &[]).await.status, 400);
                assert_eq!(post(&server, &polling, "1:1").await.status, 400);
                socket.text("2".into()).await;
                while socket.hear_text().await != "3" {}
                drop(socket);
            }
        }
        place_comes_free(&server).await;
        assert_eq!(try_socket(&server, &path, &[]).await.err(), Some(400), "{how_it_goes_on}");
    }
}

#[tokio::test]
async fn what_the_library_would_read_otherwise_is_refused() {
    let server = start(open_rooms()).await;
    let path = open(&server, &[]).await;
    let encoded = path.replace("sid=", "%73id=");
    for bad in [format!("{path}websocket="), format!("{encoded}polling"), format!("{encoded}websocket"), path]
    {
        let upgrade = [
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(ask(&server, &format!("GET {bad}"), &upgrade).await.code(), "bad_query", "{bad}");
    }
}

#[tokio::test]
async fn a_session_is_good_for_who_opened_it_only() {
    let origins = vec!["https://a.example".to_owned(), "https://b.example".to_owned()];
    let server = start(Options { origins, ..open_rooms() }).await;
    let host = server.address.to_string();
    let own = format!("http://{host}");
    let code = async |path: &str, headers: &[(&str, &str)]| {
        let headers: Vec<_> = [("Host", host.as_str())].iter().chain(headers).copied().collect();
        let answer = send(&server, &format!("POST {path}polling"), &headers, "1:2").await;
        if answer.status == 200 { answer.body } else { answer.code() }
    };
    let one = ("User-Agent", "one/1");
    let path = open(&server, &[one]).await;
    assert_eq!(code(&path, &[one]).await, "ok");
    for other in [&[("User-Agent", "two/1")][..], &[]] {
        assert_eq!(code(&path, other).await, "unknown_session", "{other:?}");
    }
    // A page of the same origin sends its Origin with POST, and none with GET.
    assert_eq!(code(&path, &[one, ("Origin", &own)]).await, "ok");
    assert_eq!(code(&path, &[one, ("Origin", "https://a.example")]).await, "unknown_session");
    assert_eq!(code(&path, &[one]).await, "ok");
    let websocket = format!("{path}websocket");
    assert_eq!(try_socket(&server, &websocket, &[("user-agent", "two/1")]).await.err(), Some(400));
    assert!(try_socket(&server, &websocket, &[("origin", &own)]).await.is_ok(), "it need not name itself");
    let page = [one, ("Origin", "https://a.example")];
    let path = open(&server, &page).await;
    assert_eq!(code(&path, &page).await, "ok");
    assert_eq!(code(&path, &[one, ("Origin", "https://b.example")]).await, "unknown_session");
    assert_eq!(code(&path, &[one]).await, "unknown_session");
}

#[tokio::test]
async fn a_fast_socket_is_slowed_down_and_nothing_is_lost() {
    let limits = Limits { message_burst: 10, messages_per_second: 20, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let (mut ann, mut bob) = (connect(&server, "r").await, connect(&server, "r").await);
    let begun = Instant::now();
    for n in 0..20 {
        ann.emit(&format!(r#"["signal","{}",{n}]"#, bob.id)).await;
    }
    for n in 0..20 {
        assert_eq!(bob.word().await, format!(r#"["signal","{}",{n},"{}"]"#, bob.id, ann.id));
    }
    assert!(begun.elapsed() >= Duration::from_millis(450), "20 took only {:?}", begun.elapsed());
}

#[tokio::test]
async fn who_never_stops_sending_too_fast_is_sent_away() {
    let throttled = Duration::from_millis(300);
    let limits = Limits { message_burst: 2, messages_per_second: 50, throttled, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let (mut ann, mut bob) = (connect(&server, "r").await, connect(&server, "r").await);
    for n in 0..200 {
        let text = format!(r#"42["nothing",{n}]"#);
        if ann.socket.0.send(Message::Text(text.into())).await.is_err() {
            break;
        }
    }
    assert_eq!(bob.hear().await.as_array().unwrap()[1].as_object().unwrap().len(), 2);
    assert_eq!(bob.hear().await, clients(&[&bob.id]));
}

#[tokio::test]
async fn long_messages_and_wrong_ones_end_their_session_only() {
    let server = start(open_rooms()).await;
    let mut bob = connect(&server, "r").await;
    bob.hear().await;
    let long = format!(r#"42["message","{}"]"#, "x".repeat(65_536));
    for bad in
        [long.as_str(), "9", "42{", "42[1]", "451-[\"message\",{\"_placeholder\":true,\"num\":0}]", "4", "x"]
    {
        let mut ann = connect(&server, "r").await;
        assert_eq!(bob.hear().await.as_array().unwrap()[1].as_object().unwrap().len(), 2, "{bad:.20}");
        ann.socket.text(bad.to_owned()).await;
        // Some are refused, some mean nothing or wait for more; in the end the socket goes.
        drop(ann);
        assert_eq!(bob.hear().await, clients(&[&bob.id]), "{bad:.20}");
    }
}

#[tokio::test]
async fn a_slow_reader_is_sent_away_and_others_go_on() {
    let limits =
        Limits { queue_messages: 8, message_burst: 10_000, byte_burst: 1 << 30, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let deaf = connect(&server, "r").await;
    // Another one polls no more.
    let open = ask(&server, "GET /socket.io/?EIO=3&transport=polling&room=r", &[]).await.body;
    let gone = open.split_once("\"sid\":\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    let (mut ann, mut bob) = (connect(&server, "r").await, connect(&server, "r").await);
    let big = "x".repeat(60_000);
    let mut sent = 0;
    loop {
        ann.emit(&format!(r#"["message","{big}"]"#)).await;
        sent += 1;
        let heard = bob.hear().await;
        if heard[0] == "clients" && heard[1].get(&deaf.id).or_else(|| heard[1].get(&gone)).is_none() {
            break;
        }
        assert!(sent < 1000, "nobody was sent away");
    }
    ann.emit(r#"["message","still here"]"#).await;
    while bob.word().await != r#"["message","still here"]"# {}
}

#[tokio::test]
async fn sessions_have_the_limits_of_sockets() {
    let join_deadline = Duration::from_millis(500);
    let limits = Limits { sockets: 2, members: 1, join_deadline, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let _ann = connect(&server, "r").await;
    let mut bob = socket(&server, "/socket.io/?EIO=4&transport=websocket&room=r").await;
    bob.hear_text().await;
    bob.text("40".into()).await;
    let mut refused = bob.hear_text().await;
    if refused == "2" {
        refused = bob.hear_text().await;
    }
    assert_eq!(refused, r#"44{"message":"The room is full."}"#);
    let full = ask(&server, "GET /socket.io/?EIO=4&transport=polling", &[]).await;
    assert_eq!((full.status, full.code().as_str()), (503, "too_many_sockets"));
    // The refused one is closed, and its place is free again.
    assert!(timeout(Duration::from_secs(5), bob.0.next()).await.is_ok());
    let deadline = Instant::now() + Duration::from_secs(5);
    while ask(&server, "GET /socket.io/?EIO=4&transport=polling", &[]).await.status != 200 {
        assert!(Instant::now() < deadline, "the place never came free");
    }
}

#[tokio::test]
async fn who_opens_a_session_and_never_connects_loses_it() {
    let limits = Limits { sockets: 1, join_deadline: Duration::from_millis(200), ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let open = ask(&server, "GET /socket.io/?EIO=4&transport=polling", &[]).await;
    assert_eq!(open.status, 200);
    let deadline = Instant::now() + Duration::from_secs(5);
    while ask(&server, "GET /socket.io/?EIO=4&transport=polling", &[]).await.status != 200 {
        assert!(Instant::now() < deadline, "the place never came free");
    }
}

#[tokio::test]
async fn only_where_rooms_are_on_and_for_listed_pages() {
    let path = "GET /socket.io/?EIO=4&transport=polling";
    let off = start(Options::default()).await;
    assert_eq!(ask(&off, path, &[]).await.code(), "rooms_off");
    assert_eq!(ask(&off, "GET /socket.io/socket.io.js", &[]).await.code(), "rooms_off");
    let named = start(Options { rooms: Rooms::Named, ..Options::default() }).await;
    assert_eq!(ask(&named, path, &[]).await.code(), "no_room");
    assert_eq!(ask(&named, &format!("{path}&room=lobby"), &[]).await.code(), "room_guessable");
    let origins = vec!["https://app.example".to_owned()];
    let server = start(Options { origins, ..open_rooms() }).await;
    let good = ask(&server, path, &[("Origin", "https://app.example")]).await;
    assert_eq!(good.status, 200, "{}", good.body);
    assert_eq!(good.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(good.header("access-control-allow-credentials"), Some("true"));
    let bad = ask(&server, path, &[("Origin", "https://evil.example")]).await;
    assert_eq!(bad.code(), "origin_not_allowed");
    assert_eq!(bad.header("access-control-allow-origin"), None);
    let asked = [("Origin", "https://app.example"), ("Access-Control-Request-Headers", "content-type")];
    let preflight = ask(&server, "OPTIONS /socket.io/?EIO=4&transport=polling", &asked).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-headers"), Some("content-type"));
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example"));
    let script = ask(&server, "GET /socket.io/socket.io.js", &[]).await;
    assert_eq!(script.status, 200);
    assert!(script.body.contains("Socket.IO v4.8.4") && script.body.contains("connect:"));
    assert_eq!(script.header("cross-origin-resource-policy"), Some("cross-origin"));
}

#[tokio::test]
async fn idle_clients_stay_as_long_as_they_give_a_sign_of_life() {
    let limits =
        Limits { ping: Duration::from_millis(200), idle: Duration::from_millis(1500), ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let mut bob = connect(&server, "r").await;
    // Under Engine.IO 3 the client pings; under 4 the server does, and Bob answers while he listens.
    let mut old = socket(&server, "/socket.io/?EIO=3&transport=websocket&room=r").await;
    assert!(old.hear_text().await.contains(r#""pingInterval":200,"pingTimeout":1300"#));
    assert_eq!(old.hear_text().await, "40");
    let signs = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            old.text("2".into()).await;
            while old.hear_text().await != "3" {}
        }
    };
    assert_eq!(bob.hear().await, clients(&[&bob.id]), "alone at first");
    assert_eq!(bob.hear().await[1].as_object().unwrap().len(), 2);
    tokio::select! {
        news = bob.event() => panic!("somebody came or went: {news}"),
        () = signs => {}
    }
    // From now on it says nothing.
    while bob.hear().await != clients(&[&bob.id]) {}
    let mut deaf = connect(&server, "r").await;
    let end = async { while let Some(Ok(_)) = deaf.socket.0.next().await {} };
    timeout(Duration::from_secs(5), end).await.expect("no pong, and closed");
}

#[tokio::test]
async fn the_stop_ends_sessions_too() {
    let server = start(open_rooms()).await;
    let mut ann = connect(&server, "r").await;
    let polling = ask(&server, "GET /socket.io/?EIO=3&transport=polling", &[]).await;
    assert_eq!(polling.status, 200);
    server.stop.send(true).unwrap();
    let end = async { while let Some(Ok(_)) = ann.socket.0.next().await {} };
    timeout(Duration::from_secs(5), end).await.expect("an end");
    timeout(Duration::from_secs(5), server.running).await.expect("an end").unwrap();
}

#[tokio::test]
async fn the_demo_is_there_where_rooms_are() {
    let (on, off) = (start(open_rooms()).await, start(Options::default()).await);
    for path in ["/demo/", "/demo/sender.html", "/demo/receiver.html", "/demo/demo.js", "/demo/demo.css"] {
        let answer = ask(&on, &format!("GET {path}"), &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-security-policy").unwrap().contains("script-src 'self'"));
        for inline in ["<style", "style=", "onclick=", "javascript:", "=\"//", "=\"http"] {
            assert!(!answer.body.contains(inline), "{path}: {inline}");
        }
        assert_eq!(ask(&off, &format!("GET {path}"), &[]).await.code(), "rooms_off");
    }
}
