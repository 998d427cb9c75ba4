//! `http.tokens`: whose JSON Web Tokens get `iceServers`.

use std::path::Path;

use jsonwebtoken::DecodingKey;

use super::credentials::Entry;
use super::node::{Field, Node};
use super::reader::{Reader, beside, show_text};
use super::settings::{TokenIssuer, TokenKey};
use super::units::Why;

/// The fields that say how a signature is verified; one of them stands in each entry.
pub(super) const SOURCES: [&str; 4] = ["secret", "secret_file", "public_key_file", "jwks"];

/// RFC 7518 §3.2: a key as long as the hash, or longer.
const LONG_SECRET: usize = 32;

const FORM: &str = "write `{ issuer = \"https://id.example.org\", audience = \"turn\", jwks = \"https://id.example.org/jwks.json\" }`, \
                    or `secret_file` or `public_key_file` in the place of `jwks`";

/// Reads the list.
pub(crate) fn issuers(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<TokenIssuer>> {
    let mut issuers: Vec<TokenIssuer> = Vec::new();
    for node in reader.list(node)? {
        let allowed = ["issuer", "audience", "secret", "secret_file", "public_key_file", "jwks"];
        let Some(entry) = Entry::read(reader, node, &allowed, FORM) else { continue };
        let issuer = entry.name(reader, "issuer", |text| text_of("issuer", text));
        let audience = entry.name(reader, "audience", |text| text_of("audience", text));
        let key = entry.only_one_of(reader, &SOURCES, FORM).and_then(|field| key(reader, &entry, field));
        let (Some(issuer), Some(audience), Some(key)) = (issuer, audience, key) else { continue };
        if issuers.iter().any(|known| known.issuer == issuer && known.audience == audience) {
            entry.twice(reader, "issuer", &issuer, "issuer");
            continue;
        }
        issuers.push(TokenIssuer { issuer, audience, key });
    }
    Some(issuers)
}

fn text_of(name: &str, text: &str) -> Result<String, Why> {
    if !text.is_empty() && text.len() <= 255 && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err((
        format!("`{name}` is empty or has more than 255 bytes"),
        format!("write what the tokens have as `{name}`"),
    ))
}

fn key(reader: &mut Reader<'_>, entry: &Entry<'_>, field: &Field) -> Option<TokenKey> {
    let found = match field.name.as_str() {
        "jwks" => key_set(reader.text(&field.node)?, &field.node),
        "public_key_file" => public_key(&beside(&field.node.place, reader.text(&field.node)?)),
        _ => {
            let secret = entry.secret(reader, field, "the secret")?;
            match secret.expose().len() {
                LONG_SECRET.. => Ok(TokenKey::Secret(secret)),
                length => Err((
                    format!("the secret has {length} bytes; HS256 needs {LONG_SECRET} (RFC 7518 §3.2)"),
                    "make one: `openssl rand -hex 32`".to_owned(),
                )),
            }
        }
    };
    found.map_err(|(message, cure)| reader.error(&field.node, message, cure)).ok()
}

fn public_key(path: &Path) -> Result<TokenKey, Why> {
    let shown = path.display();
    let pem = std::fs::read_to_string(path).map_err(|error| {
        (
            format!("the public key cannot be read from {shown}: {error}"),
            format!("check the path: `ls -l {shown}`"),
        )
    })?;
    if pem.contains("PRIVATE KEY") {
        return Err((
            format!("{shown} holds a private key, which the issuer alone should have"),
            format!("give the public one: `openssl pkey -in {shown} -pubout`"),
        ));
    }
    if !pem.contains("-----BEGIN PUBLIC KEY-----") && !pem.contains("-----BEGIN RSA PUBLIC KEY-----") {
        return Err((
            format!("{shown} holds no public key in PEM"),
            "that of a certificate: `openssl x509 -in FILE -noout -pubkey`".to_owned(),
        ));
    }
    if !is_usable(pem.as_bytes()) {
        return Err((
            format!("the public key in {shown} is neither Ed25519 nor P-256 nor RSA"),
            "tokens are taken that are signed with EdDSA, ES256 or RS256".to_owned(),
        ));
    }
    Ok(TokenKey::PublicKey(pem))
}

fn is_usable(pem: &[u8]) -> bool {
    /// An uncompressed point of P-256.
    const POINT: usize = 65;
    let is_p256 = |key: DecodingKey| key.try_get_as_bytes().is_ok_and(|point| point.len() == POINT);
    DecodingKey::from_ed_pem(pem).is_ok()
        || DecodingKey::from_ec_pem(pem).is_ok_and(is_p256)
        || DecodingKey::from_rsa_pem(pem).is_ok()
}

fn key_set(text: &str, node: &Node) -> Result<TokenKey, Why> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let path = beside(&node.place, text);
        return match std::fs::metadata(&path) {
            Ok(found) if found.is_file() && is_key_set(&path) => Ok(TokenKey::KeySetFile(path)),
            Ok(found) if found.is_file() => Err((
                format!("{} is no key set", path.display()),
                "it is JSON that begins with {\"keys\": [ (RFC 7517 §5); a key in PEM goes into `public_key_file`".to_owned(),
            )),
            Ok(_) => {
                Err((format!("{} is no file", path.display()), "name a file, or an https: URL".to_owned()))
            }
            Err(error) => Err((format!("{}: {error}", path.display()), "check the path".to_owned())),
        };
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    let loopback = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match scheme {
        "https" | "http" if host.is_empty() || text.contains([' ', '@']) => Err((
            format!("`{text}` is not a URL"),
            "write for example \"https://id.example.org/jwks.json\"".to_owned(),
        )),
        "https" => Ok(TokenKey::KeySetUrl(text.to_owned())),
        "http" if loopback => Ok(TokenKey::KeySetUrl(text.to_owned())),
        _ => Err((
            format!("`{text}` is not an https: URL: whoever answers in its place could sign tokens"),
            "write https:; http: is for loopback only".to_owned(),
        )),
    }
}

/// Whether a file has the form of a key set. Which of its keys are of use is told when they are fetched, again and again.
fn is_key_set(path: &Path) -> bool {
    let read =
        std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    read.is_some_and(|set| set["keys"].is_array())
}

/// Shows issuers without their secrets.
pub(crate) fn show(issuers: &[TokenIssuer]) -> String {
    let shown = issuers.iter().map(|issuer| {
        let key = match &issuer.key {
            TokenKey::Secret(_) => "secret = \"<redacted>\"".to_owned(),
            TokenKey::PublicKey(_) => "public_key_file = \"<read>\"".to_owned(),
            TokenKey::KeySetFile(path) => format!("jwks = {}", show_text(&path.display().to_string())),
            TokenKey::KeySetUrl(url) => format!("jwks = {}", show_text(url)),
        };
        let (name, audience) = (show_text(&issuer.issuer), show_text(&issuer.audience));
        format!("{{ issuer = {name}, audience = {audience}, {key} }}")
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}
