//! `/v1/ice-servers`: goes unchanged into `new RTCPeerConnection()`.

use serde_json::{Value, json};

use super::super::grant::IceGrant;
use crate::time::rfc3339;

/// `{"iceServers":[{"urls":[stun]},{"urls":[turn],"username","credential"}],"ttl":seconds,"expiresAt":RFC 3339}`.
pub(in super::super) fn render(grant: &IceGrant) -> Value {
    let mut body = json!({ "iceServers": servers(grant) });
    if !grant.turn.is_empty() {
        body["ttl"] = json!(grant.ttl);
        body["expiresAt"] = json!(rfc3339(grant.expires_unix));
    }
    body
}

/// The list alone.
pub(in super::super) fn servers(grant: &IceGrant) -> Value {
    let mut servers = Vec::new();
    if !grant.stun.is_empty() {
        servers.push(json!({ "urls": grant.stun }));
    }
    if !grant.turn.is_empty() {
        servers.push(super::with_credential(
            json!({ "urls": grant.turn }),
            &grant.username,
            &grant.credential,
        ));
    }
    servers.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_snapshot() {
        super::super::assert_snapshot(
            &render(&IceGrant::sample()),
            r#"{"iceServers":[{"urls":["stun:turn.example.org:3478"]},
                {"urls":["turn:turn.example.org:3478?transport=udp","turns:turn.example.org:443?transport=tcp"],
                 "username":"1790000600:alice?policy&key=shop","credential":"cGFzc3dvcmQ="}],
                "ttl":600,"expiresAt":"2026-09-21T14:23:20Z"}"#,
        );
    }

    #[test]
    fn native_without_a_secret_is_stun_alone() {
        let grant = IceGrant { stun: vec!["stun:h:3478".into()], ..IceGrant::default() };
        super::super::assert_snapshot(&render(&grant), r#"{"iceServers":[{"urls":["stun:h:3478"]}]}"#);
    }
}
