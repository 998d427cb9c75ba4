//! What has been revoked, as the server keeps it: bounded, forgotten when nothing can be left of it, and in the state
//! directory if there is one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::state;
use crate::auth::{Revocation, Revocations, Revoked, rest};

/// Its name in the state directory.
const FILE: &str = "revocations.json";
/// What a file that cannot be read is renamed to.
const BROKEN: &str = "revocations.broken";
/// Revocations in force at once.
const MOST: usize = 10_000;
/// For how many seconds what is revoked by user, tag or key may live: the longest `http.ttl`.
const LONGEST: u64 = 172_800;
/// For how many seconds a credential that has expired already is remembered: its allocations may go on for a while.
const AFTERWARDS: u64 = 3600;

/// A revocation with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) revoked: Revoked,
    /// In Unix seconds; `None`: until it is lifted.
    pub(super) until: Option<u64>,
}

/// As it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: String,
    value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    at: u64,
    until: Option<u64>,
}

impl Line {
    fn of(entry: &Entry) -> Self {
        let Revoked { what, issuer, at } = &entry.revoked;
        let (kind, value) = (what.kind().to_owned(), what.value().to_owned());
        Self { kind, value, issuer: issuer.clone(), at: *at, until: entry.until }
    }

    fn entry(self) -> Option<Entry> {
        let what = Revocation::of(&self.kind, self.value)?;
        Some(Entry { revoked: Revoked { what, issuer: self.issuer, at: self.at }, until: self.until })
    }
}

/// All revocations in force.
#[derive(Default)]
pub(super) struct Store {
    entries: Vec<Entry>,
    directory: Option<PathBuf>,
}

impl Store {
    /// Reads what an earlier run has kept in `directory`. A file that cannot be read is set aside: the server starts, and
    /// says so.
    pub(super) fn load(directory: Option<&Path>, now: u64) -> Self {
        let mut store = Self { entries: Vec::new(), directory: directory.map(Path::to_owned) };
        let Some(directory) = directory else { return store };
        let text = match std::fs::read(directory.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return store,
            Err(error) => {
                tracing::error!(target: "relais", %error, "{FILE} in the state directory cannot be read: what it revokes is NOT revoked");
                return store;
            }
        };
        let lines: Option<Vec<Line>> = serde_json::from_slice(&text).ok();
        let entries = lines.and_then(|lines| lines.into_iter().map(Line::entry).collect::<Option<Vec<_>>>());
        match entries {
            Some(entries) => store.entries = entries,
            None => {
                let moved = std::fs::rename(directory.join(FILE), directory.join(BROKEN));
                tracing::error!(
                    target: "relais",
                    set_aside = moved.is_ok(),
                    "{FILE} in the state directory is broken: what it revokes is NOT revoked. It is {BROKEN} now; revoke again what it names"
                );
            }
        }
        store.forget(now);
        store
    }

    /// The list for the workers.
    pub(super) fn list(&self) -> Revocations {
        Revocations::new(self.entries.iter().map(|entry| entry.revoked.clone()))
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds one, or begins it anew. `lasting`: what it names does not expire by itself. `None`: there are too many.
    pub(super) fn add(
        &mut self,
        what: Revocation,
        issuer: Option<String>,
        now: u64,
        separator: char,
        lasting: bool,
    ) -> Option<Entry> {
        self.forget(now);
        self.remove(&what, issuer.as_deref());
        if self.entries.len() >= MOST {
            return None;
        }
        let until = match &what {
            _ if lasting => None,
            Revocation::Username(name) => {
                rest::parts(name, separator).map(|parts| parts.expiry.max(now.saturating_add(AFTERWARDS)))
            }
            _ => Some(now.saturating_add(LONGEST)),
        };
        let entry = Entry { revoked: Revoked { what, issuer, at: now }, until };
        self.entries.push(entry.clone());
        Some(entry)
    }

    /// Takes one out. `false`: it was not there.
    pub(super) fn remove(&mut self, what: &Revocation, issuer: Option<&str>) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.revoked.what != *what || entry.revoked.issuer.as_deref() != issuer);
        self.entries.len() != before
    }

    /// Forgets those that concern nothing any more. Whether there were any.
    pub(super) fn forget(&mut self, now: u64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.until.is_none_or(|until| until > now));
        self.entries.len() != before
    }

    /// What to write, and where. `None`: there is no state directory.
    pub(super) fn file(&self) -> Option<(PathBuf, Vec<u8>)> {
        let lines: Vec<Line> = self.entries.iter().map(Line::of).collect();
        Some((self.directory.clone()?, serde_json::to_vec_pretty(&lines).ok()?))
    }
}

/// Writes the file; it may take as long as the disk does.
pub(super) async fn write((directory, content): (PathBuf, Vec<u8>)) -> std::io::Result<()> {
    let written = tokio::task::spawn_blocking(move || state::write(&directory, FILE, &content));
    written.await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Revocation {
        Revocation::User(name.to_owned())
    }

    #[test]
    fn entries_live_as_long_as_what_they_concern() {
        let mut store = Store::default();
        let mut until = |what: Revocation, lasting| store.add(what, None, 1000, ':', lasting).unwrap().until;
        assert_eq!(until(Revocation::Username("9000:alice".into()), false), Some(9000));
        assert_eq!(until(Revocation::Username("900:alice".into()), false), Some(4600));
        assert_eq!(until(user("alice"), false), Some(1000 + LONGEST));
        assert_eq!(until(user("listed"), true), None);
        assert_eq!(until(Revocation::Username("kid".into()), false), None);
        assert!(store.forget(9000) && store.entries().len() == 3);
        assert!(store.forget(u64::MAX) && store.entries().len() == 2);
        assert!(store.remove(&user("listed"), None) && !store.remove(&user("listed"), None));
    }

    #[test]
    fn a_full_store_takes_no_more_but_renews_what_it_has() {
        let mut store = Store::default();
        for number in 0..MOST {
            assert!(store.add(user(&number.to_string()), None, 0, ':', false).is_some());
        }
        assert!(store.add(user("one more"), None, 0, ':', false).is_none());
        assert!(store.add(user("5"), None, 1, ':', false).is_some());
        assert!(
            store.add(user("one more"), None, LONGEST + 1, ':', false).is_some(),
            "the old ones have ended"
        );
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_broken_is_set_aside() {
        let directory = std::env::temp_dir().join(format!("relais-revocations-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut store = Store::load(Some(&directory), 0);
        store.add(user("alice"), Some("web".into()), 10, ':', false).unwrap();
        store.add(Revocation::Tag("demo".into()), None, 20, ':', true).unwrap();
        let (place, content) = store.file().unwrap();
        state::write(&place, FILE, &content).unwrap();
        assert_eq!(Store::load(Some(&directory), 30).entries(), store.entries());
        assert_eq!(Store::load(Some(&directory), 30 + LONGEST).entries().len(), 1);
        std::fs::write(directory.join(FILE), "[{").unwrap();
        assert!(Store::load(Some(&directory), 30).entries().is_empty());
        assert!(directory.join(BROKEN).exists() && !directory.join(FILE).exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
