//! What has to be answered to a request, by the order that RFC 8489 §6.3, §9.2.4 and RFC 8656 §5 set, as far as it
//! can be said without an allocation.

use std::net::{IpAddr, SocketAddr};

use super::config::{Config, LISTEN4, LISTEN6, OWN};
use super::reading::Seen;
use super::world::*;

/// Whether a nonce is good, as far as a clock of whole seconds lets one say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonce {
    Good,
    Stale,
    /// Within a second of its end.
    Either,
}

/// What the checks of the login say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// An unsigned error with this code; `tried` when there was an integrity.
    Refused { code: u16, tried: bool },
    /// Passed, with this key; or 438 when the nonce is at its end.
    Passed { user: String, key: Vec<u8>, signs_with: u16, nonce: Nonce },
}

/// The user and key of an allocation, for requests that belong to it.
pub struct Holder<'a> {
    pub user: &'a str,
    pub key: &'a [u8],
}

/// RFC 8489 §9.2.4, with the passwords of `config`. With a `holder` its key is as good as those; `expiry_counts` says
/// whether the end of a time-limited name is looked at.
pub fn login(
    seen: &Seen<'_>,
    config: &Config,
    unix: u64,
    nonce: Nonce,
    holder: Option<&Holder<'_>>,
    expiry_counts: bool,
) -> Login {
    let refused = |code| Login::Refused { code, tried: seen.integrity.is_some() };
    if seen.integrity.is_none() {
        return refused(401);
    }
    let (name, hash) = (seen.get(USERNAME), seen.get(USERHASH));
    let (Some(realm), Some(presented)) = (seen.get(REALM), seen.get(NONCE)) else { return refused(400) };
    if name.is_none() && hash.is_none() {
        return refused(400);
    }
    // Bid-down protection: of the bits of our nonces the first says that algorithms were offered.
    let (chosen, offered) = (seen.get(ALGORITHM), seen.get(ALGORITHMS));
    let known = match chosen {
        Some([0, 1, 0, 0]) => Some(false),
        Some([0, 2, 0, 0]) => Some(true),
        _ => None,
    };
    let announces =
        presented.starts_with(b"obMatJos2") && features(presented).is_some_and(|bits| bits & 0x80 != 0);
    if (chosen.is_some() || offered.is_some())
        && announces
        && !(known.is_some() && offered == Some(&OFFER[..]))
    {
        return refused(400);
    }
    // A token that nobody has asked for, from somebody who has no password: 420 says what is missing (RFC 7635).
    let refused = |code| match seen.get(ACCESS_TOKEN) {
        Some(_) if code == 401 => refused(420),
        _ => refused(code),
    };
    let sha256_key = known == Some(true);
    let signs_with = if chosen.is_none() && offered.is_none() { MI } else { MI256 };
    if realm != REALM_TEXT.as_bytes() {
        return refused(401);
    }
    let user = match (name, hash) {
        (Some(name), _) => match std::str::from_utf8(name) {
            Ok(name) if name.len() <= 508 => name.to_owned(),
            _ => return refused(401),
        },
        (None, Some(hash)) => {
            let fits = |name: &&String| sha256(format!("{name}:{REALM_TEXT}").as_bytes()) == hash;
            match config.users.keys().find(fits) {
                Some(name) => name.clone(),
                None => return refused(401),
            }
        }
        (None, None) => unreachable!(),
    };
    let derive = |password: &str| {
        let text = format!("{user}:{REALM_TEXT}:{password}");
        if sha256_key { sha256(text.as_bytes()) } else { md5(text.as_bytes()) }
    };
    let mut keys: Vec<Vec<u8>> = Vec::new();
    if let Some(holder) = holder
        .filter(|holder| holder.user == user && name.is_some() && (holder.key.len() == 32) == sha256_key)
    {
        keys.push(holder.key.to_vec());
    }
    if let Some(password) = config.users.get(&user) {
        keys.push(derive(password));
    }
    let digits = user.split(':').next().unwrap_or_default();
    if let Ok(expires) = digits.parse::<u64>()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (expires > unix || !expiry_counts)
    {
        keys.extend(config.secrets.iter().map(|secret| derive(&rest_password(secret, &user))));
    }
    match keys.into_iter().find(|key| seen.verifies(key)) {
        None => refused(401),
        Some(_) if nonce == Nonce::Stale => refused(438),
        Some(key) => Login::Passed { user, key, signs_with, nonce },
    }
}

