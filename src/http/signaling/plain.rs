//! The dialects of clients that were written for other servers and speak plain WebSocket. What they send passes
//! as it came: only whom it is for is read.

use crate::http::rooms::{Act, Notice, Role, To};
use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// `{"cmd":…,"from":0,"to":1,…}`, by places in the room.
    Places,
    /// `{"type":"sender"}` and `{"type":"receiver"}`, who talk to each other.
    Roles,
    /// Any value, to all others.
    Channel,
    /// y-webrtc: `subscribe`, `publish` and `ping`.
    Topics,
}

/// What a frame asks for.
#[derive(Debug)]
pub(super) enum Said {
    /// Something in the room.
    Act(Act),
    /// A sign of life.
    Ping,
    /// Nothing: the frame is no JSON.
    Nothing,
}

/// The answer to [`Said::Ping`].
pub(super) const PONG: &str = r#"{"type":"pong"}"#;

/// The members of frames that somebody looks at. The others are nobody's business.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    cmd: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    from: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    to: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    topic: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    topics: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", rename = "new-ice-candidate")]
    new_ice_candidate: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", rename = "iceCandidate")]
    ice_candidate: Option<&'a RawValue>,
}

/// `null` is a value like any other; only a missing member is none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn frame(text: &str) -> Option<Frame<'_>> {
    // A struct is read from an array as well.
    text.starts_with('{').then(|| serde_json::from_str(text).ok())?
}

