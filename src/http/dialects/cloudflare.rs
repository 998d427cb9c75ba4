//! Cloudflare's TURN service: `generate-ice-servers`, and the older `generate`.

use serde_json::{Value, json};

use super::super::grant::IceGrant;
use super::{native, with_credential};

/// `generate-ice-servers`: `{"iceServers":[{urls:[stun]},{urls:[turn],username,credential}]}`.
pub(in super::super) fn render(grant: &IceGrant) -> Value {
    json!({ "iceServers": native::servers(grant) })
}

/// `generate`: `iceServers` is one object.
pub(in super::super) fn render_one(grant: &IceGrant) -> Value {
    let urls: Vec<&str> = grant.urls().collect();
    json!({ "iceServers": with_credential(json!({ "urls": urls }), &grant.username, &grant.credential) })
}

#[cfg(test)]
mod tests {
    use super::super::assert_snapshot;
    use super::*;

    #[test]
    fn cloudflare_snapshot() {
        assert_snapshot(
            &render(&IceGrant::sample()),
            r#"{"iceServers":[{"urls":["stun:turn.example.org:3478"]},
                {"urls":["turn:turn.example.org:3478?transport=udp","turns:turn.example.org:443?transport=tcp"],
                 "username":"1790000600:alice?policy&key=shop","credential":"cGFzc3dvcmQ="}]}"#,
        );
    }

    #[test]
    fn cloudflare_older_snapshot() {
        assert_snapshot(
            &render_one(&IceGrant::sample()),
            r#"{"iceServers":{"urls":["stun:turn.example.org:3478","turn:turn.example.org:3478?transport=udp",
                "turns:turn.example.org:443?transport=tcp"],
                "username":"1790000600:alice?policy&key=shop","credential":"cGFzc3dvcmQ="}}"#,
        );
    }
}
