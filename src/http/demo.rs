//! Three small pages that call each other by Socket.IO: what tutorials build, to look at and to copy.

use super::{Rooms, Shared, SharedState, page, signaling};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use std::sync::Arc;

const HTML: &str = "text/html; charset=utf-8";

/// Where each file is, what it is, and the file.
const FILES: [(&str, &str, &str); 5] = [
    ("/demo/", HTML, include_str!("demo/index.html")),
    ("/demo/sender.html", HTML, include_str!("demo/sender.html")),
    ("/demo/receiver.html", HTML, include_str!("demo/receiver.html")),
    ("/demo/demo.css", "text/css; charset=utf-8", include_str!("demo/demo.css")),
    ("/demo/demo.js", "text/javascript; charset=utf-8", include_str!("demo/demo.js")),
];

/// The routes of all files. Without rooms there is nothing to try.
pub(super) fn routes() -> Router<Arc<Shared>> {
    FILES.iter().fold(Router::new(), |router, &(path, kind, text)| {
        let serve = async move |State(shared): SharedState| -> Response {
            match shared.options.rooms {
                Rooms::Off => signaling::rooms_off().into_response(),
                Rooms::Named | Rooms::Open => page::file(kind, text),
            }
        };
        router.route(path, get(serve))
    })
}
