//! What the table of keys says to people and editors: the commented file, explanations, the schema, the
//! effective settings.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key, Kind, SECTIONS};
use super::place::Place;
use super::problem::did_you_mean;
use super::settings::Settings;
use super::tokens;
use super::units::show_duration;
use crate::auth::TokenAlgorithm;

/// The configuration file with every key commented out at its default.
pub fn default_file() -> String {
    let mut out = String::from(
        "# Relais: every key, commented out at its default. All sections are optional.\n\
         # Layers: defaults < this file < environment (RELAIS__RELAY__PORTS=...) < command-line flags.\n\
         # Durations are strings with units: \"500ms\", \"30s\", \"10m\", \"1h\", \"1d\".\n\
         # Relative paths in this file start at its directory. A file with secrets must not be readable by\n\
         # others: chmod 640. `relais check FILE` says what is wrong with it, and where.\n\
         # One line has to be filled in: `secrets` in [auth] (or `users`, or `oauth`), or nobody could relay.\n",
    );
    for (section, sentence) in SECTIONS {
        let _ = write!(out, "\n# {sentence}\n[{section}]\n");
        for key in KEYS.iter().filter(|key| key.section == section) {
            for line in wrap(key.doc, 108) {
                let _ = writeln!(out, "# {line}");
            }
            let _ = writeln!(out, "#{} = {}", key.name, key.default);
        }
    }
    out
}

/// Breaks `text` at spaces into lines of at most `width` bytes where it can.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// What the key or section at `path` means.
///
/// # Errors
/// A message with a hint when there is no such key.
pub fn explain(path: &str) -> Result<String, String> {
    if let Some((section, sentence)) = SECTIONS.iter().find(|(section, _)| *section == path) {
        let mut out = format!("[{section}]\n{sentence}\n");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let _ = write!(out, "\n{}", explain_key(key));
        }
        return Ok(out);
    }
    let found = KEYS.iter().find(|key| key.path == path || key.name == path);
    found.map(explain_key).ok_or_else(|| {
        let paths = KEYS.iter().map(|key| key.path).chain(SECTIONS.map(|(section, _)| section));
        match did_you_mean(path, paths) {
            Some(near) => format!("there is no key `{path}`; did you mean `{near}`?"),
            None => format!("there is no key `{path}`; `relais config default` shows all of them"),
        }
    })
}

fn explain_key(key: &Key) -> String {
    let variable = format!("RELAIS__{}__{}", key.section.to_uppercase(), key.name.to_uppercase());
    format!(
        "{}\n  {}\n  takes:       {}\n  default:     {}\n  example:     {}\n  environment: {variable}\n",
        key.path,
        key.doc,
        takes(key.kind),
        key.default,
        key.example(),
    )
}

fn takes(kind: Kind) -> String {
    match kind {
        Kind::Sockets { .. } => "a list of addresses with ports".to_owned(),
        Kind::Texts { form } => format!("a list of {form}"),
        Kind::Ports => "a list of ports".to_owned(),
        Kind::External => "a table of local to public IP addresses".to_owned(),
        Kind::Users => "a list of tables: name and one of password, password_file, key".to_owned(),
        Kind::Secrets => "a list of tables: name and one of secret, secret_file".to_owned(),
        Kind::Certificates => "a list of tables: certificate and key".to_owned(),
        Kind::Acme => "a table: domains, and perhaps contact, directory, ca_file".to_owned(),
        Kind::Oauth => {
            "a list of tables: kid, one of key, key_file, and optionally algorithm, expires".to_owned()
        }
        Kind::ApiKeys => {
            "a list of tables: name, one of key, key_file, hash, and optionally ttl, quota, origins, tag, rate, bytes, peers"
                .to_owned()
        }
        Kind::Tokens => {
            "a list of tables: issuer, audience and one of secret, secret_file, public_key_file, jwks".to_owned()
        }
        Kind::Text { form } => form.to_owned(),
        Kind::Choice { words } => format!("one of {}", words.join(", ")),
        Kind::Duration { min, max } => {
            format!("a duration from {} to {}", show_duration(min), show_duration(max))
        }
        Kind::Count { min, max } => format!("a number from {min} to {max}"),
        Kind::Flag => "true or false".to_owned(),
    }
}

/// A JSON schema of the configuration file, for editors.
pub fn schema() -> Value {
    let mut sections = Map::new();
    for (section, sentence) in SECTIONS {
        let keys: Map<String, Value> = KEYS
            .iter()
            .filter(|key| key.section == section)
            .map(|key| (key.name.to_owned(), key_schema(key)))
            .collect();
        let value = json!({
            "type": "object", "description": sentence, "properties": keys, "additionalProperties": false,
        });
        sections.insert(section.to_owned(), value);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Relais configuration",
        "type": "object",
        "properties": sections,
        "additionalProperties": false,
    })
}

