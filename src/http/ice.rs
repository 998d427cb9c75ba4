//! `/v1/ice-servers`: who may have them, and the headers that let a page on another origin read them.

use super::caller::{Caller, PageOrigin};
use super::error::Refusal;
use super::{SharedState, random_name};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// `GET` or `POST /v1/ice-servers` → `{"iceServers":[…],"ttl":…,"expiresAt":…}`.
pub(super) async fn ice_servers(State(shared): SharedState, caller: Caller) -> Response {
    let open = shared.options.open;
    let answer = if caller.is_local {
        // A program asks for its users, one call for each; they do not share a quota.
        random_name::<9>().ok_or_else(Refusal::no_randomness)
    } else if !open && caller.origin != PageOrigin::Listed {
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "not_allowed",
            "This server does not give iceServers to you.",
        )
        .help(
            "They go to programs on the same machine that ask for localhost, to pages whose origin is in \
                 http.origins, to members of a room (/ws), and with http.open = true to anybody.",
        ))
    } else if !shared.admission.admit(caller.prefix).await {
        Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Your address asks too often.")
            .help(
                "Keep the iceServers that you got until they expire; one request a second is always served.",
            ))
    } else {
        Ok(caller.prefix.label())
    };
    let mut response = match answer {
        Ok(user) => {
            let host = caller.turn_host(&shared.options);
            Json(shared.ice.grant(&host, &user)).into_response()
        }
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    share(response.headers_mut(), &caller, open);
    response
}

/// `OPTIONS`: what a browser asks before a page of another origin may ask.
pub(super) async fn preflight(State(shared): SharedState, caller: Caller) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if share(headers, &caller, shared.options.open) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    response
}

/// Lets the asking page read the answer, if it may: its own origin is echoed, never `*`, which browsers refuse
/// together with credentials.
pub(super) fn share(headers: &mut HeaderMap, caller: &Caller, open: bool) -> bool {
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let shared = match caller.origin {
        PageOrigin::Same | PageOrigin::Listed => true,
        PageOrigin::Foreign => open,
        PageOrigin::None => false,
    };
    let Some(origin) = caller.origin_value.clone().filter(|_| shared) else { return false };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    let cross_origin = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(cross_origin, HeaderValue::from_static("cross-origin"));
    true
}
