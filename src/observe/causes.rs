//! Why something was refused, for whoever is at a loss: one word that stays, a sentence, and a cure. This is the one table.

use crate::auth::Cause as LoginCause;
use crate::turn::RefusalCause;

macro_rules! causes {
    ($($(#[doc = $doc:literal])* $variant:ident => $word:literal, $message:literal, $cure:literal;)*) => {
        /// Why a request was refused or data were dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Why { $($(#[doc = $doc])* $variant,)* }

        impl Why {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word that programs may rely on.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The sentence, where nothing more is known.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }

            /// What to do about it.
            pub const fn cure(self) -> &'static str {
                match self { $(Self::$variant => $cure,)* }
            }
        }
    };
}

causes! {
    /// The credential has ended.
    Expired => "expired",
        "The credential expired.",
        "Get fresh iceServers just before each call; do not keep them in a file or a page that is cached.";
    /// The password of a time-limited name was not made with a secret of this server.
    WrongSecret => "wrong_secret",
        "The password does not belong to this user name: it was made with another secret, or for another user name.",
        "Use the same secret in the application and in auth.secrets, and make the password as base64 of HMAC-SHA1 over the whole user name.";
    /// No such user, or another password: which of the two is nobody's business.
    UnknownUserOrPassword => "unknown_user_or_password",
        "The user is unknown, or the password is wrong.",
        "Compare user name and password with auth.users. Time-limited user names begin with the time at which they end.";
    /// Another realm.
    WrongRealm => "wrong_realm",
        "The client answered with another realm than the server's.",
        "Clients take the realm from the server's answer; one that has a realm configured needs the value of auth.realm.";
    /// Revoked.
    Revoked => "revoked",
        "The credential has been revoked.",
        "Get fresh iceServers. If it was revoked by mistake, the operator can lift it: relais credentials revocations.";
    /// The policy in the user name.
    BadPolicy => "bad_policy",
        "The policy in the user name cannot be read.",
        "Behind ?policy& stand tag, key, issued, rate, bytes, allocations and peers, each once, as name=value joined by &; relais credentials show explains a user name.";
    /// Attributes of the login are missing.
    Incomplete => "incomplete_credentials",
        "The request was signed, but user name, realm or nonce was missing.",
        "This is a fault of the client's library; another version of it may do better.";
    /// PASSWORD-ALGORITHM.
    Algorithms => "password_algorithms",
        "The password algorithms are not those that the server offered.",
        "This is a fault of the client, or somebody has changed packets on the way.";
    /// Access tokens.
    AccessToken => "access_token",
        "The access token is not good here.",
        "Compare kid, key and server name of the authorization server with auth.oauth and auth.oauth_server_name.";
    /// The server's limit for each user.
    Quota => "quota",
        "The user has as many allocations as the server allows.",
        "Close calls that nobody needs, give each person a user name of its own, or raise limits.allocations_per_user.";
    /// The limit in the credential.
    AllocationLimit => "allocation_limit",
        "The user has as many allocations as the credential allows.",
        "A browser makes one for each TURN URL and network interface; issue credentials with more allocations.";
    /// The rules of the server.
    PeerDenied => "peer_denied",
        "The server does not relay to this address.",
        "Private and special addresses are refused by default; if this peer may be reached, list it in peers.allow.";
    /// The list in the credential.
    CredentialPeers => "credential_peers",
        "The credential names the peers that may be reached, and this is none of them.",
        "Issue the credential with this address among its peers, or without a list.";
    /// No relay of the family.
    AddressFamily => "address_family",
        "The server has no relay address of this family (IPv4 or IPv6), or the peer is of another one.",
        "Ask for the other family, or give the server an address of this one in relay.addresses.";
    /// Out of ports, descriptors or memory.
    NoPorts => "no_ports",
        "The server has no port, descriptor or memory left, or the reserved port is gone.",
        "Widen relay.ports, raise the limit of open files, or add another server.";
    /// As many permissions, channels or connections as there may be.
    TooManyPeers => "too_many_peers",
        "The allocation has as many permissions, channels or connections as it may.",
        "Raise the limits of [limits], if one client really needs so many peers.";
    /// 437.
    Mismatch => "mismatch",
        "There is no allocation for this address of the client, or there already is one.",
        "The client's address has changed or its allocation has ended; an ICE restart makes a new one.";
    /// 441.
    WrongUser => "wrong_user",
        "The allocation was made with another credential.",
        "Refresh with the credential that made the allocation, or make a new one.";
    /// Before the end.
    Draining => "draining",
        "The server is about to stop and takes no more calls.",
        "Try another server, or this one in a minute.";
    /// Another server.
    Redirect => "redirect",
        "The server sends clients to another one.",
        "Browsers do not follow; take this server out of iceServers, or look at [redirect].";
    /// 420.
    UnknownAttribute => "unknown_attribute",
        "The request has an attribute that must be understood and is not.",
        "The client asks for something that this server does not have; another setting of the client may help.";
    /// 442.
    UnsupportedTransport => "unsupported_transport",
        "The client asks for an allocation of a transport that is not relayed.",
        "Ask for UDP. For TCP (RFC 6062) set relay.tcp.";
    /// 400.
    Malformed => "malformed",
        "The request does not have the form that the RFCs ask for.",
        "This is a fault of the client's library; another version of it may do better.";
    /// 405.
    MobilityForbidden => "mobility_forbidden",
        "The allocation cannot be taken to another address.",
        "Set relay.mobility, or let the client make a new allocation.";
    /// 446, 447.
    PeerConnection => "peer_connection",
        "The connection with the peer is there already, or could not be made.",
        "Look whether the peer listens there and lets the server's relay address in.";
    /// No place for one more budget.
    Budgets => "budgets",
        "The server counts for as many credentials with a byte budget as it can.",
        "Try again when some have ended; issue longer-lived credentials, so that one user has fewer, or leave out the budget.";
    /// The budget of the credential.
    Budget => "budget",
        "The byte budget of the credential is used up.",
        "Get fresh iceServers, or issue credentials with more bytes.";
    /// The rate of the credential.
    Rate => "rate",
        "Packets above the bit rate of the credential were dropped.",
        "Send less (a lower resolution), or issue credentials with a higher rate.";
    /// No permission.
    NoPermission => "no_permission",
        "Packets were dropped since the client has given no permission for the other side.",
        "The two sides do not know of each other's candidates; look whether signaling carries all of them both ways.";
    /// A tunnel as a client.
    ClientAddress => "client_address",
        "The client's own address is the end of a tunnel, to which nothing is relayed.",
        "Use an address that is not of 6to4 or Teredo.";
    /// Anything else.
    Other => "other",
        "The server refused the request.",
        "The server's log says more.";
}