fn string(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

/// A place: a number, or one in quotes as it comes out of a select box.
fn place(value: Option<&RawValue>) -> Option<usize> {
    value?.get().trim_matches('"').parse().ok()
}

/// The text, if it is JSON, without white space around it.
fn json(text: &Utf8Bytes) -> Option<Utf8Bytes> {
    let value: &RawValue = serde_json::from_str(text).ok()?;
    Some(if value.get().len() == text.len() { text.clone() } else { value.get().into() })
}

impl Plain {
    /// Which dialect a socket speaks whose first frame is this. `None`: the frame says nothing.
    pub(super) fn of(text: &Utf8Bytes) -> Option<Self> {
        let text = json(text)?;
        Some(match frame(&text) {
            Some(frame) if places(&frame).is_some() => Self::Places,
            Some(frame) => match string(frame.kind).as_deref() {
                Some("sender" | "receiver") => Self::Roles,
                Some("createOffer" | "createAnswer" | "iceCandidate" | "addIceCandidate") => Self::Roles,
                Some("subscribe" | "unsubscribe") if frame.topics.is_some() => Self::Topics,
                Some("publish") if frame.topic.is_some() => Self::Topics,
                Some("ping") => Self::Topics,
                _ => Self::Channel,
            },
            None => Self::Channel,
        })
    }

    /// Reads a frame. One that is not of the dialect goes to all others.
    pub(super) fn read(self, text: &Utf8Bytes) -> Said {
        let Some(text) = json(text) else { return Said::Nothing };
        let Some(frame) = frame(&text) else { return Said::Act(Act::Say(To::All, text)) };
        let known = match self {
            Self::Places => places(&frame).map(|to| Said::Act(Act::Say(to, text.clone()))),
            Self::Roles => roles(&frame, &text),
            Self::Topics => topics(&frame, &text),
            Self::Channel => None,
        };
        known.unwrap_or_else(|| Said::Act(Act::Say(To::All, with_candidate(&frame, &text))))
    }
}

/// Whom `cmd` is for. Some clients answer with the `from` and `to` of the offer: a frame to oneself is for the other.
fn places(frame: &Frame<'_>) -> Option<To> {
    string(frame.cmd)?;
    Some(To::Place(place(frame.to)?, place(frame.from)))
}

fn roles(frame: &Frame<'_>, text: &Utf8Bytes) -> Option<Said> {
    let act = match string(frame.kind)?.as_str() {
        "sender" => Act::Take(Role::Sender),
        "receiver" => Act::Take(Role::Receiver),
        "createOffer" | "createAnswer" | "iceCandidate" | "addIceCandidate" => {
            Act::Say(To::OtherRole, text.clone())
        }
        _ => return None,
    };
    Some(Said::Act(act))
}

fn topics(frame: &Frame<'_>, text: &Utf8Bytes) -> Option<Said> {
    let listed = || -> Option<Vec<String>> {
        let listed: Vec<&RawValue> = serde_json::from_str(frame.topics?.get()).ok()?;
        Some(listed.into_iter().filter_map(|topic| string(Some(topic))).collect())
    };
    let act = match string(frame.kind)?.as_str() {
        "subscribe" => Act::Subscribe(listed()?),
        "unsubscribe" => Act::Unsubscribe(listed()?),
        "publish" => Act::Say(To::Topic(string(frame.topic)?), text.clone()),
        "ping" => return Some(Said::Ping),
        _ => return None,
    };
    Some(Said::Act(act))
}

/// Many pages that were copied from one tutorial send `new-ice-candidate` and listen for `iceCandidate`.
fn with_candidate(frame: &Frame<'_>, text: &Utf8Bytes) -> Utf8Bytes {
    match (frame.new_ice_candidate, frame.ice_candidate, text.strip_suffix('}')) {
        (Some(candidate), None, Some(open)) => format!("{open},\"iceCandidate\":{candidate}}}").into(),
        _ => text.clone(),
    }
}

/// What goes to all others when `text` is said in the words of [`Plain::Channel`].
#[cfg(feature = "socketio")]
pub(super) fn channel(text: &Utf8Bytes) -> Option<Utf8Bytes> {
    match Plain::Channel.read(text) {
        Said::Act(Act::Say(_, text)) => Some(text),
        _ => None,
    }
}

/// What such a socket is told, if it has words for it.
pub(super) fn render(notice: &Notice) -> Option<Utf8Bytes> {
    match notice {
        Notice::Said { data, call: None, .. } => Some(data.clone()),
        Notice::Published { data, subscribers } => {
            let open = data.strip_suffix('}')?;
            Some(format!("{open},\"clients\":{subscribers}}}").into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Plain> {
        Plain::of(&text.into())
    }

    fn said(dialect: Plain, text: &str) -> (To, String) {
        match dialect.read(&text.into()) {
            Said::Act(Act::Say(to, text)) => (to, text.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_shape_decides() {
        for (text, dialect) in [
            (r#"{"cmd":"rtc_offer","offer":{},"from":0,"to":1}"#, Plain::Places),
            (r#" {"to":"1","cmd":"rtc_candidate","candidate":null}"#, Plain::Places),
            (r#"{"cmd":"rtc_offer"}"#, Plain::Channel),
            (r#"{"type":"sender"}"#, Plain::Roles),
            (r#"{"sdp":1,"type":"createOffer"}"#, Plain::Roles),
            (r#"{"type":"offer","sdp":"v=0"}"#, Plain::Channel),
            (r#"{"type":"subscribe","topics":[]}"#, Plain::Topics),
            (r#"{"type":"subscribe"}"#, Plain::Channel),
            (r#"{"type":"ping"}"#, Plain::Topics),
            (r#""Hello!""#, Plain::Channel),
            ("null", Plain::Channel),
            (r#"["x",1,2]"#, Plain::Channel),
            (r#"{"data":1}"#, Plain::Channel),
        ] {
            assert_eq!(of(text), Some(dialect), "{text}");
        }
        for text in ["", "ping", "{", "{} {}", "\u{0}"] {
            assert_eq!(of(text), None, "{text}");
            assert!(matches!(Plain::Channel.read(&text.into()), Said::Nothing));
        }
    }

    #[test]
    fn nothing_is_changed_on_the_way() {
        let odd = r#"{"cmd":"x", "to":1,"from":0,"b":1.50,"a":[ ],"a":1e2,"u":"\u00e9\u0000","n":null}"#;
        let (to, text) = said(Plain::Places, odd);
        assert!(matches!(to, To::Place(1, Some(0))) && text == odd);
        assert_eq!(said(Plain::Roles, r#"{"type":"iceCandidate","candidate":null}"#).1.len(), 40);
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(said(Plain::Channel, &deep).1, deep);
        assert_eq!(said(Plain::Channel, " 1 \n").1, "1");
    }

    #[test]
    fn a_candidate_gets_the_name_that_is_listened_for() {
        let (_, text) = said(Plain::Channel, r#"{"new-ice-candidate":{"a":1} }"#);
        assert_eq!(text, r#"{"new-ice-candidate":{"a":1} ,"iceCandidate":{"a":1}}"#);
        let (_, text) = said(Plain::Channel, r#"{"new-ice-candidate":null}"#);
        assert_eq!(text, r#"{"new-ice-candidate":null,"iceCandidate":null}"#);
        let both = r#"{"new-ice-candidate":1,"iceCandidate":2}"#;
        assert_eq!(said(Plain::Channel, both).1, both);
    }

    #[test]
    fn a_publication_says_how_many_hear_it() {
        let data: Utf8Bytes = r#"{"type":"publish","topic":"t","data":null}"#.into();
        let text = render(&Notice::Published { data, subscribers: 3 }).unwrap();
        assert_eq!(text.as_str(), r#"{"type":"publish","topic":"t","data":null,"clients":3}"#);
    }
}
