//! What a time-limited credential may carry besides its expiry: limits, and marks to revoke it by. It stands in the user
//! name, behind [`MARK`], so the password covers it and nobody but a holder of the secret can change it.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// Where the policy begins in a user name.
pub const MARK: &str = "?policy&";

/// The most networks that `peers` may list.
const MAX_NETWORKS: usize = 32;

/// Addresses with a common beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of `address` with `prefix` bits; what `address` has beyond them is cut off. `None`: the family has not so
    /// many bits.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32_u32.checked_sub(prefix.into())?).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128_u32.checked_sub(prefix.into())?).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Some(Self { address, prefix })
    }

    /// Whether `ip` is one of them. An address in the disguise of the other family is none.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4() && Self::new(ip, self.prefix) == Some(*self)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, prefix } = self;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        if *prefix == whole { write!(f, "{address}") } else { write!(f, "{address}/{prefix}") }
    }
}

impl FromStr for Network {
    type Err = BadPolicy;

    /// Reads `address` or `address/prefix`. An address with bits behind its prefix is none: it may have been meant alone.
    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(number(prefix)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| BadPolicy)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(whole);
        let network = u8::try_from(prefix).ok().and_then(|prefix| Self::new(address, prefix));
        network.filter(|network| network.address == address).ok_or(BadPolicy)
    }
}

/// A user name has the mark of a policy, and what follows is none: it may have been meant to forbid something, so it is
/// never taken for a user name without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPolicy;

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "behind ?policy& stand tag, key, issued, rate, bytes, allocations and peers, each once at most, as name=value, \
             joined by &; numbers are whole and above 0, all but letters, digits and - . _ ~ / : , is percent-encoded",
        )
    }
}

impl core::error::Error for BadPolicy {}

/// What a credential carries. The default is nothing: no limit but those of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What it is for, in the words of whoever had it issued; it can be revoked by it.
    pub tag: Option<String>,
    /// The name of the API key that it was issued for; it can be revoked by it.
    pub key: Option<String>,
    /// When it was issued, in Unix seconds. What revokes all of a user, tag or key spares what is issued later, and for that
    /// the credential has to say when it was.
    pub issued: Option<u64>,
    /// Bits a second of payload, of each allocation, both directions together.
    pub rate: Option<u64>,
    /// Bytes of payload over the life of the credential, of all its allocations together.
    pub bytes: Option<u64>,
    /// Allocations at once.
    pub allocations: Option<u32>,
    /// The only peers that may be reached; empty: all that the server allows.
    pub peers: Vec<Network>,
}

impl Policy {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the only peers that it names include `ip`.
    pub fn allows(&self, ip: IpAddr) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|network| network.contains(ip))
    }

    /// Reads what stands behind [`MARK`].
    ///
    /// # Errors
    /// For anything but what [`BadPolicy`] says.
    pub fn parse(text: &str) -> Result<Self, BadPolicy> {
        let mut policy = Self::default();
        for field in text.split('&') {
            let (name, value) = field.split_once('=').ok_or(BadPolicy)?;
            match name {
                "tag" => put(&mut policy.tag, word(value)?)?,
                "key" => put(&mut policy.key, word(value)?)?,
                "issued" => put(&mut policy.issued, number(value)?)?,
                "rate" => put(&mut policy.rate, above_zero(value)?)?,
                "bytes" => put(&mut policy.bytes, above_zero(value)?)?,
                "allocations" => {
                    let count = u32::try_from(above_zero(value)?).map_err(|_| BadPolicy)?;
                    put(&mut policy.allocations, count)?;
                }
                "peers" if policy.peers.is_empty() => {
                    let networks = value.split(',').map(str::parse).take(MAX_NETWORKS + 1);
                    policy.peers = networks.collect::<Result<_, _>>()?;
                    if policy.peers.len() > MAX_NETWORKS {
                        return Err(BadPolicy);
                    }
                }
                _ => return Err(BadPolicy),
            }
        }
        Ok(policy)
    }

    /// Parts a user name at [`MARK`] into what stands before and the policy. Without the mark the name is whole and the
    /// policy empty.
    ///
    /// # Errors
    /// When the mark is there and no policy behind it. The first mark counts: what somebody has written into the user's part
    /// can spoil the name, but not take the place of the policy at its end.
    pub fn split(name: &str) -> Result<(&str, Self), BadPolicy> {
        match name.split_once(MARK) {
            Some((name, policy)) => Ok((name, Self::parse(policy)?)),
            None => Ok((name, Self::default())),
        }
    }
}

impl fmt::Display for Policy {
    /// What stands behind [`MARK`]; nothing when it is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, key, issued, rate, bytes, allocations, peers } = self;
        let mut join = "";
        for (name, value) in [("tag", tag), ("key", key)] {
            if let Some(value) = value {
                write!(f, "{join}{name}={}", Encoded(value))?;
                join = "&";
            }
        }
        let allocations = allocations.map(u64::from);
        let numbers = [("issued", *issued), ("rate", *rate), ("bytes", *bytes), ("allocations", allocations)];
        for (name, value) in numbers {
            if let Some(value) = value {
                write!(f, "{join}{name}={value}")?;
                join = "&";
            }
        }
        for (at, network) in peers.iter().enumerate() {
            if at == 0 {
                write!(f, "{join}peers={network}")?;
            } else {
                write!(f, ",{network}")?;
            }
        }
        Ok(())
    }
}

