//! `/v1/about`: what a page cannot know of the server that has served it.

use super::SharedState;
use super::caller::Caller;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use serde_json::json;

/// The query.
#[derive(Deserialize)]
pub(super) struct Wanted {
    name: Option<String>,
}

/// `GET /v1/about` → `{"https":"https://…/"|null,"trusted":bool}`: where the same page is a secure context, and whether the
/// browser gets there without asking its user about the certificate. With `?name=HOST` also `"certificate"`: whether one
/// of the certificates that TLS clients are shown is for that name; null if there are none. Browsers do not tell a page
/// why they refused one.
pub(super) async fn about(
    State(shared): SharedState,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let https = shared.options.https.as_ref();
    let url = https.map(|https| {
        let host = caller.turn_host(&shared.options);
        if https.port == 443 { format!("https://{host}/") } else { format!("https://{host}:{}/", https.port) }
    });
    let trusted = https.is_some_and(|https| *https.trusted.borrow());
    let mut about = json!({ "https": url, "trusted": trusted });
    if let Ok(Query(Wanted { name: Some(name) })) = wanted {
        let shown = shared.options.certificates.as_ref();
        about["certificate"] = shown.map(|shown| shown.borrow().iter().any(|key| is_for(key, &name))).into();
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(about)).into_response()
}

fn is_for(key: &CertifiedKey, name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let certificate = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    let name = ServerName::try_from(bare);
    certificate
        .is_ok_and(|certificate| name.is_ok_and(|name| verify_server_name(&certificate, &name).is_ok()))
}