impl Why {
    /// The cause of a failed login. `time_limited`: the user name is of that form. `None`: it is a step that every client
    /// takes.
    pub const fn of_login(cause: LoginCause, time_limited: bool) -> Option<Self> {
        Some(match cause {
            LoginCause::NoCredentials | LoginCause::StaleNonce => return None,
            LoginCause::Incomplete => Self::Incomplete,
            LoginCause::Algorithms => Self::Algorithms,
            LoginCause::Realm => Self::WrongRealm,
            // Without a secret nobody has a time-limited name.
            LoginCause::UnknownUser | LoginCause::WrongPassword if time_limited => Self::WrongSecret,
            LoginCause::UnknownUser | LoginCause::WrongPassword => Self::UnknownUserOrPassword,
            LoginCause::Expired => Self::Expired,
            LoginCause::Revoked => Self::Revoked,
            LoginCause::BadPolicy => Self::BadPolicy,
            LoginCause::UnexpectedToken
            | LoginCause::UnknownKey
            | LoginCause::ForeignToken
            | LoginCause::WrongSessionKey => Self::AccessToken,
        })
    }

    /// The cause of a refused request. `about_peer`: it names one. `limited`: the credential has a limit of allocations.
    pub const fn of_request(code: u16, cause: Option<RefusalCause>, about_peer: bool, limited: bool) -> Self {
        match (code, cause) {
            (_, Some(RefusalCause::PeersOfCredential)) => Self::CredentialPeers,
            (_, Some(RefusalCause::Budget)) => Self::Budget,
            (_, Some(RefusalCause::Budgets)) => Self::Budgets,
            (_, Some(RefusalCause::Draining)) => Self::Draining,
            (486, _) if limited => Self::AllocationLimit,
            (486, _) => Self::Quota,
            (_, Some(RefusalCause::Permissions | RefusalCause::Channels)) => Self::TooManyPeers,
            (508, Some(_)) => Self::NoPorts,
            (508, None) => Self::TooManyPeers,
            (403, _) if about_peer => Self::PeerDenied,
            (403, _) => Self::ClientAddress,
            (300, _) => Self::Redirect,
            (400, _) => Self::Malformed,
            (405, _) => Self::MobilityForbidden,
            (420, _) => Self::UnknownAttribute,
            (437, _) => Self::Mismatch,
            (440 | 443, _) => Self::AddressFamily,
            (441, _) => Self::WrongUser,
            (442, _) => Self::UnsupportedTransport,
            (446 | 447, _) => Self::PeerConnection,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::turn::ERROR_CODES;

    #[test]
    fn each_cause_has_a_word_of_its_own_a_sentence_and_a_cure() {
        let words: BTreeSet<&str> = Why::ALL.iter().map(|why| why.word()).collect();
        assert_eq!(words.len(), Why::ALL.len());
        for why in Why::ALL {
            assert!(why.word().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{why:?}");
            for text in [why.sentence(), why.cure()] {
                assert!(
                    text.len() > 20 && text.ends_with(['.', '\u{201d}']) || text.ends_with("revocations."),
                    "{text}"
                );
                assert!(text.starts_with(|first: char| first.is_ascii_uppercase()), "{text}");
            }
        }
    }

    #[test]
    fn no_error_of_the_server_is_left_without_a_cause() {
        // 401 and 438 are logins, 500 is no request of TURN.
        for code in ERROR_CODES.into_iter().filter(|code| ![401, 438, 500].contains(code)) {
            assert_ne!(Why::of_request(code, None, false, false), Why::Other, "{code}");
        }
        assert_eq!(Why::of_request(403, None, true, false), Why::PeerDenied);
        assert_eq!(Why::of_request(486, Some(RefusalCause::Allocations), false, true), Why::AllocationLimit);
        assert_eq!(Why::of_login(LoginCause::WrongPassword, true), Some(Why::WrongSecret));
        assert_eq!(
            Why::of_login(LoginCause::WrongPassword, false),
            Why::of_login(LoginCause::UnknownUser, false)
        );
    }
}
