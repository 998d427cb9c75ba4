//! How a request is refused: always JSON, with what to do about it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A refusal: `{"error":{"code":…,"message":…,"help":…}}`.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    help: String,
}

impl Refusal {
    pub(super) const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message, help: String::new() }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// The kernel has no random bytes.
    pub(super) fn no_randomness() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_randomness", "The kernel gives no random bytes yet.")
            .help("This passes a few seconds after the machine has started.")
    }
}

/// The same form on a WebSocket.
pub(super) fn frame(code: &str, message: &str, help: &str) -> Value {
    json!({"error": {"code": code, "message": message, "help": help}})
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(frame(self.code, self.message, &self.help))).into_response();
        let headers = response.headers_mut();
        headers.insert(axum::http::header::CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(axum::http::header::RETRY_AFTER, axum::http::HeaderValue::from_static("5"));
        }
        response
    }
}
