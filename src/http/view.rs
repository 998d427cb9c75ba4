//! `POST /v1/view`: what the server knows of a visitor's own credential.

use super::caller::Caller;
use super::control::{ControlError, View, ViewRequest};
use super::error::Refusal;
use super::fields::Fields;
use super::{SharedState, cors};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

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

const WANTED: &str = r#"Send JSON: {"username":"…","credential":"…"}, as they stand in iceServers."#;

/// See the head of this file.
pub(super) async fn view(State(shared): SharedState, caller: Caller, body: Body) -> Response {
    let mut response = match answer(&shared, &caller, body).await {
        Ok(view) => Json(view).into_response(),
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    cors::share_with_keys(response.headers_mut(), &shared, &caller);
    response
}

async fn answer(shared: &super::Shared, caller: &Caller, body: Body) -> Result<View, Refusal> {
    // Callers on this machine as well: passwords could be tried here.
    shared.views.charge(caller.prefix).await.map_err(|wait| {
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Your address asks too often.")
            .help("Ask twice a second at most; Retry-After says when to ask again.")
            .wait(wait)
    })?;
    // Read as JSON whatever its type says: tools call it a form by default.
    let deadline = shared.options.limits.body_deadline;
    let fields = Fields::read(None, &HeaderMap::new(), body, deadline).await;
    let fields = fields
        .map_err(|refusal| if refusal.code() == "bad_json" { refusal.help(WANTED) } else { refusal })?;
    fields.only(&["username", "credential"])?;
    let (Some(username), Some(credential)) = (fields.text("username")?, fields.text("credential")?) else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "missing_field",
            "The request names no credential.",
        )
        .help(WANTED));
    };
    let asked = ViewRequest { username, credential, from: caller.prefix.address() };
    Ok(shared.control.view(asked).await?)
}