/// The first byte of a nonce's features (RFC 8489 §18.1), base64 behind the cookie; `None` when it is none.
fn features(nonce: &[u8]) -> Option<u8> {
    let mut word = 0;
    for character in nonce.get(9..13)? {
        let sextet = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(sextet);
    }
    Some((word >> 16) as u8)
}

/// The comprehension-required attributes of RFC 8489 and RFC 8656 (§18), which a server of both knows.
const KNOWN: [u16; 22] = [
    CONNECTION_ID,
    DONT_FRAGMENT,
    RESERVATION,
    0x0001,
    USERNAME,
    MI,
    ERROR_CODE,
    UNKNOWN,
    CHANNEL_NUMBER,
    LIFETIME,
    PEER,
    DATA,
    REALM,
    NONCE,
    RELAYED,
    FAMILY,
    EVEN_PORT,
    TRANSPORT,
    MI256,
    ALGORITHM,
    USERHASH,
    MAPPED,
];

/// Those of RFC 5780, understood where NAT discovery is offered and nowhere else.
pub const DISCOVERY: [u16; 3] = [CHANGE_REQUEST, RESPONSE_PORT, PADDING];

/// Whether 420 has to come, where these are `understood` besides what all methods know.
pub fn unknown(seen: &Seen<'_>, understood: &[u16]) -> bool {
    let mut required = seen.attributes.iter().map(|found| found.0).filter(|kind| *kind < 0x8000);
    required.any(|kind| !KNOWN.contains(&kind) && !understood.contains(&kind))
}

/// Whether a peer may be reached. The simulation's peers are chosen so that this is easily said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Yes,
    No,
    /// At live relayed ports only: an address that relayed addresses have.
    ByPort,
    /// An address that the simulation has not chosen.
    Unsure,
}

/// Whether an address is one of a network's.
pub fn within((network, prefix): &(IpAddr, u8), ip: IpAddr) -> bool {
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            (u32::from(*network) ^ u32::from(ip)).leading_zeros() >= u32::from(*prefix)
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            (u128::from(*network) ^ u128::from(ip)).leading_zeros() >= u32::from(*prefix)
        }
        _ => false,
    }
}

pub fn reach(config: &Config, ip: IpAddr) -> Reach {
    if config.deny.iter().any(|network| within(network, ip)) || ip == OWN.parse::<IpAddr>().unwrap() {
        return Reach::No;
    }
    if [LISTEN4, LISTEN6].iter().any(|text| addr(text).ip() == ip) {
        return Reach::ByPort;
    }
    match ip {
        IpAddr::V4(v4) => match v4.octets() {
            [8, 8, _, _] | [9, 9, _, _] => Reach::Yes,
            [10 | 127 | 0, ..] | [169, 254, ..] | [192, 168, ..] | [100, 64, ..] | [224..=255, ..] => {
                Reach::No
            }
            _ => Reach::Unsure,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0x2a01, 0x4f8, 0, ..] => Reach::Yes,
            [0x2001, 0, ..] | [0x2002, ..] | [0, ..] | [0x64, 0xff9b, ..] | [0xfe80..=0xffff, ..] => {
                Reach::No
            }
            _ => Reach::Unsure,
        },
    }
}

/// Whether a datagram may pass to or from a peer whose address has a live permission. `None`: cannot be said.
pub fn passes(config: &Config, peer: SocketAddr, is_live: bool) -> Option<bool> {
    match reach(config, peer.ip()) {
        Reach::ByPort => Some(is_live),
        // A permission made before the policy changed goes on until it ends.
        Reach::Yes | Reach::No => Some(true),
        Reach::Unsure => None,
    }
}
