//! How a WebSocket opens (RFC 6455 §4.2), whoever speaks it afterwards.

use crate::http::error::Refusal;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::Response;

/// The only version that there is. The ones before were drafts.
const VERSION: &str = "13";

/// A request that may become a WebSocket.
pub(in crate::http) struct Handshake {
    pub(super) socket: WebSocketUpgrade,
    pub(super) protocol: Option<HeaderValue>,
}

impl<S: Send + Sync> FromRequestParts<S> for Handshake {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        check(&parts.method, parts.version, &parts.headers)?;
        let protocol = protocol(&parts.headers);
        // What stands in several lines or beside other words, axum does not find.
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let socket = WebSocketUpgrade::from_request_parts(parts, state).await;
        Ok(Self { socket: socket.map_err(|_| not_a_websocket())?, protocol })
    }
}

/// Refuses what is no handshake. Returns its key.
pub(super) fn check<'a>(
    method: &Method,
    version: Version,
    headers: &'a HeaderMap,
) -> Result<&'a [u8], Refusal> {
    let is_handshake = method == Method::GET
        && version >= Version::HTTP_11
        && lists(headers, header::CONNECTION, "upgrade")
        && lists(headers, header::UPGRADE, "websocket");
    if !is_handshake {
        return Err(not_a_websocket());
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        let refusal = Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            "websocket_version",
            "This is another version of WebSocket than 13, or says none.",
        );
        return Err(refusal.help("Use a client of RFC 6455, which sends Sec-WebSocket-Version: 13.").with(
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", VERSION)],
        ));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    key.filter(|key| is_key(key)).ok_or_else(|| {
        Refusal::new(StatusCode::BAD_REQUEST, "websocket_key", "Sec-WebSocket-Key is no key, or missing.")
            .help("It is 16 random bytes in base64: 24 characters.")
    })
}

fn not_a_websocket() -> Refusal {
    Refusal::new(StatusCode::UPGRADE_REQUIRED, "not_a_websocket", "This address speaks WebSocket only.")
        .help("Use new WebSocket(…) in a page. A reverse proxy must pass Upgrade and Connection on.")
        .with(&[("connection", "upgrade"), ("upgrade", "websocket")])
}

/// The subprotocol that is taken: the first that is offered. The first frame says what is spoken, not this; but clients
/// that offer some give up when none is taken. A value of its own, since one out of a request keeps all that was read with it.
pub(super) fn protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let token = listed(headers, header::SEC_WEBSOCKET_PROTOCOL).find(|offered| is_token(offered))?;
    HeaderValue::from_bytes(token).ok()
}

/// Tells which subprotocol has been taken, if any was offered.
pub(super) fn tell_protocol(response: &mut Response, protocol: Option<HeaderValue>) {
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
}

/// The elements of a header that is a list, over all its lines.
fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    listed(headers, name).any(|listed| listed.eq_ignore_ascii_case(token.as_bytes()))
}

/// RFC 9110 §5.6.2.
fn is_token(text: &[u8]) -> bool {
    let is_mark = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

/// Whether a key decodes to 16 bytes. What is left over of its last character is not looked at: some clients take any.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|key| key.len() == 22 && key.iter().all(is_base64))
}
