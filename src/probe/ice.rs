//! `iceServers` as people paste them.

use serde_json::Value;

use crate::config::Secret;

/// The most URLs that one paste is probed for: each takes seconds.
const MOST: usize = 32;

/// One URL with what stands beside it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) url: String,
    pub(crate) username: Option<String>,
    pub(crate) credential: Option<Secret>,
    /// `credentialType`, when it is not "password".
    pub(crate) odd_type: Option<String>,
}

/// Reads an object with `iceServers`, a bare array, or a single entry.
///
/// # Errors
/// What is wrong, without any of the text: it holds secrets.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, String> {
    if text.trim().is_empty() {
        return Err("there is nothing to read".to_owned());
    }
    let value: Value = serde_json::from_str(text).map_err(|error| {
        format!("this is no JSON (line {}, column {}); keys need quotes", error.line(), error.column())
    })?;
    let servers = value.get("iceServers").or_else(|| value.get("ice_servers")).unwrap_or(&value);
    let servers: &[Value] = match servers {
        Value::Array(servers) => servers,
        single @ Value::Object(_) => std::slice::from_ref(single),
        _ => return Err("there is no array of servers".to_owned()),
    };
    let mut entries = Vec::new();
    for (number, server) in (1..).zip(servers) {
        let text = |key: &str| server.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        let urls = server
            .get("urls")
            .or_else(|| server.get("url"))
            .ok_or_else(|| format!("server {number} has no `urls`"))?;
        let urls: Vec<&str> = match urls {
            Value::String(url) => vec![url],
            Value::Array(urls) => urls.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if urls.is_empty() {
            return Err(format!("`urls` of server {number} is neither a text nor an array of texts"));
        }
        for url in urls {
            entries.push(Entry {
                url: url.to_owned(),
                username: text("username"),
                credential: text("credential").or_else(|| text("password")).map(Secret::new),
                odd_type: text("credentialType").filter(|kind| kind != "password"),
            });
        }
    }
    match entries.len() {
        0 => Err("there are no servers".to_owned()),
        count if count > MOST => {
            Err(format!("{count} URLs are more than the {MOST} that are probed at once"))
        }
        _ => Ok(entries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let shown = |entry: Entry| {
            (entry.url, entry.username, entry.credential.map(|secret| secret.expose().to_owned()))
        };
        parse(text).unwrap().into_iter().map(shown).collect()
    }

    #[test]
    fn every_dialect_of_pasted_servers_is_read() {
        let bare = |url: &str| (url.to_owned(), None, None);
        let full = |url: &str| (url.to_owned(), Some("u".to_owned()), Some("p".to_owned()));
        assert_eq!(
            urls(
                r#"{"iceServers":[{"urls":"stun:a"},{"urls":["turn:b","turn:c"],"username":"u","credential":"p"}],"ttl":1}"#
            ),
            [bare("stun:a"), full("turn:b"), full("turn:c")]
        );
        assert_eq!(urls(r#"[{"url":"turn:b","username":"u","password":"p"}]"#), [full("turn:b")]);
        assert_eq!(urls(r#"{"urls":["stun:a"]}"#), [bare("stun:a")]);
        assert_eq!(
            parse(r#"[{"urls":"turn:a","credentialType":"oauth"}]"#).unwrap()[0].odd_type.as_deref(),
            Some("oauth")
        );
    }

    #[test]
    fn errors_say_where_and_repeat_no_secret() {
        for text in
            ["", "{", "[]", "3", "{}", r#"[{"urls":7}]"#, "{iceServers:[]}", r#"{"credential":"wonderland"}"#]
        {
            assert!(!parse(text).unwrap_err().contains("wonder"), "{text}");
        }
        assert!(parse(r#"[{"urls":"stun:a"},{"username":"x"}]"#).unwrap_err().contains("server 2"));
        let many = format!("[{{\"urls\":[{}]}}]", vec!["\"stun:a\""; 33].join(","));
        assert!(parse(&many).unwrap_err().contains("33"));
    }
}
