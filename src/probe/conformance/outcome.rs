//! What a check is, and what it may find.

use super::Probe;

/// How strongly a clause asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Must,
    Should,
}

impl Level {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
        }
    }
}

/// Why a check has not passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The server does otherwise; with what was seen.
    Fail(String),
    /// It cannot be seen from here.
    NotTestable(String),
    /// The server does not have what the clause is about.
    NotOffered(String),
}

pub(super) type Outcome = Result<(), Finding>;

pub(super) fn fail(seen: impl Into<String>) -> Outcome {
    Err(Finding::Fail(seen.into()))
}

/// Fails with what was seen unless the condition holds.
pub(super) fn need(holds: bool, seen: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { fail(seen) }
}

pub(super) fn not_offered<T>(why: &str) -> Result<T, Finding> {
    Err(Finding::NotOffered(why.to_owned()))
}

pub(super) fn not_testable<T>(why: &str) -> Result<T, Finding> {
    Err(Finding::NotTestable(why.to_owned()))
}

/// One clause and the way to look whether it is obeyed.
pub(super) struct Check {
    /// A name that stays, for scripts and comparisons.
    pub(super) id: &'static str,
    /// RFC and section.
    pub(super) clause: &'static str,
    pub(super) level: Level,
    /// The requirement in our own words.
    pub(super) text: &'static str,
    /// It runs before the others and with nothing beside it.
    pub(super) alone: bool,
    pub(super) run: fn(&Probe) -> Outcome,
}

/// A clause that binds.
pub(super) const fn must(
    id: &'static str,
    clause: &'static str,
    text: &'static str,
    run: fn(&Probe) -> Outcome,
) -> Check {
    Check { id, clause, level: Level::Must, text, alone: false, run }
}

impl Check {
    /// The same, but first and alone: for what the traffic of other checks could hide.
    pub(super) const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }
}

/// A clause that advises.
pub(super) const fn should(
    id: &'static str,
    clause: &'static str,
    text: &'static str,
    run: fn(&Probe) -> Outcome,
) -> Check {
    Check { id, clause, level: Level::Should, text, alone: false, run }
}
