//! Xirsys' `_turn`: everything in an envelope, in the form that was asked for.

use serde_json::{Value, json};

use super::super::error::Refusal;
use super::super::grant::IceGrant;
use super::with_credential;

/// What Xirsys answers unless told otherwise, `{"v":{"iceServers":[…]},"s":"ok"}`: one entry for each URL, which stands in
/// `url`, as in its documents, and in `urls`, as browsers want it, so that `v` is a configuration as it is.
pub(in super::super) fn render(grant: &IceGrant) -> Value {
    let entry = |url: &String| json!({ "url": url, "urls": url });
    let stun = grant.stun.iter().map(entry);
    let turn = grant.turn.iter().map(|url| with_credential(entry(url), &grant.username, &grant.credential));
    envelope(&stun.chain(turn).collect())
}

/// With `"format":"urls"` in the request: `{"v":{"iceServers":{username,urls:[…],credential}},"s":"ok"}`.
pub(in super::super) fn render_one(grant: &IceGrant) -> Value {
    let urls: Vec<&str> = grant.urls().collect();
    envelope(&with_credential(json!({ "urls": urls }), &grant.username, &grant.credential))
}

fn envelope(servers: &Value) -> Value {
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
            r#"{"v":{"iceServers":[
                {"url":"stun:turn.example.org:3478","urls":"stun:turn.example.org:3478"},
                {"url":"turn:turn.example.org:3478?transport=udp","urls":"turn:turn.example.org:3478?transport=udp",
                 "username":"1790000600:alice?policy&key=shop","credential":"cGFzc3dvcmQ="},
                {"url":"turns:turn.example.org:443?transport=tcp","urls":"turns:turn.example.org:443?transport=tcp",
                 "username":"1790000600:alice?policy&key=shop","credential":"cGFzc3dvcmQ="}]},"s":"ok"}"#,
        );
    }

    #[test]
    fn xirsys_one_object_snapshot() {
        super::super::assert_snapshot(
            &render_one(&IceGrant::sample()),
            r#"{"v":{"iceServers":{"username":"1790000600:alice?policy&key=shop",
                "urls":["stun:turn.example.org:3478","turn:turn.example.org:3478?transport=udp",
                        "turns:turn.example.org:443?transport=tcp"],
                "credential":"cGFzc3dvcmQ="}},"s":"ok"}"#,
        );
    }
}
