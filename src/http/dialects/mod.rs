//! One grant, many dialects: what each client already expects, as a pure function of the grant.

pub(super) mod cloudflare;
pub(super) mod link;
pub(super) mod matrix;
pub(super) mod metered;
pub(super) mod native;
pub(super) mod twilio;
pub(super) mod uberti;
pub(super) mod xirsys;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::error::Refusal;

/// A form in which `iceServers` are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/v1/ice-servers`, with the headers of RFC 9725.
    Native,
    /// `/v1/turn/keys/…`.
    Cloudflare,
    /// `/2010-04-01/Accounts/…`.
    Twilio,
    /// `/api/v1/turn/…`.
    Metered,
    /// `/_turn/…`.
    Xirsys,
    /// `/?service=turn` and `/turn`: draft-uberti-behave-turn-rest.
    Uberti,
    /// `/_matrix/client/…/voip/turnServer`.
    Matrix,
}

impl Dialect {
    /// All of them, by the names that operators write.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("native", Self::Native),
        ("cloudflare", Self::Cloudflare),
        ("twilio", Self::Twilio),
        ("metered", Self::Metered),
        ("xirsys", Self::Xirsys),
        ("uberti", Self::Uberti),
        ("matrix", Self::Matrix),
    ];

    /// Its name in the configuration.
    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, dialect)| *dialect == self).map_or("", |(name, _)| name)
    }

    /// The headers of its 401.
    pub(super) const fn challenge(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Twilio | Self::Xirsys => {
                &[("www-authenticate", r#"Basic realm="relais", charset="UTF-8""#)]
            }
            _ => &[("www-authenticate", r#"Bearer realm="relais""#)],
        }
    }

    /// A refusal in the dialect's own form; ours where it has none.
    pub(super) fn refuse(self, refusal: Refusal) -> Response {
        let body = match self {
            Self::Native | Self::Cloudflare | Self::Uberti => return refusal.into_response(),
            Self::Twilio => twilio::refusal(&refusal),
            Self::Metered => metered::refusal(&refusal),
            Self::Xirsys => xirsys::refusal(&refusal),
            Self::Matrix => matrix::refusal(&refusal),
        };
        // The headers are those of every refusal; only the body is another.
        let (parts, _) = refusal.into_response().into_parts();
        let mut response = Json(body).into_response();
        *response.status_mut() = parts.status;
        for name in [
            axum::http::header::CACHE_CONTROL,
            axum::http::header::RETRY_AFTER,
            axum::http::header::WWW_AUTHENTICATE,
        ] {
            if let Some(value) = parts.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

/// Members `username` and `credential`, which only TURN has.
fn with_credential(mut entry: Value, username: &str, credential: &str) -> Value {
    entry["username"] = json!(username);
    entry["credential"] = json!(credential);
    entry
}

/// What a snapshot is compared with: JSON as it is written, members in the order of the text.
#[cfg(test)]
fn assert_snapshot(found: &Value, wanted: &str) {
    let wanted: Value = serde_json::from_str(wanted).unwrap();
    assert_eq!(*found, wanted, "{found:#}");
}
