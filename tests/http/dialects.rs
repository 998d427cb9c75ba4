//! The dialects that clients of other servers speak over `/ws`.

use super::*;

/// Sockets in one room that have said nothing, in the order of their places.
async fn silent<const N: usize>(server: &Server, path: &str) -> [Socket; N] {
    let mut sockets = Vec::new();
    for _ in 0..N {
        let mut fresh = socket(server, path).await;
        // A socket is a member when it has opened, a moment after its client knows; an answer comes later still.
        fresh.is_through().await;
        sockets.push(fresh);
    }
    sockets.try_into().ok().unwrap()
}

impl Socket {
    /// Waits until all that was sent has come to the room. What is heard meanwhile is not looked at.
    async fn is_through(&mut self) {
        self.0.send(Message::Ping(vec![7].into())).await.unwrap();
        loop {
            let message = timeout(Duration::from_secs(10), self.0.next()).await.expect("a pong in time");
            if matches!(message.expect("no end").unwrap(), Message::Pong(_)) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn places_are_numbers_and_the_callee_says_nothing_before() {
    let server = start(open_rooms()).await;
    let [mut ann, mut bob, mut cid] = silent(&server, "/ws?room=r").await;
    let offer = r#"{"cmd":"rtc_offer","offer":{"sdp":"v=0\r\n","n":1.0},"from":0,"to":1}"#;
    ann.text(offer.into()).await;
    assert_eq!(bob.hear_text().await, offer);
    let answer = r#"{"cmd":"rtc_accept","answer":null,"from":1,"to":0}"#;
    bob.text(answer.into()).await;
    assert_eq!(ann.hear_text().await, answer);
    // Bob answers with the offer's own addresses, unturned.
    let unturned = r#"{"cmd":"rtc_candidate","candidate":{"candidate":""},"from":0,"to":1}"#;
    bob.text(unturned.into()).await;
    assert_eq!(ann.hear_text().await, unturned);
    ann.text(r#"{"cmd":"rtc_offer","from":0,"to":"2"}"#.into()).await;
    assert_eq!(cid.hear_text().await, r#"{"cmd":"rtc_offer","from":0,"to":"2"}"#);
    // Nobody is there, or only oneself: nothing comes back.
    for lost in [7, 0] {
        ann.say(json!({"cmd": "rtc_offer", "from": 0, "to": lost})).await;
    }
    ann.say(json!({"cmd": "rtc_offer", "from": 0, "to": u64::MAX})).await;
    bob.0.close(None).await.unwrap();
    assert!(bob.0.next().await.is_none_or(|end| matches!(end, Ok(Message::Close(_)))));
    ann.is_silent().await;
    // The lowest place is given again.
    let [mut dan] = silent(&server, "/ws?room=r").await;
    ann.text(offer.into()).await;
    assert_eq!(dan.hear_text().await, offer);
    cid.is_silent().await;
}

#[tokio::test]
async fn the_newest_takes_a_role_over() {
    let server = start(open_rooms()).await;
    let [mut caller, mut callee] = silent(&server, "/ws").await;
    callee.say(json!({"type": "receiver"})).await;
    callee.text(r#"{"type":"iceCandidate","candidate":"lost: there is no sender"}"#.into()).await;
    callee.is_through().await;
    caller.say(json!({"type": "sender"})).await;
    let frames = [
        r#"{"type":"createOffer","sdp":{"type":"offer","sdp":"v=0"}}"#,
        r#"{"type":"iceCandidate","candidate":null}"#,
        r#"{"type":"addIceCandidate","candidate":{}}"#,
    ];
    for frame in frames {
        caller.text(frame.into()).await;
    }
    for frame in frames {
        assert_eq!(callee.hear_text().await, frame);
    }
    callee.say(json!({"type": "createAnswer", "sdp": {}})).await;
    assert_eq!(caller.hear().await["type"], "createAnswer");
    let [mut newer] = silent(&server, "/ws").await;
    newer.say(json!({"type": "sender"})).await;
    newer.say(json!({"type": "createOffer", "sdp": "newer"})).await;
    assert_eq!(callee.hear().await["sdp"], "newer");
    caller.say(json!({"type": "createOffer", "sdp": "has lost its role"})).await;
    callee.say(json!({"type": "createAnswer", "sdp": "again"})).await;
    assert_eq!(newer.hear().await["sdp"], "again");
    callee.is_silent().await;
    caller.is_silent().await;
}

#[tokio::test]
async fn a_channel_takes_any_value() {
    let server = start(open_rooms()).await;
    let [mut ann, mut bob, mut cid] = silent(&server, "/ws").await;
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for value in [
        r#""Hello!""#,
        "null",
        "0",
        r#"{"offer":{"type":"offer"}}"#,
        r#"{"answer":null}"#,
        r#"{"type":"ping"}"#,
        r#"{"join":{}}"#,
        r#"[{"room":"x"},null,null]"#,
        &deep,
    ] {
        ann.text(value.into()).await;
        assert_eq!(bob.hear_text().await, value);
        assert_eq!(cid.hear_text().await, value);
    }
    // What is no JSON says nothing, and nobody is told so.
    ann.text("ping".into()).await;
    ann.text(r#"{"new-ice-candidate":{"candidate":"x"}}"#.into()).await;
    let heard = bob.hear().await;
    assert_eq!(heard, json!({"new-ice-candidate": {"candidate": "x"}, "iceCandidate": {"candidate": "x"}}));
    ann.is_silent().await;
}

#[tokio::test]
async fn y_webrtc_subscribes_and_publishes() {
    let server = start(open_rooms()).await;
    let [mut ann, mut bob, mut cid] = silent(&server, "/ws").await;
    for (socket, topics) in
        [(&mut ann, json!(["a", "b"])), (&mut bob, json!(["a"])), (&mut cid, json!(["b", 7]))]
    {
        socket.say(json!({"type": "subscribe", "topics": topics})).await;
        socket.say(json!({"type": "ping"})).await;
        assert_eq!(socket.hear_text().await, r#"{"type":"pong"}"#);
    }
    ann.text(r#"{"type":"publish","topic":"a","data":"0w=="}"#.into()).await;
    let heard = r#"{"type":"publish","topic":"a","data":"0w==","clients":2}"#;
    assert_eq!(ann.hear_text().await, heard, "y-webrtc's own server sends it to its publisher too");
    assert_eq!(bob.hear_text().await, heard);
    bob.say(json!({"type": "unsubscribe", "topics": ["a", "never"]})).await;
    bob.say(json!({"type": "publish", "topic": "a", "signal": null})).await;
    assert_eq!(ann.hear().await["clients"], 1);
    cid.is_silent().await;
    let many: Vec<_> = (0..33).map(|n| n.to_string()).collect();
    bob.say(json!({"type": "subscribe", "topics": many[..32]})).await;
    bob.say(json!({"type": "subscribe", "topics": many[..32]})).await;
    bob.say(json!({"type": "subscribe", "topics": many[32..]})).await;
    let reason = bob.closed().await.reason;
    assert_eq!(reason.as_str(), "A socket may have 32 topics of at most 128 bytes.");
    cid.say(json!({"type": "subscribe", "topics": ["x".repeat(129)]})).await;
    assert_eq!(u16::from(cid.closed().await.code), 1008);
}

#[tokio::test]
async fn a_full_room_says_so_when_it_closes() {
    let limits = Limits { members: 2, join_deadline: Duration::from_millis(100), ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let [_ann, _bob, mut cid] = silent(&server, "/ws?room=r").await;
    assert_eq!(cid.closed().await.reason.as_str(), "The room is full.");
    let mut dan = socket(&server, "/ws?room=r").await;
    dan.say(json!({"type": "sender"})).await;
    assert_eq!(dan.closed().await.reason.as_str(), "The room is full.");
    // In words that are its own, a socket may still go elsewhere.
    let mut eve = socket(&server, "/ws?room=r").await;
    eve.say(json!({"join": {"room": "s"}})).await;
    assert_eq!(eve.hear().await["welcome"]["room"], "s");
}

#[tokio::test]
async fn dialects_in_one_room_hear_what_they_can() {
    let server = start(open_rooms()).await;
    let [mut plain] = silent(&server, "/ws?room=r").await;
    let (mut own, welcome) = member(&server, "r", "Own").await;
    assert_eq!(welcome["peers"], json!([]), "who has not spoken our words is no peer of theirs");
    own.say(json!({"data": {"offer": 1}})).await;
    assert_eq!(plain.hear_text().await, r#"{"offer":1}"#);
    plain.text(r#"{"answer":2}"#.into()).await;
    let heard = own.hear().await;
    assert_eq!(heard["data"], json!({"answer": 2}));
    own.say(json!({"to": heard["from"], "data": "only you"})).await;
    assert_eq!(plain.hear().await, "only you");
    drop(plain);
    own.say(json!({"to": "gone", "data": 1})).await;
    assert_eq!(own.hear().await["error"]["code"], "no_such_peer");
    own.is_silent().await;
}

#[tokio::test]
async fn whatever_is_sent_the_others_go_on() {
    let limits = Limits { message_burst: 1_000_000, byte_burst: 1 << 30, ..Limits::default() };
    let server = start(Options { limits, ..open_rooms() }).await;
    let [mut ann, mut bob] = silent(&server, "/ws?room=good").await;
    let mut nasty = Vec::new();
    for _ in 0..4 {
        nasty.push(socket(&server, "/ws?room=bad").await);
    }
    let texts = [
        String::new(),
        "{".repeat(10_000),
        "\u{0}\u{7f}".into(),
        r#"{"cmd":"rtc_offer","from":-1,"to":1e99}"#.into(),
        r#"{"cmd":{"cmd":1},"from":[],"to":{}}"#.into(),
        r#"{"cmd":"x","from":18446744073709551616,"to":99999999999999999999999}"#.into(),
        r#"{"type":["sender"],"topics":"x"}"#.into(),
        r#"{"type":"subscribe","topics":[[],{},1,null,"\ud800"]}"#.into(),
        r#"{"type":"publish","topic":null}"#.into(),
        r#"{"join":{"room":[]},"to":1}"#.into(),
        r#"{"\u0063md":"x","to":0,"from":0,"to":1}"#.into(),
        format!(r#"{{"new-ice-candidate":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000)),
    ];
    let rounds = 20_000 / nasty.len();
    let flood = tokio::spawn(async move {
        for round in 0..rounds {
            for (n, socket) in nasty.iter_mut().enumerate() {
                // A closed socket has had its say; what it would hear is read so that nothing blocks.
                let text = texts[(round + n) % texts.len()].clone();
                let _ = socket.0.send(Message::Text(text.into())).await;
                let _ = socket.0.next().now_or_never();
            }
        }
        nasty
    });
    for n in 0..100 {
        ann.say(json!({"offer": n})).await;
        assert_eq!(bob.hear().await["offer"], n);
    }
    drop(flood.await.unwrap());
    ann.say(json!("still here")).await;
    assert_eq!(bob.hear().await, "still here");
}
