//! A value as written, with the place of each of its parts.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{Place, SourceText};

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// A key of a table, where it stands, and its value.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

/// What TOML knows. No `Debug`: it may hold secrets.
#[derive(Clone)]
pub(crate) enum Value {
    Text(String),
    /// `None`: beyond 64 bits.
    Integer(Option<i64>),
    Boolean(bool),
    List(Vec<Node>),
    Table(Vec<Field>),
    /// Nothing that any key takes; by its TOML name.
    Other(&'static str),
}

impl Value {
    /// The kind of value, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// How the places of parsed TOML are told.
#[derive(Clone)]
pub(crate) enum Locate {
    /// By span in a file.
    Spans(Arc<SourceText>),
    /// All at one place: an environment variable or a flag.
    At(Place),
}

impl Locate {
    fn place(&self, span: Range<usize>) -> Place {
        match self {
            Self::Spans(file) => Place::Span { file: Arc::clone(file), span },
            Self::At(place) => place.clone(),
        }
    }
}

/// Takes over the fields of a parsed table.
pub(crate) fn fields(table: &DeTable<'_>, locate: &Locate) -> Vec<Field> {
    table
        .iter()
        .map(|(key, value)| Field {
            name: key.get_ref().to_string(),
            place: locate.place(key.span()),
            node: node(value, locate),
        })
        .collect()
}

/// Takes over a parsed value.
pub(crate) fn node(value: &Spanned<DeValue<'_>>, locate: &Locate) -> Node {
    let place = locate.place(value.span());
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Array(list) => Value::List(list.iter().map(|value| node(value, locate)).collect()),
        DeValue::Table(table) => Value::Table(fields(table, locate)),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Datetime(_) => Value::Other("a date or time"),
    };
    Node { place, value }
}
