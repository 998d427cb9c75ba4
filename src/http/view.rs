//! `POST /v1/view`: what the server knows of a visitor's own credential.

use super::caller::Caller;
use super::control::{ControlError, View, ViewRequest};
use super::error::Refusal;
use super::{SharedState, ice};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// The longest body, in bytes: user name and password are far shorter.
pub(super) const MAX_BODY: usize = 4 << 10;

#[derive(Deserialize)]
struct Asked {
    username: String,
    credential: String,
}

/// What stands in a body. Its form is not told apart from its absence: both are mended by looking at the example.
pub(super) fn read<'b, T: Deserialize<'b>>(
    body: &'b Result<Bytes, BytesRejection>,
    example: &'static str,
) -> Result<T, Refusal> {
    let bytes = body.as_ref().map_err(|rejection| {
        let too_long = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let (code, message) = if too_long {
            ("body_too_long", "The body of the request is too long.")
        } else {
            ("bad_body", "The body of the request did not come whole.")
        };
        Refusal::new(rejection.status(), code, message).help(format!("Send {example}."))
    })?;
    serde_json::from_slice(bytes).map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_body", "The body of the request is not what is asked for.")
            .help(format!("Send {example}."))
    })
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Full => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "too_many_revocations", "No more can be revoked.")
                    .help("Lift some, or revoke by tag or key; or change the secret, which revokes all that were made with it.")
            }
            ControlError::BadValue => {
                Self::new(StatusCode::BAD_REQUEST, "bad_value", "A name is empty or longer than 508 bytes.")
                    .help("Take the user name as it stands in iceServers, or the user, tag or key in it.")
            }
            ControlError::NotKept => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "not_kept",
                "It is done, but could not be written to the state directory: a restart would undo it.",
            )
            .help("The server's log says what is wrong with the directory. Mend it and ask again."),
            ControlError::Silent => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "worker_silent",
                "A worker did not answer in time.",
            )
            .help("It is starved of CPU or stuck. What was asked for is done when it goes on; ask again to be sure."),
        }
    }
}

/// See the head of this file.
pub(super) async fn view(
    State(shared): SharedState,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let mut response = match answer(&shared, &caller, &body).await {
        Ok(view) => Json(view).into_response(),
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    ice::share(response.headers_mut(), &caller, shared.options.open);
    response
}

async fn answer(
    shared: &super::Shared,
    caller: &Caller,
    body: &Result<Bytes, BytesRejection>,
) -> Result<View, Refusal> {
    if !caller.is_local && !shared.views.admit(caller.prefix).await {
        return Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "Your address asks too often.",
        )
        .help("Ask once a second at most."));
    }
    let Asked { username, credential } = read(body, r#"{"username":"…","credential":"…"} from iceServers"#)?;
    let asked = ViewRequest { username, credential, from: caller.prefix.address() };
    Ok(shared.control.view(asked).await?)
}
