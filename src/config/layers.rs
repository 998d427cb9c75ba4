//! Defaults < file < environment < flags.

use std::collections::BTreeMap;

use ::config::{Config, ConfigError, Map, Source};
use toml::de::DeValue;

use super::file;
use super::keys::{self, KEYS, Key, Kind, SECTIONS};
use super::node::{self, Field, Locate, Node, Value};
use super::place::Place;
use super::problem::Problem;

/// A value for a key, from one layer.
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    pub(crate) node: Node,
}

/// Values from the command line, which win over all others.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    values: Vec<(String, String, String)>,
    lan: bool,
}

/// What `--lan` sets, below the environment and all other flags.
const LAN: [(&str, &str, &str); 4] = [
    ("http", "listen", "0.0.0.0:8080,[::]:8080"),
    ("http", "rooms", "open"),
    ("listen", "tls", "0.0.0.0:8443,[::]:8443"),
    ("tls", "self_signed", "true"),
];

impl Overrides {
    /// Sets `key` (`"auth.realm"`, or `"auth.secret_file"` for one secret from a file) to `value`, written as
    /// in an environment variable, in the name of the flag `flag` (`"--realm"`).
    pub fn set(&mut self, flag: impl Into<String>, key: impl Into<String>, value: impl Into<String>) {
        self.values.push((flag.into(), key.into(), value.into()));
    }

    /// Asks for a trial with other machines in the local network: pages over HTTP and HTTPS on all addresses, with a
    /// certificate of the server's own, and open rooms. Environment and other flags win over that.
    pub const fn try_in_lan(&mut self) {
        self.lan = true;
    }

    /// Whether that has been asked for.
    pub(crate) const fn is_lan(&self) -> bool {
        self.lan
    }

    /// The entries that this stands for.
    pub(crate) fn lan_entries(&self, problems: &mut Vec<Problem>) -> Vec<Entry> {
        let read = |(section, name, value): (&str, &str, &str)| {
            entry(section, name, value, Place::Flag("--lan".to_owned()), problems)
        };
        if self.lan { LAN.into_iter().filter_map(read).collect() } else { Vec::new() }
    }

    /// The entries; flags that name no key become problems.
    pub(crate) fn entries(&self, problems: &mut Vec<Problem>) -> Vec<Entry> {
        let read = |(flag, key, value): &(String, String, String)| {
            let (section, name) = key.split_once('.').unwrap_or((key, ""));
            entry(section, name, value, Place::Flag(flag.clone()), problems)
        };
        self.values.iter().filter_map(read).collect()
    }
}

/// The key for which a file stands in the environment and on the command line.
const SECRETS: (&str, &str) = ("auth", "secrets");

const PREFIX: &str = "RELAIS__";

/// The entries of environment variables `RELAIS__SECTION__KEY`; others that begin so become problems.
pub(crate) fn environment(variables: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (variable, value) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        let (section, name) = rest.split_once("__").unwrap_or((rest, ""));
        let (section, name) = (section.to_lowercase(), name.to_lowercase());
        let place = Place::Environment(variable.clone());
        entries.extend(entry(&section, &name, value, place, problems));
    }
    entries
}

/// The value `text` for the key at `section.name`, from a place where all is text.
fn entry(section: &str, name: &str, text: &str, place: Place, problems: &mut Vec<Problem>) -> Option<Entry> {
    if section == SECRETS.0 && name == "secret_file" {
        let key = keys::find(SECRETS.0, SECRETS.1)?;
        return Some(Entry { key, node: one_secret(text, place) });
    }
    let Some(key) = keys::find(section, name) else {
        let (message, cure) = if section == SECRETS.0 && ["secret", "password"].contains(&name) {
            (
                "a secret does not go into the environment, where others can read it".to_owned(),
                format!("put it into a file and set {PREFIX}AUTH__SECRET_FILE to its path"),
            )
        } else if !SECTIONS.iter().any(|(known, _)| *known == section) {
            file::unknown_section(section)
        } else {
            file::unknown_key(section, name)
        };
        problems.push(Problem::error(&place, message, cure));
        return None;
    };
    match typed(key, text.trim(), &place) {
        Ok(node) => Some(Entry { key, node }),
        Err(message) => {
            let cure = format!("write TOML as in the file: {}", key.example());
            problems.push(Problem::error(&place, format!("`{}`: {message}", key.path), cure));
            None
        }
    }
}