/// Each field stands once.
fn put<T>(place: &mut Option<T>, value: T) -> Result<(), BadPolicy> {
    if place.replace(value).is_some() { Err(BadPolicy) } else { Ok(()) }
}

fn number(text: &str) -> Result<u64, BadPolicy> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().map_err(|_| BadPolicy) } else { Err(BadPolicy) }
}

fn above_zero(text: &str) -> Result<u64, BadPolicy> {
    number(text).and_then(|number| if number > 0 { Ok(number) } else { Err(BadPolicy) })
}

const fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b',')
}

/// A value, percent-encoded (RFC 3986 §2.1).
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if stands_for_itself(byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// A value that is not empty and has no control characters, decoded.
fn word(text: &str) -> Result<String, BadPolicy> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hexadecimal(bytes.next())? << 4 | hexadecimal(bytes.next())?,
            byte if stands_for_itself(byte) => byte,
            _ => return Err(BadPolicy),
        });
    }
    let word = String::from_utf8(decoded).map_err(|_| BadPolicy)?;
    if word.is_empty() || word.chars().any(char::is_control) { Err(BadPolicy) } else { Ok(word) }
}

fn hexadecimal(digit: Option<u8>) -> Result<u8, BadPolicy> {
    let value = digit.and_then(|digit| char::from(digit).to_digit(16)).ok_or(BadPolicy)?;
    u8::try_from(value).map_err(|_| BadPolicy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_there_and_back() {
        let policy = Policy {
            tag: Some("Räume & mehr=?".into()),
            key: Some("website".into()),
            issued: Some(1_700_000_000),
            rate: Some(2_000_000),
            bytes: Some(10_000_000_000),
            allocations: Some(4),
            peers: ["203.0.113.0/24", "2001:db8::/32", "198.51.100.7"]
                .map(|text| text.parse().unwrap())
                .into(),
        };
        let text = policy.to_string();
        assert_eq!(
            text,
            "tag=R%C3%A4ume%20%26%20mehr%3D%3F&key=website&issued=1700000000&rate=2000000&bytes=10000000000\
             &allocations=4&peers=203.0.113.0/24,2001:db8::/32,198.51.100.7"
        );
        assert_eq!(Policy::parse(&text), Ok(policy.clone()));
        assert_eq!(Policy::split(&format!("5:a{MARK}{text}")), Ok(("5:a", policy)));
        assert_eq!(Policy::split("5:a"), Ok(("5:a", Policy::default())));
        assert!(Policy::default().is_empty() && Policy::default().to_string().is_empty());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "",
            "rate",
            "rate=",
            "rate=0",
            "rate=-1",
            "rate=+1",
            "rate=1e6",
            "rate=1&rate=2",
            "rate=1&",
            "&rate=1",
            "rate=18446744073709551616",
            "allocations=4294967296",
            "bytes=0",
            "tag=",
            "tag=a b",
            "tag=a?b",
            "tag=%",
            "tag=%4",
            "tag=%GG",
            "tag=%0A",
            "tag=%FF",
            "peers=",
            "peers=10.0.0.0/33",
            "peers=::/129",
            "peers=10.0.0.0/",
            "peers=10.0.0.0/+8",
            "peers=10.0.0.1/8",
            "peers=2001:db8::1/32",
            "peers=example.org",
            "peers=10.0.0.1&peers=10.0.0.2",
            "speed=5",
            "Rate=5",
            "rate=5?policy&rate=9",
        ] {
            assert_eq!(Policy::parse(bad), Err(BadPolicy), "{bad}");
            assert_eq!(Policy::split(&format!("5:a{MARK}{bad}")), Err(BadPolicy), "{bad}");
        }
        let many = |count: usize| format!("peers={}", vec!["10.0.0.1"; count].join(","));
        assert_eq!(Policy::parse(&many(MAX_NETWORKS)).unwrap().peers.len(), MAX_NETWORKS);
        assert_eq!(Policy::parse(&many(MAX_NETWORKS + 1)), Err(BadPolicy));
    }

    #[test]
    fn a_user_cannot_write_a_policy_in_front_of_the_real_one() {
        assert_eq!(Policy::split("5:eve?policy&rate=9000000?policy&rate=1000"), Err(BadPolicy));
    }

    #[test]
    fn networks() {
        let contains = |network: &str, ip: &str| {
            network.parse::<Network>().unwrap().contains(ip.parse::<IpAddr>().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.0") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("0.0.0.0/0", "255.255.255.255") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "2001:db8::1") && !contains("::/0", "10.0.0.1"));
        assert!(contains("10.0.0.1", "10.0.0.1") && !contains("10.0.0.1", "10.0.0.2"));
        assert!(
            contains("2001:db8::/33", "2001:db8:7fff::1") && !contains("2001:db8::/33", "2001:db8:8000::")
        );
        let cut = Network::new("10.1.2.3".parse().unwrap(), 8).unwrap();
        assert_eq!(cut.to_string(), "10.0.0.0/8");
    }

    #[test]
    fn peers_are_all_or_those_listed() {
        let ip = "10.0.0.1".parse().unwrap();
        assert!(Policy::default().allows(ip));
        assert!(Policy::parse("peers=10.0.0.0/8").unwrap().allows(ip));
        assert!(!Policy::parse("peers=11.0.0.0/8").unwrap().allows(ip));
    }
}
