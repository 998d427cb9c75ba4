//! What a request says beside its path: the query and, of the methods that have one, the body.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::error::Refusal;

/// The longest body in bytes.
const MAX_BODY: usize = 4 << 10;

/// The most members, of query and body together.
const MAX_FIELDS: usize = 64;

/// Named values. Those of a query and of a form are strings.
#[derive(Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads query and body; what the body says counts.
    pub(super) async fn read(
        query: Option<&str>,
        headers: &HeaderMap,
        body: Body,
        deadline: Duration,
    ) -> Result<Self, Refusal> {
        let mut fields = pairs("query", query.unwrap_or_default())?;
        let bytes = collect(body, deadline).await?;
        if !bytes.is_empty() {
            fields.extend(members(headers, &bytes)?);
        }
        if fields.len() > MAX_FIELDS {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "too_many_fields",
                "The request has too many fields.",
            )
            .help(format!("{MAX_FIELDS} are the most.")));
        }
        Ok(Self(fields))
    }

    /// A string that is not empty; a number stands for its digits.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(bad(name, "takes a string")),
        }
    }

    /// A whole number above 0, which may be written as a string.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let found = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_u64().or_else(|| whole(number.as_f64()?)),
            Some(Value::String(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            Some(_) => None,
        };
        found.filter(|number| *number > 0).map(Some).ok_or_else(|| bad(name, "takes a whole number above 0"))
    }

    /// A list of strings, or one string with commas.
    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(text.split(',').map(|part| part.trim().to_owned()).collect()),
            Some(Value::Array(list)) => list
                .iter()
                .map(|element| element.as_str().map(str::to_owned).ok_or_else(|| bad(name, "takes strings")))
                .collect(),
            Some(_) => Err(bad(name, "takes a list of strings")),
        }
    }

    /// Refuses what is not in `known`: a limit with a slip in its name would be none.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(unknown) => {
                let shown: String = unknown.chars().filter(|c| !c.is_control()).take(32).collect();
                Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "unknown_field",
                    "The request has a field that means nothing here.",
                )
                .help(format!("It is `{shown}`; there are {}.", known.join(", "))))
            }
        }
    }
}

/// A number that has been written with a point or an exponent, and is whole all the same. From 2^53 on it could have been
/// another one.
fn whole(number: f64) -> Option<u64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    let is_whole = number.fract() == 0.0 && (0.0..EXACT).contains(&number);
    // Of such a number these are the digits.
    is_whole.then(|| format!("{number:.0}").parse().ok()).flatten()
}

/// What is wrong with a field.
pub(super) fn bad(name: &str, why: &str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "bad_field",
        "A field of the request has a value that it cannot have.",
    )
    .help(format!("`{name}` {why}."))
}

async fn collect(body: Body, deadline: Duration) -> Result<Vec<u8>, Refusal> {
    let too_large = || {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too long, or broke off.")
            .help(format!("{MAX_BODY} bytes are the most."))
    };
    // One that announces itself as too long is not waited for.
    if usize::try_from(body.size_hint().lower()).map_or(true, |least| least > MAX_BODY) {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(deadline, axum::body::to_bytes(body, MAX_BODY)).await;
    let collected = collected.map_err(|_| {
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "The body did not come in time.")
            .help("Send it at once after the head.")
    })?;
    collected.map(Vec::from).map_err(|_| too_large())
}

/// The members of a body: a form if it says so, else JSON, whatever it says.
fn members(headers: &HeaderMap, bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        // Whoever sends JSON by a tool's default still means JSON.
        if bytes.first() != Some(&b'{') {
            let text = std::str::from_utf8(bytes).map_err(|_| bad_form("body", bytes.len()))?;
            return pairs("body", text);
        }
    }
    serde_json::from_slice(bytes).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_json", "The body is no JSON object.").help(format!(
            "Line {}, column {}: write for example {{\"ttl\":3600}}, or send no body.",
            error.line(),
            error.column()
        ))
    })
}

fn bad_form(place: &str, at: usize) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_form", "A name or value is not percent-encoded well.").help(
        format!("It stands in the {place}, at byte {at}; each name may stand once: name=value&other=value."),
    )
}

