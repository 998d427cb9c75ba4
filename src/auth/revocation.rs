//! What can be revoked.

use core::fmt;

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
