//! The configuration file: parsed with spans, held against the table of keys.

use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::credentials::is_secret;
use super::keys::{self, KEYS, SECTIONS};
use super::layers::Entry;
use super::node::{self, Field, Locate, Value};
use super::place::{Place, SourceText};
use super::problem::{Problem, did_you_mean};
use super::reader::is_pem;
use super::secret_file::private;

/// Reads the file at `path` into entries; what does not belong there becomes problems. `None`: it is no TOML.
pub(crate) fn read(path: &Path, problems: &mut Vec<Problem>) -> Option<Vec<Entry>> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text, problems),
        Err(error) => {
            let cure = if error.kind() == std::io::ErrorKind::NotFound {
                "write one with `relais config default > relais.toml`, or correct the path".to_owned()
            } else {
                format!(
                    "the file must be readable text for the user that runs relais: `ls -l {}`",
                    path.display()
                )
            };
            let message = format!("the configuration file cannot be read: {error}");
            problems.push(Problem::error(&Place::File(path.to_owned()), message, cure));
            None
        }
    }
}

/// Reads `text`, which stands in the file at `path`. `None`: it is no TOML.
pub(crate) fn parse(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Option<Vec<Entry>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What stands where is unknown now: hide every line that could hold a secret.
        let source = SourceText::new(path, text, &suspicious_lines(text));
        let mut line = None;
        for error in errors {
            let file = std::sync::Arc::clone(&source);
            let span = error.span().unwrap_or(0..0);
            let place = Place::Span { file, span };
            // A second error in the same line is mostly the echo of the first.
            let here = place.line_column().map(|(line, _)| line);
            if here.is_some() && here == line {
                continue;
            }
            line = here;
            let message = format!("this is not TOML: {}", error.message().replace('\n', ", "));
            let cure = if message.contains("duplicate key") {
                "a key and a section stand in the file once: write it once, with all that belongs to it"
            } else {
                "strings need quotes; lists look like [\"a\", \"b\"]"
            };
            problems.push(Problem::error(&place, message, cure));
        }
        return None;
    }
    let mut secrets = Vec::new();
    find_secrets(Some(""), table.get_ref(), &mut secrets);
    if !secrets.is_empty()
        && let Err((message, cure)) = private(path, "secrets or passwords")
    {
        problems.push(Problem::error(&Place::File(path.to_owned()), message, cure));
    }
    let locate = Locate::Spans(SourceText::new(path, text, &secrets));
    let mut entries = Vec::new();
    for section in node::fields(table.get_ref(), &locate) {
        walk(section, &mut entries, problems);
    }
    Some(entries)
}

/// Takes over the keys of one section.
fn walk(section: Field, entries: &mut Vec<Entry>, problems: &mut Vec<Problem>) {
    if !SECTIONS.iter().any(|(name, _)| *name == section.name) {
        let (message, cure) = unknown_section(&section.name);
        problems.push(Problem::error(&section.place, message, cure));
        return;
    }
    let Value::Table(fields) = section.node.value else {
        let message = format!("`{}` is a section, not {}", section.name, section.node.value.kind());
        problems.push(Problem::error(
            &section.node.place,
            message,
            format!("write `[{}]` and keys below", section.name),
        ));
        return;
    };
    for field in fields {
        match keys::find(&section.name, &field.name) {
            Some(key) => entries.push(Entry { key, node: field.node }),
            None => {
                let (message, cure) = unknown_key(&section.name, &field.name);
                problems.push(Problem::error(&field.place, message, cure));
            }
        }
    }
}

/// Message and cure for a section that there is not.
pub(crate) fn unknown_section(name: &str) -> (String, String) {
    let message = format!("unknown section `{name}`");
    let names = SECTIONS.map(|(name, _)| name);
    let cure = match (did_you_mean(name, names), keys::elsewhere(name)) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, Some(path)) => format!("did you mean the key `{path}`?"),
        (None, None) => format!("there are {}", names.join(", ")),
    };
    (message, cure)
}

/// Message and cure for a key that there is not.
pub(crate) fn unknown_key(section: &str, name: &str) -> (String, String) {
    let message = format!("unknown key `{name}` in [{section}]");
    let names: Vec<&str> = KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
    let cure = match (did_you_mean(name, names.iter().copied()), keys::elsewhere(name)) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, Some(path)) => format!("did you mean `{path}`?"),
        (None, None) => format!("[{section}] has {}", names.join(", ")),
    };
    (message, cure)
}

/// The spans of values that must not be shown. `section`: the table's section, empty at the top of the file; `None` where
/// keys and certificates are names of files.
fn find_secrets(section: Option<&str>, table: &DeTable<'_>, found: &mut Vec<Range<usize>>) {
    for (name, value) in table {
        let name = name.get_ref();
        let inner = match section {
            Some("") => Some(&**name),
            // What [tls] does not know may belong elsewhere.
            Some("tls") => keys::find("tls", name).is_none().then_some(""),
            _ => section,
        };
        let secret = match section {
            Some(section) => inner.is_some() && is_secret(section, name),
            // The name of a file, and whatever else is written there by mistake.
            None => name != "key" && is_secret("tls", name),
        };
        hide(inner, secret, value, found);
    }
}

fn hide(
    section: Option<&str>,
    secret: bool,
    value: &toml::Spanned<DeValue<'_>>,
    found: &mut Vec<Range<usize>>,
) {
    match value.get_ref() {
        DeValue::Table(table) => find_secrets(section, table, found),
        DeValue::Array(list) => list.iter().for_each(|value| hide(section, secret, value, found)),
        DeValue::String(text) if is_pem(text) => found.push(value.span()),
        _ if secret => found.push(value.span()),
        _ => (),
    }
}

/// What follows a word that could name a secret, to the end of its line; after a multi-line string begins
/// there, everything.
fn suspicious_lines(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let lower = line.to_ascii_lowercase();
        let word =
            ["secret", "pass", "key", "token", "user"].iter().filter_map(|word| lower.find(word)).min();
        if let Some(word) = word {
            let value = lower.get(word..).and_then(|rest| rest.find('='));
            let from = start + word + value.map_or(0, |at| at + 1);
            if lower.contains("\"\"\"") || lower.contains("'''") {
                spans.push(from..text.len());
                return spans;
            }
            if value.is_some() {
                spans.push(from..end);
            }
        }
        start = end;
    }
    spans
}
