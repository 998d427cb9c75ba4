//! How a request is refused: always JSON, with what to do about it.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::time::Duration;

/// A refusal: `{"error":{"code":…,"message":…,"help":…}}`.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    help: String,
    /// Seconds to wait before asking again.
    wait: Option<u64>,
    /// What only some have: how to log in, what to upgrade to. Names are in lower case.
    headers: &'static [(&'static str, &'static str)],
    /// Why, for the operator alone.
    cause: Option<&'static str>,
}

impl Refusal {
    pub(super) const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        let wait = if status.as_u16() == 429 { Some(5) } else { None };
        let help = String::new();
        Self { status, code, message, help, wait, headers: &[], cause: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// With how long to wait, rounded up to seconds.
    pub(super) fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        self
    }

    /// With other headers, whose names are in lower case.
    pub(super) const fn with(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    /// With what the log tells of it, and the answer does not.
    pub(super) const fn because(mut self, cause: &'static str) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Why, for the log.
    pub(super) fn cause(&self) -> &'static str {
        self.cause.unwrap_or(self.code)
    }

    /// The kernel has no random bytes.
    pub(super) fn no_randomness() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_randomness", "The kernel gives no random bytes yet.")
            .help("This passes a few seconds after the machine has started.")
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) const fn code(&self) -> &'static str {
        self.code
    }

    pub(super) const fn message(&self) -> &'static str {
        self.message
    }

    /// What to do about it.
    pub(super) fn cure(&self) -> &str {
        &self.help
    }

    /// Seconds to wait before asking again.
    pub(super) const fn retry_after(&self) -> Option<u64> {
        self.wait
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
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.wait {
            headers.insert(header::RETRY_AFTER, wait.into());
        }
        for (name, value) in self.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    }
}
