//! Why somebody was not let in.

/// Why a login was refused, in plain terms for the operator. The client learns nothing of it but the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The first request of a client: no credentials yet.
    NoCredentials,
    /// USERNAME (or USERHASH), REALM or NONCE is missing.
    Incomplete,
    /// PASSWORD-ALGORITHM(S) are not what was offered: a bid-down attempt or a broken client.
    Algorithms,
    /// REALM is not ours.
    Realm,
    /// No such user.
    UnknownUser,
    /// The time-limited credential or the access token has ended.
    Expired,
    /// The credential has been revoked.
    Revoked,
    /// The user name carries a policy that cannot be read.
    BadPolicy,
    /// The user is there, the password is another one.
    WrongPassword,
    /// The nonce is forged, too old, or was given to another address.
    StaleNonce,
    /// An access token, and none are taken here.
    UnexpectedToken,
    /// No key has the id that came with an access token, or it is not used any more.
    UnknownKey,
    /// The access token was not sealed with our key for our name, or is not one.
    ForeignToken,
    /// The access token is good, but the request was not signed with its session key.
    WrongSessionKey,
}

impl Cause {
    /// The words for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCredentials => "no credentials",
            Self::Incomplete => "USERNAME, REALM or NONCE missing",
            Self::Algorithms => "password algorithms differ from the offer",
            Self::Realm => "another realm",
            Self::UnknownUser => "unknown user",
            Self::Expired => "credential expired",
            Self::Revoked => "credential revoked",
            Self::BadPolicy => "unreadable policy in the user name",
            Self::WrongPassword => "wrong password",
            Self::StaleNonce => "stale nonce",
            Self::UnexpectedToken => "access token, but auth.oauth is empty",
            Self::UnknownKey => "unknown or expired key id of an access token",
            Self::ForeignToken => "access token does not fit key and server name",
            Self::WrongSessionKey => "not signed with the key in the access token",
        }
    }
}

/// A refused login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 401, 420 or 438.
    pub code: u16,
    /// Why.
    pub cause: Cause,
}

impl Refusal {
    pub(super) const fn new(code: u16, cause: Cause) -> Self {
        Self { code, cause }
    }

    /// Whether the answer carries REALM, NONCE and PASSWORD-ALGORITHMS.
    pub const fn is_challenge(&self) -> bool {
        matches!(self.code, 401 | 438)
    }
}
