//! Access tokens of third-party authorization (RFC 7635 §6.2): what an authorization server seals with a key that it
//! shares with this server, and what the client passes on without understanding it.
//!
//! ```text
//! nonce length (2) | nonce | sealed: key length (2) | mac_key | timestamp (8) | lifetime (4)
//! ```

use core::fmt;
use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::aead::TokenAlgorithm;

/// The longest token, in bytes. That of a 64-byte `mac_key` under A256CBC-HS512 has 114.
pub const MAX_TOKEN: usize = 126;

/// The longest ACCESS-TOKEN, in bytes: such a token in base64.
pub const MAX_ACCESS_TOKEN: usize = MAX_TOKEN.div_ceil(3) * 4;

/// The shortest `mac_key`, in bytes. Anything shorter could be guessed from one captured request.
const MIN_MAC_KEY: usize = 16;

/// The longest `mac_key`, in bytes: the block of HMAC, which makes of anything longer a hash.
const MAX_MAC_KEY: usize = 64;

/// How far the clocks of the two servers may be apart, in seconds (RFC 7635 §7: RECOMMENDED).
const DELTA: u64 = 5;

/// A key shared with an authorization server.
#[derive(Clone)]
pub struct OauthKey {
    /// Its name, which clients send as USERNAME.
    pub kid: String,
    /// What it is for.
    pub algorithm: TokenAlgorithm,
    /// The key, as long as the algorithm says.
    pub key: Zeroizing<Vec<u8>>,
    /// From when on it opens no token any more, in Unix seconds (`exp` of RFC 7635 §4.1.1).
    pub expires: Option<u64>,
}

impl fmt::Debug for OauthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kid, algorithm, expires, .. } = self;
        f.debug_struct("OauthKey")
            .field("kid", kid)
            .field("algorithm", algorithm)
            .field("expires", expires)
            .finish_non_exhaustive()
    }
}

/// What a token says.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The session key, with which client and server sign their messages: 16 to 64 bytes.
    pub mac_key: Zeroizing<Vec<u8>>,
    /// When the token was made: Unix seconds in the upper 48 bits, 64000ths of a second in the lower 16.
    pub timestamp: u64,
    /// For how many seconds it is good; at least one.
    pub lifetime: u32,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timestamp, lifetime, .. } = self;
        f.debug_struct("AccessToken")
            .field("timestamp", timestamp)
            .field("lifetime", lifetime)
            .finish_non_exhaustive()
    }
}

impl AccessToken {
    /// A token made at `unix` seconds.
    pub fn new(mac_key: Vec<u8>, unix: u64, lifetime: u32) -> Self {
        Self { mac_key: Zeroizing::new(mac_key), timestamp: unix << 16, lifetime }
    }

    /// Seals the token for the server `name`. `nonce` must never come twice under one key; algorithms that need
    /// none ignore it. `None` when the key has not the length of its algorithm.
    pub fn seal(&self, key: &OauthKey, name: &str, nonce: &[u8; 12]) -> Option<Vec<u8>> {
        let nonce = nonce.get(..key.algorithm.nonce_len())?;
        let mut block = Zeroizing::new(Vec::with_capacity(self.mac_key.len() + 14));
        block.extend_from_slice(&u16::try_from(self.mac_key.len()).ok()?.to_be_bytes());
        block.extend_from_slice(&self.mac_key);
        block.extend_from_slice(&self.timestamp.to_be_bytes());
        block.extend_from_slice(&self.lifetime.to_be_bytes());
        let sealed = key.algorithm.seal(&key.key, nonce, name.as_bytes(), &block)?;
        let mut token = u16::try_from(nonce.len()).ok()?.to_be_bytes().to_vec();
        token.extend_from_slice(nonce);
        token.extend_from_slice(&sealed);
        Some(token)
    }

    /// Opens the value of ACCESS-TOKEN. `None` when it was not sealed with this key for this server, or does not
    /// have the form of a token.
    ///
    /// §6.2 can be read both ways, so base64 is taken like the bytes themselves: a token begins with a zero byte,
    /// base64 never does.
    pub fn open(value: &[u8], key: &OauthKey, name: &str) -> Option<Self> {
        let mut buffer = Zeroizing::new([0; MAX_TOKEN]);
        let len = match value.first()? {
            0 => {
                buffer.get_mut(..value.len())?.copy_from_slice(value);
                value.len()
            }
            _ if value.len() > MAX_ACCESS_TOKEN => return None,
            _ => STANDARD.decode_slice(value, &mut buffer[..]).ok()?,
        };
        let (&mut [n0, n1], rest) = buffer.get_mut(..len)?.split_first_chunk_mut::<2>()?;
        if usize::from(u16::from_be_bytes([n0, n1])) != key.algorithm.nonce_len() {
            return None;
        }
        let (nonce, sealed) = rest.split_at_mut_checked(key.algorithm.nonce_len())?;
        Self::decode(key.algorithm.open(&key.key, nonce, name.as_bytes(), sealed)?)
    }

    /// Reads the block that was sealed. `None` when it is no such block.
    pub fn decode(block: &[u8]) -> Option<Self> {
        let (&len, rest) = block.split_first_chunk::<2>()?;
        let (mac_key, rest) = rest.split_at_checked(u16::from_be_bytes(len).into())?;
        let (&timestamp, rest) = rest.split_first_chunk::<8>()?;
        let lifetime = u32::from_be_bytes(rest.try_into().ok()?);
        if !(MIN_MAC_KEY..=MAX_MAC_KEY).contains(&mac_key.len()) || lifetime == 0 {
            return None;
        }
        let mac_key = Zeroizing::new(mac_key.to_vec());
        Some(Self { mac_key, timestamp: u64::from_be_bytes(timestamp), lifetime })
    }

