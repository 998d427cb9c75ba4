//! What has been revoked: a list that is replaced as a whole, and asked for each login.

use core::fmt;
use std::collections::BTreeMap;

use super::login::Login;
use super::policy::Policy;

/// What to revoke.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revocation {
    /// The one credential with this user name, as USERNAME has it.
    Username(String),
    /// All of this user: what a user name says without expiry and policy.
    User(String),
    /// All that carry this tag.
    Tag(String),
    /// All that were issued for this API key.
    Key(String),
}

impl Revocation {
    /// What kind it is, in one word: `username`, `user`, `tag` or `key`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Username(_) => "username",
            Self::User(_) => "user",
            Self::Tag(_) => "tag",
            Self::Key(_) => "key",
        }
    }

    /// Which one of its kind.
    pub fn value(&self) -> &str {
        match self {
            Self::Username(value) | Self::User(value) | Self::Tag(value) | Self::Key(value) => value,
        }
    }

    /// The one of a kind by its name. `None`: there is no such kind.
    pub fn of(kind: &str, value: String) -> Option<Self> {
        match kind {
            "username" => Some(Self::Username(value)),
            "user" => Some(Self::User(value)),
            "tag" => Some(Self::Tag(value)),
            "key" => Some(Self::Key(value)),
            _ => None,
        }
    }
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind(), self.value())
    }
}

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// What is revoked.
    pub what: Revocation,
    /// If it is named, only what was issued for this API key.
    pub issuer: Option<String>,
    /// Since when, in Unix seconds. Of a user, tag or key it concerns what was issued until then, and what does not say when.
    pub at: u64,
}

impl Revoked {
    /// Whether it concerns the credential of a login.
    pub fn covers(&self, login: &Login) -> bool {
        let (name, user) = (login.user(), login.subject());
        let is_it = match &self.what {
            Revocation::Username(value) => value == name,
            Revocation::User(value) => value == user,
            Revocation::Tag(value) => login.policy().and_then(|policy| policy.tag.as_ref()) == Some(value),
            Revocation::Key(value) => login.policy().and_then(|policy| policy.key.as_ref()) == Some(value),
        };
        is_it && self.holds_for(login.policy())
    }

    /// Whether it concerns what was issued by whom and when a policy says, given that it is about this credential.
    fn holds_for(&self, policy: Option<&Policy>) -> bool {
        let of_issuer =
            self.issuer.is_none() || self.issuer.as_ref() == policy.and_then(|policy| policy.key.as_ref());
        let issued = policy.and_then(|policy| policy.issued);
        let by_name = matches!(self.what, Revocation::Username(_));
        of_issuer && (by_name || issued.is_none_or(|issued| issued <= self.at))
    }
}

/// All that is revoked, ready to be asked for each login.
#[derive(Debug, Default)]
pub struct Revocations {
    usernames: BTreeMap<String, Vec<Revoked>>,
    users: BTreeMap<String, Vec<Revoked>>,
    tags: BTreeMap<String, Vec<Revoked>>,
    keys: BTreeMap<String, Vec<Revoked>>,
}

impl Revocations {
    /// The list of these entries.
    pub fn new(entries: impl IntoIterator<Item = Revoked>) -> Self {
        let mut list = Self::default();
        for entry in entries {
            let table = match entry.what {
                Revocation::Username(_) => &mut list.usernames,
                Revocation::User(_) => &mut list.users,
                Revocation::Tag(_) => &mut list.tags,
                Revocation::Key(_) => &mut list.keys,
            };
            table.entry(entry.what.value().to_owned()).or_default().push(entry);
        }
        list
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        [&self.usernames, &self.users, &self.tags, &self.keys].iter().all(|table| table.is_empty())
    }

    /// Whether the credential of a login is revoked.
    pub fn cover(&self, login: &Login) -> bool {
        !self.is_empty() && self.cover_name(login.user(), login.subject(), login.policy())
    }

    /// Whether a credential is revoked of which is known what a login would say: USERNAME, the user in it, and its policy.
    pub fn cover_name(&self, username: &str, user: &str, policy: Option<&Policy>) -> bool {
        let field = |field: fn(&Policy) -> Option<&String>| policy.and_then(field);
        let key = field(|policy| policy.key.as_ref());
        let tag = field(|policy| policy.tag.as_ref());
        let hits = |table: &BTreeMap<String, Vec<Revoked>>, value: Option<&str>| {
            let entries = value.and_then(|value| table.get(value));
            entries.is_some_and(|entries| entries.iter().any(|entry| entry.holds_for(policy)))
        };
        hits(&self.usernames, Some(username))
            || hits(&self.users, Some(user))
            || hits(&self.tags, tag.map(String::as_str))
            || hits(&self.keys, key.map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::rest;

    fn list(entries: &[(&str, &str, Option<&str>)]) -> Revocations {
        Revocations::new(entries.iter().map(|(kind, value, issuer)| Revoked {
            what: Revocation::of(kind, (*value).to_owned()).unwrap(),
            issuer: issuer.map(str::to_owned),
            at: 1000,
        }))
    }

    fn covers(list: &Revocations, name: &str) -> bool {
        let parts = rest::parts(name, ':').unwrap();
        list.cover_name(name, parts.user, Some(&parts.policy.unwrap()))
    }

    #[test]
    fn each_kind_concerns_its_own() {
        let name = "5000:alice?policy&tag=demo&key=web&issued=900";
        for (kind, value) in [("username", name), ("user", "alice"), ("tag", "demo"), ("key", "web")] {
            let list = list(&[(kind, value, None)]);
            assert!(!list.is_empty() && covers(&list, name), "{kind}");
            for other in ["5000:bob?policy&tag=x&key=y&issued=900", "5001:bob"] {
                assert!(!covers(&list, other), "{kind} {other}");
            }
            assert!(!covers(&list_of_other(kind), name), "{kind}");
        }
        assert!(Revocation::of("password", String::new()).is_none());
    }

    fn list_of_other(kind: &str) -> Revocations {
        list(&[(kind, "other", None)])
    }

    #[test]
    fn what_was_issued_later_is_spared_but_for_a_credential_by_its_name() {
        let (before, after) = ("5000:alice?policy&issued=1000", "5000:alice?policy&issued=1001");
        let list_of_user = list(&[("user", "alice", None)]);
        assert!(covers(&list_of_user, before) && !covers(&list_of_user, after));
        assert!(covers(&list_of_user, "5000:alice"), "it does not say when");
        assert!(covers(&list(&[("username", after, None)]), after));
    }

    #[test]
    fn a_key_revokes_what_was_issued_for_it_alone() {
        let own = list(&[("user", "alice", Some("web"))]);
        assert!(covers(&own, "5000:alice?policy&key=web"));
        assert!(!covers(&own, "5000:alice?policy&key=app") && !covers(&own, "5000:alice"));
        let name = "5000:alice?policy&key=app";
        assert!(!covers(&list(&[("username", name, Some("web"))]), name));
    }
}
