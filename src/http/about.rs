//! `/v1/about`: what a page cannot know of the server that has served it.

use super::SharedState;
use super::caller::Caller;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// `GET /v1/about` → `{"https":"https://…/"|null,"trusted":bool}`: where the same page is a secure context, and whether the
/// browser gets there without asking its user about the certificate.
pub(super) async fn about(State(shared): SharedState, caller: Caller) -> Response {
    let https = shared.options.https.as_ref();
    let url = https.map(|https| {
        let host = caller.turn_host(&shared.options);
        if https.port == 443 { format!("https://{host}/") } else { format!("https://{host}:{}/", https.port) }
    });
    let trusted = https.is_some_and(|https| *https.trusted.borrow());
    ([(header::CACHE_CONTROL, "no-store")], Json(json!({ "https": url, "trusted": trusted }))).into_response()
}
