//! The stateless cookie (RFC 6347 §4.2.1): nothing is kept for a client that has not returned it.
//!
//! ```text
//! | 4 bytes: second of its making | 16 bytes: HMAC |
//! ```
//! The HMAC covers the time, both transport addresses and what the client must repeat of its hello.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::hello::ClientHello;
use crate::time::Timestamp;
use crate::turn::FiveTuple;

/// Length of a cookie in bytes; the DTLS library makes its own of the same.
pub(super) const COOKIE_LEN: usize = 20;
/// How long a cookie is accepted: long enough for a client that repeats its hello until it gives up.
pub(super) const COOKIE_LIFETIME: Duration = Duration::from_secs(60);
const TIME_LEN: usize = 4;

/// Makes cookies and knows them again.
pub(super) struct Cookies {
    mac: Hmac<Sha256>,
}

impl Cookies {
    /// With a key of random bytes.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        match Hmac::new_from_slice(key) {
            Ok(mac) => Self { mac },
            Err(_) => unreachable!("HMAC takes keys of any length"),
        }
    }

    /// The cookie for a hello.
    pub(super) fn make(
        &self,
        now: Timestamp,
        tuple: &FiveTuple,
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE_LEN] {
        self.at(seconds(now), tuple, hello)
    }

    /// Whether the hello returns a cookie that was made for it here and not too long ago.
    pub(super) fn verify(&self, now: Timestamp, tuple: &FiveTuple, hello: &ClientHello<'_>) -> bool {
        let Ok(cookie) = <&[u8; COOKIE_LEN]>::try_from(hello.cookie()) else { return false };
        let [t0, t1, t2, t3, ..] = *cookie;
        let made = u32::from_be_bytes([t0, t1, t2, t3]);
        let genuine: bool = self.at(made, tuple, hello).ct_eq(cookie).into();
        genuine && u64::from(seconds(now).wrapping_sub(made)) <= COOKIE_LIFETIME.as_secs()
    }

    fn at(&self, second: u32, tuple: &FiveTuple, hello: &ClientHello<'_>) -> [u8; COOKIE_LEN] {
        let mut mac = self.mac.clone();
        mac.update(&second.to_be_bytes());
        for address in [tuple.client.0, tuple.server] {
            update(&mut mac, address);
        }
        for part in hello.parameters() {
            mac.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            mac.update(part);
        }
        let mut cookie = [0; COOKIE_LEN];
        cookie[..TIME_LEN].copy_from_slice(&second.to_be_bytes());
        cookie[TIME_LEN..].copy_from_slice(&mac.finalize().into_bytes()[..COOKIE_LEN - TIME_LEN]);
        cookie
    }
}

fn update(mac: &mut Hmac<Sha256>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            mac.update(&[4]);
            mac.update(&ip.octets());
        }
        IpAddr::V6(ip) => {
            mac.update(&[6]);
            mac.update(&ip.octets());
        }
    }
    mac.update(&address.port().to_be_bytes());
}

fn seconds(now: Timestamp) -> u32 {
    (now.since(Timestamp::START).as_secs() & 0xFFFF_FFFF) as u32
}

#[cfg(test)]
mod tests {
    use super::super::hello::tests::hello;
    use super::super::record::records;
    use super::*;
    use crate::turn::{ClientAddress, Transport};

    fn tuple(client: &str, server: &str) -> FiveTuple {
        let client = ClientAddress(client.parse().unwrap());
        FiveTuple { client, server: server.parse().unwrap(), transport: Transport::Dtls }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::after_start(Duration::from_secs(seconds))
    }

    fn with<T>(bytes: &[u8], use_it: impl FnOnce(&ClientHello<'_>) -> T) -> T {
        use_it(&ClientHello::parse(&records(bytes).next().unwrap()).unwrap())
    }

    const CLIENT: &str = "198.51.100.1:5000";
    const SERVER: &str = "192.0.2.1:5349";

    #[test]
    fn a_cookie_is_good_for_its_client_its_hello_its_server_and_its_time() {
        let cookies = Cookies::new(&[1; 32]);
        let here = tuple(CLIENT, SERVER);
        let cookie = with(&hello(0, 0, b"", None), |hello| cookies.make(at(100), &here, hello));
        let returned = hello(1, 1, &cookie, None);
        let accepts = |cookies: &Cookies, seconds, tuple: &FiveTuple, bytes: &[u8]| {
            with(bytes, |hello| cookies.verify(at(seconds), tuple, hello))
        };
        assert!(accepts(&cookies, 100, &here, &returned));
        assert!(accepts(&cookies, 160, &here, &returned));
        assert!(!accepts(&cookies, 161, &here, &returned), "it expires");
        assert!(!accepts(&cookies, 99, &here, &returned), "nor is it from the future");
        for other in [
            tuple("198.51.100.2:5000", SERVER),
            tuple("198.51.100.1:5001", SERVER),
            tuple(CLIENT, "192.0.2.2:5349"),
            tuple(CLIENT, "192.0.2.1:5350"),
        ] {
            assert!(!accepts(&cookies, 100, &other, &returned), "{other:?}");
        }
        assert!(!accepts(&Cookies::new(&[2; 32]), 100, &here, &returned), "another key");
        let mut changed = returned.clone();
        // The last byte of the client's random, then a cipher suite.
        for back in [returned.len() - 1, returned.len() - 8] {
            changed.copy_from_slice(&returned);
            changed[25 + 2 + 31] ^= u8::from(back == returned.len() - 1);
            changed[25 + 34 + 1 + 1 + COOKIE_LEN + 3] ^= u8::from(back != returned.len() - 1);
            assert!(!accepts(&cookies, 100, &here, &changed), "another hello");
        }
    }

    #[test]
    fn a_cookie_with_any_bit_wrong_or_of_another_length_is_refused() {
        let cookies = Cookies::new(&[1; 32]);
        let here = tuple(CLIENT, SERVER);
        let cookie = with(&hello(0, 0, b"", None), |hello| cookies.make(at(100), &here, hello));
        for bit in 0..COOKIE_LEN * 8 {
            let mut wrong = cookie;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!with(&hello(1, 1, &wrong, None), |hello| cookies.verify(at(100), &here, hello)));
        }
        for len in [0, 4, 19] {
            assert!(!with(&hello(1, 1, &cookie[..len], None), |hello| cookies.verify(at(100), &here, hello)));
        }
    }
}
