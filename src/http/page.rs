//! The trial page: static files in the binary, no build step, nothing from elsewhere.

use super::Shared;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::{Arc, LazyLock};

/// No inline script or style, nothing from any other place. 'self' is the WebSocket on the same host as well.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; media-src 'self' blob: mediastream:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Where each file is, what it is, and the file.
const FILES: [(&str, &str, &str); 15] = [
    ("/style.css", STYLE, include_str!("page/style.css")),
    ("/main.mjs", SCRIPT, include_str!("page/main.mjs")),
    ("/test.mjs", SCRIPT, include_str!("page/test.mjs")),
    ("/loopback.mjs", SCRIPT, include_str!("page/loopback.mjs")),
    ("/verdict.mjs", SCRIPT, include_str!("page/verdict.mjs")),
    ("/room.mjs", SCRIPT, include_str!("page/room.mjs")),
    ("/call.mjs", SCRIPT, include_str!("page/call.mjs")),
    ("/media.mjs", SCRIPT, include_str!("page/media.mjs")),
    ("/servers.mjs", SCRIPT, include_str!("page/servers.mjs")),
    ("/view.mjs", SCRIPT, include_str!("page/view.mjs")),
    ("/figures.mjs", SCRIPT, include_str!("page/figures.mjs")),
    ("/snippets.mjs", SCRIPT, include_str!("page/snippets.mjs")),
    ("/linter.mjs", SCRIPT, include_str!("page/linter.mjs")),
    ("/literal.mjs", SCRIPT, include_str!("page/literal.mjs")),
    ("/ui.mjs", SCRIPT, include_str!("page/ui.mjs")),
];

const INDEX: &str = include_str!("page/index.html");

/// The document itself, for whoever routes `/`.
pub(super) fn index() -> Response {
    static LEAN: LazyLock<Bytes> = LazyLock::new(|| lean(INDEX).into());
    file("text/html; charset=utf-8", LEAN.clone())
}

/// The routes of all files but the document.
pub(super) fn routes() -> Router<Arc<Shared>> {
    let router = FILES.iter().fold(Router::new(), |router, &(path, kind, text)| {
        let text = Bytes::from(lean(text));
        router.route(path, get(move || std::future::ready(file(kind, text.clone()))))
    });
    router.route("/favicon.ico", get(no_icon))
}

/// A file without its comments and indentation: phones need neither. Lines keep their numbers, for what consoles say.
fn lean(text: &str) -> String {
    let mut in_comment = false;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.trim_start();
        in_comment |= line.starts_with("/**");
        if !in_comment && !line.starts_with("// ") {
            out.push_str(line);
        }
        in_comment &= !line.ends_with("*/");
        out.push('\n');
    }
    out
}

/// Browsers ask for an icon by themselves; the page has none, and no 404 belongs into their consoles.
async fn no_icon() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// A file of ours, under the policy that all pages have.
pub(super) fn file(kind: &'static str, text: impl Into<Bytes>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(self), microphone=(self), display-capture=(self), geolocation=(), usb=(), payment=()",
        ),
    ];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), text.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_that_is_imported_is_served() {
        let served = |path: &str| FILES.iter().any(|(at, ..)| *at == format!("/{path}"));
        for (path, _, text) in FILES {
            for import in text.split("from './").skip(1).filter_map(|rest| rest.split('\'').next()) {
                assert!(served(import), "{path} imports {import}");
            }
        }
    }

    #[test]
    fn only_comments_and_indentation_are_left_out() {
        let text = "// a\n/** b\n * c */\nconst d = { // e\n  f: 'x' * 2,\n};\n/** g */\nh;\n";
        assert_eq!(lean(text), "\n\n\nconst d = { // e\nf: 'x' * 2,\n};\n\nh;\n");
        for (path, _, text) in FILES {
            assert_eq!(lean(text).lines().count(), text.lines().count(), "{path}");
            // What stands on several lines in backticks would lose its indentation.
            let even = text.lines().all(|line| line.matches('`').count() % 2 == 0);
            assert!(even || path == "/literal.mjs", "{path}");
        }
    }
}
