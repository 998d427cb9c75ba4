//! What has been revoked, as the server keeps it: bounded, forgotten when nothing can be left of it, and in the state
//! directory if there is one.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::{Error, state};
use crate::auth::rest::{self, MAX_USERNAME};
use crate::auth::{Revocation, Revocations, Revoked};
use crate::time::{Now, Timestamp};

/// Its name in the state directory.
const FILE: &str = "revocations.json";
/// What a file that is broken is renamed to, with a number behind.
const BROKEN: &str = "revocations.broken";
/// Broken ones that are kept.
const MOST_BROKEN: u32 = 100;
/// The longest file, in bytes: more than any that this server writes.
const LONGEST_FILE: u64 = 64 << 20;
/// Revocations in force at once.
const MOST: usize = 10_000;
/// Of those, on behalf of one API key.
const MOST_OF_ISSUER: usize = 2_000;
/// Of those, what API keys leave to the operator.
const RESERVED: usize = 1_000;
/// For how many seconds what is issued for an API key may live: the longest `http.ttl`.
const LONGEST: u64 = 172_800;
/// For how many seconds a credential that has expired already is remembered: its allocations may go on for a while.
const AFTERWARDS: u64 = 3600;

/// A revocation with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) revoked: Revoked,
    /// In Unix seconds; `None`: until it is lifted.
    pub(super) until: Option<u64>,
    /// The same on the monotonic clock, as far off as it was when the entry came here. It is forgotten when both have passed: a
    /// wall clock that jumps, and is right again later, makes nothing good that is revoked.
    passes: Timestamp,
}

impl Entry {
    /// `life`: for how many seconds it can concern anything at all.
    fn new(revoked: Revoked, until: Option<u64>, life: u64, now: Now) -> Self {
        let left = until.map_or(0, |until| until.saturating_sub(now.unix)).min(life);
        Self { revoked, until, passes: now.mono + Duration::from_secs(left) }
    }

    fn concerns(&self, now: Now) -> bool {
        self.until.is_none_or(|until| until > now.unix || self.passes > now.mono)
    }
}

/// What has become of a revocation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is in the list.
    Entry(Entry),
    /// Nothing that was issued for the API key can be meant: nothing is kept. It would have ended then.
    Pointless(Option<u64>),
    /// There are too many.
    Full,
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

    fn entry(self, now: Now) -> Option<Entry> {
        let what = Revocation::of(&self.kind, self.value)?;
        // A clock that has not been set since the machine started stands long before.
        let life = self.until.map_or(0, |until| until.saturating_sub(self.at));
        Some(Entry::new(Revoked { what, issuer: self.issuer, at: self.at }, self.until, life, now))
    }
}

/// All revocations in force.
#[derive(Default)]
pub(super) struct Store {
    entries: Vec<Entry>,
    directory: Option<PathBuf>,
}

