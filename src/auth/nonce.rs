//! The stateless nonce: 28 characters.
//!
//! ```text
//! obMatJos2 | 4 characters: security features | 15 characters: base64 of time (3 bytes) and HMAC (8 bytes)
//! ```
//! The HMAC covers time, client address and port, and server port, so that no two clients share a nonce
//! (RFC 8489 §9.2.4) and nothing is stored for anybody.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::time::{Now, Timestamp};

/// Length of a nonce in characters.
pub const NONCE_LEN: usize = 28;

const COOKIE: &[u8; 9] = b"obMatJos2";
const COOKIE_LEN: usize = 13;
const MAC_LEN: usize = 8;
/// Seconds are kept modulo 2^24: 194 days.
const WRAP: u64 = 1 << 24;

/// Bit 0, the most significant one of the first byte: PASSWORD-ALGORITHMS is sent (RFC 8489 §18.1).
const FEATURE_PASSWORD_ALGORITHMS: u8 = 0x80;
/// Bit 1: USERHASH must be used instead of USERNAME.
const FEATURE_USERNAME_ANONYMITY: u8 = 0x40;

/// The key that nonces are made with. Whoever shares it accepts the same nonces.
#[derive(Clone)]
pub struct NonceKey {
    mac: Hmac<Sha256>,
    features: [u8; 4],
    lifetime: Duration,
}

impl NonceKey {
    /// A key from 32 random bytes, for nonces that live for `lifetime`. `anonymity` asks clients that can to send
    /// USERHASH.
    pub fn new(random: &[u8; 32], lifetime: Duration, anonymity: bool) -> Self {
        let bits = FEATURE_PASSWORD_ALGORITHMS | if anonymity { FEATURE_USERNAME_ANONYMITY } else { 0 };
        let mut features = [b'A'; 4];
        // Three bytes make exactly four characters, so this cannot fail.
        let _ = STANDARD_NO_PAD.encode_slice([bits, 0, 0], &mut features);
        match Hmac::new_from_slice(random) {
            Ok(mac) => Self { mac, features, lifetime },
            Err(_) => unreachable!("HMAC takes keys of any length"),
        }
    }

    /// A fresh nonce for a client.
    pub fn mint(&self, now: &Now, client: SocketAddr, server_port: u16) -> [u8; NONCE_LEN] {
        let [.., t0, t1, t2] = (seconds(now) % WRAP).to_be_bytes();
        let time = [t0, t1, t2];
        let mut raw = [0; 3 + MAC_LEN];
        raw[..3].copy_from_slice(&time);
        raw[3..].copy_from_slice(&self.tag(time, client, server_port));
        let mut nonce = [b'A'; NONCE_LEN];
        nonce[..COOKIE.len()].copy_from_slice(COOKIE);
        nonce[COOKIE.len()..COOKIE_LEN].copy_from_slice(&self.features);
        // Eleven bytes make exactly fifteen characters, so this cannot fail.
        let _ = STANDARD_NO_PAD.encode_slice(raw, &mut nonce[COOKIE_LEN..]);
        nonce
    }

    /// Whether `nonce` was made for this client with this key and has not expired.
    pub fn is_valid(&self, nonce: &[u8], now: &Now, client: SocketAddr, server_port: u16) -> bool {
        let Ok(nonce) = <&[u8; NONCE_LEN]>::try_from(nonce) else { return false };
        let mut raw = [0; 3 + MAC_LEN];
        if nonce[..COOKIE.len()] != *COOKIE
            || nonce[COOKIE.len()..COOKIE_LEN] != self.features
            || STANDARD_NO_PAD.decode_slice(&nonce[COOKIE_LEN..], &mut raw) != Ok(raw.len())
        {
            return false;
        }
        let time = [raw[0], raw[1], raw[2]];
        let made = u64::from(u32::from_be_bytes([0, time[0], time[1], time[2]]));
        let age = (seconds(now) % WRAP + WRAP - made) % WRAP;
        let genuine: bool = self.tag(time, client, server_port).ct_eq(&raw[3..]).into();
        genuine && age < self.lifetime.as_secs()
    }

