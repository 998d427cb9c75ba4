//! draft-uberti-behave-turn-rest-00: what most TURN servers' tutorials and Janus speak.

use serde_json::{Value, json};

use super::super::grant::IceGrant;

/// `{username,password,ttl:number,uris:[…]}`, TURN alone.
pub(in super::super) fn render(grant: &IceGrant) -> Value {
    json!({ "username": grant.username, "password": grant.credential, "ttl": grant.ttl, "uris": grant.turn })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uberti_snapshot() {
        super::super::assert_snapshot(
            &render(&IceGrant::sample()),
            r#"{"username":"1790000600:alice?policy&key=shop","password":"cGFzc3dvcmQ=","ttl":600,
                "uris":["turn:turn.example.org:3478?transport=udp","turns:turn.example.org:443?transport=tcp"]}"#,
        );
    }
}
