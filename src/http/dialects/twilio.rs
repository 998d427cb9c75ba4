//! Twilio's Network Traversal Service: `Tokens.json`.

use serde_json::{Value, json};

use super::super::error::Refusal;
use super::super::grant::IceGrant;
use super::with_credential;
use crate::time::rfc2822;

/// One entry for each URL, which stands in `url` and `urls`; the `ttl` is a string.
pub(in super::super) fn render(grant: &IceGrant, account: &str) -> Value {
    let entry = |url: &String| json!({ "url": url, "urls": url });
    let stun = grant.stun.iter().map(entry);
    let turn = grant.turn.iter().map(|url| with_credential(entry(url), &grant.username, &grant.credential));
    let made = rfc2822(grant.made_unix());
    json!({
        "username": grant.username,
        "password": grant.credential,
        "ttl": grant.ttl.to_string(),
        "account_sid": account,
        "ice_servers": stun.chain(turn).collect::<Vec<_>>(),
        "date_created": made,
        "date_updated": made,
    })
}

/// `{code,message,more_info,status}`. 20003 is Twilio's code for a login that fails, 20429 that for too many requests.
pub(in super::super) fn refusal(refusal: &Refusal) -> Value {
    let status = refusal.status().as_u16();
    let code = match status {
        401 | 403 => 20_003,
        429 => 20_429,
        status => 20_000 + u32::from(status),
    };
    json!({ "code": code, "message": refusal.message(), "more_info": refusal.cure(), "status": status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twilio_snapshot() {
        super::super::assert_snapshot(
            &render(&IceGrant::sample(), "AC0123"),
            r#"{"username":"1790000600:alice?policy&key=shop","password":"cGFzc3dvcmQ=","ttl":"600","account_sid":"AC0123",
                "ice_servers":[
                  {"url":"stun:turn.example.org:3478","urls":"stun:turn.example.org:3478"},
                  {"url":"turn:turn.example.org:3478?transport=udp","urls":"turn:turn.example.org:3478?transport=udp",
                   "username":"1790000600:alice?policy&key=shop","credential":"cGFzc3dvcmQ="},
                  {"url":"turns:turn.example.org:443?transport=tcp","urls":"turns:turn.example.org:443?transport=tcp",
                   "username":"1790000600:alice?policy&key=shop","credential":"cGFzc3dvcmQ="}],
                "date_created":"Mon, 21 Sep 2026 14:13:20 +0000","date_updated":"Mon, 21 Sep 2026 14:13:20 +0000"}"#,
        );
    }
}
