//! The words of our own signaling dialect.

use crate::http::error;
use crate::http::rooms::{Notice, Peer};
use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What a client says.
#[derive(Debug)]
pub(super) enum Said {
    /// `{"join":{"room":…,"name":…}}`, both optional.
    Join { room: Option<String>, name: Option<String> },
    /// `{"to":…,"data":…}`, or without `to` for all others. `data` is the very text that was sent.
    Data { to: Option<String>, data: Utf8Bytes },
}

#[derive(Deserialize)]
struct Frame<'a> {
    join: Option<Join>,
    to: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Join {
    room: Option<String>,
    name: Option<String>,
}

/// `null` is data like any other value; only a missing field is none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads a frame; `None` if it is none of the forms.
pub(super) fn parse(text: &str) -> Option<Said> {
    // A struct is read from an array as well.
    let text = text.trim_start().strip_prefix('{').map(|_| text)?;
    match serde_json::from_str(text).ok()? {
        Frame { join: Some(Join { room, name }), to: None, data: None } => Some(Said::Join { room, name }),
        Frame { join: None, to, data: Some(data) } => Some(Said::Data { to, data: data.get().into() }),
        _ => None,
    }
}

/// The answer to `join`.
pub(super) fn welcome(id: &str, room: &str, peers: &[Peer], ice_servers: &Value) -> String {
    let peers: Vec<_> = peers.iter().map(peer).collect();
    json!({"welcome": {"self": id, "room": room, "peers": peers, "iceServers": ice_servers}}).to_string()
}

/// What a member is told.
pub(super) fn render(notice: &Notice) -> Option<String> {
    Some(match notice {
        Notice::Joined(who) => json!({"peer-joined": peer(who)}).to_string(),
        Notice::Left(who) => json!({"peer-left": peer(who)}).to_string(),
        // Ids need no escaping, and the data stays as it came.
        Notice::Said { from, to: Some(to), data, call: None } => {
            format!(r#"{{"from":"{from}","to":"{to}","data":{data}}}"#)
        }
        Notice::Said { from, to: None, data, call: None } => {
            format!(r#"{{"from":"{from}","data":{data}}}"#)
        }
        Notice::NoSuchPeer => error::frame(
            "no_such_peer",
            "The member that you wrote to is not in the room.",
            "It may just have left: a peer-left says so.",
        )
        .to_string(),
        Notice::Said { call: Some(_), .. }
        | Notice::Published { .. }
        | Notice::Roster(_)
        | Notice::TooManyTopics => return None,
    })
}

fn peer(peer: &Peer) -> Value {
    json!({"id": &*peer.id, "name": &*peer.name})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> Option<(Option<String>, String)> {
        match parse(text)? {
            Said::Data { to, data } => Some((to, data.to_string())),
            Said::Join { .. } => None,
        }
    }

    #[test]
    fn data_stays_the_very_text_and_null_is_a_value() {
        assert_eq!(data(r#"{"data":null}"#), Some((None, "null".into())));
        let odd = r#"{"b":1.0, "a":1e2,"a":[ ],"u":"\u00e9"}"#;
        assert_eq!(data(&format!(r#"{{"to":"x","data":{odd}}}"#)), Some((Some("x".into()), odd.into())));
        assert_eq!(data(r#"{"data":"\ud83d\ude00 \u0000"}"#).unwrap().1, r#""\ud83d\ude00 \u0000""#);
        let said = Notice::Said { from: "a".into(), to: None, data: odd.into(), call: None };
        assert_eq!(render(&said).unwrap(), format!(r#"{{"from":"a","data":{odd}}}"#));
    }

    #[test]
    fn other_forms_are_none() {
        for text in ["", "x", "1", "[]", "{}", r#"{"to":"x"}"#, r#"{"to":1,"data":2}"#, r#"{"join":1}"#] {
            assert!(parse(text).is_none(), "{text}");
        }
        for text in [r#"{"join":{},"data":1}"#, r#"{"data":1,"data":2}"#, r#"{"data":1} x"#, r#"{"cmd":"x"}"#]
        {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(matches!(parse(r#"{"join":{}}"#), Some(Said::Join { room: None, name: None })));
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!(r#"{{"data":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        let (_, kept) = data(&deep).unwrap();
        assert_eq!(kept.len(), 60_000);
    }
}
