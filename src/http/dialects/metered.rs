//! Metered's TURN REST API: a bare array, and credentials with a key of their own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::error::Refusal;
use super::super::grant::IceGrant;
use super::with_credential;

/// `GET …/credentials`: an array with an entry for each URL, `urls` being a string.
pub(in super::super) fn render(grant: &IceGrant) -> Value {
    let stun = grant.stun.iter().map(|url| json!({ "urls": url }));
    let turn = grant
        .turn
        .iter()
        .map(|url| with_credential(json!({ "urls": url }), &grant.username, &grant.credential));
    stun.chain(turn).collect::<Vec<_>>().into()
}

/// `POST …/credential`: the new credential. With its `apiKey` a page fetches it in the other form.
pub(in super::super) fn render_created(grant: &IceGrant, label: Option<&str>) -> Value {
    json!({
        "username": grant.username,
        "password": grant.credential,
        "expiryInSeconds": grant.ttl,
        "label": label,
        "apiKey": api_key(&grant.username, &grant.credential),
    })
}

/// The credential itself, in a form that stands in a URL: so nothing has to be kept for it.
fn api_key(username: &str, credential: &str) -> String {
    [username, credential].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

/// The credential in such a key.
pub(in super::super) fn credential_of(api_key: &str) -> Option<(String, String)> {
    let (username, credential) = api_key.split_once('.')?;
    let part = |text: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    Some((part(username)?, part(credential)?))
}

/// `{"error":"…"}`.
pub(in super::super) fn refusal(refusal: &Refusal) -> Value {
    json!({ "error": format!("{} {}", refusal.message(), refusal.cure()).trim_end() })
}

#[cfg(test)]
mod tests {
    use super::super::assert_snapshot;
    use super::*;

    #[test]
    fn metered_snapshot() {
        assert_snapshot(
            &render(&IceGrant::sample()),
            r#"[{"urls":"stun:turn.example.org:3478"},
                {"urls":"turn:turn.example.org:3478?transport=udp","username":"1790000600:alice?policy&key=shop",
                 "credential":"cGFzc3dvcmQ="},
                {"urls":"turns:turn.example.org:443?transport=tcp","username":"1790000600:alice?policy&key=shop",
                 "credential":"cGFzc3dvcmQ="}]"#,
        );
    }

    #[test]
    fn metered_created_snapshot() {
        let created = render_created(&IceGrant::sample(), Some("alice"));
        assert_snapshot(
            &created,
            r#"{"username":"1790000600:alice?policy&key=shop","password":"cGFzc3dvcmQ=","expiryInSeconds":600,"label":"alice",
                "apiKey":"MTc5MDAwMDYwMDphbGljZT9wb2xpY3kma2V5PXNob3A.Y0dGemMzZHZjbVE9"}"#,
        );
        let grant = IceGrant::sample();
        let found = credential_of(created["apiKey"].as_str().unwrap()).unwrap();
        assert_eq!(found, (grant.username, grant.credential));
        for not in ["", "a", "a.b.c", "!.!", "_w._w"] {
            assert_eq!(credential_of(not), None, "{not}");
        }
    }
}