/// `secrets = [{ name = …, secret_file = text }]`.
fn one_secret(text: &str, place: Place) -> Node {
    let name = if matches!(place, Place::Flag(_)) { "command-line" } else { "environment" };
    let field = |name: &str, text: &str| Field {
        name: name.to_owned(),
        place: place.clone(),
        node: Node { place: place.clone(), value: Value::Text(text.to_owned()) },
    };
    let fields = vec![field("name", name), field("secret_file", text)];
    let table = Node { place: place.clone(), value: Value::Table(fields) };
    Node { place: place.clone(), value: Value::List(vec![table]) }
}

/// Gives `text` the type that `key` takes: lists by commas or as TOML, tables as TOML.
fn typed(key: &Key, text: &str, place: &Place) -> Result<Node, String> {
    let at = |value| Node { place: place.clone(), value };
    let words = || text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let toml = || {
        DeValue::parse(text)
            .map(|value| node::node(&value, &Locate::At(place.clone())))
            .map_err(|error| format!("this is not TOML: {}", error.message().replace('\n', ", ")))
    };
    // A bracket alone does not make a TOML list: [::]:3478 is an address.
    let toml_list = text.starts_with('[')
        && text.get(1..).is_some_and(|rest| rest.trim_start().starts_with(['"', '\'', ']', '{']));
    match key.kind {
        Kind::Users
        | Kind::Secrets
        | Kind::Certificates
        | Kind::Acme
        | Kind::Oauth
        | Kind::ApiKeys
        | Kind::Tokens => toml(),
        Kind::External if text.starts_with('{') => toml(),
        Kind::External => {
            let pair = |word: &str| {
                let (local, public) = word.split_once('=').unwrap_or((word, ""));
                let value = Value::Text(public.trim().to_owned());
                Field { name: local.trim().to_owned(), place: place.clone(), node: at(value) }
            };
            Ok(at(Value::Table(words().map(pair).collect())))
        }
        Kind::Ports if text.starts_with('[') => toml(),
        Kind::Ports => {
            let number = |word: &str| {
                word.parse().map_or_else(|_| Value::Text(word.to_owned()), |n| Value::Integer(Some(n)))
            };
            Ok(at(Value::List(words().map(|word| at(number(word))).collect())))
        }
        Kind::Sockets { .. } | Kind::Texts { .. } if toml_list => toml(),
        Kind::Sockets { .. } | Kind::Texts { .. } => {
            Ok(at(Value::List(words().map(|word| at(Value::Text(word.to_owned()))).collect())))
        }
        Kind::Count { .. } => {
            Ok(at(text.parse().map_or_else(|_| Value::Text(text.to_owned()), |n| Value::Integer(Some(n)))))
        }
        Kind::Flag => Ok(at(text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Boolean))),
        Kind::Text { .. } | Kind::Choice { .. } | Kind::Duration { .. } => {
            Ok(at(Value::Text(text.to_owned())))
        }
    }
}

/// The built-in defaults, as entries like all others.
pub(crate) fn defaults() -> Vec<Entry> {
    KEYS.iter()
        .filter_map(|key| {
            let value = DeValue::parse(key.default).ok()?;
            Some(Entry { key, node: node::node(&value, &Locate::At(Place::Default)) })
        })
        .collect()
}

/// One layer as the `config` crate sees it: key paths to the number of the entry. A number and not the value
/// itself, so that a table or list replaces the one below it as a whole and keeps its place.
#[derive(Clone, Debug)]
struct Layer(Vec<(&'static str, i64)>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, ::config::Value>, ConfigError> {
        Ok(self.0.iter().map(|(path, at)| ((*path).to_owned(), ::config::Value::new(None, *at))).collect())
    }
}

/// Parts the entries into those that hold and those that another layer overrides; lowest layer first.
pub(crate) fn merge(layers: Vec<Vec<Entry>>) -> (Vec<Entry>, Vec<Entry>) {
    let mut number = 0_i64;
    let mut builder = Config::builder();
    for layer in &layers {
        let numbered = layer.iter().map(|entry| {
            let item = (entry.key.path, number);
            number += 1;
            item
        });
        builder = builder.add_source(Layer(numbered.collect()));
    }
    let merged = builder.build().unwrap_or_default();
    let mut holding = Vec::new();
    let mut overridden = Vec::new();
    for (number, entry) in (0_i64..).zip(layers.into_iter().flatten()) {
        if merged.get_int(entry.key.path).is_ok_and(|winner| winner == number) {
            holding.push(entry);
        } else {
            overridden.push(entry);
        }
    }
    (holding, overridden)
}