impl Store {
    /// Reads what an earlier run has kept in `directory`. What is broken is set aside: the server starts, and says so.
    ///
    /// # Errors
    /// When there is a file that cannot be read or set aside: what it revokes would be good again.
    pub(super) fn load(directory: Option<&Path>, now: Now) -> Result<Self, Error> {
        let mut store = Self { entries: Vec::new(), directory: directory.map(Path::to_owned) };
        let Some(directory) = directory else { return Ok(store) };
        let place = directory.join(FILE);
        let cannot = |what: &str, error: io::Error| {
            Error(format!(
                "the revocations in {} cannot be {what}: {error}\n  = help: let the user that runs relais read and write it; or \
                 move it away, but then what it revokes is good again",
                place.display()
            ))
        };
        let text = match state::read(directory, FILE, LONGEST_FILE) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(store),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(error) => return Err(cannot("read", error)),
        };
        match text.and_then(|text| entries(&text, now)) {
            Some(entries) => store.entries = entries,
            None => {
                let set_aside =
                    set_aside(directory).map_err(|error| cannot("set aside, broken as they are", error))?;
                tracing::error!(
                    target: "relais",
                    set_aside,
                    "{FILE} in the state directory is broken: what it revokes is NOT revoked. Revoke again what it names"
                );
            }
        }
        store.forget(now);
        Ok(store)
    }

    /// The list for the workers.
    pub(super) fn list(&self) -> Revocations {
        Revocations::new(self.entries.iter().map(|entry| entry.revoked.clone()))
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds one, or begins it anew. `listed`: it names a user of the configuration. With an `issuer` it concerns only what was
    /// issued for that API key, which has a share of the places and cannot keep one for ever.
    pub(super) fn add(
        &mut self,
        what: Revocation,
        issuer: Option<String>,
        now: Now,
        separator: char,
        listed: bool,
    ) -> Added {
        self.forget(now);
        let until = until(&what, issuer.as_deref(), now.unix, separator, listed);
        if let Some(issuer) = &issuer
            && !may_concern(&what, issuer, separator)
        {
            return Added::Pointless(until);
        }
        let renews = self.remove(&what, issuer.as_deref());
        let is_full = match &issuer {
            None => self.entries.len() >= MOST,
            Some(_) => {
                let own = self.entries.iter().filter(|entry| entry.revoked.issuer == issuer).count();
                own >= MOST_OF_ISSUER || self.entries.len() >= MOST - RESERVED
            }
        };
        if is_full && !renews {
            return Added::Full;
        }
        let entry = Entry::new(Revoked { what, issuer, at: now.unix }, until, u64::MAX, now);
        self.entries.push(entry.clone());
        Added::Entry(entry)
    }

    /// Takes one out. `false`: it was not there.
    pub(super) fn remove(&mut self, what: &Revocation, issuer: Option<&str>) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.revoked.what != *what || entry.revoked.issuer.as_deref() != issuer);
        self.entries.len() != before
    }

    /// Forgets those that concern nothing any more. Whether there were any.
    pub(super) fn forget(&mut self, now: Now) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.concerns(now));
        self.entries.len() != before
    }

    /// What to write, and where. `None`: there is no state directory.
    pub(super) fn file(&self) -> Option<(PathBuf, Vec<u8>)> {
        let lines: Vec<Line> = self.entries.iter().map(Line::of).collect();
        Some((self.directory.clone()?, serde_json::to_vec_pretty(&lines).ok()?))
    }
}

/// When a revocation has nothing to concern any more, in Unix seconds.
fn until(what: &Revocation, issuer: Option<&str>, now: u64, separator: char, listed: bool) -> Option<u64> {
    let longest = now.saturating_add(LONGEST);
    match (what, issuer) {
        (Revocation::Username(name), issuer) => {
            let expiry = rest::parts(name, separator).filter(|_| !listed || issuer.is_some());
            let end = expiry.map(|parts| parts.expiry.max(now.saturating_add(AFTERWARDS)));
            // Whoever has only the key gets nothing that lives longer.
            if issuer.is_some() { Some(end.map_or(longest, |end| end.min(longest))) } else { end }
        }
        // All credentials with it were issued here.
        (Revocation::Key(_), _) | (_, Some(_)) => Some(longest),
        // Who has the shared secret chooses any expiry.
        (Revocation::User(_) | Revocation::Tag(_), None) => None,
    }
}

/// Whether anything that was issued for this API key can be meant.
fn may_concern(what: &Revocation, issuer: &str, separator: char) -> bool {
    match what {
        Revocation::Username(name) => {
            let policy = rest::parts(name, separator).and_then(|parts| parts.policy.ok());
            policy.and_then(|policy| policy.key).as_deref() == Some(issuer)
        }
        Revocation::Key(key) => key == issuer,
        Revocation::User(_) | Revocation::Tag(_) => true,
    }
}

