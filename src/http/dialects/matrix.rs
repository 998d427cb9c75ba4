//! Matrix' `voip/turnServer` (Client-Server API, "Voice over IP"), for a homeserver whose path leads here.

use serde_json::{Value, json};

use super::super::error::Refusal;
use super::super::grant::IceGrant;

/// `{username,password,uris:[…],ttl:number}`. Clients take STUN from it as well.
pub(in super::super) fn render(grant: &IceGrant) -> Value {
    let uris: Vec<&str> = grant.urls().collect();
    json!({ "username": grant.username, "password": grant.credential, "uris": uris, "ttl": grant.ttl })
}

/// `{errcode,error}`. The code of a 401 is the same whatever was wrong, and never `M_UNKNOWN_TOKEN`: at that clients log their
/// users out, whose tokens are none of ours. A proxy brings our key.
pub(in super::super) fn refusal(refusal: &Refusal) -> Value {
    let code = match refusal.status().as_u16() {
        401 => "M_MISSING_TOKEN",
        403 => "M_FORBIDDEN",
        429 => "M_LIMIT_EXCEEDED",
        _ => "M_UNKNOWN",
    };
    let mut body = json!({ "errcode": code, "error": refusal.message() });
    if let Some(wait) = refusal.retry_after() {
        body["retry_after_ms"] = json!(wait * 1_000);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_snapshot() {
        super::super::assert_snapshot(
            &render(&IceGrant::sample()),
            r#"{"username":"1790000600:alice?policy&key=shop","password":"cGFzc3dvcmQ=","ttl":600,
                "uris":["stun:turn.example.org:3478","turn:turn.example.org:3478?transport=udp",
                        "turns:turn.example.org:443?transport=tcp"]}"#,
        );
    }
}
