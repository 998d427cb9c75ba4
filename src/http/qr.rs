//! `/qr.svg`: a link to this server's page as a QR code, so that a phone need not type the name of a room. A code costs a
//! thousand times what another answer does, so each address has a rate.

use super::SharedState;
use super::caller::Caller;
use super::error::Refusal;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use qrcodegen::{QrCode, QrCodeEcc};
use serde::Deserialize;
use std::fmt::Write as _;

/// The longest link in bytes: a host name of a hundred letters, and the longest name of a room, percent-encoded.
const LONGEST: usize = 512;

/// Light modules around the code, which readers need (ISO 18004).
const QUIET: i32 = 4;

#[derive(Deserialize)]
pub(super) struct Wanted {
    text: String,
}

/// `GET /qr.svg?text=…`. Only links to the host that was asked: nobody gets codes for other places drawn under this
/// server's name.
pub(super) async fn code(
    State(shared): SharedState,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let Ok(Query(Wanted { text })) = wanted else {
        return Refusal::new(StatusCode::BAD_REQUEST, "bad_query", "The query has no text.")
            .help("The form is /qr.svg?text=LINK, with LINK percent-encoded.")
            .into_response();
    };
    if text.len() > LONGEST || !caller.is_own_link(&text) {
        return Refusal::new(StatusCode::BAD_REQUEST, "not_own_link", "This is no link to this server.")
            .help("Codes are made for http: and https: links to the very host that is asked, of at most 256 bytes.")
            .into_response();
    }
    // Callers on this machine as well: a proxy that names nobody may have a crowd behind it.
    if let Err(wait) = shared.codes.charge(caller.prefix).await {
        return Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "Your address asks too often.",
        )
        .help("Keep the code: it stays right as long as the link does.")
        .wait(wait)
        .into_response();
    }
    let Ok(code) = QrCode::encode_text(&text, QrCodeEcc::Medium) else {
        return Refusal::new(StatusCode::BAD_REQUEST, "not_own_link", "The link does not fit.")
            .into_response();
    };
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "no-store")]
        .map(|(name, value)| (name, HeaderValue::from_static(value)));
    (headers, svg(&code)).into_response()
}

/// Dark on light whatever the page's colours are: many readers know no other way round.
fn svg(code: &QrCode) -> String {
    let side = code.size() + 2 * QUIET;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
         <path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\""
    );
    for y in 0..code.size() {
        let mut x = 0;
        while x < code.size() {
            let run = (x..code.size()).take_while(|&x| code.get_module(x, y)).zip(1..).last();
            let Some((_, length)) = run else {
                x += 1;
                continue;
            };
            // Writing to a String cannot fail.
            let _ = write!(out, "M{} {}h{length}v1h-{length}z", x + QUIET, y + QUIET);
            x += length;
        }
    }
    out.push_str("\"/></svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dark_module_is_drawn_once_and_inside_the_quiet_zone() {
        let code = QrCode::encode_text("https://relay.example/#room=abc", QrCodeEcc::Medium).unwrap();
        let svg = svg(&code);
        let path = svg.rsplit_once(" d=\"").unwrap().1.split('"').next().unwrap();
        let mut drawn = 0;
        for run in path.split('M').skip(1) {
            let (x, rest) = run.split_once(' ').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let length: i32 = rest.split('v').next().unwrap().parse().unwrap();
            let (x, y): (i32, i32) = (x.parse().unwrap(), y.parse().unwrap());
            for step in 0..length {
                assert!(code.get_module(x + step - QUIET, y - QUIET));
            }
            drawn += length;
        }
        let dark = (0..code.size()).flat_map(|y| (0..code.size()).map(move |x| (x, y)));
        assert_eq!(drawn, dark.map(|(x, y)| i32::from(code.get_module(x, y))).sum::<i32>());
    }
}