    fn tag(&self, time: [u8; 3], client: SocketAddr, server_port: u16) -> [u8; MAC_LEN] {
        let mut mac = self.mac.clone();
        mac.update(&time);
        match client.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&client.port().to_be_bytes());
        mac.update(&server_port.to_be_bytes());
        let mut tag = [0; MAC_LEN];
        tag.copy_from_slice(&mac.finalize().into_bytes()[..MAC_LEN]);
        tag
    }
}

/// What the nonce of a challenge says about its server (RFC 8489 §9.2, §18.1). Without the cookie: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// PASSWORD-ALGORITHMS was sent with it.
    pub offers_algorithms: bool,
    /// Clients must send USERHASH instead of USERNAME.
    pub username_anonymity: bool,
}

impl Features {
    /// Reads them from a nonce.
    pub fn of(nonce: &[u8]) -> Self {
        let mut bits = [0; 3];
        let has_cookie = nonce.starts_with(COOKIE)
            && nonce
                .get(COOKIE.len()..COOKIE_LEN)
                .is_some_and(|features| STANDARD_NO_PAD.decode_slice(features, &mut bits) == Ok(3));
        if !has_cookie {
            return Self::default();
        }
        Self {
            offers_algorithms: bits[0] & FEATURE_PASSWORD_ALGORITHMS != 0,
            username_anonymity: bits[0] & FEATURE_USERNAME_ANONYMITY != 0,
        }
    }
}

/// Whether a nonce says that PASSWORD-ALGORITHMS was sent with it (RFC 8489 §9.2.4, third check).
pub(super) fn announces_algorithms(nonce: &[u8]) -> bool {
    Features::of(nonce).offers_algorithms
}

fn seconds(now: &Now) -> u64 {
    now.mono.since(Timestamp::START).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { mono: Timestamp::after_start(Duration::from_secs(seconds)), unix: 0 }
    }

    #[test]
    fn rfc8489_9_2_nonce_has_the_cookie_and_is_bound_to_its_client() {
        let key = NonceKey::new(&[7; 32], Duration::from_secs(600), true);
        let client: SocketAddr = "8.8.8.8:1000".parse().unwrap();
        let nonce = key.mint(&at(5), client, 3478);
        assert_eq!(&nonce[..13], b"obMatJos2wAAA");
        assert!(key.is_valid(&nonce, &at(604), client, 3478));
        assert!(!key.is_valid(&nonce, &at(605), client, 3478), "expired");
        assert!(!key.is_valid(&nonce, &at(4), client, 3478), "from the future");
        assert!(!key.is_valid(&nonce, &at(5), "8.8.8.8:1001".parse().unwrap(), 3478));
        assert!(!key.is_valid(&nonce, &at(5), "8.8.8.9:1000".parse().unwrap(), 3478));
        assert!(!key.is_valid(&nonce, &at(5), client, 3479));
        for i in 0..NONCE_LEN {
            let mut forged = nonce;
            forged[i] = if forged[i] == b'B' { b'C' } else { b'B' };
            // The last character carries two bits that mean nothing; base64 refuses them unless they are zero.
            assert!(!key.is_valid(&forged, &at(5), client, 3478), "character {i}");
        }
        assert!(announces_algorithms(&nonce) && !announces_algorithms(b"obMatJos2AAAA"));
        assert!(!announces_algorithms(b"something else entirely"));
    }

    #[test]
    fn nonces_survive_the_wrap_of_their_clock() {
        let key = NonceKey::new(&[7; 32], Duration::from_secs(600), false);
        let client: SocketAddr = "[2001:db8::1]:1000".parse().unwrap();
        let nonce = key.mint(&at(WRAP - 10), client, 3478);
        assert!(key.is_valid(&nonce, &at(WRAP + 10), client, 3478));
        assert!(!key.is_valid(&nonce, &at(WRAP + 600), client, 3478));
    }
}
