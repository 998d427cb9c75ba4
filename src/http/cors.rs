//! The headers that let a page on another origin read an answer.

use super::caller::{Caller, PageOrigin};
use super::{Shared, SharedState};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// `OPTIONS`: what a browser asks before a page of another origin may ask.
pub(super) async fn preflight(State(shared): SharedState, caller: Caller) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if share(headers, &caller, shared.options.open) {
        allow(headers, "GET, POST");
    }
    response
}

/// The same for an address that keys and tokens open too.
pub(super) fn preflight_with_keys(shared: &Shared, caller: &Caller, methods: &'static str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if share_with_keys(headers, shared, caller) {
        allow(headers, methods);
    }
    response
}

fn allow(headers: &mut HeaderMap, methods: &'static str) {
    const HEADERS: &str = "authorization, content-type, x-api-key";
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
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
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    readable(headers, origin);
    true
}

/// Likewise, with the pages of all keys. A preflight does not bring the key, so here it is not yet asked whose pages they are;
/// where the key is known, it decides. The pages of a key for all get `*`, with which browsers send no cookies.
pub(super) fn share_with_keys(headers: &mut HeaderMap, shared: &Shared, caller: &Caller) -> bool {
    if share(headers, caller, shared.options.open) {
        return true;
    }
    let (Some(value), Some(text)) = (caller.origin_value.clone(), caller.origin_text()) else { return false };
    match shared.options.access.lists(text) {
        (true, _) => {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            readable(headers, value);
        }
        (false, true) => readable(headers, HeaderValue::from_static("*")),
        (false, false) => return false,
    }
    true
}

fn readable(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let exposed = HeaderValue::from_static("link, retry-after");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    let cross_origin = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(cross_origin, HeaderValue::from_static("cross-origin"));
}