/// `name=value&…`, percent-encoded, `+` being a blank. Each name once, or it would depend on the reader which holds.
fn pairs(place: &str, text: &str) -> Result<Map<String, Value>, Refusal> {
    let mut found = Map::new();
    let mut at = 0;
    for pair in text.split('&') {
        if !pair.is_empty() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(bad_form(place, at));
            };
            if found.insert(name, value.into()).is_some() {
                return Err(bad_form(place, at));
            }
        }
        at += pair.len() + 1;
    }
    Ok(found)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(query: &str, kind: &str, body: &str) -> Result<Fields, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        Fields::read(Some(query), &headers, Body::from(body.to_owned()), Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn query_form_and_json_say_the_same() {
        const FORM: &str = "application/x-www-form-urlencoded";
        for (query, kind, body) in [
            ("ttl=60&user=a%40b+c&peers=10.0.0.1,10.0.0.2", "", ""),
            ("", FORM, "ttl=60&user=a%40b+c&peers=10.0.0.1,10.0.0.2"),
            ("ttl=5", "application/json", r#"{"ttl":60,"user":"a@b c","peers":["10.0.0.1","10.0.0.2"]}"#),
            ("", FORM, r#"{"ttl":"60","user":"a@b c","peers":["10.0.0.1","10.0.0.2"]}"#),
        ] {
            let fields = read(query, kind, body).await.unwrap();
            assert_eq!(fields.number("ttl").unwrap(), Some(60), "{query}{body}");
            assert_eq!(fields.text("user").unwrap().as_deref(), Some("a@b c"));
            assert_eq!(fields.list("peers").unwrap(), ["10.0.0.1", "10.0.0.2"]);
            assert_eq!(fields.text("none").unwrap(), None);
            assert!(fields.only(&["ttl", "user", "peers"]).is_ok());
            assert_eq!(fields.only(&["ttl", "user"]).unwrap_err().code(), "unknown_field");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_has_a_place_and_a_cure() {
        const FORM: &str = "application/x-www-form-urlencoded";
        for (kind, body, code, help) in [
            ("application/json", "{\"ttl\":\n 6x}", "bad_json", "Line 2, column 3"),
            ("application/json", "[1]", "bad_json", "Line 1, column 0"),
            (FORM, "a=1&b=%G0", "bad_form", "at byte 4"),
            (FORM, "a=1&a=2", "bad_form", "at byte 4"),
            (FORM, "a=%FF", "bad_form", "at byte 0"),
        ] {
            let refusal = read("", kind, body).await.unwrap_err();
            assert_eq!(refusal.code(), code, "{body}");
            assert!(refusal.cure().contains(help), "{body}: {}", refusal.cure());
        }
        // Languages that know one kind of number write whole ones as they like.
        for (value, number) in [("60.0", 60), ("6e1", 60), ("1e10", 10_000_000_000)] {
            let fields = read("", "", &format!("{{\"ttl\":{value}}}")).await.unwrap();
            assert_eq!(fields.number("ttl").unwrap(), Some(number), "{value}");
        }
        for value in [
            "0",
            "0.0",
            "-0.0",
            "-1",
            "-1.0",
            "1.5",
            "1e16",
            "1e99",
            "\"x\"",
            "\"\"",
            "\"6e1\"",
            "[]",
            "true",
            "18446744073709551616",
        ] {
            let fields = read("", "", &format!("{{\"ttl\":{value}}}")).await.unwrap();
            assert_eq!(fields.number("ttl").unwrap_err().code(), "bad_field", "{value}");
        }
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BODY));
        assert_eq!(read("", "", &long).await.unwrap_err().code(), "body_too_large");
        let many: Vec<String> = (0..=MAX_FIELDS).map(|n| format!("{n}=1")).collect();
        assert_eq!(read(&many.join("&"), "", "").await.unwrap_err().code(), "too_many_fields");
        let never = Body::from_stream(futures_util::stream::pending::<Result<&[u8], std::io::Error>>());
        let slow = Fields::read(None, &HeaderMap::new(), never, Duration::from_millis(10)).await;
        assert_eq!(slow.unwrap_err().code(), "body_too_slow");
    }
}
