//! Where a value stands.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file's text as it may be shown: secrets in it are masked, byte for byte, so that spans stay right.
#[derive(PartialEq, Eq)]
pub struct SourceText {
    path: PathBuf,
    text: String,
}

impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceText").field(&self.path).finish()
    }
}

impl SourceText {
    /// Keeps `text` of the file at `path`, with the bytes of `secrets` masked.
    pub(crate) fn new(path: &Path, text: &str, secrets: &[Range<usize>]) -> Arc<Self> {
        let masked = text
            .char_indices()
            .flat_map(|(at, c)| {
                let hide = c != '\n' && secrets.iter().any(|span| span.contains(&at));
                let (c, count) = if hide { ('*', c.len_utf8()) } else { (c, 1) };
                std::iter::repeat_n(c, count)
            })
            .collect();
        Arc::new(Self { path: path.to_owned(), text: masked })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where a value stands, or ought to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A built-in default.
    Default,
    /// Bytes of the configuration file.
    Span {
        /// The file.
        file: Arc<SourceText>,
        /// The bytes.
        span: Range<usize>,
    },
    /// A file as a whole: the configuration file or one it names.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag(String),
}

impl Place {
    /// Line and column, both from 1, the column counted in characters; only for a place within a file.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.excerpt().map(|excerpt| (excerpt.line, excerpt.column))
    }

    /// The line of a place within a file.
    pub(crate) fn excerpt(&self) -> Option<Excerpt<'_>> {
        let Self::Span { file, span } = self else { return None };
        let start = span.start.min(file.text.len());
        let before = file.text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_text = file.text.get(line_start..)?.lines().next().unwrap_or_default();
        let in_line = before.get(line_start..)?;
        let marked = file.text.get(start..span.end.min(line_start + line_text.len()).max(start))?;
        Some(Excerpt {
            line: before.matches('\n').count() + 1,
            column: in_line.chars().count() + 1,
            width: marked.chars().count().max(1),
            text: line_text,
        })
    }

    /// Whether the file that this place lies in is `path`.
    pub fn is_in(&self, path: &Path) -> bool {
        match self {
            Self::Span { file, .. } => file.path() == path,
            Self::File(file) => file == path,
            _ => false,
        }
    }
}

/// A line of a file with something marked in it.
pub(crate) struct Excerpt<'a> {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) width: usize,
    pub(crate) text: &'a str,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built-in default"),
            Self::Span { file, .. } => {
                let (line, column) = self.line_column().unwrap_or((1, 1));
                write!(f, "{}:{line}:{column}", file.path.display())
            }
            Self::File(path) => path.display().fmt(f),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}
