//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;

use super::place::Place;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The server does not start.
    Error,
    /// The server starts, and something will not work as hoped.
    Warning,
}

/// One finding. `Display` renders it with the line and a caret, as rustc does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Where it stands.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub cure: String,
}

impl Problem {
    /// Something that keeps the server from starting.
    pub fn error(place: &Place, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place: place.clone(), message: message.into(), cure: cure.into() }
    }

    /// Something to know.
    pub fn warning(place: &Place, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message, cure) }
    }

    /// Whether the server cannot start with it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Sorts as a reader goes: by line of the file, then what stands elsewhere.
    pub(crate) fn order(&self) -> (u8, usize) {
        match &self.place {
            Place::Span { span, .. } => (0, span.start),
            Place::File(_) => (1, 0),
            Place::Environment(_) => (2, 0),
            Place::Flag(_) => (3, 0),
            Place::Default => (4, 0),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{name}: {}", self.message)?;
        let margin = match self.place.excerpt() {
            Some(excerpt) => {
                let number = excerpt.line.to_string();
                let margin = " ".repeat(number.len());
                writeln!(f, "{margin}--> {}", self.place)?;
                writeln!(f, "{margin} |")?;
                writeln!(f, "{number} | {}", excerpt.text)?;
                // A tab in front of the mark stays a tab, so that the caret lands under it.
                let lead: String = excerpt
                    .text
                    .chars()
                    .take(excerpt.column - 1)
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                writeln!(f, "{margin} | {lead}{}", "^".repeat(excerpt.width))?;
                margin
            }
            None => {
                if self.place != Place::Default {
                    writeln!(f, " --> {}", self.place)?;
                }
                " ".to_owned()
            }
        };
        write!(f, "{margin} = help: {}", self.cure)
    }
}

/// The candidate nearest to `word`, if it is near enough to have been meant.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove, replace, or swap with the next one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = rows[i][j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::place::SourceText;
    use super::*;

    #[test]
    fn an_error_in_a_file_shows_line_and_caret() {
        let text = "[relay]\n\tport = \"1-2\"\n";
        let file = SourceText::new(Path::new("relais.toml"), text, &[]);
        let place = Place::Span { file, span: 9..13 };
        let problem = Problem::error(&place, "unknown key `port` in [relay]", "did you mean `ports`?");
        assert_eq!(
            problem.to_string(),
            "error: unknown key `port` in [relay]\n --> relais.toml:2:2\n  |\n2 | \tport = \"1-2\"\n  | \t^^^^\n  \
             = help: did you mean `ports`?"
        );
    }

    #[test]
    fn a_warning_about_a_variable_names_it() {
        let place = Place::Environment("RELAIS__AUTH__REALM".to_owned());
        assert_eq!(
            Problem::warning(&place, "long", "shorten it").to_string(),
            "warning: long\n --> environment variable RELAIS__AUTH__REALM\n  = help: shorten it"
        );
    }

    #[test]
    fn a_masked_secret_keeps_its_width_but_not_its_letters() {
        let text = "secret = \"hünter2\" # x\n";
        let file = SourceText::new(Path::new("f"), text, std::slice::from_ref(&(9..19)));
        let shown = Problem::error(&Place::Span { file, span: 20..23 }, "m", "c").to_string();
        assert!(shown.contains("1 | secret = ********** # x"), "{shown}");
    }

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        let keys = ["addresses", "external", "ports", "family_default"];
        assert_eq!(did_you_mean("port", keys), Some("ports"));
        assert_eq!(did_you_mean("family-default", keys), Some("family_default"));
        assert_eq!(did_you_mean("adresses", keys), Some("addresses"));
        assert_eq!(did_you_mean("quota", keys), None);
        assert_eq!(did_you_mean("tsl", ["log", "tls"]), Some("tls"));
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
    }
}