fn key_schema(key: &Key) -> Value {
    let mut schema = match key.kind {
        Kind::Sockets { .. } => {
            json!({ "type": "array", "uniqueItems": true, "items": { "type": "string", "pattern": ":[0-9]{1,5}$" } })
        }
        Kind::Texts { .. } => json!({ "type": "array", "uniqueItems": true, "items": { "type": "string" } }),
        Kind::Ports => {
            let port = json!({ "type": "integer", "minimum": 1, "maximum": 65535 });
            json!({ "type": "array", "uniqueItems": true, "items": port })
        }
        Kind::External => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Users => entries(&["password", "password_file", "key"]),
        Kind::Secrets => entries(&["secret", "secret_file"]),
        Kind::Certificates => json!({ "type": "array", "items": {
            "type": "object",
            "properties": { "certificate": { "type": "string" }, "key": { "type": "string" } },
            "required": ["certificate", "key"], "additionalProperties": false,
        } }),
        Kind::Acme => json!({
            "type": "object",
            "properties": {
                "domains": { "type": "array", "minItems": 1, "uniqueItems": true, "items": { "type": "string" } },
                "contact": { "type": "string", "pattern": "^mailto:" },
                "directory": { "type": "string", "pattern": "^https://" },
                "ca_file": { "type": "string" },
            },
            "additionalProperties": false,
        }),
        Kind::Oauth => oauth_keys(),
        Kind::ApiKeys => api_keys(),
        Kind::Tokens => tokens(),
        Kind::Text { .. } => json!({ "type": "string" }),
        Kind::Choice { words } => json!({ "type": "string", "enum": words }),
        Kind::Duration { .. } => json!({ "type": "string", "pattern": "^([0-9]+ *(ms|s|m|h|d))+$" }),
        Kind::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Flag => json!({ "type": "boolean" }),
    };
    schema["description"] = json!(key.doc);
    if let Ok(default) = toml::from_str::<Map<String, Value>>(&format!("value = {}", key.default)) {
        schema["default"] = default.get("value").cloned().unwrap_or_default();
    }
    schema
}

/// The schema of a list of tables with a name and exactly one of `fields`.
fn entries(fields: &[&str]) -> Value {
    let mut properties = Map::new();
    for field in ["name"].iter().chain(fields) {
        properties.insert((*field).to_owned(), json!({ "type": "string" }));
    }
    let one_of: Vec<Value> = fields.iter().map(|field| json!({ "required": [field] })).collect();
    json!({ "type": "array", "items": {
        "type": "object", "properties": properties, "required": ["name"], "oneOf": one_of,
        "additionalProperties": false,
    } })
}

/// The schema of `auth.oauth`.
fn oauth_keys() -> Value {
    let algorithms = TokenAlgorithm::NAMES.map(|(name, _)| name);
    let text = json!({ "type": "string" });
    json!({ "type": "array", "items": {
        "type": "object",
        "properties": {
            "kid": text, "key": text, "key_file": text,
            "algorithm": { "type": "string", "enum": algorithms },
            "expires": { "type": "integer", "minimum": 1 },
        },
        "required": ["kid"], "oneOf": [{ "required": ["key"] }, { "required": ["key_file"] }],
        "additionalProperties": false,
    } })
}

/// The schema of `http.keys`.
fn api_keys() -> Value {
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": text });
    json!({ "type": "array", "items": {
        "type": "object",
        "properties": {
            "name": text, "key": text, "key_file": text, "hash": text, "ttl": text, "tag": text, "rate": text,
            "bytes": text, "quota": { "type": "integer", "minimum": 1 }, "origins": texts, "peers": texts,
        },
        "required": ["name"],
        "oneOf": [{ "required": ["key"] }, { "required": ["key_file"] }, { "required": ["hash"] }],
        "additionalProperties": false,
    } })
}

/// The schema of `http.tokens`.
fn tokens() -> Value {
    let text = json!({ "type": "string" });
    let one_of = tokens::SOURCES.map(|source| json!({ "required": [source] }));
    json!({ "type": "array", "items": {
        "type": "object",
        "properties": {
            "issuer": text, "audience": text, "secret": text, "secret_file": text, "public_key_file": text, "jwks": text,
        },
        "required": ["issuer", "audience"], "oneOf": one_of, "additionalProperties": false,
    } })
}

/// The settings as a configuration file, secrets redacted, with what set each key.
pub fn effective(settings: &Settings) -> String {
    let mut out = format!("# Effective settings; configuration: {}\n", settings.source);
    for (section, _) in SECTIONS {
        let _ = write!(out, "\n[{section}]\n");
        for key in KEYS.iter().filter(|key| key.section == section) {
            let shown = (key.show)(settings);
            let from = match settings.source.places.get(key.path) {
                Some(place) => place.to_string(),
                None if shown == key.default => Place::Default.to_string(),
                None => "derived: see `relais config explain`".to_owned(),
            };
            let _ = writeln!(out, "{} = {shown}  # {from}", key.name);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{file, load};
    use super::*;

    #[test]
    fn the_file_in_the_repository_is_the_one_from_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/relais.toml");
        let stored = std::fs::read_to_string(path).unwrap();
        assert!(stored == default_file(), "run `relais config default > config/relais.toml`");
    }

    #[test]
    fn the_default_file_with_every_key_switched_on_is_valid_and_changes_nothing() {
        let on: String = default_file()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if !key.starts_with(' ') => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let mut problems = Vec::new();
        let entries = file::parse(Path::new("relais.toml"), &on, &mut problems).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(entries.len(), KEYS.len());
        let settings = load::built_in(&entries, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        for key in KEYS {
            assert_eq!((key.show)(&settings), key.default, "{}", key.path);
        }
    }

    #[test]
    fn explanations_name_default_and_variable() {
        let text = explain("relay.ports").unwrap();
        assert!(text.contains("default:     \"49152-65535\""), "{text}");
        assert!(text.contains("environment: RELAIS__RELAY__PORTS"), "{text}");
        assert!(explain("relay").unwrap().contains("relay.family_default"));
        assert_eq!(
            explain("relay.port").unwrap_err(),
            "there is no key `relay.port`; did you mean `relay.ports`?"
        );
    }

    #[test]
    fn the_schema_has_every_key_with_its_default() {
        let schema = schema();
        for key in KEYS {
            let found = &schema["properties"][key.section]["properties"][key.name];
            assert_eq!(found["description"], key.doc, "{}", key.path);
            assert!(found.get("default").is_some(), "{}", key.path);
        }
        assert_eq!(schema["properties"]["limits"]["properties"]["streams_per_address"]["default"], 64);
    }
}