    /// The longest lifetime that an allocation may be given with this token at `unix` seconds: the formula of RFC
    /// 7635 §9, but never more than the token's own lifetime, which the same section forbids. `None`: the token is
    /// not good now (§7).
    pub fn remaining(&self, unix: u64) -> Option<Duration> {
        let lifetime = u64::from(self.lifetime);
        let apart = unix.abs_diff(self.timestamp >> 16);
        let left = (lifetime + DELTA).checked_sub(apart).filter(|left| *left > 0)?;
        Some(Duration::from_secs(left.min(lifetime)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "blackdow.carleon.gov";
    const LONG_TERM: &[u8] = b"HGkj32KJGiuy098sdfaqbNjOiaz71923";
    const NONCE: [u8; 12] = *b"h4j3k2l2n4b5";

    fn key(algorithm: TokenAlgorithm) -> OauthKey {
        let key = LONG_TERM.repeat(2)[..algorithm.key_len()].to_vec();
        OauthKey { kid: "north".to_owned(), algorithm, key: Zeroizing::new(key), expires: None }
    }

    fn sample() -> AccessToken {
        let mac_key = Zeroizing::new(b"ZksjpweoixXmvn67534m".to_vec());
        AccessToken { mac_key, timestamp: 92_470_300_704_768, lifetime: 3600 }
    }

    #[test]
    fn rfc7635_a_sample_tickets() {
        for (algorithm, sealed) in [
            (
                TokenAlgorithm::A256Gcm,
                "617ef134a3d5e44e9a19cc7dc104b0c03d03b2a551d8fdf5cd3b6dca6f10cfb77e5b2ddec84d293a5c50499359f0c2e26f76",
            ),
            (
                TokenAlgorithm::A128Gcm,
                "7fb9e99f0827be3df1e1bd651493d3031d36df57079784aee5eacb65fad4f27fab1a3f97974b69f851b24bf5af09eda357e0",
            ),
        ] {
            let token = sample().seal(&key(algorithm), NAME, &NONCE).unwrap();
            assert_eq!(token[..14], *b"\x00\x0ch4j3k2l2n4b5");
            let hex: String = token[14..].iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, sealed);
            assert_eq!(AccessToken::open(&token, &key(algorithm), NAME), Some(sample()));
        }
    }

    #[test]
    fn every_algorithm_opens_what_it_seals_and_nothing_else() {
        for (name, algorithm) in TokenAlgorithm::NAMES {
            assert_eq!(algorithm.name(), name);
            let key = key(algorithm);
            let token = sample().seal(&key, NAME, &NONCE).unwrap();
            assert!(token.len() <= MAX_TOKEN);
            assert_eq!(AccessToken::open(&token, &key, NAME), Some(sample()), "{name}");
            let text = STANDARD.encode(&token);
            assert_eq!(AccessToken::open(text.as_bytes(), &key, NAME), Some(sample()), "{name} in base64");
            assert_eq!(AccessToken::open(&token, &key, "another"), None, "{name}: the server's name counts");
            for at in 0..token.len() {
                let mut changed = token.clone();
                changed[at] ^= 1;
                assert_eq!(AccessToken::open(&changed, &key, NAME), None, "{name}, byte {at}");
                assert_eq!(AccessToken::open(&token[..at], &key, NAME), None, "{name}, {at} bytes");
            }
            let mut longer = token;
            longer.push(0);
            assert_eq!(AccessToken::open(&longer, &key, NAME), None, "{name}, one more");
        }
    }

    #[test]
    fn the_longest_session_key_fits_under_every_algorithm() {
        for (name, algorithm) in TokenAlgorithm::NAMES {
            let longest = AccessToken::new(vec![7; MAX_MAC_KEY], 5, 60);
            let token = longest.seal(&key(algorithm), NAME, &NONCE).unwrap();
            assert_eq!(AccessToken::open(&token, &key(algorithm), NAME), Some(longest), "{name}");
        }
    }

    #[test]
    fn blocks_of_another_form_are_refused() {
        let block = |len: u16, bytes: usize, lifetime: u32| {
            let mut block = len.to_be_bytes().to_vec();
            block.resize(2 + bytes + 8, 1);
            block.extend_from_slice(&lifetime.to_be_bytes());
            block
        };
        assert!(AccessToken::decode(&block(20, 20, 1)).is_some());
        for (len, bytes, lifetime) in
            [(20, 20, 0), (20, 19, 1), (20, 21, 1), (15, 15, 1), (65, 65, 1), (u16::MAX, 20, 1), (0, 0, 1)]
        {
            assert_eq!(AccessToken::decode(&block(len, bytes, lifetime)), None, "{len} {bytes} {lifetime}");
        }
    }

    #[test]
    fn rfc7635_9_what_remains_is_never_more_than_the_lifetime() {
        let token = AccessToken::new(vec![1; 20], 1_000, 100);
        let seconds = |unix| token.remaining(unix).map(|left| left.as_secs());
        for (unix, left) in [
            (1_000, Some(100)),
            (1_005, Some(100)),
            (1_006, Some(99)),
            (1_104, Some(1)),
            (1_105, None),
            (990, Some(95)),
            (895, None),
            (u64::MAX, None),
        ] {
            assert_eq!(seconds(unix), left, "{unix}");
        }
    }
}
