//! `Link` headers with `rel="ice-server"` (RFC 9725 §4.6), for WHIP and WHEP clients.

use axum::http::{HeaderMap, HeaderValue, header};

use super::super::grant::IceGrant;

/// Adds a header for each URL.
pub(in super::super) fn add(headers: &mut HeaderMap, grant: &IceGrant) {
    for link in render(grant) {
        if let Ok(value) = HeaderValue::from_str(&link) {
            headers.append(header::LINK, value);
        }
    }
}

fn render(grant: &IceGrant) -> Vec<String> {
    let (username, credential) = (quoted(&grant.username), quoted(&grant.credential));
    let stun = grant.stun.iter().map(|url| format!(r#"<{url}>; rel="ice-server""#));
    let turn = grant.turn.iter().map(|url| {
        format!(r#"<{url}>; rel="ice-server"; username={username}; credential={credential}; credential-type="password""#)
    });
    stun.chain(turn).collect()
}

/// A quoted-string (RFC 9110 §5.6.4, which RFC 8288 takes its parameters from).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_snapshot() {
        assert_eq!(
            render(&IceGrant::sample()),
            [
                r#"<stun:turn.example.org:3478>; rel="ice-server""#,
                r#"<turn:turn.example.org:3478?transport=udp>; rel="ice-server"; username="1790000600:alice?policy&key=shop"; credential="cGFzc3dvcmQ="; credential-type="password""#,
                r#"<turns:turn.example.org:443?transport=tcp>; rel="ice-server"; username="1790000600:alice?policy&key=shop"; credential="cGFzc3dvcmQ="; credential-type="password""#,
            ]
        );
    }

    #[test]
    fn link_parameters_are_quoted_strings() {
        assert_eq!(quoted(r#"a"b\c; d,e"#), r#""a\"b\\c; d,e""#);
    }
}
