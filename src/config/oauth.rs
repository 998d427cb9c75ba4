//! `auth.oauth`: keys shared with authorization servers (RFC 7635 §4.1.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::credentials::Entry;
use super::node::{Node, Value};
use super::reader::{Reader, show_text};
use super::units::{self, Why};
use crate::auth::{OauthKey, TokenAlgorithm};

/// The fields of an entry.
pub(crate) const FIELDS: [&str; 5] = ["kid", "key", "key_file", "algorithm", "expires"];

const FORM: &str = "write `{ kid = \"2026-11\", key_file = \"/etc/relais/oauth\" }`, or `key` in base64 instead; \
                    `algorithm` and `expires` may follow";

/// Reads the list.
pub(crate) fn keys(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<OauthKey>> {
    let mut keys: Vec<OauthKey> = Vec::new();
    for entry in reader.list(node)? {
        let Some(entry) = Entry::read(reader, entry, &FIELDS, FORM) else { continue };
        let kid = entry.name(reader, "kid", units::user_name);
        let algorithm = match entry.field("algorithm") {
            Some(field) => reader.choice_of("algorithm", &field.node, &TokenAlgorithm::NAMES),
            None => Some(TokenAlgorithm::default()),
        };
        let key = entry.only_one_of(reader, &["key", "key_file"], FORM).and_then(|field| {
            let text = entry.secret(reader, field, "the key")?;
            let key = decode(text.expose(), algorithm?);
            key.map_err(|(message, cure)| reader.error(&field.node, message, cure)).ok()
        });
        let expires = match entry.field("expires").map(|field| (&field.node, &field.node.value)) {
            None => Some(None),
            Some((_, Value::Integer(Some(unix)))) if *unix > 0 => u64::try_from(*unix).ok().map(Some),
            Some((node, _)) => {
                reader.error(
                    node,
                    "`expires` takes seconds since 1970",
                    "write what `date -d 2027-01-31 +%s` says",
                );
                None
            }
        };
        let (Some(kid), Some(algorithm), Some(key), Some(expires)) = (kid, algorithm, key, expires) else {
            continue;
        };
        if keys.iter().any(|known| known.kid == kid) {
            entry.twice(reader, "kid", &kid, "key");
            continue;
        }
        keys.push(OauthKey { kid, algorithm, key, expires });
    }
    Some(keys)
}

/// A key in base64, in either alphabet and with or without padding: the `k` of a JSON Web Key has neither.
pub(crate) fn decode(text: &str, algorithm: TokenAlgorithm) -> Result<Zeroizing<Vec<u8>>, Why> {
    let (name, wanted) = (algorithm.name(), algorithm.key_len());
    let cure = format!("make one: `openssl rand -base64 {wanted}`");
    let plain: Zeroizing<String> =
        Zeroizing::new(text.trim_end_matches('=').replace('-', "+").replace('_', "/"));
    match STANDARD_NO_PAD.decode(plain.as_bytes()).map(Zeroizing::new) {
        Ok(key) if key.len() == wanted => Ok(key),
        Ok(key) => Err((format!("the key has {} bytes; {name} takes {wanted}", key.len()), cure)),
        Err(_) => Err(("the key is not base64".to_owned(), cure)),
    }
}

/// Shows keys without themselves.
pub(crate) fn show(keys: &[OauthKey]) -> String {
    let shown = keys.iter().map(|key| {
        let expires = key.expires.map(|expires| format!(", expires = {expires}")).unwrap_or_default();
        let (kid, algorithm) = (show_text(&key.kid), key.algorithm.name());
        format!("{{ kid = {kid}, key = \"<redacted>\", algorithm = \"{algorithm}\"{expires} }}")
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}
