//! The id that a session's later requests name. The library's own id is what the room knows its member by, so that one opens
//! nothing: a client that polls is given another one, which nobody else is told.

use axum::http::Uri;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// 128 bits.
const RANDOM: usize = 16;

/// A new one. `None`: the system has no randomness to give.
pub(super) fn new() -> Option<String> {
    let mut random = [0; RANDOM];
    getrandom::fill(&mut random).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(random))
}

/// The id in the library's answer to a new client: `0{"sid":"…",…}` after an optional length.
pub(super) fn id_in(open: &str) -> Option<&str> {
    let (_, rest) = open.split_once("{\"sid\":\"")?;
    rest.split_once('"').map(|(id, _)| id)
}

/// That answer with `secret` instead of the library's `id`.
pub(super) fn hide(open: &str, id: &str, secret: &str) -> String {
    let text = |open: &str| open.replacen(id, secret, 1);
    // Engine.IO 3 says first how long it is.
    match open.split_once(':').and_then(|(length, rest)| Some((length.parse::<usize>().ok()?, rest))) {
        Some((length, rest)) => {
            format!("{}:{}", (length + secret.len()).saturating_sub(id.len()), text(rest))
        }
        None => text(open),
    }
}

/// The address of a request with the library's `id` where the client has written `secret`. `None`: it would be none.
pub(super) fn reveal(uri: &Uri, secret: &str, id: &str) -> Option<Uri> {
    let pairs = uri.query()?.split('&').map(|pair| match pair.strip_prefix("sid=") {
        Some(value) if value == secret => format!("sid={id}"),
        _ => pair.to_owned(),
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    Uri::builder().path_and_query(format!("{}?{query}", uri.path())).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_random_and_fits_into_the_answer() {
        let secrets: std::collections::BTreeSet<String> = (0..1000).map(|_| new().unwrap()).collect();
        assert_eq!(secrets.len(), 1000);
        assert!(secrets.iter().all(|secret| secret.len() * 6 >= 120));
        // No place of it is the same in all of them, and none takes a few values only; the last has but two bits.
        for place in 0..21 {
            let values: std::collections::BTreeSet<u8> =
                secrets.iter().map(|secret| secret.as_bytes()[place]).collect();
            assert!(values.len() > 48, "{place}: {}", values.len());
        }
        let (id, secret) = ("abc", "0123456789");
        let open = r#"0{"sid":"abc","upgrades":[]}"#;
        assert_eq!(id_in(open), Some(id));
        let hidden = r#"0{"sid":"0123456789","upgrades":[]}"#;
        assert_eq!(hide(open, id, secret), hidden);
        assert_eq!(hide(&format!("{}:{open}", open.len()), id, secret), format!("{}:{hidden}", hidden.len()));
        let uri: Uri = "/socket.io/?EIO=4&sid=0123456789&transport=polling".parse().unwrap();
        let inside = reveal(&uri, secret, id).unwrap();
        assert_eq!(inside.to_string(), "/socket.io/?EIO=4&sid=abc&transport=polling");
    }
}