/// What stands in a file. `None`: it is broken.
fn entries(text: &[u8], now: Now) -> Option<Vec<Entry>> {
    let lines: Vec<Line> = serde_json::from_slice(text).ok()?;
    let is_sound = |entry: &Entry| (1..=MAX_USERNAME).contains(&entry.revoked.what.value().len());
    let entries: Vec<Entry> =
        lines.into_iter().map(|line| line.entry(now).filter(is_sound)).collect::<Option<_>>()?;
    (entries.len() <= MOST).then_some(entries)
}

/// Renames the file to one that nobody has. Returns its name.
fn set_aside(directory: &Path) -> io::Result<String> {
    for number in 1..=MOST_BROKEN {
        let name = format!("{BROKEN}.{number}");
        if fs::symlink_metadata(directory.join(&name))
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            fs::rename(directory.join(FILE), directory.join(&name))?;
            return Ok(name);
        }
    }
    Err(io::Error::other(format!("there are {MOST_BROKEN} broken ones already")))
}

/// Writes the file; it may take as long as the disk does.
pub(super) async fn write((directory, content): (PathBuf, Vec<u8>)) -> io::Result<()> {
    let written = tokio::task::spawn_blocking(move || state::write(&directory, FILE, &content));
    written.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both clocks as they go together.
    fn at(unix: u64) -> Now {
        Now { mono: Timestamp::after_start(Duration::from_secs(unix)), unix }
    }

    fn user(name: &str) -> Revocation {
        Revocation::User(name.to_owned())
    }

    fn added(added: Added) -> Entry {
        match added {
            Added::Entry(entry) => entry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn entries_live_as_long_as_what_they_concern() {
        let mut store = Store::default();
        let mut until = |what: Revocation, listed| added(store.add(what, None, at(1000), ':', listed)).until;
        assert_eq!(until(Revocation::Username("9000:alice".into()), false), Some(9000));
        assert_eq!(until(Revocation::Username("900:alice".into()), false), Some(4600));
        assert_eq!(until(Revocation::Key("web".into()), false), Some(1000 + LONGEST));
        assert_eq!(until(user("alice"), false), None, "whoever has the secret chooses any expiry");
        assert_eq!(until(Revocation::Tag("demo".into()), false), None);
        assert_eq!(until(Revocation::Username("kid".into()), false), None);
        assert!(store.forget(at(9000)) && store.entries().len() == 4);
        assert!(store.forget(at(u64::MAX)) && store.entries().len() == 3);
        assert!(store.remove(&user("alice"), None) && !store.remove(&user("alice"), None));
    }

    #[test]
    fn a_wall_clock_that_jumps_and_comes_back_makes_nothing_good_again() {
        let seconds = |seconds| Timestamp::after_start(Duration::from_secs(seconds));
        let name = Revocation::Username("9000:alice".into());
        let mut store = Store::default();
        added(store.add(name.clone(), None, at(1000), ':', false));
        let jumped = Now { mono: seconds(1030), unix: 1030 + 86_400 };
        assert!(!store.forget(jumped) && store.entries().len() == 1);
        added(store.add(user("other"), Some("web".into()), jumped, ':', false));
        assert!(store.remove(&name, None), "it is still there");
        // What came while the clock was wrong waits for both clocks.
        assert!(!store.forget(at(1030 + LONGEST)) && store.forget(at(1030 + LONGEST + 86_400)));
    }

    #[test]
    fn what_is_loaded_before_the_clock_is_set_does_not_stay_for_ever() {
        let line = r#"[{"kind":"key","value":"web","at":1000000000,"until":1000172800}]"#;
        let seconds = |seconds| Timestamp::after_start(Duration::from_secs(seconds));
        let entries = entries(line.as_bytes(), Now { mono: seconds(5), unix: 0 }).unwrap();
        assert_eq!(entries[0].passes, seconds(5 + 172_800));
    }

    #[test]
    fn an_api_key_keeps_nothing_for_ever_and_nothing_that_is_not_its_own() {
        let mut store = Store::default();
        let web = || Some("web".to_owned());
        let name = |name: &str| Revocation::Username(name.to_owned());
        for pointless in [
            name("kid"),
            name("9000:alice"),
            name("9000:alice?policy&key=app"),
            name("9000:alice?policy&key=web&speed=1"),
            Revocation::Key("app".into()),
        ] {
            let done = store.add(pointless, web(), at(1000), ':', false);
            assert!(matches!(done, Added::Pointless(Some(_))), "{done:?}");
        }
        assert!(store.entries().is_empty());
        let mut until = |what: Revocation| added(store.add(what, web(), at(1000), ':', true)).until;
        assert_eq!(until(name("9000:alice?policy&key=web")), Some(9000));
        assert_eq!(until(name("4000000000:alice?policy&key=web")), Some(1000 + LONGEST));
        assert_eq!(until(user("listed")), Some(1000 + LONGEST));
        assert_eq!(until(Revocation::Tag("demo".into())), Some(1000 + LONGEST));
        assert!(store.forget(at(1000 + LONGEST)) && store.entries().is_empty());
    }

    #[test]
    fn each_key_has_a_share_and_the_operator_has_places_of_its_own() {
        let mut store = Store::default();
        let mut fill = |issuer: Option<&str>, now| {
            let mut count = 0;
            while !matches!(
                store.add(user(&count.to_string()), issuer.map(str::to_owned), at(now), ':', false),
                Added::Full
            ) {
                count += 1;
            }
            count
        };
        for issuer in ["a", "b", "c", "d"] {
            assert_eq!(fill(Some(issuer), 0), MOST_OF_ISSUER);
        }
        assert_eq!(fill(Some("e"), 0), MOST - RESERVED - 4 * MOST_OF_ISSUER);
        assert_eq!(fill(None, 0), RESERVED);
        assert_eq!(store.add(user("new"), Some("a".into()), at(0), ':', false), Added::Full);
        added(store.add(user("5"), Some("a".into()), at(1), ':', false));
        added(store.add(user("5"), None, at(1), ':', false));
        assert_eq!(store.entries().len(), MOST, "what is there is renewed");
        added(store.add(user("new"), None, at(LONGEST), ':', false));
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_broken_is_set_aside() {
        let directory = std::env::temp_dir().join(format!("relais-revocations-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let load = |now| Store::load(Some(&directory), at(now)).unwrap();
        let mut store = load(0);
        added(store.add(user("alice"), Some("web".into()), at(10), ':', false));
        added(store.add(Revocation::Tag("demo".into()), None, at(20), ':', false));
        let (place, content) = store.file().unwrap();
        state::write(&place, FILE, &content).unwrap();
        let loaded = load(30);
        let known = |store: &Store| {
            store.entries().iter().map(|entry| (entry.revoked.clone(), entry.until)).collect::<Vec<_>>()
        };
        assert_eq!(known(&loaded), known(&store));
        assert_eq!(load(30 + LONGEST).entries().len(), 1);
        let empty = r#"[{"kind":"user","value":"","at":1,"until":null}]"#;
        let many =
            format!("[{}]", vec![r#"{"kind":"user","value":"x","at":1,"until":null}"#; MOST + 1].join(","));
        for (number, text) in (1..).zip(["[{", empty, &many]) {
            fs::write(directory.join(FILE), text).unwrap();
            assert!(load(30).entries().is_empty());
            let kept = fs::read_to_string(directory.join(format!("{BROKEN}.{number}"))).unwrap();
            assert!(kept == text && !directory.join(FILE).exists(), "none is lost");
        }
        // What cannot be read at all is no broken file.
        fs::create_dir(directory.join(FILE)).unwrap();
        let error = Store::load(Some(&directory), at(30)).err().unwrap().to_string();
        assert!(error.contains("cannot be read") && error.contains("help"), "{error}");
        fs::remove_dir(directory.join(FILE)).unwrap();
        std::os::unix::fs::symlink(directory.join(format!("{BROKEN}.1")), directory.join(FILE)).unwrap();
        assert!(Store::load(Some(&directory), at(30)).is_err(), "a link is not followed");
        fs::remove_dir_all(&directory).unwrap();
    }
}
