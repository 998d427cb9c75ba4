//! Xirsys' `_turn`: everything in an envelope, and all URLs in one object.

use serde_json::{Value, json};

use super::super::error::Refusal;
use super::super::grant::IceGrant;

/// `{"v":{"iceServers":{username,urls:[…],credential}},"s":"ok"}`.
pub(in super::super) fn render(grant: &IceGrant) -> Value {
    let urls: Vec<&str> = grant.urls().collect();
    let servers = super::with_credential(json!({ "urls": urls }), &grant.username, &grant.credential);
    json!({ "v": { "iceServers": servers }, "s": "ok" })
}

/// `{"v":"unauthorized","s":"error"}`.
pub(in super::super) fn refusal(refusal: &Refusal) -> Value {
    json!({ "v": refusal.code(), "s": "error" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xirsys_snapshot() {
        super::super::assert_snapshot(
            &render(&IceGrant::sample()),
            r#"{"v":{"iceServers":{"username":"1790000600:alice?policy&key=shop",
                "urls":["stun:turn.example.org:3478","turn:turn.example.org:3478?transport=udp",
                        "turns:turn.example.org:443?transport=tcp"],
                "credential":"cGFzc3dvcmQ="}},"s":"ok"}"#,
        );
    }
}
